/** The gateway's default grace period. */
const GRACE_MS = 5_000;

/** Where nobody says anything any more, what was said cannot be taken back, but hides nothing else at the lowest rank. */
export const NOTHING = { meta: '{}', rank: -9 };

const key = (room, user) => `${room}\n${user}`; // names have no control characters

/** Who of all tabs wants what: the leader's bookkeeping. On the connection it is one of each. */
export class Wants {
  /** How long a tab that vanished may take to come back: the gateway's grace period, which its `hello` says. */
  grace = GRACE_MS;
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

  /**
   * The hold, and whether it is new. `by` has who wants it, each with the `word` that they said, the one that was accepted
   * last (`good`), and the number `n` of what they asked for. `spoken` is whether any tab has said anything, also one of before.
   */
  join({ tab, id, room, user, client, held, spoken, word, good, n }) {
    const there = this.get(room, user);
    const hold = there ?? { room, user, client, by: new Map(), failures: 0, asking: 0, held: false, since: '' };
    this.holds.set(key(room, user), hold);
    hold.had ||= held;
    hold.spoken ||= spoken;
    const one = hold.by.get(id) ?? { id, good };
    hold.by.delete(id); // whoever asks last is the last
    hold.by.set(id, Object.assign(one, { tab, word, n, open: true, until: Infinity }));
    if (!there) this.settle(hold);
    return { hold, fresh: !there };
  }

  /**
   * Takes what was said last at the highest rank for the hold's statement, and whoever said it for its `speaker`; true if the
   * statement is another than before.
   */
  settle(hold) {
    const said = [...hold.by.values()].reverse().filter(({ word }) => word);
    const before = hold.statement;
    said.sort(({ word: one }, { word: other }) => other.rank - one.rank || other.at - one.at);
    hold.speaker = said[0];
    hold.statement = said[0]?.word ?? (before && NOTHING);
    if (!hold.statement) return false;
    return hold.statement.meta !== before?.meta || hold.statement.rank !== before.rank;
  }

  get(room, user) {
    return this.holds.get(key(room, user));
  }

  /** The hold that this one no longer wants, and perhaps nobody. */
  leave(id, room, user) {
    const hold = this.get(room, user);
    if (!hold?.by.delete(id)) return null;
    if (!hold.by.size) this.end(hold);
    return hold;
  }

  end(hold) {
    this.holds.delete(key(hold.room, hold.user));
  }

  /** A tab vanished: what it held and said stays for the grace. The rooms that nobody watches any more. */
  gone(tab, now) {
    for (const { by } of this.holds.values()) {
      for (const one of by.values()) if (one.tab === tab) one.until = Math.min(one.until, now + this.grace);
    }
    return [...this.rooms.keys()].filter((room) => this.unwatch(tab, room));
  }

  /** The holds of those whose grace is over. */
  due(now) {
    const over = [];
    for (const hold of this.holds.values()) {
      const gone = [...hold.by].filter(([, { until }]) => until <= now);
      for (const [id] of gone) hold.by.delete(id);
      if (gone.length) over.push(hold);
      if (!hold.by.size) this.end(hold);
    }
    return over;
  }

  get empty() {
    return !this.rooms.size && !this.holds.size;
  }
}
