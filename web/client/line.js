import { Auth } from './auth.js';
import { pause } from './delay.js';
import { Session } from './session.js';
import { Watch } from './watch.js';
import { websocket } from './websocket.js';
import { AWAY, RESTART } from './wire.js';

/** Connections that lasted this long were good: the next try comes quickly again. */
const GOOD_MS = 10_000;
/** A proxy may swallow an upgrade without a word. */
const OPEN_MS = { websocket: 5_000, sse: 15_000 };
/** Within the grace an opening may take so much longer than the last one: a packet is sent again after 1 s. */
const OUTAGE_MS = 1_500;
/** One of so many tries within the grace opens a WebSocket at once. */
const DIRECT = 3;
/** WebSockets worked here before: failures for so long, and no shorter than the grace, speak of the gateway and not of a proxy. */
const TRUST_MS = 3_000;
/** Some proxies let WebSockets open and cut them at once. After three in a row that were as brief, sessions are used for a while. */
const BRIEF_MS = 3_000;
const BRIEF = 3;
const SHUN_MS = 600_000;
/** The silence after which a gateway is asked whether it is there, unless its `hello` says another. */
const SILENCE_MS = 25_000;
/** How long the replaced connection of a page waits for the news that another tab leads, before it takes it for a refusal. */
const REPLACED_MS = 1_000;
/** Replaced a second time in so long: somebody else has the same id. */
const TWICE_MS = 60_000;
/** A gateway that stops says when to return, at once or later; nobody waits longer than this for it. */
const SOON_MS = 10;
const TOLD_MS = 60_000;
/** Ends whose reason is a refusal for now. */
const LATER = [1006, 1013];
/** The name of the question whether the gateway is there. */
const THERE = 'there';

/** Until when this page uses no WebSockets. It is not stored: the next page may be on another network. */
let shunned = 0;

export const status = (state, more) => ({ state, transport: '', retryAt: 0, refusal: null, ...more });

/** One connection of one user, kept for as long as it is wanted. Timers only choose when to try again. */
export class Line {
  status = status('connecting');
  #base;
  #mode;
  #to;
  #whose;
  #auth = null;
  /** The user whose connection it is, as far as known: another's is not used. */
  #user;
  #link = null;
  /** Whether the link has brought a frame, and whether it may be used. */
  #met = false;
  #open = false;
  #kind = '';
  #proven = false;
  #begun = 0;
  /** How long the last opening took. */
  #took = 0;
  /** When the gateway was lost and how long tries were put off since, until a connection lasts; the grace of its `hello`. */
  #since = 0;
  #waited = 0;
  #tries = 0;
  #grace = 0;
  /** When to return, after the gateway said so. */
  #told = 0;
  /** How many WebSockets in a row ended as soon as they were open. */
  #brief = 0;
  #timer;
  #watch = null;
  /** When it was replaced last. */
  #replaced = 0;

  /** `whose` has a `token` and the `user` of it, if any. `to` hears `open()`, `frame(frame)` and `status(status)`. */
  constructor(base, mode, whose, to) {
    this.#base = base;
    this.#mode = mode;
    this.#whose = whose;
    this.#user = whose.user;
    this.#to = to;
    if (whose.token === undefined) return;
    this.#auth = new Auth(whose, {
      say: (message) => this.#link.send(message),
      ready: (sub) => this.#authed(sub),
      denied: (refusal) => this.#denied(refusal),
      refused: (refusal) => this.#refuse(refusal),
      failed: () => this.#again(),
    });
  }

  start() {
    this.#watch = new Watch(SILENCE_MS, {
      ask: () => this.#met && this.send({ action: 'alive', ref: THERE }),
      lost: () => (this.#met && this.#open ? this.#again() : this.#watch.heard()),
    });
    this.#connect();
  }

  close(code) {
    this.#watch.end();
    this.#watch = null;
    this.#drop(code, true);
  }

  /** False while there is no connection; the next one begins with all that is wanted. */
  send(message) {
    if (this.#open) this.#link.send(message);
    return this.#open;
  }

  retry() {
    this.#fresh();
    this.#auth?.forget();
    this.#user = this.#whose.user;
    this.#drop(AWAY);
    this.#connect();
  }

  /** The network that comes back may be another one, on which the old connection hangs unnoticed. */
  renew() {
    if (this.status.state === 'refused') return;
    this.#fresh();
    this.#again();
  }

  /** A good moment to see whether the connection is still there. */
  hurry() {
    if (this.status.state === 'waiting') this.renew();
    else this.#watch.ask();
  }

  /** Starts over, since what came can't be read or doesn't follow. */
  distrust(error) {
    console.error('Presently: starting over:', error);
    this.#again();
  }

  #connect(kind = this.#kindNow()) {
    this.#tell(status('connecting'));
    if (!this.#watch) return; // closed by one who was told
    this.#watch.heard();
    this.#begun = Date.now();
    this.#met = false;
    // Every third try asks nobody first, as a page's policy may allow WebSockets only.
    const asks = this.#inTime() && this.#tries++ % DIRECT > 0;
    // Within the grace there is time for several tries, also where what was sent into the outage is never answered.
    const patience = this.#inTime() ? OUTAGE_MS + 4 * this.#took : OPEN_MS[kind];
    this.#timer = setTimeout(() => this.#lost(1006, '', kind), Math.min(patience, OPEN_MS[kind]));
    let link;
    const mine = (work) => (...args) => this.#link === link && work(...args);
    const to = {
      alive: mine(() => this.#watch.heard(false)),
      open: mine(() => (this.#auth ? this.#auth.begin(kind === 'websocket') : this.#opened())),
      frame: mine((frame) => this.#frame(frame, kind)),
      lost: mine((code, reason, message) => this.#lost(code, reason, kind, message)),
      distrust: mine((error) => this.distrust(error)),
    };
    try {
      link = kind === 'sse' ? new Session(this.#base, to) : websocket(this.#base, to, asks);
      this.#link = link;
    } catch {
      this.#lost(1006, '', kind); // a WebSocket that the page's policy forbids
    }
  }

  #kindNow() {
    const isShunned = this.#mode === 'auto' && Date.now() < shunned;
    return this.#mode === 'sse' || isShunned || !globalThis.WebSocket ? 'sse' : 'websocket';
  }

  #opened() {
    this.#open = true;
    this.#to.open();
  }

  #frame(frame, kind) {
    this.#watch.heard(frame.ref === THERE);
    if (!this.#met) this.#meet(kind);
    if (frame.action === 'hello' && !this.#greeted(frame)) return;
    if (frame.ref === THERE || this.#auth?.take(frame)) return;
    if (frame.action === 'alive' && frame.ask) this.send({ action: 'alive' });
    this.#to.frame(frame);
  }

  #meet(kind) {
    clearTimeout(this.#timer);
    this.#met = true;
    this.#took = Date.now() - this.#begun;
    this.#kind = kind;
    this.#proven ||= kind === 'websocket';
    if (this.#auth) this.#auth.begin(true);
    else this.#tell(status('live', { transport: kind }));
  }

  /** Without a token of its own it is the user's of the page's cookie, and never by accident nobody's. */
  #greeted({ silence = SILENCE_MS, grace = 0, sub, auth }) {
    this.#watch.silence = silence;
    this.#grace = grace;
    if (!this.#auth && (auth || (this.#user && !sub))) {
      this.#refuse({ code: 'token_missing', message: 'The gateway asks for a token.' });
      return false;
    }
    return this.#isOf(sub);
  }

  /** Whether the user of this connection may be `sub`. */
  #isOf(sub) {
    const user = this.#user || sub;
    if (sub && sub !== user) {
      this.#refuse({ code: 'wrong_user', message: `The connection is ${sub}'s, and not ${user}'s.` });
      return false;
    }
    this.#user = user;
    return true;
  }

  /** The first token of a link opens it, and others renew it. */
  #authed(sub) {
    if (!this.#isOf(sub) || this.#open) return;
    this.#opened();
    this.#tell(status('live', { transport: this.#kind }));
  }

  #lost(code, reason, kind, message = `The gateway closed with ${code}.`) {
    const silent = !this.#met && code === 1006;
    if (code >= 4400 && code < 4500) {
      this.#denied({ code: reason, message });
      return;
    }
    if (kind === 'websocket' && this.#met) this.#judge(code);
    if (code === RESTART) {
      this.#grace = 0; // the holds of before may be gone, and there is nothing to be in time for
      const ms = parseInt(reason.slice(9), 10);
      if (ms >= 0) this.#told = Date.now() + Math.min(Math.max(ms, SOON_MS), TOLD_MS);
    }
    this.#drop(AWAY);
    if (silent && kind === 'websocket' && this.#mode === 'auto' && this.#blocked()) this.#connect('sse');
    else this.#again(reason && LATER.includes(code) ? { code: reason, message } : null);
  }

  #judge(code) {
    const isBrief = code <= 1006 && Date.now() - this.#begun < BRIEF_MS;
    this.#brief = isBrief ? this.#brief + 1 : 0;
    if (this.#brief < BRIEF) return;
    shunned = Date.now() + SHUN_MS;
    this.#brief = 0;
  }

  /** A token that is over is replaced, at once if it had been good. One that came too late is shown on another link. */
  #denied(refusal) {
    const { code, retry } = refusal;
    if (this.#auth && code === 'token_expired') {
      const atOnce = this.#auth.expire();
      this.#drop(AWAY);
      if (atOnce) this.#connect();
      else this.#again();
    } else if (this.#auth && (retry || code === 'token_missing')) {
      this.#again();
    } else if (code === 'replaced') {
      // An own opening that was given up may have arrived late, but not twice.
      const [last, now] = [this.#replaced, Date.now()];
      this.#replaced = now;
      this.#drop(AWAY);
      this.#timer = setTimeout(() => (now - last < TWICE_MS ? this.#refuse(refusal) : this.#again()), REPLACED_MS);
    } else {
      this.#refuse(refusal);
    }
  }

  #refuse({ code, message }) {
    this.#drop(AWAY);
    this.#tell(status('refused', { refusal: { code, message } }));
  }

  /** Whether a proxy that breaks upgrades may be why; where they worked, many failures say the gateway is down. */
  #blocked() {
    return !this.#proven || Date.now() - this.#since > Math.max(TRUST_MS, this.#grace);
  }

  #again(refusal = null) {
    this.#drop(AWAY);
    const now = Date.now();
    if (this.status.state === 'live' && now - this.#begun > GOOD_MS) this.#fresh();
    this.#since ||= Math.max(now, this.#told);
    let wait = this.#told - now;
    if (wait <= 0) {
      // Whoever is back within the grace was never away.
      wait = pause(this.#waited, this.#inTime() ? this.#grace / 8 : undefined);
      this.#waited += wait;
    }
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell(status('waiting', { retryAt: now + wait, refusal }));
  }

  /** The next loss is the first one. */
  #fresh() {
    this.#since = this.#waited = this.#tries = 0;
  }

  #inTime() {
    return Date.now() - this.#since < this.#grace;
  }

  #drop(code, isLast) {
    clearTimeout(this.#timer);
    this.#auth?.end();
    const link = this.#link;
    this.#link = null;
    this.#open = false;
    link?.close(code, isLast);
  }

  #tell(now) {
    this.status = now;
    this.#to.status(now);
  }
}
