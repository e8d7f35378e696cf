/** Interval of the looks at what is watched. */
const TICK_MS = 1_000;
/** A look that comes this late says that the page did not run. */
const GAP_MS = 3_000;
/** The looks after a question at which an answer may still be on its way: the next one, after 3 s, is too late. */
const CHANCES = 2;

/**
 * Watches somebody who should be heard of. After `silence` ms without a word, or when this page did not run for a while, it
 * asks `to.ask()`, and tells `to.lost()` where no answer comes for 3 s in which the page runs. Looks are counted and not
 * only the time, since a page that was stopped has to read first what came meanwhile.
 */
export class Watch {
  silence;
  #to;
  #timer;
  #ticked;
  #heard;
  #quiet;
  #asked = false;

  constructor(silence, to) {
    this.silence = silence;
    this.#to = to;
    this.heard();
    this.#tick();
  }

  /** Somebody was heard of, be it a word of before the question or the `answer`. */
  heard(answer = true) {
    this.#heard = Date.now();
    this.#quiet = 0;
    if (answer) this.#asked = false;
  }

  ask() {
    if (this.#asked) return;
    this.#asked = true;
    this.#quiet = 0;
    this.#tick();
    this.#to.ask();
  }

  end() {
    clearTimeout(this.#timer);
  }

  #tick() {
    this.end();
    this.#ticked = Date.now();
    this.#timer = setTimeout(() => this.#look(), TICK_MS);
  }

  #look() {
    const now = Date.now();
    const late = now - this.#ticked > GAP_MS;
    this.#tick();
    if (!this.#asked) {
      if (late || now - this.#heard > this.silence) this.ask();
    } else if (this.#quiet < CHANCES) this.#quiet = late ? CHANCES : this.#quiet + 1;
    else this.#to.lost();
  }
}
