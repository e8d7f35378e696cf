/** How long a tab that vanished may take to come back: the gateway's default grace period. */
export const GRACE_MS = 5_000;

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
    const fresh = { room, user, client, by: new Map(), failures: 0, asking: 0, waiting: null, held: false, since: '' };
    const hold = there ?? fresh;
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
