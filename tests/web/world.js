import { setImmediate as turn } from 'node:timers/promises';

import { PREAMBLE, load } from './fake-globals.js';
import { JOINED, Socket } from './fake-socket.js';
import { BROKEN_CHANNELS, BROKEN_LOCKS, Channel, Locks } from './fake-tabs.js';
import { address } from './joined.mjs';

const client = address(PREAMBLE);
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
  /** Whether a page's policy lets it make requests, and how one for the gateway's health is answered. */
  requests = true;
  health = 200;
  /** How many holds and rooms a connection has place for. */
  places = 100;
  /** A dead network takes all that is said on a connection, and says nothing of it. */
  dead = false;
  /** The keys of the gateway, if it has some; and what it says first, if it says anything. */
  keys = null;
  hello = null;
  /** How `fetch` answers: a function of the URL, or null where nothing answers. */
  answer = null;
  #locks = new Locks();
  #channels = new Set();
  /** The tab in which something happens: what it opens is its own. */
  #active = { running: Promise.resolve() };

  constructor(t) {
    this.test = t;
    t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.UTC(2026, 10, 22) });
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
      fetch: async (url, { method = 'GET', signal, body, headers } = {}) => {
        const isHealth = new URL(url).pathname === '/healthz';
        if (!world.up || !(isHealth ? world.requests : world.answer)) throw new TypeError('nothing answers');
        if (isHealth) return new Response('ok', { status: world.health });
        return world.answer({ url: new URL(url), method, signal, body, headers, tab: world.#active });
      },
    };
    for (const [name, value] of Object.entries(globals)) replace(t, name, value);
  }

  /** The module as a browser's tab has it, and what its user can do to the tab. `locks` and `channel` may be broken in some way. */
  async tab({ locks = true, channel, prerendering = false } = {}) {
    const page = new EventTarget();
    const document = Object.assign(new EventTarget(), { hidden: false, prerendering });
    const held = new Set();
    const tab = { held, running: Promise.resolve(), suspended: false };
    const act = () => (this.#active = tab);
    const { Room, Counts } = await load(tab, `${client}?tab=${(tabs += 1)}`, act, {
      navigator: locks ? { locks: { request: BROKEN_LOCKS[locks] ?? ((...rest) => this.#locks.request(tab, ...rest)) } } : {},
      ...(channel && { BroadcastChannel: BROKEN_CHANNELS[channel] }),
      addEventListener: page.addEventListener.bind(page),
      document,
    });
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
          const told = ({ user, count, reason }) => [type, user ?? count, reason].filter((word) => word !== undefined);
          room.addEventListener(type, ({ detail }) => seen.push(told(detail).join(' ')));
        }
        await this.settle();
        return Object.assign(room, { seen });
      },
      counts: async (prefix, options) => {
        this.#active = tab;
        const counts = new Counts(prefix, { url: 'http://gateway.test/', ...options });
        await this.settle();
        return counts;
      },
      /** The system lets it run no more: it keeps what it holds, and says and hears nothing. */
      suspend() {
        tab.suspended = true;
        tab.running = new Promise((run) => (tab.run = run));
      },
      /** Its channels bring and take nothing from now on. */
      mute() {
        tab.muted = true;
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
      room.members.set(user, { meta: meta ?? {}, holds: new Map([[by, { socket, said: meta }]]) });
      this.event(room, { action: 'add', user, meta: meta ?? {}, joined: JOINED });
      return;
    }
    const { socket: before, said } = member.holds.get(by) ?? {};
    member.holds.set(by, { socket, said });
    if (before && before !== socket) before.cut(4409, 'replaced');
    // What this hold says already is not said anew.
    if (meta && JSON.stringify(meta) !== JSON.stringify(said)) this.update(room, user, by, meta);
  }

  /** The last statement is seen; ranks and the way back to an earlier statement are the gateway's own tests. */
  update(room, user, by, meta) {
    const member = room.members.get(user);
    member.holds.get(by).said = meta;
    if (JSON.stringify(member.meta) === JSON.stringify(meta)) return;
    member.meta = meta;
    this.event(room, { action: 'update', user, meta });
  }

  /** Another socket may have taken the hold's place. */
  release(room, user, by, socket, reason) {
    if (this.rooms.get(room.name) !== room) return; // the gateway of before knows it no more
    const member = room.members.get(user);
    if (member?.holds.get(by)?.socket !== socket) return;
    member.holds.delete(by);
    if (!member.holds.size) this.#end(room, user, reason);
  }

  #end(room, user, reason) {
    if (room.members.delete(user)) this.event(room, { action: 'del', user, reason });
  }

  /** Tells whoever counts; null is the end of a room. */
  count(room, count) {
    for (const socket of this.sockets) {
      for (const prefix of socket.counted) if (room.startsWith(prefix)) socket.tell({ action: 'count', room, count });
    }
  }

  event(room, { action, ...rest }) {
    const event = { action, room: room.name, cursor: `${room.epoch}.${room.log.length + 1}`, ...rest };
    room.log.push(event);
    for (const socket of this.sockets) if (socket.watched.has(room.name)) socket.tell(event);
    if (action !== 'update') this.count(room.name, room.members.size);
  }
}

function replace(t, name, value) {
  const before = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
}
