import { ask, roomPath } from './api.js';
import { Chart, sums } from './chart.js';
import { visible } from './names.js';
import { Pulse } from './pulse.js';
import { put, said } from './row.js';
import { clock, quoted, why } from './words.js';

/** Events on the page. What is older scrolled away long ago. */
const KEPT = 50;
/** In a flood nobody reads line by line: more often than this the list is not written anew. */
const DRAW_MS = 250;
/** How often the chart is drawn. */
const CHART_MS = 1_000;
/** Events of the room's history, as many as the gateway gives at once. */
const RECALLED = 1_000;

/** What an event did, as a line of the list says it. */
const DID = {
  add: () => ({ did: 'came', because: '' }),
  del: ({ reason }) => ({ did: 'left', because: why(reason) }),
  update: ({ meta }) => ({ did: 'changed', because: said(meta) || 'cleared' }),
};

/** What happened last, also before the page came, and how the room went over the last minutes. */
export class Activity {
  #log;
  #empty;
  #chart;
  #pulse = new Pulse();
  #events = [];
  #flow = { came: 0, left: 0 };
  #drawing = null;
  #room = '';
  /** The places of the events that the history told, which the room tells, too. */
  #recalled = new Set();
  #asked = 0;

  constructor(log, empty, chart) {
    this.#log = log;
    this.#empty = empty;
    this.#chart = new Chart(chart);
    setInterval(() => document.hidden || this.#step(), CHART_MS);
  }

  /** Another room. */
  enter(room) {
    this.#room = room;
    this.#asked += 1;
    this.#pulse = new Pulse();
    this.#flow = { came: 0, left: 0 };
    this.#events = [];
    this.#recalled.clear();
    this.#draw();
    this.#step();
  }

  /** Something happened at `cursor`, the room's place after it. */
  happened(action, detail, cursor) {
    if (this.#recalled.has(cursor)) return;
    this.#flow.came += Number(action === 'add');
    this.#flow.left += Number(action === 'del');
    this.#events.unshift({ action, ...detail, at: Date.now(), cursor });
    if (this.#events.length > KEPT) this.#events.length = KEPT;
    this.#later();
  }

  /** The room has so many members now. */
  count(members) {
    this.#pulse.tell(Date.now(), members, this.#flow.came, this.#flow.left);
    this.#flow = { came: 0, left: 0 };
  }

  /** The room is out of reach. */
  lapse() {
    this.#pulse.lapse(Date.now());
  }

  /** Asks the room's history for what happened before, or while nobody looked. */
  async recall() {
    const asked = ++this.#asked;
    const { ok, body } = await ask('GET', `${roomPath(this.#room)}/events?limit=${RECALLED}`);
    if (!ok || asked !== this.#asked) return;
    // Two clocks may differ, and the chart's is this device's.
    const ahead = Date.now() - Date.parse(body.at);
    const events = body.events.map((event) => ({ ...event, at: Date.parse(event.at) + ahead }));
    this.#recalled = new Set(events.map(({ cursor }) => cursor));
    const since = this.#events.filter(({ cursor }) => !this.#recalled.has(cursor) && this.#isLater(cursor, events));
    this.#pulse.recall(Date.now(), { count: body.count, from: Date.parse(body.from) + ahead, events });
    this.#flow = {
      came: since.filter(({ action }) => action === 'add').length,
      left: since.filter(({ action }) => action === 'del').length,
    };
    this.#events = [...since, ...events.reverse()].slice(0, KEPT);
    this.#draw();
    this.#step();
  }

  /** What the room told before the first of the history's events is older than all of them. */
  #isLater(cursor, events) {
    const places = this.#events.map((event) => event.cursor);
    const known = places.findIndex((place) => this.#recalled.has(place));
    return events.length === 0 || known < 0 || places.indexOf(cursor) < known;
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

function write(li, event) {
  const { at, user, action } = event;
  const { did, because } = DID[action](event);
  const [time, name, what, reason] = li.children;
  put(time, clock(at));
  put(name, visible(user));
  name.title = quoted(user);
  put(what, did);
  put(reason, because);
  reason.title = because;
  li.dataset.did = did;
}
