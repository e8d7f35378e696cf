import { Plot, ceiling } from './plot.js';
import { STEPS } from './pulse.js';
import { put } from './row.js';
import { number } from './words.js';

/** Where each step begins, and the end of the last. */
const PLACES = Array.from({ length: STEPS + 1 }, (_, i) => i);
/** Where bars stand: in the middle of their step. */
const MIDDLES = PLACES.slice(1).map((i) => i - 0.5);
/** A line for each minute. */
const MINUTES = [1, 2, 3, 4].map((minute) => (minute * STEPS) / 5);

/** The scales of both plots, and an axis with labels at the ends and the middle of the y scale. */
function frame(colour, range) {
  const grid = { stroke: colour('--line'), width: 1 };
  return {
    padding: [6, 1, 6, 0],
    scales: { x: { time: false, range: [0, STEPS] }, y: { range } },
    axes: [
      { size: 0, splits: () => MINUTES, values: () => [], ticks: { show: false }, grid },
      { size: wide, gap: 4, splits: thirds, values: numbers, ticks: { show: false }, grid, stroke: colour('--muted'), font: colour('--font') },
    ],
  };
}

const thirds = (_plot, _axis, least, most) => [least, (least + most) / 2, most];
const numbers = (_plot, values) => values.map((value) => number(Math.abs(value)));
/** As wide as the longest number. */
const wide = (_plot, values) => 10 + 7 * Math.max(1, ...(values ?? []).map(({ length }) => length));

/** A line of members on an axis from 0. Its last value reaches to the end of its step. */
function overall(Library, colour) {
  const [stroke, fill] = [colour('--accent'), colour('--veil')];
  const paths = Library.paths.stepped({ align: 1 });
  const line = { stroke, fill, width: 2, paths, points: { show: false } };
  return { ...frame(colour, (_plot, _least, most) => [0, ceiling(most ?? 0)]), series: [{}, line] };
}

/** Bars of who came, upwards from the middle, and of who left, downwards. */
function flowing(Library, colour) {
  const bar = (name) => ({ fill: colour(name), width: 0, paths: Library.paths.bars({ size: [0.7] }), points: { show: false } });
  const range = (_plot, least, most) => {
    const end = ceiling(Math.max(most ?? 0, -(least ?? 0)));
    return [-end, end];
  };
  return { ...frame(colour, range), series: [{}, bar('--came'), bar('--left')] };
}

/** What the plots take of `columns`: those of the line, and those of the bars. */
export function data({ members, came, left }) {
  const down = left.map((value) => (value === null ? null : -value));
  return [[PLACES, [...members, members.at(-1)]], [MIDDLES, came, down]];
}

/** Members as a line from 0, and below it who came and left as bars with a scale of their own. */
export class Chart {
  #element;
  #plots;

  constructor(element) {
    this.#element = element;
    const [over, flow, times] = ['over', 'flow', 'times'].map(div);
    times.append(...['5 min ago', '4', '3', '2', '1', 'now'].map(span));
    element.append(over, flow, times);
    this.#plots = [new Plot(over, overall), new Plot(flow, flowing)];
  }

  show(columns, sums) {
    const plotted = data(columns);
    this.#plots.forEach((plot, i) => plot.show(plotted[i]));
    const label = described(columns.members, sums);
    if (this.#element.ariaLabel !== label) this.#element.ariaLabel = label;
  }
}

function described(members, { came, left }) {
  const known = members.filter((value) => value !== null);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const range = known.length === 0 ? 'not known' : least === most ? `${most}` : `between ${least} and ${most}`;
  return `Members over the last five minutes: ${range}; ${came} came, ${left} left.`;
}

/** Shows how many came and left beside the chart. */
export function sums({ came, left }) {
  put(document.getElementById('came'), number(came));
  put(document.getElementById('left'), number(left));
}

function div(name) {
  const element = document.createElement('div');
  element.className = name;
  return element;
}

function span(text) {
  const element = document.createElement('span');
  element.textContent = text;
  return element;
}
