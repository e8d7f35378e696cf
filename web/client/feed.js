import { Members } from './members.js';

/** The name of the feed of the counts of rooms: no room's name has a line feed. */
export const countsOf = (prefix) => `\n${prefix}`;

/** A room as this tab knows it: its members, and the seats of those who follow it here. */
export class Feed {
  members = new Members();
  seats = new Set();
  /** How many were closed just now, and may have a successor. */
  going = 0;
  /** Whether the members are the gateway's. */
  live = false;
  /** What the seats know of `members.fresh`. */
  fresh = false;
  /** Whether the leader was asked where the room stands. */
  asked = false;
  refusal = null;
  failures = 0;

  /** `tab` has the line of it, as far as this page follows the room. */
  constructor(room, tab) {
    this.room = room;
    this.tab = tab;
  }

  /** Of the rooms with which prefix these are the counts; undefined where it is one room. */
  get prefix() {
    return this.room[0] === '\n' ? this.room.slice(1) : undefined;
  }

  /** What messages name it by. */
  get place() {
    const { room, prefix } = this;
    return prefix === undefined ? { room } : { counts: prefix };
  }

  /** Takes the next frame as `Members` does. A frame that does not follow is told to `distrust`. */
  apply(frame, distrust) {
    try {
      return this.members.apply(frame);
    } catch (error) {
      this.members.forget();
      return distrust(error);
    }
  }

  /** Tells the seats what a frame brought. */
  applied(events) {
    const turned = !this.live || this.fresh !== this.members.fresh;
    this.fresh = this.members.fresh;
    Object.assign(this, { live: true, refusal: null, failures: 0 });
    for (const seat of this.seats) {
      for (const { type, detail } of events) seat.tell(type, detail);
      if (turned) seat.tell('state');
    }
  }

  tell(type, detail) {
    this.seats.forEach((seat) => seat.tell(type, detail));
  }
}

/** The feeds of a tab, by the names of their rooms. */
export class Feeds extends Map {
  tab;

  of(room) {
    const feed = this.get(room) ?? new Feed(room, this.tab);
    this.set(room, feed);
    return feed;
  }

  /** Those that a frame is for. */
  for({ action, room, prefix }) {
    if (action === 'count') return [...this.values()].filter((feed) => feed.prefix !== undefined && room.startsWith(feed.prefix));
    const feed = this.get(action === 'counts' ? countsOf(prefix) : room);
    return feed ? [feed] : [];
  }
}
