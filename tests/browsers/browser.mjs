// Chromium and Firefox, and pages of theirs with rooms in them.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import puppeteer from 'puppeteer-core';
import { ends } from './ends.mjs';
import { target } from './gateway.mjs';
import { until } from './until.mjs';

/** Headless, and talking to nobody but the gateway. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  '--disable-features=LocalNetworkAccessChecks',
];

/** Firefox reports failed connections and requests like uncaught errors. */
const NETWORK = /^(The connection to ws|Firefox can.t establish a connection|Cross-Origin Request Blocked)/;

/** Time for a call of the browser's driver, on a busy machine. */
const PROTOCOL_MS = 60_000;

/** The browsers of Debian's packages, where `tests/run` unpacked them or where they are installed. */
const PROGRAMS = {
  chromium: [`${target}/tmp/chromium/usr/lib/chromium/chromium`, '/usr/lib/chromium/chromium', '/usr/bin/chromium'],
  firefox: [`${target}/tmp/firefox/usr/lib/firefox-esr/firefox-esr`, '/usr/bin/firefox-esr'],
};

/** The program of a browser, or undefined where it is missing. `CHROMIUM` and `FIREFOX` name others. */
export function program(browser) {
  const named = process.env[browser.toUpperCase()];
  const found = named ?? PROGRAMS[browser].find((path) => existsSync(path));
  return found && resolve(found);
}

/** A running browser. It ends with the test that has started it. */
export class Browser {
  kind;
  puppet;
  #scratch;

  /** `options` are puppeteer's; `args` come beside the flags here. */
  static async launch(kind = 'chromium', { args = [], ...options } = {}) {
    const executablePath = program(kind);
    if (!executablePath) throw new Error(`${kind} is missing: apt install ${kind === 'firefox' ? 'firefox-esr' : kind}`);
    const browser = new Browser();
    browser.kind = kind;
    browser.#scratch = mkdtempSync(join(tmpdir(), 'presently-browser-'));
    ends.add(browser);
    browser.puppet = await puppeteer.launch({
      browser: kind === 'firefox' ? 'firefox' : 'chrome',
      executablePath,
      args: [...(kind === 'firefox' ? [] : FLAGS), ...args],
      userDataDir: browser.#scratch,
      protocolTimeout: PROTOCOL_MS,
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
      // What a crash leaves in a folder of the system's would stay.
      env: { ...process.env, TMPDIR: browser.#scratch, HOME: browser.#scratch, MOZ_CRASHREPORTER_DISABLE: '1' },
      ...options,
    });
    return browser;
  }

  /** A new tab at `url`, with `Room` in it unless the page is another than a gateway's plain one. */
  async open(url, options) {
    const tab = new Tab(this, await this.puppet.newPage());
    await tab.load(url, options);
    return tab;
  }

  /** A new tab of a profile of its own, made by `puppet.createBrowserContext()`. */
  async openIn(context, url, options) {
    const tab = new Tab(this, await context.newPage());
    await tab.load(url, options);
    return tab;
  }

  async close() {
    const late = setTimeout(() => this.end(), PROTOCOL_MS / 2);
    await this.puppet.close().catch(() => {});
    clearTimeout(late);
    this.end();
  }

  end() {
    ends.delete(this);
    const { pid } = this.puppet?.process() ?? {};
    // Puppeteer gives the browser a process group of its own.
    for (const whom of pid ? [-pid, pid] : []) {
      try {
        process.kill(whom, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    rmSync(this.#scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A page, and the errors in it. */
export class Tab {
  browser;
  page;
  /** Uncaught errors and rejections. */
  errors = [];
  /** What the console says of errors. */
  complaints = [];

  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
    page.on('pageerror', (error) => this.#error(String(error?.message ?? error)));
    page.on('console', (message) => message.type() === 'error' && this.#complaint(message));
  }

  /**
   * Goes to `url`. A plain page, `/healthz` of a gateway by default, gets the client as `Room` and, for the test's own things, an
   * empty object `the`. `plain: false` leaves the page alone.
   */
  async load(url, { plain = true, client = '/presently.js' } = {}) {
    const there = new URL(url);
    if (plain && there.pathname === '/') there.pathname = '/healthz';
    await this.page.goto(there.href, { waitUntil: plain ? 'domcontentloaded' : 'load' });
    if (plain) await this.equip(client);
  }

  async reload({ plain = true, client = '/presently.js' } = {}) {
    await this.page.reload({ waitUntil: plain ? 'domcontentloaded' : 'load' });
    if (plain) await this.equip(client);
  }

  async equip(client = '/presently.js') {
    await this.run(async (path) => {
      Object.assign(globalThis, await import(path), { the: {} });
    }, client);
  }

  /** Runs a function in the page. */
  run(work, ...args) {
    return this.page.evaluate(work, ...args);
  }

  /** Waits until a function in the page answers with something true, and gives it. */
  until(what, condition, ...args) {
    return until(what, () => this.run(condition, ...args));
  }

  /** The Chromium session of this page, for what only Chromium's own protocol does. */
  cdp() {
    return this.page.createCDPSession();
  }

  close() {
    return this.page.close();
  }

  #error(text) {
    (NETWORK.test(text) ? this.complaints : this.errors).push(text);
  }

  #complaint(message) {
    if (!message.location()?.url?.endsWith('/favicon.ico')) this.complaints.push(message.text());
  }
}
