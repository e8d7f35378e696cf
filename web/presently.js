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
/** Frames that say where a reader stands. */
const WHOLE = ['resumed', 'snapshot', 'changes'];
const KNOWN = [...WHOLE, 'add', 'update', 'del'];
/** Of what tabs say to each other. Those loaded from another version have a leader of their own. */
const VERSION = 1;

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

/** A copy that can go to another tab, whatever a framework made of it, and that nobody changes any more. */
const plain = (json) => json && JSON.parse(JSON.stringify(json));

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
    this.#replace(members);
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
    if (frame.part === undefined) return frame;
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
    if (!KNOWN.includes(frame.action)) return null; // there will be more actions than these
    if (frame.action === 'snapshot') return this.#replace(frame.users);
    if (!this.complete) return [];
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
    const tabs = this.rooms.get(room);
    this.rooms.set(room, (tabs ?? new Set()).add(tab));
    return !tabs;
  }

  /** Whether nobody watches the room any more. */
  unwatch(tab, room) {
    const tabs = this.rooms.get(room);
    tabs?.delete(tab);
    return tabs?.size === 0 && this.rooms.delete(room);
  }

  watchedByOthers(tab, room) {
    const tabs = this.rooms.get(room);
    return tabs?.size > Number(tabs?.has(tab));
  }

  /** The hold, and whether it is new; who brings no meta leaves it as it is. */
  join({ tab, id, room, user, client, meta }) {
    const at = key(room, user);
    const there = this.holds.get(at);
    const hold = there ?? { room, user, client, by: new Map(), failures: 0, asking: 0, held: false, since: '' };
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
  socket.onmessage = ({ data }) => {
    try {
      to.frame(JSON.parse(data));
    } catch (error) {
      to.distrust(error);
    }
  };
  socket.onclose = ({ code, reason }) => to.lost(code, reason);
  return {
    send: (message) => socket.send(JSON.stringify(message)),
    close: (code) => socket.close(code),
  };
}

/**
 * SSE streams and requests as a link that takes the same messages: a stream for each user held in a room, or one that
 * only watches; the first of a room is read. By fetch, since an EventSource can't say why it was refused.
 */
class Streams {
  #base;
  #to;
  #rooms = new Map();

  constructor(base, to) {
    this.#base = base;
    this.#to = to;
    queueMicrotask(() => to.open());
  }

  send(message) {
    const { action, room: name, user } = message;
    const room = this.#rooms.get(name) ?? { name, watched: false, holds: new Map(), streams: new Map() };
    this.#rooms.set(name, room);
    const hold = room.holds.get(user);
    if (action === 'subscribe' || action === 'unsubscribe') {
      room.watched = action === 'subscribe';
      for (const stream of room.streams.values()) stream.stale ||= stream.read;
    } else if (action === 'join') {
      room.holds.set(user, message);
      this.#drop(room, user);
    } else if (action === 'leave' && hold) {
      room.holds.delete(user);
      this.#ask('DELETE', `${this.#path(name, user)}?client=${hold.client}`);
    } else if (action === 'update' && hold) {
      Object.assign(hold, { meta: message.meta });
      if (room.streams.get(user)?.began) this.#patch(message);
    }
    this.#settleSoon(room);
  }

  /** Nothing is open, after refusals: there is nothing to be heard. */
  get quiet() {
    return [...this.#rooms.values()].every(({ streams }) => !streams.size);
  }

  close() {
    for (const room of this.#rooms.values()) for (const user of room.streams.keys()) this.#drop(room, user);
    this.#rooms.clear();
  }

  /** Messages come together: one stream for all of them. */
  #settleSoon(room) {
    room.due ??= Promise.resolve().then(() => {
      room.due = null;
      if (this.#rooms.get(room.name) === room) this.#settle(room);
    });
  }

  #settle(room) {
    const { name, watched, holds, streams } = room;
    const users = holds.size ? [...holds.keys()] : [''].filter(() => watched);
    const reads = (user) => watched && user === users[0];
    for (const [user, { stale, read }] of streams) {
      if (stale || read !== reads(user) || !users.includes(user)) this.#drop(room, user);
    }
    for (const user of users) if (!streams.has(user)) this.#open(room, user, reads(user));
    if (!users.length) this.#rooms.delete(name);
  }

  #drop({ streams }, user) {
    streams.get(user)?.end.abort();
    streams.delete(user);
  }

  async #open(room, user, read) {
    const stream = { user, read, hold: room.holds.get(user), end: new AbortController() };
    stream.meta = stream.hold?.meta;
    room.streams.set(user, stream);
    const { signal } = stream.end;
    try {
      const answer = await fetch(this.#url(room.name, stream), { signal });
      const take = (frame) => signal.aborted || this.#take(room, stream, frame);
      if (answer.ok) await follow(answer.body, take, this.#to.alive);
      else if (answer.status < 500) take(await problem(answer));
    } catch {
      // It broke off, or what it said can't be read: both are the end of it.
    }
    if (room.streams.get(user) === stream) this.#to.lost(1006, '');
  }

  #url(name, { user, read, hold, meta }) {
    const url = new URL(`api/rooms/${encodeURIComponent(name)}/stream`, this.#base);
    const since = read && this.#to.cursor(name);
    const query = { as: user, meta: meta && JSON.stringify(meta), client: hold?.client, since };
    for (const [parameter, value] of Object.entries(query)) if (value) url.searchParams.set(parameter, value);
    return url;
  }

  #take(room, stream, frame) {
    const { user, read, hold, meta } = stream;
    const about = user ? { room: room.name, user, ref: hold.ref } : { room: room.name };
    const refused = frame.action === 'refused';
    if (refused && !ENDED.includes(frame.code)) {
      room.holds.delete(user);
      this.#drop(room, user);
      if (user) this.#settleSoon(room); // it may still be watched
    } else if (!stream.began) {
      stream.began = true;
      if (user && !refused) this.#to.frame({ action: 'ok', ...about });
      if (user && hold.meta !== meta) this.#patch(hold);
    }
    if (refused) this.#to.frame({ ...frame, ...about });
    else if (read) this.#to.frame(frame);
  }

  #path(room, user) {
    return `api/rooms/${encodeURIComponent(room)}/users/${encodeURIComponent(user)}`;
  }

  async #patch({ room, user, meta, ref }) {
    const answer = await this.#ask('PATCH', this.#path(room, user), JSON.stringify({ meta }));
    if (answer) this.#to.frame({ ...(answer.ok ? { action: 'ok' } : await problem(answer)), ref });
  }

  /** Also while the page goes away. */
  #ask(method, path, body) {
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    return fetch(new URL(path, this.#base), { method, body, headers, keepalive: true }).catch(() => null);
  }
}

/** A request's refusal as a frame. */
async function problem(answer) {
  const { status: http, statusText } = answer;
  const { code = `http_${http}`, detail = statusText, retry = http === 429 } = await answer.json().catch(() => ({}));
  return { action: 'refused', code, message: detail, retry };
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

const status = (state, more) => ({ state, transport: '', retryAt: 0, refusal: null, ...more });

/** One connection, kept for as long as it is wanted. Timers only choose when to try again. */
class Line {
  status = status('connecting');
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
    this.#looking = null;
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
    this.#failures = 0;
    this.#again();
  }

  /** A good moment to see whether the connection is still there. */
  hurry() {
    if (this.status.state === 'waiting') this.renew();
    else this.look();
  }

  look() {
    const [link, heard] = [this.#link, this.#heard];
    if (!this.#open || link.quiet || Date.now() - heard < SILENCE_MS) return;
    setTimeout(() => this.#link === link && this.#heard === heard && this.#again(), CHANCE_MS);
  }

  /** Starts over, since what came can't be read or doesn't follow. */
  distrust(error) {
    console.error('Presently: starting over:', error);
    this.#again();
  }

  #connect(kind = this.#mode === 'sse' || !globalThis.WebSocket ? 'sse' : 'websocket') {
    this.#tell(status('connecting'));
    if (!this.#looking) return; // closed by one who was told
    this.#begun = this.#heard = Date.now();
    this.#timer = setTimeout(() => this.#lost(1006, '', kind), OPEN_MS[kind]);
    let link;
    const mine = (work) => (...args) => this.#link === link && work(...args);
    const to = {
      cursor: this.#to.cursor,
      alive: mine(() => (this.#heard = Date.now())),
      open: mine(() => this.#opened()),
      frame: mine((frame) => this.#frame(frame, kind)),
      lost: mine((code, reason) => this.#lost(code, reason, kind)),
      distrust: mine((error) => this.distrust(error)),
    };
    try {
      link = kind === 'sse' ? new Streams(this.#base, to) : websocket(this.#base, to);
      this.#link = link;
    } catch {
      this.#lost(1006, '', kind); // a WebSocket that the page's policy forbids
    }
  }

  #opened() {
    this.#open = true;
    this.#to.open();
  }

  #frame(frame, kind) {
    this.#heard = Date.now();
    if (this.status.state === 'connecting') {
      clearTimeout(this.#timer);
      this.#proven ||= kind === 'websocket';
      this.#tell(status('live', { transport: kind }));
    }
    this.#to.frame(frame);
  }

  #lost(code, reason, kind) {
    const silent = this.status.state === 'connecting' && code === 1006;
    this.#drop(AWAY);
    if (code >= 4400 && code < 4500 && !ENDED.includes(reason)) {
      this.#tell(status('refused', { refusal: { code: reason, message: `The gateway closed with ${code}.` } }));
    } else if (silent && kind === 'websocket' && this.#mode === 'auto' && this.#blocked()) {
      this.#connect('sse');
    } else {
      this.#again();
    }
  }

  /** Whether a proxy that breaks upgrades may be why; where they worked, many failures say the gateway is down. */
  #blocked() {
    return !this.#proven || this.#failures >= TRUST;
  }

  #again() {
    this.#drop(AWAY);
    if (Date.now() - this.#begun > GOOD_MS) this.#failures = 0;
    const wait = delay(this.#failures);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell(status('waiting', { retryAt: Date.now() + wait }));
  }

  #drop(code) {
    clearTimeout(this.#timer);
    const link = this.#link;
    this.#link = null;
    this.#open = false;
    link?.close(code);
  }

  #tell(now) {
    this.status = now;
    this.#to.status(now);
  }
}

const { locks } = globalThis.navigator ?? {};

/** Those that have rooms, by what they share. */
const hubs = new Map();

/**
 * All rooms of this page, and the one line of all its origin's pages: one of them leads, and has it.
 *
 * Tabs ask the leader (`{ ask, tab, … }`). It tells one of them (`to`) or all: that it leads, how the `line` is, frames,
 * and what became of a `hold` or was `refused`. A frame says the cursor it is `from`, so that who missed one notices. All
 * say who they are `by`: a leader that was suspended doesn't know yet that another took its place.
 */
class Hub {
  #id;
  #base;
  #mode;
  #name;
  #shared;
  #feeds = new Map();
  #stopping = null;
  #channel = null;
  #ready = false;
  #heard;
  #looking;
  #leader;
  #line = null;
  #wants = null;
  #tabs;
  #asked;
  #refs = 0;
  #status = status('connecting');

  static of(base, mode, share) {
    const shared = Boolean(share && locks && globalThis.BroadcastChannel && globalThis.location);
    const name = `presently ${VERSION} ${shared ? mode : uuid()} ${base}`;
    const hub = hubs.get(name) ?? new Hub(base, mode, name, shared);
    hubs.set(name, hub);
    return hub;
  }

  constructor(base, mode, name, shared) {
    this.#base = base;
    this.#mode = mode;
    this.#name = name;
    this.#shared = shared;
  }

  get status() {
    return this.#status;
  }

  /** Takes a seat for a room: `{ id, name, hold, tell(type, detail) }`. */
  add(seat, since, members) {
    const feed = this.#feed(seat.name);
    if (since && !feed.members.cursor) feed.members.start(since, members);
    feed.seats.add(seat);
    if (!this.#stopping) this.start();
    else this.#sit(feed, [seat]);
    if (feed.live) queueMicrotask(() => seat.tell('snapshot', { count: feed.members.map.size }));
    return feed;
  }

  remove(seat) {
    const feed = this.#feeds.get(seat.name);
    feed.seats.delete(seat);
    this.leave(seat);
    if (!feed.seats.size) this.#ask({ ask: 'unwatch', room: seat.name });
    if (!feed.seats.size && !this.#wants?.rooms.has(seat.name)) this.#feeds.delete(seat.name);
    if ([...this.#feeds.values()].some(({ seats }) => seats.size)) return;
    hubs.delete(this.#name);
    this.stop(CLEAN);
  }

  join({ id, name, hold }) {
    if (hold) this.#ask({ ask: 'join', room: name, id, ...hold });
  }

  leave({ id, name, hold }) {
    if (hold) this.#ask({ ask: 'leave', room: name, id, user: hold.user });
  }

  retry() {
    this.#ask({ ask: 'retry' });
  }

  /** Every tab hears that it is online again, so that the one with the line need not be asked. */
  online() {
    this.#line?.renew();
  }

  /** Under a new id each time: the leader may still wait for the end of the one before. */
  async start(steal = false) {
    if (this.#stopping) return;
    this.#id = uuid();
    this.#leader = null;
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    const { document } = globalThis;
    // Nobody is there by a page that is not shown yet.
    if (document?.prerendering) await new Promise((shown) => document.addEventListener('prerenderingchange', shown));
    if (this.#shared && !signal.aborted) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#heard = { at: Date.now() };
      const silent = () => !this.#wants && Date.now() - this.#heard.at > SILENCE_MS;
      this.#looking = setInterval(() => silent() && this.look('hail'), LOOK_MS);
      // Its end will tell the leader that this tab is gone, so it comes before anything is asked.
      await this.#lock(`${this.#name} ${this.#id}`, signal);
      if (signal.aborted) return;
      this.#ready = true;
      this.#askAll();
      await this.#lock(this.#name, signal, steal);
    }
    if (!signal.aborted) this.#lead();
  }

  /** The tabs that stay go on without this one; it keeps its cursors for when it comes back. */
  stop(code) {
    if (!this.#stopping) return;
    clearInterval(this.#looking);
    this.#line?.close(this.#wants.empty ? code : AWAY);
    this.#line = this.#wants = null;
    this.#ready = false;
    this.#stopping.abort();
    this.#stopping = null;
    this.#channel?.close();
    this.#told(status('connecting'));
  }

  /**
   * Sees to it that somebody leads; with `hurry`, that the connection is there, too. A leader that doesn't answer, say
   * because the system suspended its tab, loses the lead to a tab that is looked at.
   */
  look(ask) {
    if (!this.#stopping) return;
    const [heard, { signal }] = [this.#heard, this.#stopping];
    const missed = () => this.#ready && !this.#wants && this.#heard === heard && !globalThis.document?.hidden;
    this.#ask({ ask });
    setTimeout(() => !signal.aborted && missed() && this.#restart(true), CHANCE_MS);
  }

  #restart(steal) {
    this.stop(AWAY);
    this.start(steal);
  }

  /** Resolves once this tab has the lock, which it keeps until it stops or another takes it. */
  #lock(name, signal, steal = false) {
    return new Promise((resolve) => {
      let had = false;
      const granted = () => {
        had = true;
        resolve();
        return signal.aborted ? null : new Promise((release) => signal.addEventListener('abort', release));
      };
      const lost = () => (had && !signal.aborted ? this.#restart(false) : resolve());
      locks.request(name, steal ? { steal } : { signal }, granted).catch(lost);
    });
  }

  #feed(room) {
    const fresh = { room, members: new Members(), seats: new Set(), live: false, asked: false, refusal: null, failures: 0 };
    const feed = this.#feeds.get(room) ?? fresh;
    this.#feeds.set(room, feed);
    return feed;
  }

  /* What this tab asks. */

  #ask(message) {
    const ask = { tab: this.#id, ...message };
    if (this.#wants) this.#serve(ask);
    else if (this.#ready) this.#channel.postMessage(ask);
  }

  #askAll() {
    for (const feed of this.#feeds.values()) if (feed.seats.size) this.#sit(feed, feed.seats);
  }

  /** Holds come first, so that the snapshot has them. */
  #sit(feed, seats) {
    for (const seat of seats) this.join(seat);
    this.#watch(feed);
  }

  #watch(feed) {
    feed.asked = true;
    this.#ask({ ask: 'watch', room: feed.room, cursor: feed.members.cursor });
  }

  /* What the leader does about it. */

  #lead() {
    this.#leader = this.#id;
    this.#wants = new Wants();
    this.#tabs = new Set([this.#id]);
    this.#asked = new Map();
    this.#line = new Line(this.#base, this.#mode, {
      cursor: (room) => this.#feeds.get(room)?.members.cursor,
      open: () => this.#opened(),
      frame: (frame) => this.#frame(frame),
      status: (line) => this.#tell({ line }),
    });
    this.#post({ leader: true });
    this.#askAll();
    this.#line.start();
  }

  #serve(ask) {
    this.#meet(ask.tab);
    if (ask.ask === 'watch') this.#serveWatch(ask);
    if (ask.ask === 'unwatch' && this.#wants.unwatch(ask.tab, ask.room)) this.#unwatched(ask.room);
    if (ask.ask === 'join') this.#serveJoin(ask);
    if (ask.ask === 'leave') this.#left(this.#wants.leave(ask.id, ask.room, ask.user));
    if (ask.ask === 'retry') this.#line.retry();
    if (ask.ask === 'hurry') this.#line.hurry();
    if (ask.ask === 'hurry' || ask.ask === 'hail') this.#tell({ to: ask.tab, line: this.#line.status });
  }

  #meet(tab) {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    const { signal } = this.#stopping;
    locks.request(`${this.#name} ${tab}`, { signal }, () => signal.aborted || this.#gone(tab)).catch(() => {});
  }

  #gone(tab) {
    this.#tabs.delete(tab);
    for (const room of this.#wants.gone(tab, Date.now())) this.#unwatched(room);
    setTimeout(() => this.#due(), GRACE_MS);
  }

  /** Also asked with every frame, as timers of hidden tabs come late. */
  #due() {
    this.#wants?.due(Date.now()).forEach((hold) => this.#left(hold));
  }

  #left(hold) {
    if (hold) this.#say({ action: 'leave', room: hold.room, user: hold.user });
  }

  #serveWatch({ tab, room, cursor }) {
    const feed = this.#feed(room);
    const { members } = feed;
    this.#tell({ to: tab, line: this.#line.status });
    if (this.#wants.watch(tab, room)) {
      members.cursor ||= cursor; // the place is enough to pass events on
      this.#subscribe(feed);
    } else if (feed.live && !members.complete) {
      feed.live = false;
      members.forget();
      this.#subscribe(feed);
    } else if (feed.live && tab !== this.#id) {
      const here = cursor === members.cursor && { action: 'resumed', room, cursor };
      this.#tell({ to: tab, room, frame: here || members.snapshot(room), from: cursor });
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
    if (hold.held) this.#tellHold(hold, true);
  }

  #join(hold) {
    const { room, user, meta, client } = hold;
    this.#say({ action: 'join', room, user, meta, client }, { hold, join: true });
  }

  #say(message, about) {
    const ref = this.#refs + 1;
    if (!this.#line.send({ ...message, ref })) return;
    this.#refs = ref;
    if (!about) return;
    this.#asked.set(ref, about);
    if (about.hold) about.hold.asking += 1;
  }

  /* What the leader's line brings. */

  #opened() {
    this.#asked.clear();
    for (const hold of this.#wants.holds.values()) {
      Object.assign(hold, { held: false, asking: 0 });
      this.#join(hold);
    }
    for (const room of this.#wants.rooms.keys()) this.#subscribe(this.#feed(room));
  }

  #frame(frame) {
    this.#due();
    if (frame.action === 'ok' || frame.action === 'refused') return this.#answer(frame);
    const feed = this.#feeds.get(frame.room);
    if (!feed) return null;
    const from = feed.members.cursor;
    const done = this.#apply(feed, frame, (error) => this.#line.distrust(error));
    if (!done) return null;
    // Copying a large set costs, so that it is only done for somebody.
    if (this.#wants.watchedByOthers(this.#id, feed.room)) this.#post({ room: feed.room, frame: done.whole, from });
    for (const event of done.events) this.#follow(feed.room, event, done.whole.cursor);
    return this.#applied(feed, done.events);
  }

  #apply({ members }, frame, distrust) {
    try {
      return members.apply(frame);
    } catch (error) {
      members.forget();
      return distrust(error);
    }
  }

  /** A hold brings with it what was last said of its user; one that others ended is not taken up again. */
  #follow(room, { type, detail }, cursor) {
    const hold = this.#wants.get(room, detail.user);
    if (type !== 'del' && hold && !hold.asking) hold.meta = detail.meta;
    if (type === 'del' && ENDED.includes(detail.reason) && hold?.held && !reached(hold.since, cursor)) this.#end(hold);
  }

  #end(hold, refusal) {
    this.#wants.end(hold);
    this.#tellHold(hold, false, refusal);
  }

  #tellHold({ room, user }, held, refusal = null) {
    this.#tell({ hold: { room, user, held, refusal } });
  }

  #answer({ action, ref, room, user, cursor = '', code, message, retry }) {
    // Over SSE the gateway says by itself that it holds a user no more: it may be known by then.
    const asked = this.#asked.get(ref) ?? (user ? { hold: this.#wants.get(room, user), join: true } : { room });
    const { hold } = asked;
    if (this.#asked.delete(ref) && hold) hold.asking -= 1;
    if (action === 'refused') this.#refused(asked, { code, message }, retry);
    else if (asked.join && hold) {
      Object.assign(hold, { held: true, since: cursor, failures: 0 });
      this.#tellHold(hold, true);
    }
  }

  #refused({ room, hold, join }, refusal, retry) {
    if (hold && join && retry) {
      this.#later(++hold.failures, () => this.#wants.get(hold.room, hold.user) === hold && this.#join(hold));
    } else if (hold && join) {
      this.#end(hold, refusal);
    } else if (hold) {
      this.#tellHold(hold, true, refusal);
    } else if (room) {
      this.#tell({ refused: { room, refusal } });
      const feed = this.#feeds.get(room);
      if (feed && retry) this.#later(++feed.failures, () => this.#feeds.get(room) === feed && this.#subscribe(feed));
    }
  }

  #later(failures, work) {
    setTimeout(() => this.#wants && work(), delay(failures));
  }

  /* What tabs are told. */

  #post(message) {
    this.#channel?.postMessage({ ...message, by: this.#id });
  }

  #tell(message) {
    if (message.to !== this.#id) this.#post(message);
    this.#hear({ ...message, by: this.#id });
  }

  #hear(message) {
    if (message.ask) return this.#wants && this.#serve(message);
    if (message.leader || !this.#leader) this.#leader = message.by;
    if (message.by !== this.#leader) return null;
    this.#heard = { at: Date.now() };
    if (message.to && message.to !== this.#id) return null;
    if (message.leader) this.#askAll();
    if (message.line) this.#told(message.line);
    if (message.frame) this.#take(message);
    if (message.hold) this.#each(message.hold.room, (seat) => seat.tell('hold', message.hold));
    if (message.refused) this.#each(message.refused.room, (seat) => seat.tell('state'), message.refused.refusal);
    return null;
  }

  #told(now) {
    this.#status = now;
    for (const feed of this.#feeds.values()) {
      if (now.state !== 'live') Object.assign(feed, { live: false, refusal: null });
      feed.seats.forEach((seat) => seat.tell('state'));
    }
  }

  #each(room, work, refusal) {
    const feed = this.#feeds.get(room);
    if (feed && refusal) feed.refusal = refusal;
    feed?.seats.forEach(work);
  }

  /** Takes a leader's frame that follows, passes over one that is known, and asks where one is missing. */
  #take({ room, frame, from }) {
    const feed = this.#feeds.get(room);
    if (!feed) return;
    const { members } = feed;
    if (WHOLE.includes(frame.action)) feed.asked = false;
    if (members.cursor && reached(members.cursor, frame.cursor)) this.#applied(feed, []);
    else if (frame.action === 'snapshot' || (members.cursor && from === members.cursor)) {
      const done = this.#apply(feed, frame, () => this.#watch(feed));
      if (done) this.#applied(feed, done.events);
    } else if (!feed.asked) this.#watch(feed);
  }

  #applied(feed, events) {
    const turned = !feed.live;
    Object.assign(feed, { live: true, refusal: null, failures: 0 });
    for (const seat of feed.seats) {
      for (const { type, detail } of events) seat.tell(type, detail);
      if (turned) seat.tell('state');
    }
  }
}

/** A page in the back-forward cache has no connection, and a frozen one can't lead, nor tell that it is there. */
function watchPage() {
  const { document } = globalThis;
  const on = (target, type, work) => {
    target?.addEventListener?.(type, () => [...hubs.values()].forEach(work));
  };
  on(globalThis, 'pagehide', (hub) => hub.stop(AWAY));
  on(globalThis, 'pageshow', (hub) => hub.start());
  on(document, 'freeze', (hub) => hub.stop(AWAY));
  on(document, 'resume', (hub) => hub.start());
  on(document, 'visibilitychange', (hub) => document.hidden || hub.look('hurry'));
  on(globalThis, 'online', (hub) => hub.online());
}

watchPage();

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
    const { as, meta, url, since, members = [], transport = 'auto', share = true } = options;
    const base = url ? new URL(url, globalThis.location?.href) : new URL('/', import.meta.url);
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    if (!base.protocol.startsWith('http')) throw new TypeError('Room needs the url of a gateway');
    const hold = as ? { user: as, client: options.client ?? client, meta: plain(meta) } : null;
    this.#seat = { name, id: uuid(), hold, tell: (type, detail) => this.#told(type, detail) };
    this.#hub = Hub.of(base.href, transport, share);
    this.#feed = this.#hub.add(this.#seat, since, plain([...members]));
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
    const { state } = this.#hub.status;
    return state === 'live' ? 'connecting' : state;
  }

  get retryAt() {
    return this.#hub.status.retryAt;
  }

  get refusal() {
    return this.#feed?.refusal ?? this.#hub.status.refusal ?? this.#refusal;
  }

  get transport() {
    return this.#hub.status.transport;
  }

  get holding() {
    return this.#holding;
  }

  update(meta) {
    if (!this.#seat.hold) return;
    this.#seat.hold.meta = plain(meta);
    this.#hub.join(this.#seat);
  }

  /** With a client id of its own, as one that was signed out only watches. */
  join(user, meta) {
    if (this.#closed) return;
    if (this.as === user) {
      if (meta) this.update(meta);
      return;
    }
    this.leave();
    this.#refusal = null;
    this.#seat.hold = { user, client: uuid(), meta: plain(meta) };
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
    const { hold } = this.#seat;
    if (hold && hold.user === detail.user && type !== 'del') hold.meta = detail.meta;
    this.dispatchEvent(new CustomEvent(type, { detail }));
    this.#change();
  }

  #held({ user, held, refusal }) {
    if (this.as !== user) return;
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
