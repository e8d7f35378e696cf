import { tokenFrom } from './auth.js';
import { baseOf } from './base.js';
import { explain } from './explain.js';
import { countsOf } from './feed.js';
import { Idle } from './idle.js';
import { named, said } from './judge.js';
import { Members } from './members.js';
import { CLOSED, awaited, batched, refusedError } from './promise.js';
import { Tab } from './tab.js';
import { uuid } from './uuid.js';

/** Events that a `for await` may fall behind before it starts over. */
const BEHIND = 10_000;

/** A copy that can go to another tab, whatever a framework made of it. */
const plain = (json) => JSON.parse(JSON.stringify(json));

/** Whom a room has that only counts. */
const NOBODY = new Members();

/** A room, live: see presently.d.ts. */
export class Room extends EventTarget {
  #base;
  #options;
  #seat;
  #ended = null;
  #refusal = null;
  #closed = false;
  #shown = '';
  /** The refusal that listeners know. */
  #known = '';
  /** The number of what was asked for last, and who waits for answers. */
  #n = 0;
  #waiting = [];
  /** What is said once the pause after the last update is over. */
  #next = null;
  #pause = null;
  #others = [];
  #idle = null;
  #ready = awaited();
  #change = batched(() => this.#event('change'));

  constructor(name, options = {}) {
    super();
    const { as, meta, rank, url, since, members = [], transport = 'auto', share = true, token, idle, only, signal, suspects } = options;
    const user = (options.user && named(options.user, 'user')) ?? (token === undefined ? '' : (as ?? ''));
    this.#options = options;
    this.#base = baseOf(url, globalThis.location?.href) + (suspects ? '?suspect=1' : '');
    const turned = () => this.#seat?.hold && this.#speak(this.#seat.hold.own);
    if (idle) this.#idle = new Idle(idle, { touched: (at) => this.#tab?.touched(at), turned });
    const hold = as ? this.#hold(as, said(meta, rank), options.client) : null;
    if (only !== 'counts') named(name, 'room');
    const feed = only ? countsOf(name) : name;
    this.#seat = { name, feed, id: uuid(), hold, tell: (type, detail) => this.#told(type, detail) };
    Tab.of(this.#base, transport, share, { token, user }).add(this.#seat, since, plain([...members]));
    this.#shown = this.#shows();
    queueMicrotask(() => this.#told('state'));
    signal?.addEventListener('abort', this.#abort);
    if (signal?.aborted) this.close();
  }

  /** What this page has of the room, which may go to another line, and with it to another `Tab`. */
  get #feed() {
    return this.#seat?.home;
  }

  get #tab() {
    return this.#feed?.tab;
  }

  get name() {
    return this.#seat.name;
  }

  get as() {
    return this.#seat.hold?.user ?? '';
  }

  get members() {
    return this.#options.only === 'count' ? NOBODY.map : this.#feed.members.map;
  }

  get list() {
    return (this.#options.only ? NOBODY : this.#feed.members).list;
  }

  get self() {
    return this.members.get(this.as) ?? null;
  }

  get others() {
    const { list, as } = this;
    const [before, but] = this.#others;
    if (before !== list || but !== as) this.#others = [list, as, Object.freeze(list.filter(({ user }) => user !== as))];
    return this.#others[2];
  }

  get count() {
    const { map } = this.#feed.members;
    return this.#options.only ? (map.get(this.name) ?? 0) : map.size;
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

  get ready() {
    return this.#ready.promise;
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
    return Boolean(this.#seat.hold?.held);
  }

  get ended() {
    return this.#ended;
  }

  update(meta, { rank } = {}) {
    return this.#update(said(meta ?? null, rank));
  }

  /** With a client id of its own, as one that was signed out only watches. */
  join(user, meta, { rank } = {}) {
    const word = said(meta, rank);
    if (this.as !== named(user, 'user')) {
      if (this.#closed) return this.#wait(CLOSED);
      this.leave();
      this.#refusal = this.#ended = null;
      this.#seat.hold = this.#hold(user, word);
      const promise = this.#wait(this.#denial);
      this.#tab.join(this.#seat);
      return promise;
    }
    return word ? this.#update(word) : this.#wait(this.#denial, this.holding);
  }

  leave() {
    this.#drop(CLOSED);
    this.#n += 1;
    const promise = this.#wait(null, !this.#seat.hold || this.#tab.status.state !== 'live', true);
    this.#tab.leave(this.#seat, this.#n);
    this.#seat.hold = null;
    this.#told('state');
    return promise;
  }

  async holds(user = this.as) {
    const { token } = this.#options;
    const headers = token === undefined ? {} : { Authorization: `Bearer ${await tokenFrom(token)}` };
    const path = `api/rooms/${encodeURIComponent(this.name)}/users/${encodeURIComponent(named(user, 'user'))}`;
    const answer = await fetch(new URL(path, this.#base), { headers });
    const { holds, code = 'not_allowed', detail: message = 'The token shows no holds.' } = await answer.json();
    if (!holds && code !== 'not_present') throw refusedError({ code, message });
    return holds ?? [];
  }

  retry() {
    this.#tab.retry();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.signal?.removeEventListener('abort', this.#abort);
    this.#idle?.end();
    this.#drop(CLOSED);
    this.#ready.settle(CLOSED);
    this.#tab.remove(this.#seat);
    this.#seat.hold = null;
    this.#event('close');
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

  #abort = () => this.close();

  /** Each hold has an id of its own, so that one that ends late ends no other. */
  #hold(user, word, client = uuid()) {
    const own = word ?? (this.#idle && said({}));
    word = this.#idle?.word(own) ?? own;
    return { user: named(user, 'as'), client, held: false, own, word, good: null, n: (this.#n += 1) };
  }

  /** Why there is no connection, and will be none. */
  get #denial() {
    const { state, refusal } = this.#tab.status;
    return state === 'refused' ? refusal : null;
  }

  /** A promise for the answer to what was asked for last. */
  #wait(refusal, isOver, leaves) {
    const { promise, settle } = awaited();
    if (refusal || isOver) settle(refusal);
    else this.#waiting.push({ settle, n: this.#n, word: this.#seat.hold?.word, leaves });
    return promise;
  }

  /** The last word counts, and waits for a while after the one before. */
  #update(word) {
    if (!this.#seat.hold) return this.#wait(CLOSED);
    this.#next = { ...(this.#next ?? awaited()), word };
    const { promise } = this.#next;
    if (!this.#pause) this.#say();
    return promise;
  }

  #speak(own, anew) {
    Object.assign(this.#seat.hold, { own, word: this.#idle?.word(own) ?? own, n: (this.#n += 1) });
    this.#tab.join(this.#seat, anew);
  }

  #say() {
    this.#pause = null;
    const { word, ...wait } = this.#next ?? {};
    if (!word) return;
    this.#next = null;
    this.#waiting.push({ ...wait, n: this.#n + 1, word });
    this.#speak(word, !this.#idle?.is);
    const { every = 50 } = this.#options;
    if (every) this.#pause = setTimeout(() => this.#say(), every);
  }

  /** Nobody waits any more. */
  #drop(refusal) {
    clearTimeout(this.#pause);
    const next = this.#next ?? [];
    this.#pause = this.#next = null;
    for (const { settle, leaves } of this.#waiting.splice(0).concat(next)) settle(leaves ? null : refusal);
  }

  #told(type, detail) {
    if (this.#closed) return;
    if (type === 'hold') this.#held(detail);
    else if (type === 'answer') this.#answered(detail);
    else if (type === 'touched') this.#idle?.hear(detail);
    else if (type === 'state') this.#state();
    else if (type === 'count') {
      if (this.#options.only !== 'count' || (detail ?? this.name) === this.name) this.#change();
    } else {
      this.#event(type, detail);
      this.#change();
      if (type === 'del' && this.#ended?.at === '' && detail.user === this.#ended.user) this.#ended = detail;
    }
  }

  #event(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Whether the gateway holds the user, and if it is over, why. */
  #held({ room, user, client, held, spoken, over, refusal, gone }) {
    const { name, hold } = this.#seat;
    if (name !== room || hold?.user !== user) return;
    const turned = hold.held !== held;
    Object.assign(hold, { shared: client, held, spoken });
    if (over) {
      this.#seat.hold = null;
      this.#ended = gone ?? null;
      this.#drop(refusal ?? { code: gone.reason, message: 'Others ended it.' });
    }
    if (refusal || turned) this.#refuse(user, refusal);
    this.#state();
  }

  /** What was refused is not said again: the word before it counts, unless there is a newer one. */
  #answered({ id, n, refusal }) {
    if (id !== this.#seat.id) return;
    const { hold } = this.#seat;
    const over = this.#waiting.filter((one) => one.n <= n);
    this.#waiting = this.#waiting.filter((one) => one.n > n);
    if (hold) {
      const { word, good } = hold;
      const isLast = n === hold.n;
      if (!refusal) hold.good = isLast ? word : (over.at(-1)?.word ?? good);
      else if (isLast) {
        hold.word = hold.good = word === good ? null : good;
        if (!this.#idle?.is) hold.own = hold.word;
      }
      this.#refuse(hold.user, refusal);
    }
    for (const { settle } of over) settle(refusal);
    this.#state();
  }

  #refuse(user, refusal = null) {
    this.#refusal = refusal;
    this.#known = '';
    if (refusal) explain(refusal, `${user} in ${this.name}`);
  }

  /** Whoever is cut off has left. */
  #left() {
    for (const { settle, leaves } of this.#waiting) if (leaves) settle();
  }

  #shows() {
    const { state, retryAt, refusal, transport, holding, ended } = this;
    return JSON.stringify([state, retryAt, refusal, transport, holding, ended, this.#feed?.members.fresh]);
  }

  /** Said once is enough. */
  #state() {
    const { state, refusal } = this;
    if (state === 'live') this.#ready.settle();
    if (state === 'refused') this.#ready.settle(refusal);
    if (this.#denial) this.#drop(this.#denial);
    else if (this.#tab.status.state !== 'live') this.#left();
    const shown = this.#shows();
    // A reason that comes back with each try is told once.
    const known = refusal ? JSON.stringify(refusal) : state === 'live' ? '' : this.#known;
    const [isOther, isNew] = [shown !== this.#shown, known !== this.#known];
    this.#shown = shown;
    this.#known = known;
    if (isOther) this.#event('state', { state });
    if (isNew && refusal) this.#event('error', refusal);
  }
}

/** The numbers of members of all rooms with a prefix. */
export class Counts extends EventTarget {
  #room;

  constructor(prefix = '', options = {}) {
    super();
    this.#room = new Room(prefix, { ...options, as: '', only: 'counts' });
    const tell = ({ type, detail }) => this.dispatchEvent(new CustomEvent(type, { detail }));
    for (const type of ['change', 'state', 'error', 'close']) this.#room.addEventListener(type, tell);
  }

  get rooms() {
    return this.#room.members;
  }

  get total() {
    return [...this.rooms.values()].reduce((sum, count) => sum + count, 0);
  }

  get ready() {
    return this.#room.ready;
  }

  get state() {
    return this.#room.state;
  }

  get refusal() {
    return this.#room.refusal;
  }

  retry() {
    this.#room.retry();
  }

  close() {
    this.#room.close();
  }
}
