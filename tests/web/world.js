import { setImmediate as turn } from 'node:timers/promises';

/** How long the gateway waits for who was lost. */
export const GRACE_MS = 5_000;

const JOINED = '2026-11-22T05:53:00Z';

/** A module is loaded once for each URL, and a tab needs its own. */
let tabs = 0;

/** A gateway as far as a client sees it over WebSockets, and the browsers around it. Its clock is the test's. */
export class World {
  rooms = new Map();
  sockets = new Set();
  /** All that was ever said to it, and by whom. */
  heard = [];
  /** A proxy may break upgrades, and nothing may be there at all. */
  upgrades = true;
  tries = 0;
  up = true;
  /** How `fetch` answers: a function of the URL, or null where nothing answers. */
  answer = null;
  #locks = new Map();
  #channels = new Set();
  /** The tab in which something happens: what it opens is its own. */
  #active = { running: Promise.resolve() };

  constructor(t) {
    this.test = t;
    t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
    t.mock.method(Math, 'random', () => 1);
    const world = this;
    const globals = {
      WebSocket: class extends Socket {
        constructor(url) {
          super(world, world.#active, url);
        }
      },
      BroadcastChannel: class extends Channel {
        constructor(name) {
          super(world.#channels, name, world.#active);
        }
      },
      location: { href: 'http://gateway.test/users' },
      fetch: async (url, { method = 'GET', signal, body } = {}) => {
        if (!world.up || !world.answer) throw new TypeError('nothing answers');
        return world.answer({ url: new URL(url), method, signal, body });
      },
    };
    for (const [name, value] of Object.entries(globals)) replace(t, name, value);
  }

  /** The module as a browser's tab has it, and what its user can do to the tab. */
  async tab({ locks = true } = {}) {
    const page = new EventTarget();
    const document = Object.assign(new EventTarget(), { hidden: false });
    const held = new Set();
    const tab = { held, running: Promise.resolve(), suspended: false };
    replace(this.test, 'navigator', locks ? { locks: { request: (...rest) => this.#request(tab, ...rest) } } : {});
    replace(this.test, 'addEventListener', page.addEventListener.bind(page));
    replace(this.test, 'document', document);
    const { Room } = await import(`../../web/presently.js?tab=${(tabs += 1)}`);
    const fire = async (type) => {
      this.#active = tab;
      for (const target of [page, document]) target.dispatchEvent(new Event(type));
      await this.settle();
    };
    return {
      document,
      fire,
      show: () => fire('visibilitychange'),
      room: async (name, options) => {
        this.#active = tab;
        const room = new Room(name, { url: 'http://gateway.test/', ...options });
        const seen = [];
        for (const type of ['add', 'update', 'del', 'snapshot']) {
          room.addEventListener(type, ({ detail }) => seen.push([type, detail.user ?? detail.count, ...(detail.reason ? [detail.reason] : [])].join(' ')));
        }
        await this.settle();
        return Object.assign(room, { seen });
      },
      /** The system lets it run no more: it keeps what it holds, and says and hears nothing. */
      suspend() {
        tab.suspended = true;
        tab.running = new Promise((run) => (tab.run = run));
      },
      resume() {
        tab.suspended = false;
        tab.run();
      },
      /** Its process ends: what it held is released, and it says nothing. */
      crash: async () => {
        for (const release of held) release();
        await this.settle();
      },
    };
  }

  /** Until nothing is under way but timers. */
  async settle() {
    for (let i = 0; i < 20; i += 1) await turn();
  }

  async pass(ms) {
    for (let left = ms; left > 0; left -= 100) {
      this.test.mock.timers.tick(Math.min(left, 100));
      await this.settle();
    }
  }

  room(name) {
    const room = this.rooms.get(name) ?? { name, epoch: 'k3f', members: new Map(), log: [] };
    this.rooms.set(name, room);
    return room;
  }

  users(name = 'lobby') {
    return [...this.room(name).members.keys()];
  }

  /** Somebody else signs in; other `meta` is an update. */
  signIn(name, user, meta = {}) {
    this.hold(this.room(name), user, 'sign-in', { meta });
    return this.settle();
  }

  /** Ends every hold; who was held by a connection stays signed out under that client's name. */
  signOut(name, user, reason = 'signed_out') {
    const { members } = this.room(name);
    for (const { socket } of members.get(user)?.holds.values() ?? []) socket?.held.delete(`${name}\n${user}`);
    this.#end(this.room(name), user, reason);
    return this.settle();
  }

  /** Every connection ends. */
  cut(code = 1006, reason = '') {
    for (const socket of this.sockets) socket.cut(code, reason);
    return this.settle();
  }

  restart() {
    this.rooms.clear();
    return this.cut(1012, 'stopping');
  }

  hold(room, user, by, { meta, socket }) {
    const member = room.members.get(user);
    if (!member) {
      room.members.set(user, { meta: meta ?? {}, holds: new Map([[by, { socket }]]) });
      this.event(room, { action: 'add', user, meta: meta ?? {}, joined: JOINED });
      return;
    }
    const before = member.holds.get(by)?.socket;
    member.holds.set(by, { socket });
    if (before && before !== socket) before.cut(4409, 'replaced');
    if (meta) this.update(room, user, meta);
  }

  update(room, user, meta) {
    const member = room.members.get(user);
    if (JSON.stringify(member.meta) === JSON.stringify(meta)) return;
    member.meta = meta;
    this.event(room, { action: 'update', user, meta });
  }

  /** Another socket may have taken the hold's place. */
  release(room, user, by, socket, reason) {
    const member = room.members.get(user);
    if (member?.holds.get(by)?.socket !== socket) return;
    member.holds.delete(by);
    if (!member.holds.size) this.#end(room, user, reason);
  }

  #end(room, user, reason) {
    if (room.members.delete(user)) this.event(room, { action: 'del', user, reason });
  }

  event(room, { action, ...rest }) {
    const event = { action, room: room.name, cursor: `${room.epoch}.${room.log.length + 1}`, ...rest };
    room.log.push(event);
    for (const socket of this.sockets) if (socket.watched.has(room.name)) socket.tell(event);
  }

  /** Web Locks: who waits gets a lock in turn, who steals it at once. */
  #request(tab, name, { signal, steal }, granted) {
    const queue = this.#locks.get(name) ?? [];
    this.#locks.set(name, queue);
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

function replace(t, name, value) {
  const before = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
}

class Channel {
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
    if (this.#tab.suspended) return;
    const others = [...this.#all].filter((other) => other !== this && other.#name === this.#name && !other.#tab.suspended);
    const data = structuredClone(message);
    for (const other of others) queueMicrotask(() => this.#all.has(other) && other.onmessage?.({ data }));
  }

  close() {
    this.#all.delete(this);
  }
}

class Socket {
  onopen = null;
  onmessage = null;
  onclose = null;
  watched = new Set();
  held = new Map();
  #world;
  #tab;
  #ended = false;

  constructor(world, tab, url) {
    this.#world = world;
    this.#tab = tab;
    this.url = String(url);
    world.tries += 1;
    queueMicrotask(() => (world.up && world.upgrades ? this.#open() : this.cut(1006, '')));
  }

  #open() {
    if (this.#ended) return;
    this.#world.sockets.add(this);
    this.onopen?.();
  }

  send(text) {
    const message = JSON.parse(text);
    this.#world.heard.push(message);
    queueMicrotask(() => this.#ended || this.#answer(message));
  }

  close(code = 1005) {
    this.#end(code === 1000 || code === 1005 || (code >= 3000 && code !== 4001) ? 'closed' : 'timeout');
  }

  /** The other side closes, or the network does. */
  cut(code, reason) {
    if (this.#ended) return;
    this.#end('timeout');
    this.#tab.running.then(() => this.onclose?.({ code, reason }));
  }

  tell(frame) {
    const data = JSON.stringify(frame);
    this.#tab.running.then(() => this.#ended || this.onmessage?.({ data }));
  }

  #end(reason) {
    this.#ended = true;
    this.#world.sockets.delete(this);
    for (const { room, user, by } of this.held.values()) {
      const over = () => this.#world.release(room, user, by, this, reason);
      if (reason === 'closed') over();
      else setTimeout(over, GRACE_MS);
    }
    this.held.clear();
  }

  #answer({ action, room: name, user, meta, client, since, ref }) {
    const room = this.#world.room(name);
    const at = `${name}\n${user}`;
    const hold = this.held.get(at);
    const refusal = this.#world.refuse?.({ action, room: name, user, client });
    if (refusal) return this.tell({ action: 'refused', ref, ...refusal });
    if (action === 'join') {
      const by = client ?? this;
      this.held.set(at, { room, user, by });
      this.#world.hold(room, user, by, { meta, socket: this });
    } else if (action === 'update') {
      if (!hold) return this.#refuse(ref, 'not_joined');
      this.#world.update(room, user, meta);
    } else if (action === 'leave') {
      if (!this.held.delete(at)) return this.#refuse(ref, 'not_joined');
      this.#world.release(room, user, hold.by, this, 'closed');
    } else if (action === 'unsubscribe') {
      if (!this.watched.delete(name)) return this.#refuse(ref, 'not_subscribed');
    } else if (action !== 'subscribe') {
      return this.#refuse(ref, 'unknown_action');
    }
    this.tell({ action: 'ok', ref, cursor: `${room.epoch}.${room.log.length}` });
    if (action === 'subscribe') this.#subscribe(room, since);
    return null;
  }

  #refuse(ref, code) {
    this.tell({ action: 'refused', ref, code, message: code, retry: false });
  }

  #subscribe(room, since) {
    this.watched.add(room.name);
    const [epoch, offset] = (since ?? '').split('.');
    const cursor = `${room.epoch}.${room.log.length}`;
    if (epoch === room.epoch && Number(offset) <= room.log.length) {
      this.tell({ action: 'resumed', room: room.name, cursor: since });
      for (const event of room.log.slice(Number(offset))) this.tell(event);
      return;
    }
    const users = Array.from(room.members, ([user, { meta }]) => ({ user, meta, joined: JOINED }));
    this.tell({ action: 'snapshot', room: room.name, cursor, count: users.length, part: 0, last: true, users });
  }
}
