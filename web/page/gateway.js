import { ask } from './api.js';
import { Nodes } from './nodes.js';
import { regularly } from './pace.js';
import { put } from './row.js';
import { Spark } from './spark.js';
import { number } from './words.js';

const POLL_MS = 3_000;

const WITHHELD = [401, 403, 404];

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** The numbers with a line: name, how a value is said, and where `GET /api/gateway` has it. */
const SPARKS = [
  ['Deliveries a second', number, (_, rate) => rate],
  ['Connections', number, ({ connections }) => connections.open],
  ['Memory', mebibytes, ({ memory }) => memory],
];

/** The gateway at a glance: what `GET /api/gateway` says, how fast it delivers between two looks, and how both went. */
export class Glance {
  #section;
  #sparks;
  #nodes;
  #last = null;
  #withheld = false;

  constructor(section) {
    this.#section = section;
    const places = section.querySelectorAll('#sparks > li');
    this.#sparks = SPARKS.map(([name, told], i) => new Spark(places[i], name, told));
    this.#nodes = new Nodes(section.querySelector('#nodes'));
    regularly(() => this.#fetch(), POLL_MS);
  }

  async #fetch() {
    if (this.#withheld) return;
    const { ok, status, body } = await ask('GET', 'api/gateway');
    // A proxy may keep the numbers inside: then there is nothing to show, now or later.
    this.#withheld = WITHHELD.includes(status);
    this.#section.hidden = this.#withheld;
    this.#section.classList.toggle('stale', !ok);
    const now = { at: performance.now(), deliveries: body?.deliveries };
    const perSecond = ok ? rate(this.#last, now) : null;
    this.#sparks.forEach((spark, i) => spark.add(now.at, ok ? SPARKS[i][2](body, perSecond) : null));
    if (!ok) return;
    this.#last = now;
    this.#nodes.write(body.cluster);
    const values = told(body, perSecond);
    for (const field of this.#section.querySelectorAll('[data-value]')) put(field, values[field.dataset.value] ?? '–');
  }
}

/** Deliveries a second between two looks; none yet at the first, or when the gateway began anew. */
export function rate(last, now) {
  if (!last || now.deliveries < last.deliveries || now.at <= last.at) return null;
  return ((now.deliveries - last.deliveries) / (now.at - last.at)) * 1000;
}

export function told(body, perSecond) {
  return {
    connections: number(body.connections.open),
    transports: `${number(body.connections.websocket)}, ${number(body.connections.sse)}`,
    rate: perSecond === null ? '–' : number(perSecond),
    p99: body.pass_p99 === null ? '–' : short(body.pass_p99),
    memory: body.memory === null ? '–' : mebibytes(body.memory),
    uptime: duration(body.uptime),
    version: body.version,
  };
}

/** A time of seconds in its best unit, with two digits. */
export function short(seconds) {
  if (seconds < 1e-3) return `${Number((seconds * 1e6).toPrecision(2))} µs`;
  return seconds < 1 ? `${Number((seconds * 1e3).toPrecision(2))} ms` : `${Number(seconds.toPrecision(2))} s`;
}

/** Whole seconds in the two largest units that say something. */
export function duration(seconds) {
  const [s, m, h] = [seconds, seconds / 60, seconds / 3600].map(Math.floor);
  if (m < 1) return `${s} s`;
  if (h < 1) return `${m} min`;
  return h < 24 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
}
