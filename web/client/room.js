import { baseOf } from './base.js';
import { explain } from './explain.js';
import { Tab } from './tab.js';
import { uuid } from './uuid.js';

/** Events that a `for await` may fall behind before it starts over. */
const BEHIND = 10_000;

/** A copy that can go to another tab, whatever a framework made of it, and that nobody changes any more. */
const plain = (json) => json && JSON.parse(JSON.stringify(json));

/** Runs `work` once for many calls, with the next frame; a hidden tab has none, so a timer stands in. */
function batched(work) {
  const { requestAnimationFrame: ask, cancelAnimationFrame: cancel } = globalThis;
  let frame = null;
  let timer = null;
  const run = () => {
    cancel?.(frame);
    clearTimeout(timer);
    timer = null;
    work();
  };
  return () => {
    if (timer !== null) return;
    frame = ask?.(run);
    timer = setTimeout(run, ask ? 250 : 16);
  };
}

/** What is said of a user, with the time: the last of several tabs counts. */
const said = (meta, rank = 0) => ({ meta: plain(meta), rank, at: Date.now() });

/** Of this page load; made when it is needed, as some servers have no randomness while they load a module. */
let client = '';

/** A room, live: see presently.d.ts. */
export class Room extends EventTarget {
  #tab;
  #feed;
  #seat;
  #holding = false;
  #refusal = null;
  #closed = false;
  #shown = '';
  #change = batched(() => this.dispatchEvent(new CustomEvent('change')));

  constructor(name, options = {}) {
    super();
    const { as, meta, rank, url, since, members = [], transport = 'auto', share = true, token } = options;
    const user = options.user ?? (token === undefined ? '' : (as ?? ''));
    const base = baseOf(url, globalThis.location?.href);
    const hold = as ? { user: as, client: options.client ?? (client ||= uuid()), ...said(meta, rank) } : null;
    this.#seat = { name, id: uuid(), hold, tell: (type, detail) => this.#told(type, detail) };
    this.#tab = Tab.of(base, transport, share, { token, user });
    this.#feed = this.#tab.add(this.#seat, since, plain([...members]));
  }

  get name() {
    return this.#seat.name;
  }

  get as() {
    return this.#seat.hold?.user ?? '';
  }

  get members() {
    return this.#feed.members.map;
  }

  get count() {
    return this.#feed.members.map.size;
  }

  get cursor() {
    return this.#feed.members.cursor;
  }

  get fresh() {
    return this.#feed.members.fresh;
  }

  get state() {
    if (this.#feed?.refusal) return 'refused';
    if (this.#feed?.live) return 'live';
    const { state } = this.#tab.status;
    return state === 'live' ? 'connecting' : state;
  }

  get retryAt() {
    return this.#tab.status.retryAt;
  }

  get refusal() {
    return this.#feed?.refusal ?? this.#tab.status.refusal ?? this.#refusal;
  }

  get transport() {
    return this.#tab.status.transport;
  }

  get holding() {
    return this.#holding;
  }

  update(meta, { rank } = {}) {
    if (!this.#seat.hold) return;
    Object.assign(this.#seat.hold, said(meta, rank));
    this.#tab.join(this.#seat, true);
  }

  /** With a client id of its own, as one that was signed out only watches. */
  join(user, meta, { rank } = {}) {
    if (this.#closed) return;
    if (this.as === user) {
      if (meta) this.update(meta, { rank });
      return;
    }
    this.leave();
    this.#refusal = null;
    this.#seat.hold = { user, client: uuid(), ...said(meta, rank) };
    this.#tab.join(this.#seat);
  }

  leave() {
    this.#tab.leave(this.#seat);
    this.#seat.hold = null;
    this.#holding = false;
    this.#told('state');
  }

  retry() {
    this.#tab.retry();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#tab.remove(this.#seat);
    this.#seat.hold = null;
    this.#holding = false;
    this.dispatchEvent(new CustomEvent('close'));
  }

  async *[Symbol.asyncIterator]() {
    const snapshot = () => new CustomEvent('snapshot', { detail: { count: this.count } });
    let queue = this.cursor ? [null] : [];
    let wake;
    const hear = (event) => {
      if (event.type !== 'close') queue.push(event);
      if (queue.length > BEHIND) queue = [null];
      wake?.();
    };
    const types = ['add', 'update', 'del', 'snapshot', 'close'];
    types.forEach((type) => this.addEventListener(type, hear));
    try {
      while (queue.length || !this.#closed) {
        if (queue.length) yield queue.shift() ?? snapshot();
        else await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      types.forEach((type) => this.removeEventListener(type, hear));
    }
  }

  #told(type, detail) {
    if (this.#closed) return;
    if (type === 'hold') this.#held(detail);
    else if (type === 'state') this.#state();
    else this.#event(type, detail);
  }

  #event(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
    this.#change();
  }

  #held({ user, held, refusal }) {
    if (this.as !== user) return;
    this.#holding = held;
    this.#refusal = refusal ?? null;
    if (refusal) explain(refusal, `${user} in ${this.name}`);
    if (!held) this.#seat.hold = null;
    this.#state();
  }

  /** Said once is enough. */
  #state() {
    const { state, retryAt, refusal, transport } = this;
    const shown = JSON.stringify([state, retryAt, refusal, transport, this.#holding, this.#feed?.members.fresh]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.dispatchEvent(new CustomEvent('state', { detail: { state } }));
  }
}
