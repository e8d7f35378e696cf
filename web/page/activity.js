import { Chart, sums } from './chart.js';
import { Pulse } from './pulse.js';
import { put, said } from './row.js';
import { clock, quoted, why } from './words.js';

/** Events on the page. What is older scrolled away long ago. */
const KEPT = 50;
/** In a flood nobody reads line by line: more often than this the list is not written anew. */
const DRAW_MS = 250;
/** How often the chart is drawn. */
const CHART_MS = 1_000;

/** What happened last, and how the room went over the last minutes. */
export class Activity {
  #log;
  #empty;
  #chart;
  #pulse = new Pulse();
  #events = [];
  #flow = { came: 0, left: 0 };
  #drawing = null;

  constructor(log, empty, chart) {
    this.#log = log;
    this.#empty = empty;
    this.#chart = new Chart(chart);
    this.#chart.start().then(() => this.#step(), () => {});
    setInterval(() => document.hidden || this.#step(), CHART_MS);
  }

  /** Another room. */
  clear() {
    this.#pulse = new Pulse();
    this.#flow = { came: 0, left: 0 };
    this.#events = [];
    this.#draw();
    this.#step();
  }

  came({ user }) {
    this.#flow.came += 1;
    this.#note({ user, did: 'came', because: '' });
  }

  left({ user, reason }) {
    this.#flow.left += 1;
    this.#note({ user, did: 'left', because: why(reason) });
  }

  changed({ user, meta }) {
    this.#note({ user, did: 'changed', because: said(meta) || 'cleared' });
  }

  /** The room has so many members now. */
  count(members) {
    this.#pulse.tell(Date.now(), members, this.#flow.came, this.#flow.left);
    this.#flow = { came: 0, left: 0 };
  }

  #note(event) {
    this.#events.unshift({ ...event, at: Date.now() });
    if (this.#events.length > KEPT) this.#events.length = KEPT;
    this.#later();
  }

  #later() {
    this.#drawing ??= setTimeout(() => this.#draw(), DRAW_MS);
  }

  #step() {
    const now = Date.now();
    const flow = this.#pulse.sums(now);
    sums(flow);
    this.#chart.show(this.#pulse.columns(now), flow);
  }

  #draw() {
    clearTimeout(this.#drawing);
    this.#drawing = null;
    const lines = this.#log.children;
    while (lines.length < this.#events.length) this.#log.append(line());
    while (lines.length > this.#events.length) this.#log.lastElementChild.remove();
    this.#events.forEach((event, i) => write(lines[i], event));
    this.#empty.hidden = this.#events.length > 0;
  }
}

function line() {
  const li = document.createElement('li');
  for (const [tag, name] of [['time', ''], ['bdi', 'name'], ['span', 'did'], ['span', 'because']]) {
    const part = document.createElement(tag);
    part.className = name;
    li.append(part, ' ');
  }
  return li;
}

function write(li, { at, user, did, because }) {
  const [time, name, what, reason] = li.children;
  put(time, clock(at));
  put(name, user);
  name.title = quoted(user);
  put(what, did);
  put(reason, because);
  reason.title = because;
  li.dataset.did = did;
}
