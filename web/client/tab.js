import { Election, canShare } from './election.js';
import { explain } from './explain.js';
import { Feeds } from './feed.js';
import { Leader } from './leader.js';
import { status } from './line.js';
import { uuid } from './uuid.js';
import { AWAY, CLEAN, FULL, WHOLE, reached } from './wire.js';

/** Version of the messages between tabs. Tabs with the client of another version have a leader of their own. */
const VERSION = 3;

/** The most connections of one user in a browser, each with as many rooms as it has place for; of sessions, as browsers open six requests to a host. */
const MOST_LINES = 10;
const MOST_SESSIONS = 3;

/** The time in which another room may take the place of a closed one. */
const LINGER_MS = 100;

/** The tabs with rooms, by what they share: one page may follow several gateways. */
const tabs = new Map();

/** All rooms of this page at one gateway, of one user where there are tokens. One of an origin's tabs leads and has the line; the others ask the leader. */
export class Tab {
  status = status('connecting');
  #base;
  #mode;
  #whose;
  #name;
  #feeds = new Feeds();
  #election;
  #leader = null;
  #shared;
  /** How many lines were full before this one. */
  #nth;
  /** What is still to be done about closed rooms. */
  #going = new Set();

  /** `whose` has the `token`, if any, and its `user`. The rights of two users are never mixed, so they share nothing. */
  static of(base, mode, share, whose) {
    const shared = Boolean(share && canShare());
    // Where tabs cannot share, the rooms of this page still do.
    const place = `${mode} ${base}${owner(whose)}`;
    const left = ([name, tab]) => name.endsWith(` alone ${place}`) && !tab.#isSeated;
    const alone = () => [...tabs].find(left)?.[0] ?? `${uuid()} alone ${place}`;
    const name = share ? `presently ${VERSION} ${place}` : alone();
    const tab = tabs.get(name) ?? new Tab(base, mode, whose, name, shared);
    tab.#whose.token = whose.token; // the newest one is likeliest to be good
    return tab;
  }

  constructor(base, mode, whose, name, shared, nth = 1) {
    this.#feeds.tab = this;
    this.#shared = shared;
    this.#nth = nth;
    this.#base = base;
    this.#mode = mode;
    this.#whose = whose;
    this.#name = name;
    this.#election = new Election(name, shared, {
      ready: () => this.#askAll(),
      lead: () => this.#lead(),
      asked: (ask) => this.#leader?.serve(ask),
      told: (message) => this.#told(message),
      restart: (steal) => this.#restart(steal),
    });
  }

  get #isSeated() {
    return [...this.#feeds.values()].some(({ seats }) => seats.size);
  }

  /** Takes a seat for a room: `{ id, name, feed, hold, tell(type, detail) }`, with the name of its feed. */
  add(seat, since, members) {
    const feed = this.#feeds.of(seat.feed);
    // With `suspects`, a cursor from elsewhere would leave out who is in doubt already: the members are shown, and the whole set comes.
    const cursor = new URL(this.#base).search ? '' : since;
    if (since && !feed.members.cursor) feed.members.start(cursor, members);
    feed.seats.add(seat);
    seat.home = feed;
    this.#begin(feed, [seat]);
    if (feed.live && feed.prefix === undefined) queueMicrotask(() => seat.tell('snapshot', { count: feed.members.map.size }));
  }

  #begin(feed, seats) {
    tabs.set(this.#name, this);
    if (this.#election.running) this.#sit(feed, seats);
    else this.start();
  }

  /** Takes a room to another line, where this one has no place for it or for a hold in it. False if there is none. */
  #move(feed, { code }) {
    const { room, seats } = feed;
    // A hold that has no place beside others in the room waits here for one: those need no other line.
    const isNeeded = code === FULL[1] || (code === FULL[0] && ![...seats].some(({ hold }) => hold?.held));
    const next = isNeeded && this.#next(room);
    if (!next) return false;
    seats.forEach((seat) => this.#release(seat));
    this.#election.ask({ ask: 'unwatch', room });
    if (this.#feeds.delete(room)) this.#leader?.anew(room);
    next.#feeds.set(room, Object.assign(feed, { tab: next, live: false, refusal: null, asked: false }));
    next.#begin(feed, seats);
    queueMicrotask(() => this.#rest());
    return true;
  }

  /** What is held here stays until it is held there, so that nobody sees an event. */
  #release(seat) {
    const { hold } = seat;
    const before = { ...seat, hold: { ...hold } };
    if (!hold?.held) return this.leave(seat);
    // The gateway would take two connections with one id for one that came back.
    Object.assign(hold, { client: uuid(), shared: '' });
    return (seat.release = () => this.leave(before));
  }

  #released(seat) {
    const { release } = seat;
    seat.release = null;
    release?.();
  }

  /** The next line without the room. */
  #next(room) {
    if (this.#nth >= (this.status.transport === 'sse' ? MOST_SESSIONS : MOST_LINES)) return null;
    const name = `${this.#name}\n`; // no user's name has this
    const next = tabs.get(name) ?? new Tab(this.#base, this.#mode, this.#whose, name, this.#shared, this.#nth + 1);
    return next.#feeds.has(room) ? next.#next(room) : next;
  }

  /** A room that takes this one's place in time asks first, so that the hold changes hands and nobody sees an event. */
  remove(closed) {
    const seat = { ...closed };
    const feed = this.#feeds.get(seat.feed);
    feed.seats.delete(closed);
    feed.going += 1;
    const go = () => {
      clearTimeout(timer);
      feed.going -= 1;
      this.#going.delete(go);
      feed.tab.#removed(feed, seat);
      this.#rest();
    };
    const timer = setTimeout(go, LINGER_MS);
    this.#going.add(go);
  }

  #removed(feed, seat) {
    this.leave(seat);
    if (!feed.seats.size && !feed.going) {
      this.#election.ask({ ask: 'unwatch', room: seat.feed });
      if (!this.#leader?.watches(seat.feed)) this.#feeds.delete(seat.feed);
    }
    this.#rest();
  }

  #rest() {
    if (this.#isSeated || this.#going.size) return;
    tabs.delete(this.#name);
    nameless.delete(this.#whose.token);
    this.stop(CLEAN);
  }

  /** `anew` where it is said once more, and not only made known to another leader. */
  join({ id, name, hold }, anew = false) {
    if (!hold) return;
    const client = (canShare() && hold.shared) || hold.client;
    this.#election.ask({ ask: 'join', room: name, id, anew, ...hold, client });
  }

  leave(seat, n) {
    const { id, name, hold } = seat;
    this.#released(seat);
    if (hold) this.#election.ask({ ask: 'leave', room: name, id, user: hold.user, n });
  }

  /** Tells all tabs when this one was touched. */
  touched(at) {
    this.#election.ask({ ask: 'touched', at });
  }

  retry() {
    this.#election.ask({ ask: 'retry' });
  }

  /** A network that goes is as good a reason as one that comes. */
  renew() {
    this.#leader?.renew();
  }

  /** Also where it runs already: a page that comes back, or was only thought to be gone, sees to its connection. */
  start() {
    if (this.#election.running) this.hurry();
    else this.#election.start();
  }

  /** The page goes away, and does not wait. */
  hide() {
    this.#going.forEach((go) => go());
    this.stop(AWAY);
  }

  /** The tabs that stay go on without this one, which keeps its cursors for its return. */
  stop(code) {
    if (!this.#election.running) return;
    this.#leader?.close(code);
    this.#leader = null;
    this.#election.stop();
    this.#turn(status('connecting'));
  }

  /** Ensures that a tab leads, and that its connection is there. */
  hurry() {
    this.#election.ask({ ask: 'hurry' });
    this.#election.look();
  }

  #restart(steal) {
    this.stop(AWAY);
    this.#election.start(steal);
  }

  #lead() {
    this.#leader = new Leader(this.#base, this.#mode, this.#whose, this.#election, this.#feeds);
    this.#election.post({ leader: true });
    this.#askAll();
    this.#leader.start();
  }

  /* What this tab asks the leader. */

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
    const { complete, since } = feed.members;
    this.#election.ask({ ask: 'watch', room: feed.room, cursor: complete ? since : '' });
  }

  /* What the leader tells this tab. */

  #told({ leader, line, frame, seats, refused, room, from }) {
    if (leader) this.#askAll();
    if (line) this.#turn(line);
    if (frame) this.#take(room, frame, from);
    if (seats) this.#hear(...seats);
    if (refused) this.#refused(refused);
  }

  #turn(now) {
    if (now.refusal) explain(now.refusal);
    this.status = now;
    for (const feed of this.#feeds.values()) {
      if (now.state !== 'live') Object.assign(feed, { live: false, refusal: null });
      feed.tell('state');
    }
  }

  /** Takes a frame that follows, ignores one that is known, and asks for the room where one is missing. */
  #take(room, frame, from) {
    const feed = this.#feeds.get(room);
    if (!feed) return;
    const { members } = feed;
    if (WHOLE.includes(frame.action)) feed.asked = false;
    const settles = members.fresh && frame.action === 'snapshot';
    // A leader that resumes has no members of before, and does not know who has.
    const lacks = members.fresh && frame.action === 'resumed' && !frame.fresh_for;
    if (lacks) this.#watch(feed);
    else if (members.cursor && reached(members.cursor, frame.cursor) && !settles) feed.applied([]);
    else if (frame.action === 'snapshot' || feed.prefix !== undefined || (members.cursor && from === members.cursor)) {
      const done = feed.apply(frame, () => this.#watch(feed));
      if (done) feed.applied(done.events);
    } else if (!feed.asked) this.#watch(feed);
  }

  /** What seats hear of holds; one that has no place here is taken to another line. */
  #hear(type, detail) {
    const { room, user, held, refusal } = detail;
    const isIts = ({ name, hold }) => type !== 'hold' || (name === room && hold?.user === user);
    for (const feed of [...this.#feeds.values()]) {
      const its = [...feed.seats].filter(isIts);
      if (held) its.forEach((seat) => this.#released(seat));
      if (!its.length || !refusal || !this.#move(feed, refusal)) its.forEach((seat) => seat.tell(type, detail));
    }
  }

  #refused({ room, refusal }) {
    const feed = this.#feeds.get(room);
    if (!feed || (feed.seats.size && this.#move(feed, refusal))) return;
    Object.assign(feed, { live: false, refusal });
    // Rooms that only other tabs follow are explained there.
    if (feed.seats.size) explain(refusal, `the room ${room}`);
    feed.tell('state');
  }
}

/** Tokens without a user's name, each with a name of its own for as long as this page has it. */
const nameless = new Map();

/** What tells the connections of several users apart: nothing where none is named and there are no tokens. */
function owner({ token, user }) {
  if (user) return ` ${token === undefined ? 'cookie' : 'token'} ${user}`;
  if (token === undefined) return '';
  const name = nameless.get(token) ?? uuid();
  nameless.set(token, name);
  return ` ${name}`;
}

/** A page in the back-forward cache has no connection; a frozen page can neither lead nor say that it is there. */
function watchPage() {
  const { document } = globalThis;
  const on = (target, type, work) => {
    target?.addEventListener?.(type, () => [...tabs.values()].forEach(work));
  };
  on(globalThis, 'pagehide', (tab) => tab.hide());
  on(globalThis, 'pageshow', (tab) => tab.start());
  on(document, 'freeze', (tab) => tab.stop(AWAY));
  on(document, 'resume', (tab) => tab.start());
  on(document, 'visibilitychange', (tab) => document.hidden || tab.hurry());
  on(globalThis, 'online', (tab) => tab.renew());
  on(globalThis, 'offline', (tab) => tab.renew());
}

watchPage();
