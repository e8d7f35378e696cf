import { delay } from './delay.js';
import { Line } from './line.js';
import { Wants } from './wants.js';
import { AWAY, ENDED, reached, sameEpoch } from './wire.js';

/**
 * The tab that has the line. It does what tabs ask, and tells them: how the `line` is, frames, and what became of a `hold`
 * or was `refused`. A frame says the cursor it is `from`, so that a tab that missed one notices.
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

  /* What tabs ask. */

  serve(ask) {
    this.#meet(ask.tab);
    if (ask.ask === 'watch') this.#watch(ask);
    if (ask.ask === 'unwatch' && this.#wants.unwatch(ask.tab, ask.room)) this.#unwatched(ask.room);
    if (ask.ask === 'join') this.#serveJoin(ask);
    if (ask.ask === 'leave') this.#serveLeave(ask);
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

  #serveLeave({ id, room, user }) {
    const hold = this.#wants.leave(id, room, user);
    if (hold) this.#left(hold);
  }

  /** What is left of a hold when somebody wants it no more: nothing, or what the others say. */
  #left(hold) {
    if (hold.by.size) this.#settle(hold);
    else this.#say({ action: 'leave', room: hold.room, user: hold.user });
  }

  #watch({ tab, room, cursor }) {
    const feed = this.#feeds.of(room);
    const { members } = feed;
    this.#tellLine(tab);
    if (feed.refusal) this.#election.tell({ to: tab, refused: { room, refusal: feed.refusal } });
    if (this.#wants.watch(tab, room)) {
      members.cursor ||= cursor; // the place is enough to pass events on
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

  #subscribe({ room, members }) {
    this.#say({ action: 'subscribe', room, since: members.since || undefined }, { room });
  }

  #unwatched(room) {
    this.#feeds.delete(room);
    this.#say({ action: 'unsubscribe', room });
  }

  #serveJoin(ask) {
    const { hold, fresh } = this.#wants.join(ask);
    if (fresh) this.#join(hold);
    else this.#settle(hold, ask.anew && ask.id);
    if (hold.held) this.#tellHold(hold, true);
  }

  /** Says what the tabs say now, if it is another statement than before, or if its speaker is `anew`, who says it anew. */
  #settle(hold, anew) {
    const changed = this.#wants.settle(hold);
    if ((changed || (anew && anew === hold.speaker)) && !hold.waiting) this.#update(hold);
  }

  #join(hold) {
    const { room, user, client, statement } = hold;
    this.#say({ action: 'join', room, user, client, ...statement }, { hold, join: true });
  }

  #update({ room, user, statement }) {
    this.#say({ action: 'update', room, user, ...statement }, { hold: this.#wants.get(room, user) });
  }

  #say(message, about) {
    const ref = this.#refs + 1;
    if (!this.#line.send({ ...message, ref })) return;
    this.#refs = ref;
    if (!about) return;
    this.#asked.set(ref, about);
    if (about.hold) Object.assign(about.hold, { said: ref, asking: about.hold.asking + 1 });
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
    const feed = this.#feeds.get(frame.room);
    if (!feed) return null;
    const from = feed.members.cursor;
    const done = feed.apply(frame, (error) => this.#line.distrust(error));
    if (!done) return null;
    // Copying a large set costs, so that it is only done for somebody.
    if (this.#wants.watchedByOthers(this.#election.id, feed.room)) {
      this.#election.post({ room: feed.room, frame: done.whole, from });
    }
    for (const event of done.events) this.#follow(feed.room, event, done.whole.cursor);
    if (done.whole.action === 'snapshot') this.#missed(feed, done.whole);
    return feed.applied(done.events);
  }

  /** A hold that others ended is not taken up again. */
  #follow(room, { type, detail }, cursor) {
    const hold = this.#wants.get(room, detail.user);
    if (type === 'del' && ENDED.includes(detail.reason) && hold?.held && !reached(hold.since, cursor)) this.#end(hold);
  }

  /** The gateway forgot a hold if a snapshot of after the join lacks its user: they join again. */
  #missed({ room, members }, { cursor }) {
    for (const hold of this.#wants.holds.values()) {
      const isMissing = hold.room === room && hold.held && !hold.asking && !members.map.has(hold.user);
      const isLater = !sameEpoch(cursor, hold.since) || reached(cursor, hold.since);
      if (isMissing && isLater) this.#join(hold);
    }
  }

  #answer({ action, ref, cursor = '', code, message, retry, room, user }) {
    const asked = this.#asked.get(ref) ?? {};
    if (ref === undefined && room) return this.#withdrawn(room, user, { code, message });
    const { hold } = asked;
    this.#asked.delete(ref);
    if (hold) hold.asking -= 1;
    if (action === 'refused') this.#refused({ ...asked, ref }, { code, message }, retry);
    else if (hold) {
      hold.failures = 0;
      if (!asked.join) return;
      Object.assign(hold, { held: true, since: cursor });
      this.#tellHold(hold, true);
    }
  }

  /** A new token does not allow what the old one did. */
  #withdrawn(room, user, refusal) {
    const hold = user && this.#wants.get(room, user);
    if (hold) this.#end(hold, refusal);
    else if (!user) this.#election.tell({ refused: { room, refusal } });
  }

  #refused({ room, hold, join, ref }, refusal, retry) {
    if (hold && retry) {
      // Whatever was said since is the last word, and under way.
      if (join || ref === hold.said) this.#again(hold, join);
    } else if (hold && join) {
      this.#end(hold, refusal);
    } else if (hold) {
      this.#tellHold(hold, true, refusal);
    } else if (room) {
      this.#election.tell({ refused: { room, refusal } });
      const feed = this.#feeds.get(room);
      if (feed && retry) this.#later(++feed.failures, () => this.#feeds.get(room) === feed && this.#subscribe(feed));
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

  #end(hold, refusal) {
    this.#wants.end(hold);
    this.#tellHold(hold, false, refusal);
  }

  #tellHold({ room, user }, held, refusal = null) {
    this.#election.tell({ hold: { room, user, held, refusal } });
  }

  #tellLine(tab) {
    this.#election.tell({ to: tab, line: this.#line.status });
  }
}
