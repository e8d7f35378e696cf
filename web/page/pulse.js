/** How long a step of the chart is, and how many of them there are: five minutes. */
export const STEP_MS = 5_000;
export const STEPS = 60;
/** After so many steps without a word nothing is known of them: the tab slept, or the gateway was out of reach. */
const SILENT = 3;

const UNKNOWN = { members: null, came: null, left: null };

/**
 * Members, and who came and left, in each of the last steps; null where nothing is known. Time is an argument, as timers
 * of hidden tabs come late.
 */
export class Pulse {
  #steps = [];
  #count = null;

  /** The room has `count` members at `now`, of which `came` and `left` are new since it was last said. */
  tell(now, count, came = 0, left = 0) {
    this.#advance(now);
    this.#count = count;
    const step = this.#steps.at(-1);
    step.members = count;
    step.came += came;
    step.left += left;
  }

  /** Nothing is known from now on, until it is told again. */
  lapse(now) {
    this.#advance(now);
    this.#count = null;
  }

  /**
   * Puts in what the room's history says: it has `count` members after all `events`, of which none after the time `from`
   * is missing. What was told before is then told twice, and gives way.
   */
  recall(now, { count, from, events }) {
    this.#advance(now);
    const last = this.#steps.at(-1).at;
    let members = count;
    let next = events.length - 1;
    for (let at = last; at > last - STEPS && (at + 1) * STEP_MS > from; at--) {
      const step = { at, members, came: 0, left: 0 };
      for (; next >= 0 && Math.floor(events[next].at / STEP_MS) >= at; next--) {
        const { action } = events[next];
        step.came += Number(action === 'add');
        step.left += Number(action === 'del');
        members += Number(action === 'del') - Number(action === 'add');
      }
      this.#set(step);
    }
    this.#count = count;
  }

  /** Steps up to `now` as columns, oldest first. */
  columns(now) {
    this.#advance(now);
    const last = this.#steps.at(-1).at;
    const by = new Map(this.#steps.map((step) => [step.at, step]));
    const steps = Array.from({ length: STEPS }, (_, i) => by.get(last - STEPS + 1 + i) ?? UNKNOWN);
    return {
      members: steps.map(({ members }) => members),
      came: steps.map(({ came }) => came),
      left: steps.map(({ left }) => left),
    };
  }

  /** Who came and who left within all steps. */
  sums(now) {
    this.#advance(now);
    const sum = (of) => this.#steps.reduce((all, step) => all + (step[of] ?? 0), 0);
    return { came: sum('came'), left: sum('left') };
  }

  #set(step) {
    const i = this.#steps.findIndex(({ at }) => at >= step.at);
    this.#steps.splice(i, this.#steps[i].at === step.at ? 1 : 0, step);
  }

  #advance(now) {
    const at = Math.floor(now / STEP_MS);
    const last = this.#steps.at(-1)?.at ?? at - 1;
    const known = this.#count !== null && at - last <= SILENT;
    for (let next = Math.max(last + 1, at - STEPS + 1); next <= at; next++) {
      this.#steps.push(known ? { at: next, members: this.#count, came: 0, left: 0 } : { at: next, ...UNKNOWN });
    }
    this.#steps.splice(0, this.#steps.findIndex((step) => step.at > at - STEPS));
  }
}
