// A gateway as a child process on a free port, and what it says of a room.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ends } from './ends.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** How long a program may take to start or to end. */
const PATIENCE_MS = 20_000;
/** The lines of the log to keep for a failure's report. */
const LOG_LINES = 200;

/** The folder that cargo builds into. */
export const target = process.env.CARGO_TARGET_DIR ?? `${root}target`;

/** The program to test: `PRESENTLY`, or the debug build. */
function binary() {
  const program = process.env.PRESENTLY ?? `${target}/debug/presently`;
  if (!existsSync(program)) throw new Error(`${program} is missing: cargo build, or set PRESENTLY`);
  return program;
}

/** A running gateway. It is killed with the test that has started it. */
export class Gateway {
  log = [];
  #args;
  #env;
  #child = null;
  #port = 0;
  #api = {};

  /** `args` are options of `presently`; the time after the start is over at once, and streams end fast, unless they say otherwise. */
  static async start(args = [], { env = {}, apiKey } = {}) {
    const gateway = new Gateway(args, env, apiKey);
    await gateway.#start();
    return gateway;
  }

  constructor(args, env, apiKey) {
    const usual = [['--fresh-for', '0s'], ['--drain', '300ms']].filter(([option]) => !args.includes(option));
    this.#args = [...usual.flat(), ...args];
    this.#env = env;
    if (apiKey) this.#api.Authorization = `Bearer ${apiKey}`;
    ends.add(this);
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port() {
    return this.#port;
  }

  get pid() {
    return this.#child?.pid;
  }

  /** Ends the gateway and starts it anew on the same port, without memory of its rooms. */
  async restart(signal = 'SIGTERM') {
    await this.stop(signal);
    await this.#start();
  }

  /** Starts the gateway again after `stop`. */
  async again() {
    await this.#start();
  }

  async stop(signal = 'SIGTERM') {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    child.kill('SIGCONT'); // a stopped process dies of no SIGTERM
    const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    await once(child, 'exit');
    clearTimeout(late);
  }

  /** Ends it without waiting. */
  end() {
    this.#child?.kill('SIGKILL');
  }

  /** The answer to a request for `path`; a body that is no text becomes JSON. */
  api(path, { method = 'GET', body, headers, ...more } = {}) {
    const json = body === undefined || typeof body === 'string' ? {} : { 'Content-Type': 'application/json' };
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const all = { ...json, ...this.#api, ...headers };
    return fetch(`${this.url}${path}`, { method, body: text, headers: all, ...more });
  }

  /** The room's members, by name. */
  async members(room) {
    const members = new Map();
    for (let after = ''; ; ) {
      const query = `?limit=10000&after=${encodeURIComponent(after)}`;
      const answer = await this.api(`/api/rooms/${encodeURIComponent(room)}/users${query}`);
      if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
      const page = await answer.json();
      for (const member of page.users) members.set(member.user, member);
      if (!page.next) return members;
      after = page.next;
    }
  }

  /** The members' names, sorted. */
  async users(room) {
    return [...(await this.members(room)).keys()].sort();
  }

  async #start() {
    const listen = ['--listen', `127.0.0.1:${this.#port}`];
    const env = { ...process.env, ...this.#env };
    const child = spawn(binary(), [...listen, ...this.#args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    this.#port = await this.#listening(child);
  }

  /** The port that the log names. The log is read to its end. */
  #listening(child) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no address in the log: ${this.log.join('\n')}`)), PATIENCE_MS);
      createInterface({ input: child.stderr }).on('line', (line) => {
        this.log.push(line);
        if (this.log.length > LOG_LINES) this.log.shift();
        const [, port] = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line) ?? [];
        if (port) resolve(Number(port));
      });
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the gateway ended with ${code}: ${this.log.join('\n')}`)));
      child.once('exit', () => clearTimeout(late));
    });
  }
}
