import { KNOWN, WHOLE } from './wire.js';

/** The set of a room's members at a cursor. Members are replaced, never changed. */
export class Members {
  map = new Map();
  /** Where to go on from; '' while nothing is known. */
  cursor = '';
  /** Whether the set is known and not only the place in the order of events. */
  complete = false;
  /** Whether the gateway has just started, so that members of before may not be back yet. */
  fresh = false;
  #parts = null;
  #list = null;

  /** All members; the same array until something changes. */
  get list() {
    return (this.#list ??= Object.freeze([...this.map.values()]));
  }

  /** The cursor to ask with. Whoever was kept from before a restart is in no cursor's set: then the whole set must come. */
  get since() {
    return this.fresh ? '' : this.cursor;
  }

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
    if (whole?.action.startsWith('count')) return { whole, events: this.#count(whole) };
    if (!whole || (!this.cursor && whole.action !== 'snapshot')) return null;
    const events = this.#events(whole);
    if (!events) return null;
    this.cursor = whole.cursor;
    if (WHOLE.includes(whole.action)) this.fresh = Boolean(whole.fresh_for);
    return { whole, events };
  }

  /** The set as a frame for who comes later. */
  snapshot(room) {
    const users = [...this.map.values()];
    const fresh = this.fresh ? { fresh_for: 1 } : {};
    return { action: 'snapshot', room, cursor: this.cursor, ...fresh, count: users.length, part: 0, last: true, users };
  }

  /** The old set and the old cursor hold until the last part: half a snapshot is no set. */
  #join(frame) {
    if (frame.part === undefined) return frame;
    if (frame.part === 0) this.#parts = { cursor: frame.cursor, next: 0, users: [], set: [], gone: [], counts: [] };
    const parts = this.#parts;
    if (parts?.cursor !== frame.cursor || parts.next !== frame.part) {
      throw new Error(`part ${frame.part} of ${frame.cursor} does not follow`);
    }
    parts.next += 1;
    for (const list of ['users', 'set', 'gone', 'counts']) for (const one of frame[list] ?? []) parts[list].push(one);
    if (!frame.last) return null;
    this.#parts = null;
    return { ...frame, part: 0, ...parts };
  }

  /** The numbers of members of rooms: all of them, or the one that changed; none is the end of a room. */
  #count({ counts, fresh_for: freshFor, room, count }) {
    if (counts) {
      this.map.clear();
      this.fresh = Boolean(freshFor);
    }
    for (const one of counts ?? [{ room, count }]) {
      if (one.count === null) this.map.delete(one.room);
      else this.map.set(one.room, one.count);
    }
    return [{ type: 'count', detail: room }];
  }

  #events(frame) {
    if (!KNOWN.includes(frame.action)) return null; // there will be more actions than these
    if (frame.action === 'snapshot') return this.#snapshot(frame);
    if (!this.complete) return [];
    switch (frame.action) {
      case 'changes':
        return [...frame.gone.flatMap((gone) => this.#del(gone)), ...frame.set.map((member) => this.#put(member))];
      case 'add':
        return [this.#put(frame)];
      case 'update':
        if (!this.map.has(frame.user)) throw new Error(`${frame.user} is not there to be updated`);
        return [this.#put({ ...this.map.get(frame.user), info: undefined, suspect: false, ...frame })];
      case 'del':
        return this.#del(frame);
      default:
        return [];
    }
  }

  /** A gateway that has just started may not know all members yet: until it does, none is taken out. */
  #snapshot({ fresh_for: freshFor, users }) {
    return freshFor && this.complete ? users.map((member) => this.#put(member)) : this.#replace(users);
  }

  #replace(members) {
    this.complete = true;
    this.#list = null;
    this.map.clear();
    for (const member of members) this.#put(member);
    return [{ type: 'snapshot', detail: { count: this.map.size } }];
  }

  #put({ user, meta, info = {}, joined, suspect }) {
    const type = this.map.has(user) ? 'update' : 'add';
    const detail = { user, meta, info, joined, ...(suspect && { suspect }) };
    this.map.set(user, detail);
    this.#list = null;
    return { type, detail };
  }

  #del({ user, reason, at }) {
    this.#list = null;
    return this.map.delete(user) ? [{ type: 'del', detail: { user, reason, at } }] : [];
  }
}
