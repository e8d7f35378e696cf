const CLOSED = 2; // EventSource.CLOSED: it gave up and will not try again by itself

const BASE_MS = 1_000;
const CAP_MS = 30_000;

/** Full jitter: after a restart everybody comes back, but not all at once. */
export function delay(failures, random) {
  return random() * Math.min(CAP_MS, BASE_MS * 2 ** failures);
}

/**
 * A room's stream, kept open for as long as it is wanted.
 *
 * An EventSource reconnects by itself, with the last `id:` it saw, until a proxy's 502 or the like
 * makes it give up for good; from then on this does, with `since`. Timers only choose when to try
 * again: one that a hidden tab holds back makes the page late, never wrong.
 *
 * `state` is one of connecting, live, waiting (lost, and coming back), refused.
 */
export class Stream {
  #url;
  #to;
  #env;
  #source = null;
  #timer = null;
  #failures = 0;
  #refused = false;

  /** `to` hears `frame(frame)`, which may throw, `state(state, message)` and, then, `lost()`; it knows `cursor()`. */
  constructor(url, to, env = {}) {
    this.#url = url;
    this.#to = to;
    this.#env = {
      source: (address) => new EventSource(address),
      later: (work, ms) => setTimeout(work, ms),
      cancel: (timer) => clearTimeout(timer),
      random: Math.random,
      ...env,
    };
  }

  /** Opens the stream anew, whatever became of the one before. */
  open(state = 'connecting') {
    this.close();
    this.#to.state(state);
    this.#connect();
  }

  close() {
    this.#source?.close();
    this.#source = null;
    this.#env.cancel(this.#timer);
    this.#timer = null;
    this.#refused = false;
  }

  /** A good moment to try, when all there is to do is wait for the next attempt. */
  hurry() {
    if (this.#timer !== null) this.open('waiting');
  }

  #connect() {
    this.#timer = null;
    const since = this.#to.cursor();
    const source = this.#env.source(since ? `${this.#url}?since=${encodeURIComponent(since)}` : this.#url);
    this.#source = source;
    source.addEventListener('message', (event) => this.#frame(event.data));
    source.addEventListener('refused', (event) => this.#refuse(event.data));
    source.addEventListener('error', () => this.#lost());
  }

  #frame(data) {
    let frame;
    try {
      frame = JSON.parse(data);
      this.#to.frame(frame);
    } catch (error) {
      this.#distrust(error);
      return;
    }
    if (frame.last === false) return; // live once the set is whole
    this.#failures = 0;
    this.#refused = false;
    this.#to.state('live');
  }

  /** What can't be read or doesn't follow leaves a set that may be wrong: a snapshot puts it right. */
  #distrust(error) {
    console.error('Presently: starting over from a snapshot:', error);
    this.close();
    this.#to.lost();
    this.#to.state('waiting');
    this.#again();
  }

  #refuse(data) {
    const { message, retry } = JSON.parse(data);
    this.#refused = true;
    this.#to.state('refused', message);
    if (!retry) this.close();
  }

  /** The end of a refused stream is part of the refusal; the browser asks again in its own time. */
  #lost() {
    if (!this.#refused) this.#to.state('waiting');
    this.#refused = false;
    if (this.#source?.readyState === CLOSED) this.#again();
  }

  #again() {
    this.#source = null;
    this.#timer = this.#env.later(() => this.#connect(), delay(this.#failures, this.#env.random));
    this.#failures += 1;
  }
}
