import { delay } from './delay.js';
import { countsOf } from './feed.js';
import { Line } from './line.js';
import { NOTHING, Wants } from './wants.js';
import { AWAY, ENDED, FULL, reached, sameEpoch } from './wire.js';

/**
 * The tab that has the line. It does what tabs ask, and tells them: how the `line` is, frames, what `seats` hear of
 * holds, and what was `refused`. A frame says the cursor it is `from`, so that a tab that missed one notices.
 */
export class Leader {
  #election;
  #feeds;
  #line;
  #wants = new Wants();
  #tabs;
  /** What each message on the line was about, by its `ref`, until it is answered. */
  #asked = new Map();
  #refs = 0;
  #closed = false;

  /** `feeds` are those of this tab; the leader adds one for each room that only other tabs watch. */
  constructor(base, mode, whose, election, feeds) {
    this.#election = election;
    this.#feeds = feeds;
    this.#tabs = new Set([election.id]);
    this.#line = new Line(base, mode, whose, {
      open: () => this.#opened(),
      frame: (frame) => this.#frame(frame),
      status: (line) => election.tell({ line }),
    });
  }

  start() {
    this.#line.start();
  }

  /** Holds of other tabs stay for the grace period, until one of those leads. */
  close(code) {
    this.#closed = true;
    this.#line.close(this.#wants.empty ? code : AWAY);
  }

  /** Every tab hears that it is online again, so that the tab with the line need not be asked. */
  renew() {
    this.#line.renew();
  }

  watches(room) {
    return this.#wants.rooms.has(room);
  }

  /** This tab has taken its feed away, and others still want one. */
  anew(room) {
    if (this.watches(room)) this.#subscribe(this.#feeds.of(room));
  }

  /* What tabs ask. */

  serve(ask) {
    this.#meet(ask.tab);
    if (ask.ask === 'watch') this.#watch(ask);
    if (ask.ask === 'unwatch' && this.#wants.unwatch(ask.tab, ask.room)) this.#unwatched(ask.room);
    if (ask.ask === 'join') this.#serveJoin(ask);
    if (ask.ask === 'leave') this.#serveLeave(ask);
    if (ask.ask === 'touched') this.#election.tell({ seats: ['touched', ask.at] });
    if (ask.ask === 'retry') this.#line.retry();
    if (ask.ask === 'hurry') this.#line.hurry();
    if (ask.ask === 'hurry' || ask.ask === 'hail') this.#tellLine(ask.tab);
  }

  #meet(tab) {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    this.#election.whenGone(tab, () => this.#gone(tab));
  }

  #gone(tab) {
    this.#tabs.delete(tab);
    for (const room of this.#wants.gone(tab, Date.now())) this.#unwatched(room);
    setTimeout(() => this.#due(), this.#wants.grace);
  }

  /** Also called with every frame, as timers of hidden tabs come late. */
  #due() {
    if (!this.#closed) this.#wants.due(Date.now()).forEach((hold) => this.#left(hold));
  }

  #serveLeave(ask) {
    const hold = this.#wants.leave(ask.id, ask.room, ask.user);
    if (!hold || !this.#left(hold, ask)) this.#reply(ask, ask.n);
  }

  /** What is left of a hold when somebody wants it no more: nothing, or what the others say. True if the gateway is asked. */
  #left(hold, one) {
    const { room, user } = hold;
    if (hold.by.size) return this.#settle(hold);
    return this.#say({ action: 'leave', room, user }, { one, n: one?.n });
  }

  #watch({ tab, room, cursor }) {
    const feed = this.#feeds.of(room);
    const { members } = feed;
    this.#tellLine(tab);
    if (feed.refusal) this.#election.tell({ to: tab, refused: { room, refusal: feed.refusal } });
    // A place in the order of events is enough to pass them on, but not for a tab without the set.
    const lacks = !cursor && members.cursor && !members.complete;
    if (lacks) {
      feed.live = false;
      members.forget();
    }
    if (this.#wants.watch(tab, room) || lacks || feed.prefix !== undefined) {
      members.cursor ||= cursor;
      this.#subscribe(feed);
    } else if (feed.live && !members.complete) {
      feed.live = false;
      members.forget();
      this.#subscribe(feed);
    } else if (feed.live && tab !== this.#election.id) {
      const here = cursor === members.cursor && { action: 'resumed', room, cursor };
      this.#election.tell({ to: tab, room, frame: here || members.snapshot(room), from: cursor });
    }
  }

  #subscribe({ room, place, members }) {
    this.#say({ action: 'subscribe', ...place, since: members.since || undefined }, { room });
  }

  #unwatched(room) {
    const { place } = this.#feeds.of(room);
    this.#feeds.delete(room);
    this.#say({ action: 'unsubscribe', ...place });
  }

  #serveJoin(ask) {
    const { hold, fresh } = this.#wants.join(ask);
    if (fresh) this.#join(hold);
    else this.#settle(hold, ask.anew && ask.id);
    if (hold.held) this.#tellHold(hold);
    this.#settled(hold);
  }

  /** Says what the tabs say now, if it is another statement than before, or if its speaker is `anew`, who says it anew. */
  #settle(hold, anew) {
    const changed = this.#wants.settle(hold);
    if ((changed || (anew && anew === hold.speaker?.id)) && !hold.waiting) this.#update(hold);
  }

  #join(hold) {
    this.#speak(hold, { action: 'join', client: hold.client }, { join: true });
  }

  #update(hold) {
    this.#speak(hold, { action: 'update' });
  }

  /** Says the hold's statement, and remembers whose it is. */
  #speak(hold, message, about) {
    const { room, user, statement, speaker: one } = hold;
    const { meta, rank } = statement ?? {};
    const asked = { ...about, hold, statement, one, n: one?.n, word: one?.word };
    const ref = this.#say({ ...message, room, user, meta, rank: rank || undefined }, asked);
    if (!ref) return;
    hold.said = ref;
    hold.asking += 1;
    if (one) one.ref = ref;
    if (hold.spoken || !statement) return;
    hold.spoken = true;
    if (hold.held) this.#tellHold(hold);
  }

  /** What a tab said that went with the leader of before counts until the grace is over. */
  #unsay(hold) {
    const { room, user } = hold;
    const work = () => {
      if (this.#closed || this.#wants.get(room, user) !== hold || hold.statement) return;
      hold.statement = NOTHING;
      this.#update(hold);
    };
    setTimeout(work, this.#wants.grace);
  }

  /** The message's `ref`, or 0 while there is no connection. */
  #say(message, about = {}) {
    const ref = this.#refs + 1;
    if (!this.#line.send({ ...message, ref })) return 0;
    this.#asked.set(ref, about);
    return (this.#refs = ref);
  }

  /* What the line brings. */

  #opened() {
    this.#asked.clear();
    for (const hold of this.#wants.holds.values()) {
      clearTimeout(hold.waiting);
      Object.assign(hold, { held: false, asking: 0, waiting: null });
      this.#join(hold);
    }
    for (const room of this.#wants.rooms.keys()) this.#subscribe(this.#feeds.of(room));
  }

  #frame(frame) {
    this.#due();
    if (frame.action === 'hello') this.#wants.grace = frame.grace ?? this.#wants.grace;
    if (frame.action === 'ok' || frame.action === 'refused') return this.#answer(frame);
    const feeds = this.#feeds.for(frame);
    for (const feed of feeds) this.#feed(feed, frame);
    if (!feeds.length) this.#follow(frame.room, { type: frame.action, detail: frame }, frame.cursor);
    return null;
  }

  #feed(feed, frame) {
    const { room, members } = feed;
    const from = members.cursor;
    const done = feed.apply(frame, (error) => this.#line.distrust(error));
    if (!done) return;
    const { whole, events } = done;
    // Copying a large set costs, so that it is only done for somebody.
    if (this.#wants.watchedByOthers(this.#election.id, room)) this.#election.post({ room, frame: whole, from });
    feed.applied(events);
    for (const event of events) this.#follow(room, event, whole.cursor);
    if (whole.action === 'snapshot') this.#missed(feed, whole);
  }

  /** A hold that others ended is not taken up again; one that the gateway lost is. */
  #follow(room, { type, detail }, cursor) {
    const hold = type === 'del' && this.#wants.get(room, detail.user);
    if (!hold?.held || reached(hold.since, cursor)) return;
    const { user, reason, at } = detail;
    if (ENDED.includes(reason)) this.#end(hold, null, { user, reason, at });
    else if (!hold.asking) this.#join(hold);
  }

  /** The gateway forgot a hold if a snapshot of after the join lacks its user: they join again. */
  #missed({ room, members }, { cursor }) {
    for (const hold of this.#wants.holds.values()) {
      const isMissing = hold.room === room && hold.held && !hold.asking && !members.map.has(hold.user);
      const isLater = !sameEpoch(cursor, hold.since) || reached(cursor, hold.since);
      if (isMissing && isLater) this.#join(hold);
    }
  }

  #answer({ action, ref, cursor = '', code, message, retry, room, user, counts }) {
    if (counts !== undefined) return this.#withdrawn(countsOf(counts), '', { code, message });
    if (ref === undefined && room) return this.#withdrawn(room, user, { code, message });
    const asked = this.#asked.get(ref) ?? {};
    const { hold, one, n } = asked;
    this.#asked.delete(ref);
    if (hold) hold.asking -= 1;
    else if (one) return this.#reply(one, n); // a leave: who is not held has left, too
    if (action === 'refused') return this.#refused({ ...asked, ref }, { code, message }, retry);
    return hold && this.#accepted(hold, asked, cursor);
  }

  #accepted(hold, { join, one, n, word, statement }, cursor) {
    Object.assign(hold, { failures: 0, good: statement });
    if (one) {
      one.good = word;
      this.#reply(one, n);
    }
    if (join) {
      Object.assign(hold, { held: true, had: true, since: cursor });
      this.#tellHold(hold);
      if (hold.spoken && !statement) this.#unsay(hold);
    }
    this.#settled(hold);
  }

  /** A new token does not allow what the old one did. */
  #withdrawn(room, user, refusal) {
    const hold = user && this.#wants.get(room, user);
    if (hold) this.#end(hold, refusal);
    else if (!user) this.#election.tell({ refused: { room, refusal } });
  }

  #refused(asked, refusal, mayRetry) {
    const { room, hold, join, ref } = asked;
    const retry = mayRetry || FULL.includes(refusal.code); // there may be place by then
    if (hold) {
      if (this.#wants.get(hold.room, hold.user) !== hold) return;
      if (retry && !join) this.#reply(asked.one ?? {}, 0, refusal);
      else if (retry) this.#tellHold(hold, { refusal });
      // Whatever was said since is the last word, and under way.
      if (retry && (join || ref === hold.said)) this.#again(hold, join);
      else if (!retry) this.#takeBack(asked, refusal);
    } else if (room) {
      this.#election.tell({ refused: { room, refusal } });
      const feed = this.#feeds.get(room);
      if (feed && retry) this.#later(++feed.failures, () => this.#feeds.get(room) === feed && this.#subscribe(feed));
    }
  }

  /** What is refused for good is not said again, and costs no hold that there was before. */
  #takeBack({ hold, join, one, n, word, ref }, refusal) {
    const { code } = refusal;
    if (!join && code === 'not_joined') {
      if (!hold.asking) this.#join(hold);
      return;
    }
    if (one) {
      if (one.good === word) one.good = null;
      if (one.n === n) one.word = one.good;
      this.#reply(one, n, refusal);
    }
    if (join && !(one && hold.had && code.startsWith('bad_'))) return this.#end(hold, refusal);
    if (ref === hold.said) hold.statement = join ? null : hold.good;
    if (!join) this.#settle(hold);
    else {
      this.#wants.settle(hold);
      this.#join(hold);
    }
    this.#settled(hold);
  }

  /** Answers those who said nothing that is under way. */
  #settled(hold) {
    for (const one of hold.by.values()) {
      const isUnderWay = this.#asked.has(one.ref) || (hold.waiting && hold.speaker === one);
      if (hold.held && one.open && !isUnderWay) this.#reply(one, one.n);
    }
  }

  /** Says again what the tabs say by then. */
  #again(hold, join) {
    if (hold.waiting) return;
    hold.asking += 1;
    const work = () => {
      Object.assign(hold, { asking: hold.asking - 1, waiting: null });
      if (this.#wants.get(hold.room, hold.user) !== hold) return;
      if (join) this.#join(hold);
      else this.#update(hold);
    };
    hold.waiting = this.#later(++hold.failures, work);
  }

  #later(failures, work) {
    return setTimeout(() => this.#closed || work(), delay(failures));
  }

  /* What tabs are told. */

  #end(hold, refusal, gone) {
    const { had, user } = hold;
    const code = had && ENDED.includes(refusal?.code) && refusal.code;
    hold.held = false;
    this.#wants.end(hold);
    this.#tellHold(hold, { over: true, ...(code ? { gone: { user, reason: code, at: '' } } : { refusal, gone }) });
  }

  #tellHold({ room, user, client, held, spoken }, more) {
    this.#election.tell({ seats: ['hold', { room, user, client, held, spoken, ...more }] });
  }

  #reply(one, n, refusal) {
    if (one.n === n) one.open = false;
    this.#election.tell({ to: one.tab, seats: ['answer', { id: one.id, n, refusal }] });
  }

  #tellLine(tab) {
    this.#election.tell({ to: tab, line: this.#line.status });
  }
}
