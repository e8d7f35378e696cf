/** The order the server lists names in: that of their UTF-8 bytes, which is that of code points. */
export function byBytes(a, b) {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** UTF-16 puts surrogates, the code points past U+FFFF, before U+E000; bytes put them last. */
function rank(unit) {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}

const NOBODY = Object.freeze({ came: [], left: [] });

/**
 * The set of a room's members at a cursor, as the frames of a stream tell it.
 *
 * Members are replaced, never changed: who holds one can see by identity whether it is the latest.
 */
export class Roster {
  #members = new Map();
  #names = [];
  #parts = null;

  /** Where to go on from; '' while the set is not known. */
  cursor = '';

  constructor(members = [], cursor = '') {
    this.#replace(members, cursor);
  }

  get count() {
    return this.#names.length;
  }

  get(user) {
    return this.#members.get(user);
  }

  first(limit) {
    return this.#names.slice(0, limit).map((user) => this.#members.get(user));
  }

  /** Forgets where it stood, so that the next stream starts with a snapshot. The set stays. */
  forget() {
    this.#parts = null;
    this.cursor = '';
  }

  /**
   * Takes the next frame and tells who `came` and who `left` by it. Throws at what does not follow
   * from the frames before: the set is then not to be trusted any more.
   */
  apply(frame) {
    switch (frame.action) {
      case 'snapshot':
      case 'changes':
        return this.#part(frame);
      case 'resumed':
        return this.#event(frame, NOBODY);
      case 'add':
        return this.#event(frame, this.#put(frame));
      case 'update':
        return this.#event(frame, this.#put({ ...this.get(frame.user), ...frame }));
      case 'del':
        return this.#event(frame, this.#remove(frame.user));
      default:
        return NOBODY; // there will be more actions than this page knows
    }
  }

  /** No event comes between parts, so parts that wait for their last were cut off with their stream. */
  #event(frame, changed) {
    this.#parts = null;
    this.cursor = frame.cursor;
    return changed;
  }

  /** The old set and the old cursor hold until the last part: half a snapshot is no set. */
  #part(frame) {
    if (frame.part === 0) this.#parts = { cursor: frame.cursor, next: 0, put: [], gone: [] };
    const parts = this.#parts;
    if (!parts || parts.cursor !== frame.cursor || parts.next !== frame.part) {
      throw new Error(`part ${frame.part} of ${frame.cursor} does not follow`);
    }
    parts.next += 1;
    parts.put.push(...(frame.users ?? frame.set ?? []));
    parts.gone.push(...(frame.gone ?? []));
    if (!frame.last) return NOBODY;
    this.#parts = null;
    return frame.action === 'snapshot' ? this.#replace(parts.put, parts.cursor) : this.#merge(parts);
  }

  #replace(members, cursor) {
    const before = this.#members;
    const known = this.cursor !== '';
    this.#members = new Map(members.map((member) => [member.user, pick(member)]));
    this.#names = [...this.#members.keys()].sort(byBytes);
    this.cursor = cursor;
    if (!known) return NOBODY;
    return {
      came: this.#names.filter((user) => !before.has(user)),
      left: [...before.keys()].filter((user) => !this.#members.has(user)),
    };
  }

  #merge({ put, gone, cursor }) {
    const all = [...gone.map(({ user }) => this.#remove(user)), ...put.map((member) => this.#put(member))];
    this.cursor = cursor;
    return { came: all.flatMap(({ came }) => came), left: all.flatMap(({ left }) => left) };
  }

  #put(member) {
    const present = this.#members.has(member.user);
    this.#members.set(member.user, pick(member));
    if (present) return NOBODY;
    this.#names.splice(this.#place(member.user), 0, member.user);
    return { came: [member.user], left: [] };
  }

  #remove(user) {
    if (!this.#members.delete(user)) return NOBODY;
    this.#names.splice(this.#place(user), 1);
    return { came: [], left: [user] };
  }

  /** Where `user` stands among the names, or would. */
  #place(user) {
    let low = 0;
    let high = this.#names.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (byBytes(this.#names[middle], user) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function pick({ user, meta = {}, joined }) {
  return Object.freeze({ user, meta, joined });
}
