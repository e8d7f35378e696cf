import { setImmediate as turn } from 'node:timers/promises';

/** Web Locks: who waits gets a lock in turn, who steals it at once. A tab that is suspended hears of neither. */
export class Locks {
  #queues = new Map();

  request(tab, name, { signal, steal }, granted) {
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    return new Promise((resolve, reject) => {
      const next = (entry) => {
        const first = queue[0] === entry;
        if (queue.includes(entry)) queue.splice(queue.indexOf(entry), 1);
        if (first) queue[0]?.start();
      };
      const entry = {
        async start() {
          const released = new Promise((free) => (entry.release = free));
          tab.held.add(entry.release);
          signal = null; // it is too late to give up
          await Promise.race([released, tab.running.then(granted)]);
          tab.held.delete(entry.release);
          next(entry);
          resolve();
        },
        steal() {
          tab.held.delete(entry.release);
          queue.shift();
          tab.running.then(() => turn()).then(() => reject(new Error('stolen'))); // told after what waited
        },
      };
      signal?.addEventListener('abort', () => {
        if (!signal) return;
        next(entry);
        reject(new Error('given up'));
      });
      if (steal) {
        queue[0]?.steal();
        queue.unshift(entry);
      } else queue.push(entry);
      if (queue[0] === entry) queueMicrotask(() => entry.start());
    });
  }
}

/** How Web Locks fail: they reject where the site may not store anything, and never settle in some browsers at some times. */
export const BROKEN_LOCKS = {
  denied: () => Promise.reject(new DOMException('The request was denied.', 'SecurityError')),
  silent: () => new Promise(() => {}),
};

/** How channels fail: their constructor throws where the site may not store anything, and some bring nothing. */
export const BROKEN_CHANNELS = {
  denied: class {
    constructor() {
      throw new DOMException('The operation is insecure.', 'SecurityError');
    }
  },
  mute: class {
    postMessage() {}
    close() {}
  },
};

/** A BroadcastChannel between tabs of one browser. */
export class Channel {
  onmessage = null;
  #all;
  #name;
  #tab;

  constructor(all, name, tab) {
    this.#all = all;
    this.#name = name;
    this.#tab = tab;
    all.add(this);
  }

  postMessage(message) {
    if (this.#tab.suspended || this.#tab.muted) return;
    const others = [...this.#all].filter((other) => other !== this && other.#name === this.#name && !other.#tab.suspended && !other.#tab.muted);
    const data = structuredClone(message);
    for (const other of others) queueMicrotask(() => this.#all.has(other) && other.onmessage?.({ data }));
  }

  close() {
    this.#all.delete(this);
  }
}
