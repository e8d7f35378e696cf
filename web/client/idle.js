import { fits, said } from './judge.js';

const TOUCHES = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'visibilitychange'];
/** The time between two messages to other tabs. */
const OFTEN_MS = 1_000;

const page = globalThis.document;

/** Whether nobody has touched any tab of this browser for a while, and what is said then. */
export class Idle {
  is = false;
  #after;
  #word;
  #to;
  #touched = Date.now();
  #told = 0;
  #timer;

  /** `to` hears `touched(at)`, which is for all tabs, and `turned()`. */
  constructor({ after, meta }, to) {
    fits(after > 0, 'idle.after is a time in milliseconds');
    this.#after = after;
    this.#word = said(meta ?? null, -1);
    this.#to = to;
    this.#listen('add');
    this.hear(0);
  }

  /** What is said now of a user whose own word this is. */
  word(own) {
    return this.is ? { ...this.#word, at: Date.now() } : own;
  }

  /** A tab was touched. */
  hear(at) {
    this.#touched = Math.max(this.#touched, at);
    const left = this.#touched + this.#after - Date.now();
    const is = left <= 0;
    clearTimeout(this.#timer);
    if (!is) this.#timer = setTimeout(() => this.hear(0), left);
    if (is === this.is) return;
    this.is = is;
    if (is) this.#to.touched(this.#touched); // timers of hidden tabs come late
    this.#to.turned();
  }

  end() {
    clearTimeout(this.#timer);
    this.#listen('remove');
  }

  #listen(how) {
    for (const type of TOUCHES) page?.[`${how}EventListener`](type, this.#touch, { capture: true, passive: true });
  }

  #touch = () => {
    const now = Date.now();
    if (page.hidden) return;
    this.hear(now);
    if (now - this.#told < OFTEN_MS) return;
    this.#told = now;
    this.#to.touched(now);
  };
}
