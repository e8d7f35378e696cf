import { STEPS } from './pulse.js';
import { put } from './row.js';
import { ceiling, path, stretches, svg } from './svg.js';
import { number } from './words.js';

/** Of the drawing, whose place gives it its real height. */
const HIGH = 100;
/** Of a step's width, which a bar leaves free at each side. */
const FREE = 0.15;

const steps = (from, values, top) =>
  values.map((value, i) => `V${HIGH - (value / top) * HIGH}H${from + i + 1}`).join('');

/** The line of `members` on an axis from 0 to `top`, a step wide for each value; nothing where nothing is known. */
export function line(members, top) {
  const begin = ([from, values]) => `M${from} ${HIGH - (values[0] / top) * HIGH}${steps(from, values, top)}`;
  return stretches(members).map(begin).join('');
}

/** The same down to 0 and closed, to be filled. */
export function area(members, top) {
  return stretches(members).map(([from, values]) => `M${from} ${HIGH}${steps(from, values, top)}V${HIGH}Z`).join('');
}

/** Bars from the middle, upwards or downwards (`sign` -1 and 1), of a scale to `top`. */
export function bars(values, top, sign) {
  const middle = HIGH / 2;
  const wide = 1 - 2 * FREE;
  const bar = (value, i) => `M${i + FREE} ${middle}h${wide}v${(sign * value * middle) / top}h${-wide}Z`;
  return values.map((value, i) => (value ? bar(value, i) : '')).join('');
}

const GRID = Array.from({ length: 4 }, (_, i) => `M${((i + 1) * STEPS) / 5} 0v${HIGH}`).join('');

/** Members as a line from 0, and below it who came and left as bars with a scale of their own. */
export class Chart {
  #element;
  #draw = {};
  #labels = {};

  constructor(element) {
    this.#element = element;
    const halves = `M0 ${HIGH / 2}H${STEPS}M0 0H${STEPS}`;
    this.#panel('over', [['grid', GRID + halves], ['fill'], ['members'], ['base', `M0 ${HIGH}H${STEPS}`]]);
    this.#panel('flow', [['grid', GRID], ['came'], ['left'], ['base', `M0 ${HIGH / 2}H${STEPS}`]]);
    const times = div('times');
    times.append(...['5 min ago', '4', '3', '2', '1', 'now'].map((text) => span(text)));
    element.append(times);
  }

  /** A drawing with the numbers beside it: at its top, middle and bottom. */
  #panel(name, lines) {
    const axis = div('axis');
    this.#labels[name] = [span(''), span(''), span('')];
    axis.append(...this.#labels[name]);
    const drawing = svg(STEPS, HIGH);
    drawing.classList.add(name);
    for (const [of, d = ''] of lines) {
      this.#draw[of] = path(drawing, of);
      this.#draw[of](d);
    }
    this.#element.append(axis, drawing);
  }

  show({ members, came, left }, sums) {
    const known = members.filter((value) => value !== null);
    const top = ceiling(Math.max(0, ...known));
    const most = ceiling(Math.max(0, ...came, ...left));
    this.#draw.members(line(members, top));
    this.#draw.fill(area(members, top));
    this.#draw.came(bars(came, most, -1));
    this.#draw.left(bars(left, most, 1));
    this.#axis('over', [top, top / 2, 0]);
    this.#axis('flow', [most, 0, most]);
    this.#say(known, sums);
  }

  #axis(name, values) {
    values.forEach((value, i) => put(this.#labels[name][i], number(value)));
  }

  #say(known, { came, left }) {
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const range = known.length === 0 ? 'not known' : least === most ? `${most}` : `between ${least} and ${most}`;
    const label = `Members over the last five minutes: ${range}; ${came} came, ${left} left.`;
    if (this.#element.ariaLabel !== label) this.#element.ariaLabel = label;
  }
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
