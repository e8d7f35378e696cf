import { Auth } from './auth.js';
import { delay } from './delay.js';
import { Session } from './session.js';
import { websocket } from './websocket.js';
import { AWAY } from './wire.js';

/** Connections that lasted this long were good: the next try comes quickly again. */
const GOOD_MS = 10_000;
/** A proxy may swallow an upgrade without a word. */
const OPEN_MS = { websocket: 5_000, sse: 15_000 };
/** WebSockets worked here before: this many failures then speak of the gateway and not of a proxy. */
const TRUST = 3;
/** The gateway's default: it sends something every 10 s, and says so in its `hello`. */
export const SILENCE_MS = 25_000;
/** Interval of the looks for silence. */
export const LOOK_MS = 5_000;
/** Time to read what arrived while the page slept, before silence is judged. */
export const CHANCE_MS = 2_000;

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
  #failures = 0;
  #kind = '';
  #proven = false;
  #begun = 0;
  #heard = 0;
  #silence = SILENCE_MS;
  #timer;
  #looking;

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
    this.#looking = setInterval(() => this.look(), LOOK_MS);
    this.#connect();
  }

  close(code) {
    clearInterval(this.#looking);
    this.#looking = null;
    this.#drop(code);
  }

  /** False while there is no connection; the next one begins with all that is wanted. */
  send(message) {
    if (this.#open) this.#link.send(message);
    return this.#open;
  }

  retry() {
    this.#failures = 0;
    this.#auth?.forget();
    this.#user = this.#whose.user;
    this.#drop(AWAY);
    this.#connect();
  }

  /** The network that comes back may be another one, on which the old connection hangs unnoticed. */
  renew() {
    if (this.status.state === 'refused') return;
    this.#failures = 0;
    this.#again();
  }

  /** A good moment to see whether the connection is still there. */
  hurry() {
    if (this.status.state === 'waiting') this.renew();
    else this.look();
  }

  look() {
    const [link, heard] = [this.#link, this.#heard];
    if (!this.#open || Date.now() - heard < this.#silence) return;
    setTimeout(() => this.#link === link && this.#heard === heard && this.#again(), CHANCE_MS);
  }

  /** Starts over, since what came can't be read or doesn't follow. */
  distrust(error) {
    console.error('Presently: starting over:', error);
    this.#again();
  }

  #connect(kind = this.#mode === 'sse' || !globalThis.WebSocket ? 'sse' : 'websocket') {
    this.#tell(status('connecting'));
    if (!this.#looking) return; // closed by one who was told
    this.#begun = this.#heard = Date.now();
    this.#met = false;
    this.#timer = setTimeout(() => this.#lost(1006, '', kind), OPEN_MS[kind]);
    let link;
    const mine = (work) => (...args) => this.#link === link && work(...args);
    const to = {
      alive: mine(() => (this.#heard = Date.now())),
      open: mine(() => (this.#auth ? this.#auth.begin(kind === 'websocket') : this.#opened())),
      frame: mine((frame) => this.#frame(frame, kind)),
      lost: mine((code, reason, message) => this.#lost(code, reason, kind, message)),
      distrust: mine((error) => this.distrust(error)),
    };
    try {
      link = kind === 'sse' ? new Session(this.#base, to) : websocket(this.#base, to);
      this.#link = link;
    } catch {
      this.#lost(1006, '', kind); // a WebSocket that the page's policy forbids
    }
  }

  #opened() {
    this.#open = true;
    this.#to.open();
  }

  #frame(frame, kind) {
    this.#heard = Date.now();
    if (!this.#met) this.#meet(kind);
    if (frame.action === 'hello' && !this.#greeted(frame)) return;
    if (this.#auth?.take(frame)) return;
    if (frame.action === 'alive' && frame.ask) this.send({ action: 'alive' });
    this.#to.frame(frame);
  }

  #meet(kind) {
    clearTimeout(this.#timer);
    this.#met = true;
    this.#kind = kind;
    this.#proven ||= kind === 'websocket';
    if (this.#auth) this.#auth.begin(true);
    else this.#tell(status('live', { transport: kind }));
  }

  /** Without a token of its own it is the user's of the page's cookie, and never by accident nobody's. */
  #greeted({ silence, sub, auth }) {
    this.#silence = silence ?? SILENCE_MS;
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
    this.#drop(AWAY);
    if (silent && kind === 'websocket' && this.#mode === 'auto' && this.#blocked()) this.#connect('sse');
    else this.#again();
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
    return !this.#proven || this.#failures >= TRUST;
  }

  #again() {
    this.#drop(AWAY);
    if (this.status.state === 'live' && Date.now() - this.#begun > GOOD_MS) this.#failures = 0;
    const wait = delay(this.#failures);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell(status('waiting', { retryAt: Date.now() + wait }));
  }

  #drop(code) {
    clearTimeout(this.#timer);
    this.#auth?.end();
    const link = this.#link;
    this.#link = null;
    this.#open = false;
    link?.close(code);
  }

  #tell(now) {
    this.status = now;
    this.#to.status(now);
  }
}
