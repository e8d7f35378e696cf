import { Election, canShare } from './election.js';
import { explain } from './explain.js';
import { Feeds } from './feed.js';
import { Leader } from './leader.js';
import { status } from './line.js';
import { uuid } from './uuid.js';
import { AWAY, CLEAN, WHOLE, reached } from './wire.js';

/** Version of the messages between tabs. Tabs with the client of another version have a leader of their own. */
const VERSION = 3;

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
    tabs.set(name, tab);
    tab.#whose.token = whose.token; // the newest one is likeliest to be good
    return tab;
  }

  constructor(base, mode, whose, name, shared) {
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
    if (since && !feed.members.cursor) feed.members.start(since, members);
    feed.seats.add(seat);
    if (!this.#election.running) this.start();
    else this.#sit(feed, [seat]);
    if (feed.live && feed.prefix === undefined) queueMicrotask(() => seat.tell('snapshot', { count: feed.members.map.size }));
    return feed;
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
      this.#removed(feed, seat);
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
    if (this.#isSeated || this.#going.size) return;
    tabs.delete(this.#name);
    nameless.delete(this.#whose.token);
    this.stop(CLEAN);
  }

  /** `anew` where it is said once more, and not only made known to another leader. */
  join({ id, name, hold }, anew = false) {
    if (hold) this.#election.ask({ ask: 'join', room: name, id, anew, ...hold });
  }

  leave({ id, name, hold }, n) {
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
    if (seats) this.#feeds.forEach((feed) => feed.tell(...seats));
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

  #refused({ room, refusal }) {
    const feed = this.#feeds.get(room);
    if (!feed) return;
    Object.assign(feed, { live: false, refusal });
    explain(refusal, `the room ${room}`);
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
