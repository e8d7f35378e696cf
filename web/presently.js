// @ts-self-types="./presently.d.ts"
// Presently for browsers, workers and other runtimes: who is in a room, live. Usable by copy.
// In reading order: a room's set, what all tabs want, the two transports, the line that keeps one of
// them open, the hub that shares it among tabs, and Room, which is all that others need.

const BASE_MS = 500;
const CAP_MS = 30_000;
/** Connections that lasted this long were good: the next one is tried quickly again. */
const GOOD_MS = 10_000;
/** The gateway sends something every 10 s. */
const SILENCE_MS = 25_000;
const LOOK_MS = 5_000;
/** What waited while a page slept is read within this, before its connection is judged. */
const CHANCE_MS = 2_000;
/** How long a tab that vanished may take to come back: the gateway's own grace. */
const GRACE_MS = 5_000;
/** A proxy may swallow an upgrade without a word. */
const OPEN_MS = { websocket: 5_000, sse: 15_000 };
/** WebSockets worked here, so that many failures speak of the gateway and not of a proxy. */
const TRUST = 3;
/** Events that a `for await` may fall behind before it starts over. */
const BEHIND = 10_000;

const CLEAN = 1000;
/** "Going away, hold on for the grace": scripts can't send 1001. */
const AWAY = 4001;
const ENDED = ['signed_out', 'kicked'];

/** Full jitter: after a restart everybody comes back, but not all at once. */
export const delay = (failures, random = Math.random) => random() * Math.min(CAP_MS, BASE_MS * 2 ** failures);

/** `crypto.randomUUID` is not there on plain HTTP. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Whether who stands at `here` has seen what happened up to `cursor`. */
function reached(here, cursor) {
  const [[epoch, at], [other, offset]] = [here.split('.'), cursor.split('.')];
  return epoch === other && Number(at) >= Number(offset);
}

/** The set of a room's members at a cursor. Members are replaced, never changed. */
export class Members {
  map = new Map();
  /** Where to go on from; '' while nothing is known. */
  cursor = '';
  /** Whether the set is known and not only the place in the order of events. */
  complete = false;
  #parts = null;

  start(cursor, members) {
    this.cursor = cursor;
    this.complete = Boolean(cursor && members);
    this.#replace(members ?? []);
  }

  /** Forgets where it stood, so that a snapshot must come. The set stays. */
  forget() {
    this.cursor = '';
    this.#parts = null;
  }

  /**
   * Takes the next frame: `{ whole, events }`, or null for what changes nothing yet. `whole` has the
   * parts of several frames in one. Throws at what does not follow: the set is then not to be trusted.
   */
  apply(frame) {
    const whole = this.#join(frame);
    if (!whole || (!this.cursor && whole.action !== 'snapshot')) return null;
    const events = this.#events(whole);
    if (!events) return null;
    this.cursor = whole.cursor;
    return { whole, events };
  }

  /** The set as a frame for who comes later. */
  snapshot(room) {
    const users = [...this.map.values()];
    return { action: 'snapshot', room, cursor: this.cursor, count: users.length, part: 0, last: true, users };
  }

  /** The old set and the old cursor hold until the last part: half a snapshot is no set. */
  #join(frame) {
    if (frame.action !== 'snapshot' && frame.action !== 'changes') return frame;
    if (frame.part === 0) this.#parts = { cursor: frame.cursor, next: 0, users: [], set: [], gone: [] };
    const parts = this.#parts;
    if (parts?.cursor !== frame.cursor || parts.next !== frame.part) {
      throw new Error(`part ${frame.part} of ${frame.cursor} does not follow`);
    }
    parts.next += 1;
    for (const list of ['users', 'set', 'gone']) for (const one of frame[list] ?? []) parts[list].push(one);
    if (!frame.last) return null;
    this.#parts = null;
    const { users, set, gone } = parts;
    return frame.action === 'snapshot' ? { ...frame, part: 0, users } : { ...frame, part: 0, set, gone };
  }

  #events(frame) {
    const known = ['resumed', 'snapshot', 'changes', 'add', 'update', 'del'].includes(frame.action);
    if (frame.action === 'snapshot') return this.#replace(frame.users);
    if (!known || !this.complete) return known ? [] : null;
    switch (frame.action) {
      case 'changes':
        return [...frame.gone.flatMap((gone) => this.#del(gone)), ...frame.set.map((member) => this.#put(member))];
      case 'add':
        return [this.#put(frame)];
      case 'update':
        if (!this.map.has(frame.user)) throw new Error(`${frame.user} is not there to be updated`);
        return [this.#put({ ...this.map.get(frame.user), ...frame })];
      case 'del':
        return this.#del(frame);
      default:
        return [];
    }
  }

  #replace(members) {
    this.complete = true;
    this.map.clear();
    for (const member of members) this.#put(member);
    return [{ type: 'snapshot', detail: { count: this.map.size } }];
  }

  #put({ user, meta, joined }) {
    const type = this.map.has(user) ? 'update' : 'add';
    const detail = { user, meta, joined };
    this.map.set(user, detail);
    return { type, detail };
  }

  #del({ user, reason }) {
    return this.map.delete(user) ? [{ type: 'del', detail: { user, reason } }] : [];
  }
}

const key = (room, user) => `${room}\n${user}`; // names have no control characters

/** Who of all tabs wants what: the leader's bookkeeping. On the connection it is one of each. */
export class Wants {
  rooms = new Map();
  holds = new Map();

  /** Whether the room was not watched before. */
  watch(tab, room) {
    const tabs = this.rooms.get(room) ?? new Set();
    this.rooms.set(room, tabs.add(tab));
    return tabs.size === 1;
  }

  /** Whether nobody watches the room any more. */
  unwatch(tab, room) {
    const tabs = this.rooms.get(room);
    tabs?.delete(tab);
    return tabs?.size === 0 && this.rooms.delete(room);
  }

  /** The hold, and whether it is new; who brings no meta leaves it as it is. */
  join({ tab, id, room, user, client, meta }) {
    const at = key(room, user);
    const there = this.holds.get(at);
    const hold = there ?? { room, user, client, by: new Map(), failures: 0 };
    this.holds.set(at, hold);
    hold.by.set(id, tab);
    hold.until = Infinity;
    const changed = meta && JSON.stringify(meta) !== JSON.stringify(hold.meta);
    hold.meta = meta ?? hold.meta;
    return { hold, fresh: !there, changed };
  }

  get(room, user) {
    return this.holds.get(key(room, user));
  }

  /** The hold, when this was the last who wanted it. */
  leave(id, room, user) {
    const hold = this.get(room, user);
    if (!hold?.by.delete(id) || hold.by.size) return null;
    this.end(hold);
    return hold;
  }

  end(hold) {
    this.holds.delete(key(hold.room, hold.user));
  }

  /** A tab vanished: what it alone held stays for the grace. The rooms that nobody watches any more. */
  gone(tab, now) {
    for (const hold of this.holds.values()) {
      for (const [id, by] of hold.by) if (by === tab) hold.by.delete(id);
      if (!hold.by.size) hold.until = Math.min(hold.until, now + GRACE_MS);
    }
    return [...this.rooms.keys()].filter((room) => this.unwatch(tab, room));
  }

  /** The holds whose grace is over. */
  due(now) {
    const over = [...this.holds.values()].filter(({ until }) => until <= now);
    over.forEach((hold) => this.end(hold));
    return over;
  }

  get empty() {
    return !this.rooms.size && !this.holds.size;
  }
}

/** A WebSocket as a link: what it hears goes `to` somebody, until it is closed. */
function websocket(base, to) {
  const url = new URL('ws?alive=1', base);
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url);
  socket.onopen = () => to.open();
  socket.onmessage = ({ data }) => to.frame(data);
  socket.onclose = ({ code, reason }) => to.lost(code, reason);
  return {
    send: (message) => socket.send(JSON.stringify(message)),
    close(code) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    },
  };
}

/**
 * SSE streams and requests as a link that takes the same messages: one stream for each room, or for
 * each user held there, of which the first is read. By fetch, as an EventSource can't say why it was refused.
 */
class Streams {
  #base;
  #to;
  #rooms = new Map();

  constructor(base, to) {
    this.#base = base;
    this.#to = to;
    queueMicrotask(() => this.#rooms && to.open());
  }

  send(message) {
    const { action, room: name, user } = message;
    const room = this.#rooms.get(name) ?? { watched: false, holds: new Map(), streams: new Map() };
    this.#rooms.set(name, room);
    const hold = room.holds.get(user);
    if (action === 'subscribe' || action === 'unsubscribe') {
      room.watched = action === 'subscribe';
      for (const stream of room.streams.values()) if (stream.read) stream.stale = true;
    } else if (action === 'join') {
      room.holds.set(user, message);
      const stream = room.streams.get(user);
      if (stream) stream.stale = true;
    } else if (action === 'leave') {
      room.holds.delete(user);
      if (hold) this.#ask('DELETE', `${this.#member(name, user)}?client=${hold.client}`);
    } else if (action === 'update' && hold) {
      hold.meta = message.meta;
      if (room.streams.get(user)?.open) this.#patch(message);
    }
    // Messages come together: one stream for all of them.
    room.due ??= Promise.resolve().then(() => this.#settle(name, room));
  }

  close() {
    for (const { streams } of this.#rooms?.values() ?? []) for (const { end } of streams.values()) end.abort();
    this.#rooms = null;
  }

  #settle(name, room) {
    room.due = null;
    if (!this.#rooms) return;
    const users = room.holds.size ? [...room.holds.keys()] : room.watched ? [''] : [];
    for (const [user, { end, stale, read }] of room.streams) {
      const as = users.indexOf(user);
      if (as >= 0 && !stale && read === (room.watched && as === 0)) continue;
      end.abort();
      room.streams.delete(user);
    }
    for (const user of users) if (!room.streams.has(user)) this.#open(name, room, user, room.watched && user === users[0]);
    if (!users.length) this.#rooms.delete(name);
  }

  async #open(name, room, user, read) {
    const stream = { end: new AbortController(), read, stale: false, open: false };
    room.streams.set(user, stream);
    const { meta, client, ref } = room.holds.get(user) ?? {};
    const url = new URL(`api/rooms/${encodeURIComponent(name)}/stream`, this.#base);
    const since = read && this.#to.cursor(name);
    const query = { as: user, meta: meta && JSON.stringify(meta), client, since };
    for (const [parameter, value] of Object.entries(query)) if (value) url.searchParams.set(parameter, value);
    const about = user ? { room: name, user, ref } : { room: name };
    const refuse = (problem) => {
      room.holds.delete(user);
      room.streams.delete(user);
      this.#to.frame({ ...about, ...problem, action: 'refused' });
      if (user) room.due ??= Promise.resolve().then(() => this.#settle(name, room));
    };
    const began = () => {
      if (stream.open) return;
      stream.open = true;
      if (!user) return;
      this.#to.frame({ action: 'ok', ref });
      const now = room.holds.get(user);
      if (now && now.meta !== meta) this.#patch(now);
    };
    const take = (frame) => {
      if (frame.action === 'refused') {
        if (!ENDED.includes(frame.code)) return refuse(frame);
        stream.open = true; // it goes on, and only watches
        return this.#to.frame({ ...about, ...frame });
      }
      began();
      if (read) this.#to.frame(frame);
      return null;
    };
    try {
      const answer = await fetch(url, { signal: stream.end.signal, headers: { Accept: 'text/event-stream' } });
      if (answer.ok) await follow(answer.body, take, this.#to.alive);
      else if (answer.status < 500) return refuse(await problem(answer));
    } catch (error) {
      if (stream.end.signal.aborted) return null;
    }
    if (room.streams.get(user) === stream) this.#to.lost(1006, '');
    return null;
  }

  #member(room, user) {
    return new URL(`api/rooms/${encodeURIComponent(room)}/users/${encodeURIComponent(user)}`, this.#base).href;
  }

  async #patch({ room, user, meta, ref }) {
    const answer = await this.#ask('PATCH', this.#member(room, user), JSON.stringify({ meta }));
    if (answer && !answer.ok) this.#to.frame({ ...(await problem(answer)), action: 'refused', ref });
  }

  /** Also while the page goes away. */
  #ask(method, url, body) {
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    return fetch(url, { method, body, headers, keepalive: true }).catch(() => null);
  }
}

/** Why a request was refused. */
async function problem(answer) {
  const { code, detail, retry } = await answer.json().catch(() => ({}));
  return { code: code ?? `http_${answer.status}`, message: detail ?? answer.statusText, retry: retry ?? false };
}

/** Reads the events of a stream (WHATWG HTML, 9.2) as far as Presently uses them: `data:` of one line. */
async function follow(body, take, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data:')) take(JSON.parse(line.slice(5)));
  }
}

/** One connection, kept open for as long as it is wanted. Timers only choose when to try again. */
class Line {
  status = { state: 'connecting', transport: '', retryAt: 0, refusal: null };
  #base;
  #mode;
  #to;
  #link = null;
  #open = false;
  #failures = 0;
  #proven = false;
  #begun = 0;
  #heard = 0;
  #timer;
  #looking;

  /** `to` hears `open()`, `frame(frame)` and `status(status)`, and knows `cursor(room)`. */
  constructor(base, mode, to) {
    this.#base = base;
    this.#mode = mode;
    this.#to = to;
  }

  start() {
    this.#looking = setInterval(() => this.look(), LOOK_MS);
    this.#connect();
  }

  close(code) {
    clearInterval(this.#looking);
    this.#drop(code);
  }

  /** False while there is no connection; the next one begins with all that is wanted. */
  send(message) {
    if (this.#open) this.#link.send(message);
    return this.#open;
  }

  retry() {
    this.#failures = 0;
    this.#drop(AWAY);
    this.#connect();
  }

  /** The network that comes back may be another one, on which the old connection hangs unnoticed. */
  renew() {
    if (this.status.state === 'refused') return;
    this.#proven = false;
    this.#failures = 0;
    this.#again();
  }

  /** A good moment to see whether the connection is still there. */
  hurry() {
    if (this.status.state === 'waiting') this.renew();
    else this.look();
  }

  look() {
    const heard = this.#heard;
    if (!this.#open || Date.now() - heard < SILENCE_MS) return;
    const link = this.#link;
    setTimeout(() => this.#link === link && this.#heard === heard && this.#again(), CHANCE_MS);
  }

  /** Starts over with what can be read or follows no more; `cursor()` then asks for snapshots. */
  distrust(error) {
    console.error('Presently: starting over from a snapshot:', error);
    this.#lost(1006, '');
  }

  #connect(kind = this.#mode === 'sse' || !globalThis.WebSocket ? 'sse' : 'websocket') {
    this.#tell({ state: 'connecting', transport: '', retryAt: 0, refusal: null });
    this.#begun = this.#heard = Date.now();
    let mine = true;
    const to = {
      cursor: this.#to.cursor,
      alive: () => (this.#heard = Date.now()),
      open: () => {
        this.#open = true;
        this.#to.open();
      },
      frame: (data) => this.#link && this.#frame(data, kind),
      lost: (code, reason) => mine && this.#lost(code, reason, kind),
    };
    this.#timer = setTimeout(() => this.#lost(1006, '', kind), OPEN_MS[kind]);
    try {
      const link = kind === 'sse' ? new Streams(this.#base, to) : websocket(this.#base, to);
      this.#link = {
        send: (message) => link.send(message),
        close(code) {
          mine = false;
          link.close(code);
        },
      };
    } catch {
      this.#lost(1006, '', kind); // a WebSocket that the page's policy forbids
    }
  }

  #frame(data, kind) {
    let frame = data;
    try {
      if (typeof data === 'string') frame = JSON.parse(data);
    } catch (error) {
      return this.distrust(error);
    }
    this.#heard = Date.now();
    if (this.status.state === 'connecting') {
      clearTimeout(this.#timer);
      this.#proven ||= kind === 'websocket';
      this.#tell({ state: 'live', transport: kind, retryAt: 0, refusal: null });
    }
    return this.#to.frame(frame);
  }

  #lost(code, reason, kind) {
    const silent = this.status.state === 'connecting';
    this.#drop(AWAY);
    if (code >= 4400 && code < 4500 && !ENDED.includes(reason)) {
      this.#tell({ state: 'refused', transport: '', retryAt: 0, refusal: { code: reason, message: `closed with ${code}` } });
    } else if (silent && kind === 'websocket' && code === 1006 && this.#mode === 'auto' && this.#blocked()) {
      this.#connect('sse');
    } else {
      this.#again();
    }
  }

  /** Whether it may be a proxy that breaks upgrades. */
  #blocked() {
    return !this.#proven || this.#failures >= TRUST;
  }

  #again() {
    this.#drop(AWAY);
    if (Date.now() - this.#begun > GOOD_MS) this.#failures = 0;
    const wait = delay(this.#failures);
    this.#failures += 1;
    this.#tell({ state: 'waiting', transport: '', retryAt: Date.now() + wait, refusal: null });
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #drop(code) {
    clearTimeout(this.#timer);
    this.#link?.close(code);
    this.#link = null;
    this.#open = false;
  }

  #tell(status) {
    this.status = status;
    this.#to.status(status);
  }
}

const { locks } = globalThis.navigator ?? {};
const hubs = new Map();

/**
 * All rooms of this page, and the one line of all its origin's pages: one of them leads, and has it.
 *
 * Tabs ask the leader (`{ ask, tab, … }`); it tells all of them (`{ leader }`, `{ line }`, `{ room, frame, from }`,
 * `{ hold }`, `{ refused }`) or one (`to`). Who missed something sees by `from` that a frame does not follow.
 */
class Hub {
  #id = uuid();
  #base;
  #mode;
  #share;
  #feeds = new Map();
  #running = false;
  #stopping;
  #channel = null;
  #line = null;
  #wants = null;
  #tabs;
  #refs = 0;
  #asked;
  #status;

  static of(base, mode, share) {
    const shared = share && locks && globalThis.BroadcastChannel && globalThis.location;
    const name = `presently ${mode} ${base}`;
    const hub = (shared && hubs.get(name)) || new Hub(base, mode, shared && name);
    if (shared) hubs.set(name, hub);
    return hub;
  }

  constructor(base, mode, share) {
    this.#base = base;
    this.#mode = mode;
    this.#share = share;
    const on = (target, type, work) => target?.addEventListener?.(type, work);
    const { document } = globalThis;
    on(globalThis, 'pagehide', () => this.#stop(AWAY));
    on(globalThis, 'pageshow', ({ persisted }) => persisted && this.#start());
    // A frozen page can't lead, nor tell that it is there.
    on(document, 'freeze', () => this.#stop(AWAY));
    on(document, 'resume', () => this.#start());
    on(document, 'visibilitychange', () => document.hidden || this.#line?.hurry());
    on(globalThis, 'online', () => this.#line?.renew());
  }

  status() {
    return this.#status ?? { state: 'connecting', transport: '', retryAt: 0, refusal: null };
  }

  /** Takes a seat for a room: `{ name, hold, tell(type, detail) }`. */
  add(seat, since, members) {
    let feed = this.#feeds.get(seat.name);
    if (!feed) {
      feed = this.#feed(seat.name);
      if (since) feed.members.start(since, members ?? []);
    }
    feed.seats.add(seat);
    if (!this.#running) this.#start();
    else this.#watch(seat.name, feed);
    if (feed.live) queueMicrotask(() => seat.tell('snapshot', { count: feed.members.map.size }));
    if (seat.hold) this.join(seat);
    return feed;
  }

  remove(seat) {
    const feed = this.#feeds.get(seat.name);
    if (!feed?.seats.delete(seat)) return;
    this.leave(seat);
    if (!feed.seats.size) this.#ask({ ask: 'unwatch', room: seat.name });
    if (!feed.seats.size && !this.#wants?.rooms.has(seat.name)) this.#feeds.delete(seat.name);
    if (![...this.#feeds.values()].some(({ seats }) => seats.size)) this.#stop(CLEAN);
  }

  join({ name, id, hold }) {
    this.#ask({ ask: 'join', room: name, id, ...hold });
  }

  leave({ name, id, hold }) {
    if (hold) this.#ask({ ask: 'leave', room: name, id, user: hold.user });
  }

  retry() {
    this.#ask({ ask: 'retry' });
  }

  #feed(room) {
    const feed = { room, members: new Members(), live: false, asked: false, refusal: null, seats: new Set() };
    this.#feeds.set(room, feed);
    return feed;
  }

  async #start() {
    if (this.#running) return;
    this.#running = true;
    this.#stopping = new AbortController();
    if (!this.#share) return this.#lead();
    const { signal } = this.#stopping;
    this.#channel = new BroadcastChannel(this.#share);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    // That it ends tells the leader that this tab is gone.
    await this.#lock(`${this.#share} ${this.#id}`, signal);
    if (signal.aborted) return null;
    this.#askAll();
    await this.#lock(this.#share, signal);
    return signal.aborted ? null : this.#lead();
  }

  /** Resolves once this tab has the lock, which it keeps until it stops. */
  #lock(name, signal) {
    return new Promise((resolve) => {
      const stopped = new Promise((release) => signal.addEventListener('abort', release));
      const hold = () => {
        resolve();
        return stopped;
      };
      locks.request(name, { signal }, hold).catch(resolve);
    });
  }

  /** The pages that stay go on without this one; its cursors are kept for when it comes back. */
  #stop(code) {
    if (!this.#running) return;
    this.#running = false;
    this.#line?.close(this.#wants.empty ? code : AWAY);
    this.#line = this.#wants = null;
    this.#channel?.close();
    this.#channel = null;
    this.#stopping.abort();
    this.#told({ state: 'connecting', transport: '', retryAt: 0, refusal: null });
  }

  #lead() {
    this.#wants = new Wants();
    this.#tabs = new Set([this.#id]);
    this.#asked = new Map();
    this.#line = new Line(this.#base, this.#mode, {
      cursor: (room) => this.#feeds.get(room)?.members.cursor,
      open: () => this.#opened(),
      frame: (frame) => this.#frame(frame),
      status: (line) => this.#tell({ line }),
    });
    this.#tell({ leader: this.#id });
    this.#askAll();
    this.#line.start();
  }

  /* What a tab asks. */

  #ask(message) {
    const ask = { tab: this.#id, ...message };
    if (this.#wants) this.#serve(ask);
    else this.#channel?.postMessage(ask);
  }

  #askAll() {
    for (const [room, feed] of this.#feeds) {
      if (feed.seats.size) this.#watch(room, feed);
      for (const seat of feed.seats) if (seat.hold) this.join(seat);
    }
  }

  #watch(room, feed) {
    feed.asked = true;
    this.#ask({ ask: 'watch', room, cursor: feed.members.cursor });
  }

  /* What the leader does for it. */

  #serve(ask) {
    this.#meet(ask.tab);
    const { room, user } = ask;
    if (ask.ask === 'watch') this.#serveWatch(ask);
    if (ask.ask === 'unwatch' && this.#wants.unwatch(ask.tab, room)) this.#unwatched(room);
    if (ask.ask === 'join') this.#serveJoin(ask);
    if (ask.ask === 'leave') {
      const hold = this.#wants.leave(ask.id, room, user);
      if (hold) this.#say({ action: 'leave', room, user });
    }
    if (ask.ask === 'retry') this.#line.retry();
  }

  #meet(tab) {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    const { signal } = this.#stopping;
    const gone = () => signal.aborted || this.#gone(tab);
    locks.request(`${this.#share} ${tab}`, { signal }, gone).catch(() => {});
  }

  #gone(tab) {
    this.#tabs.delete(tab);
    for (const room of this.#wants.gone(tab, Date.now())) this.#unwatched(room);
    setTimeout(() => this.#due(), GRACE_MS);
  }

  /** Also asked with every frame, as timers of hidden tabs come late. */
  #due() {
    for (const { room, user } of this.#wants?.due(Date.now()) ?? []) this.#say({ action: 'leave', room, user });
  }

  #serveWatch({ tab, room, cursor }) {
    const feed = this.#feeds.get(room) ?? this.#feed(room);
    const { members } = feed;
    this.#tell({ line: this.#line.status, to: tab });
    if (this.#wants.watch(tab, room)) {
      if (!members.cursor) members.cursor = cursor;
      if (tab === this.#id && !members.complete) members.forget();
      this.#subscribe(feed);
    } else if (!members.complete) {
      members.forget();
      this.#subscribe(feed);
    } else if (feed.live && tab !== this.#id) {
      const here = cursor === members.cursor;
      const frame = here ? { action: 'resumed', room, cursor } : members.snapshot(room);
      this.#tell({ to: tab, room, frame, from: cursor });
    }
  }

  #subscribe({ room, members }) {
    this.#say({ action: 'subscribe', room, since: members.cursor || undefined }, { room });
  }

  #unwatched(room) {
    this.#feeds.delete(room);
    this.#say({ action: 'unsubscribe', room });
  }

  #serveJoin(ask) {
    const { hold, fresh, changed } = this.#wants.join(ask);
    if (fresh) this.#join(hold);
    else if (changed) this.#say({ action: 'update', room: hold.room, user: hold.user, meta: hold.meta }, { hold });
    if (hold.held) this.#tell({ hold: { room: hold.room, user: hold.user, held: true } });
  }

  #join(hold) {
    const { room, user, meta, client } = hold;
    this.#say({ action: 'join', room, user, meta, client }, { hold, join: true });
  }

  #say(message, about) {
    const ref = ++this.#refs;
    if (this.#line.send({ ...message, ref }) && about) this.#asked.set(ref, about);
  }

  /* What the line brings. */

  #opened() {
    this.#asked.clear();
    for (const hold of this.#wants.holds.values()) {
      hold.held = false;
      this.#join(hold);
    }
    for (const room of this.#wants.rooms.keys()) this.#subscribe(this.#feeds.get(room));
  }

  #frame(frame) {
    this.#due();
    if (frame.action === 'ok' || frame.action === 'refused') return this.#answer(frame);
    const feed = this.#feeds.get(frame.room);
    if (!feed) return null;
    const from = feed.members.cursor;
    let done;
    try {
      done = feed.members.apply(frame);
    } catch (error) {
      feed.members.forget();
      return this.#line.distrust(error);
    }
    if (!done) return null;
    this.#post({ room: feed.room, frame: done.whole, from });
    for (const event of done.events) this.#follow(feed.room, event, done.whole.cursor);
    return this.#applied(feed, done.events);
  }

  /** A hold brings with it what was last said of its user; one that others ended is not taken up again. */
  #follow(room, { type, detail }, cursor) {
    const hold = this.#wants.get(room, detail.user);
    if (!hold) return;
    if (type !== 'del') hold.meta = detail.meta;
    else if (ENDED.includes(detail.reason) && hold.held && !reached(hold.since, cursor)) this.#end(hold);
  }

  #end(hold, refusal = null) {
    this.#wants.end(hold);
    this.#tell({ hold: { room: hold.room, user: hold.user, held: false, refusal } });
  }

  #answer({ action, ref, room, user, cursor, code, message, retry }) {
    const { hold = this.#wants.get(room, user), join = Boolean(user), ...about } = this.#asked.get(ref) ?? { room };
    this.#asked.delete(ref);
    const refusal = { code, message };
    if (action === 'ok') {
      if (join && hold) Object.assign(hold, { held: true, since: cursor ?? '', failures: 0 });
      if (join && hold) this.#tell({ hold: { room: hold.room, user: hold.user, held: true } });
    } else if (hold && retry) {
      setTimeout(() => this.#wants?.get(hold.room, hold.user) === hold && this.#join(hold), delay(++hold.failures));
    } else if (hold && join) {
      this.#end(hold, refusal);
    } else if (hold) {
      this.#tell({ hold: { room: hold.room, user: hold.user, held: true, refusal } });
    } else if (about.room !== undefined) {
      this.#tell({ refused: { room: about.room, refusal } });
      const again = () => this.#wants?.rooms.has(about.room) && this.#subscribe(this.#feeds.get(about.room));
      if (retry) setTimeout(again, delay(TRUST));
    }
  }

  /* What the leader tells. */

  #post(message) {
    this.#channel?.postMessage(message);
  }

  #tell(message) {
    if (message.to !== this.#id) this.#post(message);
    if (!message.to || message.to === this.#id) this.#hear(message);
  }

  #hear(message) {
    if (message.ask) return this.#wants && this.#serve(message);
    if (message.to && message.to !== this.#id) return null;
    if (message.leader && message.leader !== this.#id) this.#askAll();
    if (message.line) this.#told(message.line);
    if (message.frame) this.#take(message);
    if (message.hold) this.#held(message.hold);
    if (message.refused) this.#refused(message.refused);
    return null;
  }

  #told(status) {
    this.#status = status;
    for (const feed of this.#feeds.values()) {
      if (status.state !== 'live') feed.live = false;
      for (const seat of feed.seats) seat.tell('state');
    }
  }

  /** Takes a frame of the leader's if it follows; if it is old that is fine, and if not the leader helps. */
  #take({ room, frame, from }) {
    const feed = this.#feeds.get(room);
    if (!feed) return;
    const { members } = feed;
    if (['snapshot', 'changes', 'resumed'].includes(frame.action)) feed.asked = false;
    if (members.cursor && reached(members.cursor, frame.cursor)) this.#applied(feed, []);
    else if (frame.action === 'snapshot' || from === members.cursor) {
      this.#applied(feed, members.apply(frame)?.events ?? []);
    } else if (!feed.asked) this.#watch(room, feed);
  }

  #applied(feed, events) {
    const turned = !feed.live;
    feed.live = true;
    feed.refusal = null;
    for (const seat of feed.seats) {
      for (const { type, detail } of events) seat.tell(type, detail);
      if (turned) seat.tell('state');
    }
  }

  #held({ room, user, held, refusal }) {
    for (const seat of this.#feeds.get(room)?.seats ?? []) {
      if (seat.hold?.user === user) seat.tell('hold', { held, refusal });
    }
  }

  #refused({ room, refusal }) {
    const feed = this.#feeds.get(room);
    if (!feed) return;
    feed.refusal = refusal;
    for (const seat of feed.seats) seat.tell('state');
  }
}

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

const client = uuid();

/** A room, live: see presently.d.ts. */
export class Room extends EventTarget {
  #hub;
  #feed;
  #seat;
  #holding = false;
  #refusal = null;
  #closed = false;
  #shown = '';
  #change = batched(() => this.dispatchEvent(new CustomEvent('change')));

  constructor(name, options = {}) {
    super();
    const { as, meta, url, since, members, transport = 'sse', share = true } = options;
    const base = new URL(url ?? '/', url ? globalThis.location?.href ?? import.meta.url : import.meta.url);
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    const hold = as ? { user: as, client: options.client ?? client, meta } : null;
    this.#seat = { name, id: uuid(), hold, tell: (type, detail) => this.#told(type, detail) };
    this.#hub = Hub.of(base.href, transport, share);
    this.#feed = this.#hub.add(this.#seat, since, members);
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

  get state() {
    if (this.#feed?.refusal) return 'refused';
    if (this.#feed?.live) return 'live';
    const { state } = this.#hub.status();
    return state === 'live' ? 'connecting' : state;
  }

  get retryAt() {
    return this.#hub.status().retryAt;
  }

  get refusal() {
    return this.#feed?.refusal ?? this.#hub.status().refusal ?? this.#refusal;
  }

  get transport() {
    return this.#hub.status().transport;
  }

  get holding() {
    return this.#holding;
  }

  update(meta) {
    if (!this.#seat.hold) throw new Error('this room holds nobody');
    this.#seat.hold.meta = meta;
    this.#hub.join(this.#seat);
  }

  /** With a client id of its own, as one that was signed out only watches. */
  join(user, meta) {
    this.leave();
    this.#refusal = null;
    this.#seat.hold = { user, client: uuid(), meta };
    this.#hub.join(this.#seat);
  }

  leave() {
    this.#hub.leave(this.#seat);
    this.#seat.hold = null;
    this.#holding = false;
    this.#told('state');
  }

  retry() {
    this.#hub.retry();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#hub.remove(this.#seat);
    this.#seat.hold = null;
    this.#holding = false;
    this.dispatchEvent(new CustomEvent('close'));
  }

  async *[Symbol.asyncIterator]() {
    const snapshot = () => new CustomEvent('snapshot', { detail: { count: this.count } });
    let queue = this.cursor ? [snapshot()] : [];
    let wake;
    const hear = (event) => {
      if (event.type !== 'close') queue.push(event);
      if (queue.length > BEHIND) queue = [snapshot()];
      wake?.();
    };
    const types = ['add', 'update', 'del', 'snapshot', 'close'];
    types.forEach((type) => this.addEventListener(type, hear));
    try {
      while (!this.#closed) {
        while (queue.length) yield queue.shift();
        if (!this.#closed && !queue.length) await new Promise((resolve) => (wake = resolve));
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
    const { hold } = this.#seat;
    if (hold && hold.user === detail.user && type !== 'del') hold.meta = detail.meta;
    this.dispatchEvent(new CustomEvent(type, { detail }));
    this.#change();
  }

  #held({ held, refusal }) {
    this.#holding = held;
    this.#refusal = refusal ?? null;
    if (!held) this.#seat.hold = null;
    this.#state();
  }

  /** Said once is enough. */
  #state() {
    const shown = JSON.stringify([this.state, this.retryAt, this.refusal, this.transport, this.#holding]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.dispatchEvent(new CustomEvent('state', { detail: { state: this.state } }));
  }
}
