import { put } from './row.js';
import { number } from './words.js';

/** uPlot is a classic script: it comes when the page is shown, and the page needs no chart to work. */
function library() {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = new URL('vendor/uPlot.iife.min.js', import.meta.url);
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = reject;
    document.head.append(script);
  });
}

/** Members as a line, who came and left as bars up and down from the middle of the chart. */
export class Chart {
  #element;
  #plot = null;
  #columns = null;

  constructor(element) {
    this.#element = element;
  }

  async start() {
    const Plot = await library();
    const make = () => {
      this.#plot?.destroy();
      this.#plot = new Plot(options(Plot, this.#element), data(this.#columns), this.#element);
    };
    make();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', make);
    new ResizeObserver(() => this.#plot.setSize(size(this.#element))).observe(this.#element);
  }

  show(columns, { came, left }) {
    this.#columns = columns;
    this.#plot?.setData(data(columns));
    const known = columns.members.filter((members) => members !== null);
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const range = least === most ? `${most}` : `between ${least} and ${most}`;
    const label = `Members over the last five minutes: ${range}; ${came} came, ${left} left.`;
    if (this.#element.ariaLabel !== label) this.#element.ariaLabel = label;
  }
}

/** Shows how many came and left beside the chart. */
export function sums({ came, left }) {
  put(document.getElementById('came'), number(came));
  put(document.getElementById('left'), number(left));
}

const size = ({ clientWidth, clientHeight }) => ({ width: clientWidth, height: clientHeight });

function data(columns) {
  if (!columns) return [[], [], [], []];
  const { time, members, came, left } = columns;
  return [time, members, came, left.map((value) => (value === null ? null : -value))];
}

function options(Plot, element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [muted, line] = [colour('--muted'), colour('--line')];
  const bars = Plot.paths.bars({ size: [0.7, 8], radius: 0.2 });
  const font = `11px ${style.fontFamily}`;
  return {
    ...size(element),
    padding: [8, 8, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { time: true },
      y: { range: (_, least, most) => around(least, most) },
      flow: { range: (_, least, most) => flow(least, most) },
    },
    axes: [
      { stroke: muted, font, size: 24, gap: 8, space: 50, incrs: [60, 120], grid: { show: false }, ticks: { show: false }, values: minutes },
      { stroke: muted, font, size: wide, gap: 6, space: 28, incrs: WHOLE, values: numbers, grid: { stroke: line, width: 1 }, ticks: { show: false } },
    ],
    series: [
      {},
      { stroke: colour('--accent'), fill: colour('--veil'), width: 2, paths: Plot.paths.stepped({ align: 1 }), points: { show: false } },
      { scale: 'flow', fill: colour('--came'), width: 0, paths: bars, points: { show: false } },
      { scale: 'flow', fill: colour('--left'), width: 0, paths: bars, points: { show: false } },
    ],
  };
}

/** Members come whole. */
const WHOLE = [1, 2, 5].flatMap((n) => Array.from({ length: 7 }, (_, i) => n * 10 ** i)).sort((a, b) => a - b);

const numbers = (_, values) => values.map(number);

/** As wide as the longest number. */
const wide = (_, values) => 16 + 7 * Math.max(1, ...(values ?? []).map(({ length }) => length));

/** The line in the upper part, with the bars below it. */
function around(least, most) {
  if (most === null) return [0, 4];
  const spread = Math.max(2, most - least);
  return [Math.max(0, least - spread), most + Math.ceil(spread * 0.2)];
}

function flow(least, most) {
  const largest = Math.max(4, most ?? 0, -(least ?? 0));
  return [-largest * 1.3, largest * 4];
}

function minutes(_, times) {
  return times.map((time) => new Date(time * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }));
}
