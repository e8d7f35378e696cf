import { ceiling, path, svg } from './svg.js';
import { course } from './words.js';

/** How far back a sparkline goes. */
const SPAN_MS = 300_000;
/** Two values further apart than this have a gap between them: nobody looked. */
const GAP_MS = 15_000;
const [WIDE, HIGH] = [100, 24];

/** The line through `samples` of `{ at, value }` on an axis from 0 to `top`; null is a gap, and so is a long time. */
export function trace(samples, now, top) {
  let last = null;
  const parts = samples.map(({ at, value }) => {
    const joins = last !== null && at - last <= GAP_MS;
    last = value === null ? null : at;
    if (value === null) return '';
    const x = (WIDE * (1 - (now - at) / SPAN_MS)).toFixed(2);
    const y = (HIGH * (1 - value / top)).toFixed(2);
    return joins ? `L${x} ${y}` : `M${x} ${y}h0.01`;
  });
  return parts.join('');
}

/** One number's last five minutes as a line behind its place in a list. */
export class Spark {
  #name;
  #told;
  #figure;
  #draw;
  #samples = [];

  /** `told(value)` says a value in words. */
  constructor(place, name, told) {
    this.#name = name;
    this.#told = told;
    this.#figure = svg(WIDE, HIGH);
    this.#figure.removeAttribute('aria-hidden');
    this.#figure.setAttribute('role', 'img');
    this.#figure.setAttribute('aria-label', name);
    path(this.#figure, 'base')(`M0 ${HIGH}H${WIDE}`);
    this.#draw = path(this.#figure, 'trace');
    place.append(this.#figure);
  }

  /** Null is not known. */
  add(now, value) {
    this.#samples = [...this.#samples.filter(({ at }) => now - at < SPAN_MS), { at: now, value }];
    const values = this.#samples.map((sample) => sample.value);
    this.#draw(trace(this.#samples, now, ceiling(Math.max(0, ...values))));
    this.#figure.setAttribute('aria-label', course(this.#name, values, this.#told));
  }
}
