// An example for backends as a child process, in each of its languages.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ends } from '../browsers/ends.mjs';
import { until } from '../browsers/until.mjs';

const folder = fileURLToPath(new URL('../../web/examples/', import.meta.url));
const LANGUAGES = [['python3', 'py'], [process.execPath, 'mjs']];
const LIMIT_MS = 120_000;

/** The same test for the example `name` in all languages at once, since it mostly waits. `run(args, env)` starts one. */
export function inEach(title, name, work) {
  describe(title, { concurrency: true }, () => {
    for (const [program, ending] of LANGUAGES) {
      it(`${name}.${ending}`, { timeout: LIMIT_MS }, async (t) => {
        const run = (args, env = {}) => {
          const example = new Example([program, `${folder}${name}.${ending}`, ...args], env);
          t.after(() => example.end());
          return example;
        };
        await work(t, run);
      });
    }
  });
}

class Example {
  lines = [];
  stderr = '';
  #child;
  #exit;

  constructor([program, ...args], env) {
    this.#child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.lines.push(compact(line)));
    this.#child.stderr.on('data', (data) => (this.stderr += data));
    this.#exit = once(this.#child, 'close');
    ends.add(this);
  }

  /** Waits for a line that comes after the first `after` ones. */
  said(what, after = 0) {
    return until(`says ${what}`, () => this.lines.slice(after).some((line) => line.includes(what)) || this.#missing());
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Its exit code. */
  async exited() {
    return (await this.#exit)[0];
  }

  end() {
    ends.delete(this);
    this.#child.kill('SIGKILL');
  }

  #missing() {
    if (this.#child.exitCode === null) return false;
    throw new Error(`it ended with ${this.#child.exitCode}: ${this.lines.slice(-5)} ${this.stderr}`);
  }
}

/** JSON without spaces, as each language writes it. */
const compact = (line) => (line.startsWith('{') ? JSON.stringify(JSON.parse(line)) : line);

/** The set that an example's lines lead to, made of them alone. Lines that do not fit it are faults. */
export function folded(lines) {
  const [members, faults] = [new Map(), []];
  let last = {};
  for (const line of lines) {
    const change = JSON.parse(line);
    const { action, user } = change;
    if (action === 'live' || action === 'lost') last = change;
    else if (members.has(user) === (action === 'add')) faults.push(line);
    if (action === 'del') members.delete(user);
    else if (user !== undefined) members.set(user, change.meta);
  }
  return { members, faults, last };
}
