/** How long the gateway waits for who was lost. */
export const GRACE_MS = 5_000;

export const JOINED = '2026-11-22T05:53:00Z';

/** A WebSocket, or the gateway's side of a session, and what the gateway does with its messages. */
export class Socket {
  onopen = null;
  onmessage = null;
  onclose = null;
  watched = new Set();
  held = new Map();
  /** Prefixes with counts. */
  counted = new Set();
  #world;
  #tab;
  #ended = false;

  constructor(world, tab, url) {
    this.#world = world;
    this.#tab = tab;
    this.url = String(url);
    if (!url) return void this.#begin(); // a session
    world.tries += 1;
    queueMicrotask(() => (world.up && world.upgrades ? this.#open() : this.cut(1006, '')));
  }

  #open() {
    if (this.#ended) return;
    this.#begin();
    this.onopen?.();
    if (this.hello) this.tell({ action: 'hello', ...this.hello });
  }

  #begin() {
    this.#world.sockets.add(this);
    this.hello = this.#world.keys?.begin(this) ?? this.#world.hello;
  }

  send(text) {
    const message = JSON.parse(text);
    if (this.#world.dead) return;
    this.#world.heard.push(message);
    queueMicrotask(() => this.hear(message));
  }

  hear(message) {
    if (!this.#ended) this.#answer(message);
  }

  /** What was sent before arrives before. */
  close(code = 1005) {
    queueMicrotask(() => this.#closed(code));
  }

  #closed(code) {
    if (!this.#ended) this.#end(code === 1000 || code === 1005 || (code >= 3000 && code !== 4001) ? 'closed' : 'timeout');
  }

  /** The other side closes, or the network does. */
  cut(code, reason, held = 'timeout') {
    if (this.#ended) return;
    this.#end(held);
    this.#tab.running.then(() => this.onclose?.({ code, reason }));
  }

  tell(frame) {
    if (this.#world.dead) return;
    const data = JSON.stringify(frame);
    // What came before the end is read, however late.
    if (!this.#ended) this.#tab.running.then(() => this.onmessage?.({ data }));
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

  #answer(message) {
    const { action, room: name, user, meta, client, since, ref, counts } = message;
    const judged = this.#world.keys?.refuse(this, message) ?? (action === 'auth' && { action: 'ok', ref });
    if (judged) return this.tell(judged);
    if (counts !== undefined) return this.#count(message);
    const room = this.#world.room(name);
    const at = `${name}\n${user}`;
    const hold = this.held.get(at);
    const refusal = this.#full(message) ?? this.#world.refuse?.({ action, room: name, user, client, meta });
    if (refusal) return this.tell({ action: 'refused', ref, ...refusal });
    if (action === 'join') {
      const by = client ?? this;
      this.held.set(at, { room, user, by });
      this.#world.hold(room, user, by, { meta, socket: this });
    } else if (action === 'update') {
      if (!hold) return this.#refuse(ref, 'not_joined');
      this.#world.update(room, user, hold.by, meta);
    } else if (action === 'leave') {
      if (!this.held.delete(at)) return this.#refuse(ref, 'not_joined');
      this.#world.release(room, user, hold.by, this, 'closed');
    } else if (action === 'unsubscribe') {
      if (!this.watched.delete(name)) return this.#refuse(ref, 'not_subscribed');
    } else if (action === 'alive' || action === 'close') {
      this.tell({ action: 'ok', ref });
      // Behind the answer.
      return action === 'close' && this.#tab.running.then(() => this.cut(1000, '', 'closed'));
    } else if (action !== 'subscribe') {
      return this.#refuse(ref, 'unknown_action');
    }
    this.tell({ action: 'ok', ref, cursor: `${room.epoch}.${room.log.length}` });
    if (action === 'subscribe') this.#subscribe(room, since);
    return null;
  }

  /** A connection has so many places for holds, and so many for rooms. */
  #full({ action, room, user }) {
    const { places } = this.#world;
    const code =
      (action === 'join' && !this.held.has(`${room}\n${user}`) && this.held.size >= places && 'too_many_joined') ||
      (action === 'subscribe' && !this.watched.has(room) && this.watched.size >= places && 'too_many_subscribed');
    return code ? { code, message: code, retry: false } : null;
  }

  #count({ action, counts: prefix, ref }) {
    const refusal = this.#world.refuse?.({ action, counts: prefix });
    if (refusal) return this.tell({ action: 'refused', ref, ...refusal });
    this.tell({ action: 'ok', ref });
    if (action === 'unsubscribe') return this.counted.delete(prefix);
    this.counted.add(prefix);
    const counts = [...this.#world.rooms.values()].filter(({ name }) => name.startsWith(prefix));
    const all = counts.map(({ name, members }) => ({ room: name, count: members.size }));
    // In two parts, as a large set comes.
    this.tell({ action: 'counts', prefix, part: 0, last: false, counts: all.slice(0, 1) });
    return this.tell({ action: 'counts', prefix, part: 1, last: true, counts: all.slice(1) });
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
