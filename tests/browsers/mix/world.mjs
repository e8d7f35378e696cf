// The world of the mix: a gateway, a network, a browser with tabs, and the model of what each tab wants.

import { Browser } from '../browser.mjs';
import { Gateway } from '../gateway.mjs';
import { Proxy } from '../proxy.mjs';
import { renderer } from '../renderer.mjs';
import { Site } from '../site.mjs';
import { install } from './page.mjs';
import { Watcher } from './watcher.mjs';

export const ROOMS = ['red', 'green', 'blue'];
export const USERS = ['ann', 'bob', 'cyd', 'dan'];

/** Times short enough that a rest is. */
const TIMES = ['--grace', '1s', '--keep-alive', '1s', '--send-within', '2s', '--fresh-for', '1s'];

/** What a tab wants of a room. */
export class Seat {
  /** Whom it holds, or null. */
  as = null;
  /** What it says of `as`, as JSON; undefined where it says nothing. */
  said = undefined;

  constructor(tab, id, room) {
    Object.assign(this, { tab, id, room });
  }
}

export class World {
  browser;
  gateway;
  proxy;
  site;
  random;
  tabs = [];
  seats = new Map();
  /** Sign-ins by the API: `room user`. */
  signedIn = new Set();
  /** Whom others ended since the last rest, and whom ever: `room user`. */
  ended = new Set();
  everEnded = new Set();
  /** Whether nothing has happened since the last rest but acts of the tabs. */
  calm = true;
  watchers = [];
  steps = [];
  #ids = 0;
  #metas = 0;

  static async start(browser, random) {
    const world = new World();
    world.random = random;
    world.site = await Site.start();
    world.gateway = await Gateway.start([...TIMES, '--allow-origin', world.site.url]);
    await world.site.copy(world.gateway);
    world.proxy = await Proxy.start(world.gateway.port);
    world.browser = await Browser.launch(browser);
    world.watchers = ROOMS.map((room) => new Watcher(world.gateway, room));
    return world;
  }

  async end() {
    this.watchers.forEach((watcher) => watcher.end());
    for (const tab of this.tabs) if (tab.stopped) process.kill(tab.stopped, 'SIGCONT');
    await this.browser?.close();
    this.proxy?.end();
    this.site?.end();
    await this.gateway?.stop('SIGKILL');
  }

  nextId() {
    return `${(this.#ids += 1)}`;
  }

  /** Something new to say, or nothing. */
  meta() {
    this.#metas += 1;
    return this.random.chance(0.7) ? { n: this.#metas } : undefined;
  }

  /** The tabs that can do something now. */
  get awake() {
    return this.tabs.filter(({ stopped, frozen }) => !stopped && !frozen);
  }

  /** The seats of those tabs. */
  get free() {
    return [...this.seats.values()].filter(({ tab }) => this.awake.includes(tab));
  }

  async openTab() {
    const tab = await this.browser.open(this.site.url, { plain: false });
    Object.assign(tab, { name: `tab ${this.nextId()}`, stopped: 0, frozen: false, offline: false });
    tab.share = this.random.chance(0.85);
    // A browser has six connections for all event streams to a host, so that those are shared.
    tab.transport = this.random.chance(0.75) ? 'auto' : 'sse';
    if (!tab.share) tab.transport = 'websocket';
    await this.equip(tab);
    if (this.browser.kind === 'chromium') {
      tab.session = await tab.cdp();
      tab.pid = await renderer(tab);
    }
    this.tabs.push(tab);
    return tab;
  }

  async equip(tab) {
    await tab.equip();
    await tab.run(install);
  }

  /** What a room of this tab is made with. */
  options(tab, as, meta) {
    return { url: this.proxy.url, share: tab.share, transport: tab.transport, ...(as && { as, meta }) };
  }

  seat(tab, room, as, meta) {
    const seat = new Seat(tab, this.nextId(), room);
    seat.as = as;
    seat.said = as && meta && JSON.stringify(meta);
    this.seats.set(seat.id, seat);
    return seat;
  }

  forget(tab) {
    for (const [id, seat] of this.seats) if (seat.tab === tab) this.seats.delete(id);
  }
}
