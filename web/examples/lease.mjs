#!/usr/bin/env node
// Keeps a user in a room of a Presently gateway for as long as this process runs: a lease, renewed in time.
//
//     node lease.mjs http://localhost:4000 team-7 worker-7 --hold "$HOSTNAME" --meta '{"status":"busy"}'
//
// SIGTERM and SIGINT end the lease at once; without them, say after a crash, it ends `--ttl` seconds after its last renewal. A
// gateway that was restarted has forgotten the lease, and learns of it by the next renewal. `--hold` names the lease, so that
// several processes may hold the same user, each for itself.
//
// A token or an API key comes from the environment variable PRESENTLY_TOKEN. Needs Node 20 and nothing else.

import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const FIRST_WAIT_MS = 500;

/** The gateway refuses for good: trying again would change nothing. */
export class Refused extends Error {}

/** It may work later. `wait` is the time to the next try, where the gateway said it. */
class Failed extends Error {
  constructor(why, wait = 0) {
    super(why);
    this.wait = wait;
  }
}

export class Lease {
  #url;
  #body;
  #ending = new AbortController();

  /** `ttl` is in seconds. */
  constructor(gateway, room, user, { hold = hostname().slice(0, 64), ttl = 30, meta } = {}) {
    const path = `/api/rooms/${encodeURIComponent(room)}/users/${encodeURIComponent(user)}`;
    this.#url = gateway.replace(/\/$/, '') + path;
    this.#body = { hold, ttl, meta };
  }

  /** Renews until `end`: after a third of the time, so that two tries more fit in, and soon after a failure. */
  async keep(say = () => {}) {
    const { signal } = this.#ending;
    const third = (this.#body.ttl * 1_000) / 3;
    for (let failedFor = 0; !signal.aborted; ) {
      let pause = third * (0.8 + 0.2 * Math.random());
      try {
        say(`held until ${(await this.#renew()).expires}`);
        failedFor = 0;
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        say(`not renewed: ${error.message}`);
        pause = Math.max((Math.min(third, FIRST_WAIT_MS + failedFor) * (1 + Math.random())) / 2, error.wait);
        failedFor += pause;
      }
      await sleep(pause, null, { signal }).catch(() => {});
    }
    await this.#leave(say);
  }

  /** Ends this lease alone, once the request under way is over. Other holds of the user stay. */
  end() {
    this.#ending.abort();
  }

  /** What the lease says already is not said anew. */
  #renew() {
    return this.#ask('PUT', this.#url, this.#body);
  }

  /** The lease ends by itself where the gateway cannot be reached. */
  async #leave(say) {
    for (let tries = 3; tries; tries -= 1) {
      try {
        await this.#ask('DELETE', `${this.#url}?hold=${encodeURIComponent(this.#body.hold)}`);
        say('ended');
        return;
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        say(`not ended: ${error.message}`);
        await sleep(FIRST_WAIT_MS * Math.random());
      }
    }
  }

  async #ask(method, url, body) {
    const token = process.env.PRESENTLY_TOKEN;
    const headers = {
      ...(body && { 'Content-Type': 'application/json' }),
      ...(token && { Authorization: `Bearer ${token}` }),
    };
    // There must be time for other tries before the lease ends.
    const signal = AbortSignal.timeout(Math.max(1_000, (this.#body.ttl * 1_000) / 6));
    let answer;
    try {
      answer = await fetch(url, { method, headers, signal, body: body && JSON.stringify(body) });
      if (answer.ok) return answer.status === 204 ? {} : await answer.json();
    } catch (error) {
      throw new Failed(`no answer: ${error.message}`);
    }
    throw await judged(answer);
  }
}

/** A refusal of the gateway has a `code`; anything else is a proxy's, and passes. */
async function judged(answer) {
  const { code, detail, retry } = await answer.json().catch(() => ({}));
  if (!code) return new Failed(`status ${answer.status} of something else than the gateway`);
  // A token of the environment stays what it is, also when it is over.
  if (!retry || code === 'token_expired') return new Refused(`${code}: ${detail}`);
  return new Failed(code, 1_000 * (Number(answer.headers.get('retry-after')) || 0));
}

async function main() {
  const options = { hold: { type: 'string' }, ttl: { type: 'string' }, meta: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length !== 3) throw new Error('usage: lease.mjs GATEWAY ROOM USER [--hold NAME] [--ttl SECONDS] [--meta JSON]');
  const { hold, ttl, meta } = values;
  const lease = new Lease(...positionals, { hold, ttl: ttl && Number(ttl), meta: meta && JSON.parse(meta) });
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => lease.end());
  await lease.keep(console.log);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main().catch((error) => {
    console.error(error instanceof Refused ? `refused: ${error.message}` : error.message);
    process.exitCode = 1;
  });
}
