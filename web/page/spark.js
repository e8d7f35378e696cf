import { Plot, ceiling } from './plot.js';
import { course } from './words.js';

/** How far back a sparkline goes. */
const SPAN_MS = 300_000;
/** Two values further apart than this have a gap between them: nobody looked. */
const GAP_MS = 15_000;

/** The `samples` of `{ at, value }` as columns, with a gap after each long time. */
export function columns(samples, now) {
  const [times, values] = [[], []];
  samples.forEach(({ at, value }, i) => {
    if (i && at - samples[i - 1].at > GAP_MS) {
      times.push((samples[i - 1].at + at) / 2 - now);
      values.push(null);
    }
    times.push(at - now);
    values.push(value);
  });
  return [times, values];
}

const none = { show: false };

function line(_library, colour) {
  return {
    padding: [2, 1, 2, 1],
    scales: { x: { time: false, range: [-SPAN_MS, 0] }, y: { range: (_plot, _least, most) => [0, ceiling(most ?? 0)] } },
    axes: [none, none],
    series: [{}, { stroke: colour('--accent'), width: 1.5, points: none }],
  };
}

/** One number's last five minutes as a line behind its place in a list. */
export class Spark {
  #name;
  #told;
  #figure = document.createElement('span');
  #plot;
  #samples = [];

  /** `told(value)` says a value in words. */
  constructor(place, name, told) {
    this.#name = name;
    this.#told = told;
    this.#figure.className = 'trace';
    this.#figure.setAttribute('role', 'img');
    this.#figure.setAttribute('aria-label', name);
    place.append(this.#figure);
    this.#plot = new Plot(this.#figure, line);
  }

  /** Null is not known. */
  add(now, value) {
    this.#samples = [...this.#samples.filter(({ at }) => now - at < SPAN_MS), { at: now, value }];
    this.#plot.show(columns(this.#samples, now));
    const values = this.#samples.map((sample) => sample.value);
    this.#figure.setAttribute('aria-label', course(this.#name, values, this.#told));
  }
}
