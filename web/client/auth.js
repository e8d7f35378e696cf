import { delay } from './delay.js';
import { complain } from './explain.js';
import { refusedError } from './promise.js';

/** How long `token()` may take, and then the gateway. */
const ASK_MS = 10_000;
/** The time before a token's end at which another is asked for; of a life shorter than SHORT_MS it is the last third. */
const AHEAD_MS = 30_000;
const SHORT_MS = 90_000;
/** The longest life of a token. */
const LONGEST_MS = 86_400_000;
/** A token that comes with almost no life left is not asked for anew at once. */
const SOONEST_MS = 1_000;

/** Names the answers to `auth`; those to all else are named by numbers. */
const REF = 'auth';

const instant = () => ({ wall: Date.now(), steady: performance.now() });

/** The time since `then`, by the clock that went further: one may stand still while the device sleeps, the other be set back. */
const passedSince = ({ wall, steady }) => Math.max(Date.now() - wall, performance.now() - steady);

/** The time after which a token of this life is renewed. */
function timeToRenewal(life) {
  const renew = life < SHORT_MS ? (life * 2) / 3 : Math.min(life, LONGEST_MS) - AHEAD_MS;
  return Math.max(SOONEST_MS, renew);
}

/** That there is no token to go on with: asking again would not help. */
const noToken = (code, message) => Object.assign(refusedError({ code, message }), { isFinal: true });

/**
 * Shows the gateway the user's token on each link, ahead of all else, and another before that one ends. There is one
 * question for a token at a time, whatever becomes of links meanwhile.
 */
export class Auth {
  #whose;
  #to;
  #link = null;
  #known = false;
  #busy = false;
  #asking = null;
  #sent = '';
  /** The token that was taken last, since when, and for how long. */
  #good = null;
  /** The token that was over when it was last shown. */
  #over = null;
  #failures = 0;
  #timer;

  /**
   * `whose.token` is the token, or a function that gives it. `to` hears what to `say(message)`, `ready(sub)` when a token
   * is taken, `denied(refusal)` when the gateway takes none, `refused(refusal)` when there is none, and `failed()` when there
   * is none for now.
   */
  constructor(whose, to) {
    this.#whose = whose;
    this.#to = to;
  }

  /** Begins on a new link. Nobody is asked for a token before the gateway is `reached`. */
  begin(reached) {
    this.#link ??= {};
    if (!this.#busy && !this.#known && (reached || this.#ready())) this.#show();
  }

  end() {
    clearTimeout(this.#timer);
    this.#link = null;
    this.#known = this.#busy = false;
  }

  /** Asks for another token next time, whatever was asked before. */
  forget() {
    this.#good = this.#asking = null;
  }

  /** Notes that the token is over. Whether it had been good, so that another may be shown at once. */
  expire() {
    const { token } = this.#good ?? {};
    const wasGood = this.#known || token === this.#sent;
    this.#over = this.#known ? token : this.#sent;
    this.#good = null;
    return wasGood;
  }

  /** Takes the frames that are about tokens; false for others. */
  take(frame) {
    if (frame.action === 'auth_expires') {
      this.#renew();
      return true;
    }
    this.#look();
    if (frame.ref !== REF) return false;
    this.#busy = false;
    clearTimeout(this.#timer);
    if (frame.action === 'ok') this.#taken(frame);
    else this.#refused(frame);
    return true;
  }

  #taken({ sub, expires_in: seconds }) {
    const renew = seconds === undefined ? 0 : timeToRenewal(seconds * 1_000);
    this.#good = { token: this.#sent, at: instant(), renew };
    this.#failures = 0;
    if (renew) this.#renewIn(renew);
    this.#known = true;
    this.#to.ready(sub);
  }

  /** A token that is not taken in place of one that is good ends nothing: that one goes on to its end. */
  #refused({ code, message, retry }) {
    if (!this.#known || code === 'wrong_user') {
      this.#to.denied({ code, message, retry });
      return;
    }
    complain(`the new token is refused: ${code}: ${message}`);
    this.#later();
  }

  /** Timers of hidden tabs come late, so that every frame is a moment to look. */
  #look() {
    if (this.#good?.renew && passedSince(this.#good.at) >= this.#good.renew) this.#renew();
  }

  #renewIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renew(), ms);
  }

  #later() {
    this.#failures += 1;
    this.#renewIn(Math.max(SOONEST_MS, delay(this.#failures)));
  }

  #renew() {
    const { token } = this.#good ?? {};
    if (!this.#known || this.#busy || this.#whose.token === token) return;
    this.#good = { ...this.#good, renew: 0 };
    this.#show(token);
  }

  /** Shows a token that may still be good, or asks for one: another than the `old` one, if that is given. */
  async #show(old) {
    const link = this.#link;
    this.#busy = true;
    try {
      const token = this.#ready(old) ?? (await this.#ask());
      if (this.#link !== link) return;
      if (token === old) throw new Error('token() gives the same token again');
      if (token === this.#over) throw noToken('token_expired', 'The token is over, and there is no other.');
      this.#sent = token;
      this.#timer = setTimeout(() => this.#to.failed(), ASK_MS);
      this.#to.say({ action: 'auth', token, ref: REF });
    } catch (error) {
      if (this.#link === link) this.#failed(error);
    }
  }

  /** A token that there is without asking, or null. It goes out with the first request of a session. */
  #ready(old) {
    const { token } = this.#whose;
    if (typeof token === 'string' && token) return token;
    const isGood = old === undefined && this.#good?.renew && passedSince(this.#good.at) < this.#good.renew;
    return isGood ? this.#good.token : null;
  }

  #ask() {
    if (this.#asking) return this.#asking;
    const asking = tokenFrom(this.#whose.token).finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  #failed(error) {
    this.#busy = false;
    if (error.isFinal) {
      this.#to.refused({ code: error.code, message: error.message });
      return;
    }
    complain('there is no token for now:', error);
    if (this.#known) this.#later();
    else this.#to.failed();
  }
}

/** What `token` gives in time. */
export async function tokenFrom(token) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('token() gave nothing for 10 s')), ASK_MS);
  });
  try {
    const given = await Promise.race([typeof token === 'function' ? token() : token, late]);
    if (typeof given === 'string' && given) return given;
    throw noToken('token_missing', 'token() gave no token.');
  } finally {
    clearTimeout(timer);
  }
}
