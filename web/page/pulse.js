/** How long a step of the chart is, and how many of them there are: five minutes. */
export const STEP_MS = 5_000;
export const STEPS = 60;
/** A chart of less than a minute would be all corners. */
export const LEAST = 12;

/** Members, and who came and left, in each of the last steps. Time is an argument, as timers of hidden tabs come late. */
export class Pulse {
  #steps = [];
  #count = null;

  /** The room has `count` members at `now`, of which `came` and `left` are new since it was last said. */
  tell(now, count, came = 0, left = 0) {
    this.#advance(now);
    const step = this.#steps.at(-1);
    step.members = this.#count = count;
    step.came += came;
    step.left += left;
  }

  /** Steps up to `now` as columns, oldest first: those since the page came, and before them nulls up to a minute. */
  columns(now) {
    this.#advance(now);
    const lacking = Array.from({ length: Math.max(0, LEAST - this.#steps.length) }, () => ({ members: null, came: null, left: null }));
    const steps = [...lacking, ...this.#steps];
    const last = this.#steps.at(-1).at;
    return {
      time: steps.map((_, i) => ((last - (steps.length - 1 - i)) * STEP_MS) / 1000),
      members: steps.map(({ members }) => members),
      came: steps.map(({ came }) => came),
      left: steps.map(({ left }) => left),
    };
  }

  /** Who came and who left within all steps. */
  sums(now) {
    this.#advance(now);
    const sum = (of) => this.#steps.reduce((all, step) => all + step[of], 0);
    return { came: sum('came'), left: sum('left') };
  }

  #advance(now) {
    const at = Math.floor(now / STEP_MS);
    const last = this.#steps.at(-1)?.at ?? at - 1;
    for (let next = Math.max(last + 1, at - STEPS + 1); next <= at; next++) {
      this.#steps.push({ at: next, members: this.#count, came: 0, left: 0 });
    }
    this.#steps.splice(0, Math.max(0, this.#steps.length - STEPS));
  }
}
