import { webcrypto } from 'node:crypto';
import { mock } from 'node:test';

/**
 * What the tests need and Node 18, the version of Debian 12, lacks: the globals `crypto` and `CustomEvent`, and dates
 * in `mock.timers`. tests/run loads this file ahead of the tests (`--import`). On a newer Node it changes nothing.
 */
globalThis.crypto ??= webcrypto;
globalThis.CustomEvent ??= class extends Event {
  constructor(type, options) {
    super(type, options);
    this.detail = options?.detail ?? null;
  }
};

/** `mock.timers` of Node 20 as far as the tests use it. */
class Timers {
  #now = 0;
  #ids = 0;
  #waiting = new Map();
  #replaced = new Map();

  enable({ apis, now = 0 }) {
    this.#now = now;
    const timers = this;
    const mocks = {
      setTimeout: (run, delay, ...given) => this.#add(run, delay, undefined, given),
      clearTimeout: (id) => this.#waiting.delete(id),
      setInterval: (run, delay, ...given) => this.#add(run, delay, delay, given),
      clearInterval: (id) => this.#waiting.delete(id),
      Date: class extends Date {
        constructor(...given) {
          super(...(given.length === 0 ? [timers.#now] : given));
        }
        static now() {
          return timers.#now;
        }
      },
    };
    for (const name of apis.flatMap((api) => [api, api.replace('set', 'clear')])) {
      if (this.#replaced.has(name)) continue;
      this.#replaced.set(name, globalThis[name]);
      globalThis[name] = mocks[name];
    }
  }

  setTime(now) {
    this.#now = now;
  }

  tick(ms) {
    this.#now += ms;
    for (let due = this.#due(); due; due = this.#due()) {
      const [id, timer] = due;
      timer.at += timer.every;
      if (timer.every === undefined) this.#waiting.delete(id);
      timer.run(...timer.given);
    }
  }

  reset() {
    for (const [name, real] of this.#replaced) globalThis[name] = real;
    this.#replaced.clear();
    this.#waiting.clear();
  }

  #add(run, delay = 1, every, given) {
    this.#ids += 1;
    this.#waiting.set(this.#ids, { run, at: this.#now + delay, every, given });
    return this.#ids;
  }

  /** The one to run next, the older of two for the same moment. */
  #due() {
    const due = [...this.#waiting].filter(([, { at }]) => at <= this.#now);
    return due.reduce((first, other) => (other[1].at < first[1].at ? other : first), due[0]);
  }
}

if (!mock.timers?.setTime) {
  const tracker = Object.getPrototypeOf(mock);
  const timers = new WeakMap();
  Object.defineProperty(tracker, 'timers', {
    get() {
      if (!timers.has(this)) timers.set(this, new Timers());
      return timers.get(this);
    },
  });
  const { reset } = tracker;
  tracker.reset = function resetAll() {
    timers.get(this)?.reset();
    return reset.call(this);
  };
}
