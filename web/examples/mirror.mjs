#!/usr/bin/env node
// Follows a room of a Presently gateway into a mirror: who is here, in this process, through cuts and restarts.
//
//     node mirror.mjs http://localhost:4000 team-7
//
// prints a line of JSON for each change of the mirror: `add`, `update` and `del` lead from one set to the next, `live` says
// that the mirror is the gateway's set, and `lost` that it may be behind. In a program of your own:
//
//     const mirror = new Mirror('http://localhost:4000', 'team-7', { credential: () => readToken() });
//     for await (const change of mirror.changes()) …  // mirror.members is always a whole set
//
// A token or an API key comes from the environment variable PRESENTLY_TOKEN. Needs Node 20 and nothing else; a browser, Bun
// or Deno have `Room` of /presently.js. The rules that it follows are those of PROTOCOL, "How to write a client".

import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

/** For a connection and the first bytes on it. */
const CONNECT_MS = 10_000;
/** Until the gateway's hello says its own. */
const SILENCE_MS = 25_000;
const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [500, 30_000];

/** The gateway refuses for good: trying again would change nothing. */
export class Refused extends Error {}

/** The connection is of no more use. `wait` is the time to the next try, where the gateway said it. */
class Lost extends Error {
  constructor(why, wait = 0) {
    super(why);
    this.wait = wait;
  }
}

export class Mirror {
  /** The members by name, as in the gateway's frames. */
  members = new Map();
  /** The place of this set in the room's order of events. */
  cursor = '';
  /** Whether the gateway has just started, and some members are only known from before. */
  fresh = false;
  #url;
  #credential;
  #parts = [];
  #retry = 0;
  /** The credential of the connection. */
  #shown;
  #silence = SILENCE_MS;

  constructor(gateway, room, { credential = () => process.env.PRESENTLY_TOKEN } = {}) {
    this.#url = `${gateway.replace(/\/$/, '')}/api/rooms/${encodeURIComponent(room)}/stream?alive=1`;
    this.#credential = credential;
  }

  /** Yields the changes for ever, and throws Refused. */
  async *changes() {
    for (let waited = 0; ; ) {
      let wait = 0;
      try {
        for await (const change of this.#connection()) {
          if (change.action === 'live') waited = 0; // the gateway is there: the next outage is another one
          yield change;
        }
      } catch (error) {
        if (error instanceof Refused) throw error;
        wait = error.wait ?? 0;
        yield { action: 'lost', why: error.message };
      }
      this.#parts = []; // half a snapshot is no set
      // About as long as all waits of this outage together, and never the same for two clients.
      const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS + waited);
      const pause = longest * (waited ? (1 + Math.random()) / 2 : Math.random());
      waited += pause;
      await sleep(Math.max(pause, wait));
    }
  }

  async *#connection() {
    const ending = new AbortController();
    // Silence ends the connection; every byte begins it anew.
    const over = () => ending.abort(new Lost('silence'));
    let timer = setTimeout(over, CONNECT_MS);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(over, this.#silence);
    };
    try {
      const answer = await this.#answer(ending.signal);
      for await (const [event, data] of events(answer.body, heard, (ms) => (this.#retry = ms))) {
        const frame = JSON.parse(data);
        if (event === 'refused') this.#refuse(frame);
        this.#retry = 0; // a gateway that stops says another one last
        if (frame.action === 'hello') this.#silence = frame.silence;
        yield* this.#take(frame);
      }
      throw new Lost('the stream ended', this.#retry);
    } finally {
      clearTimeout(timer);
      ending.abort();
    }
  }

  async #answer(signal) {
    const token = await this.#credential();
    const headers = {
      Accept: 'text/event-stream',
      // Whoever is only known from before a restart is in no cursor's set, so that the whole set has to come.
      ...(this.cursor && !this.fresh && { 'Last-Event-ID': this.cursor }),
      ...(token && { Authorization: `Bearer ${token}` }),
    };
    const before = this.#shown;
    this.#shown = token;
    const answer = await fetch(this.#url, { headers, signal });
    const kind = answer.headers.get('content-type')?.split(';')[0];
    if (answer.status === 200 && kind === 'text/event-stream') return answer;
    const { code, detail, retry } = kind === 'application/problem+json' ? await answer.json().catch(() => ({})) : {};
    // A proxy's page, say: the gateway is somewhere behind it.
    if (!code) throw new Lost(`status ${answer.status} of something else than the gateway`);
    if (code === 'token_expired' && token === before) throw new Refused('token_expired: there is no newer token');
    if (!retry) throw new Refused(`${code}: ${detail}`);
    throw new Lost(code, 1_000 * (Number(answer.headers.get('retry-after')) || 0));
  }

  /** A gateway that ends the stream says why. A token that is over may be followed by a newer one. */
  #refuse({ code, message, retry }) {
    if (!retry) throw new Refused(`${code}: ${message}`);
    throw new Lost(code, this.#retry);
  }

  /** Applies a frame, and yields what it changes. There will be more actions than these: they are ignored. */
  *#take(frame) {
    const known = this.members.get(frame.user);
    switch (frame.action) {
      case 'snapshot':
      case 'changes': {
        const whole = this.#joined(frame);
        if (whole) yield* this.#whole(whole);
        return;
      }
      case 'resumed':
        yield* this.#stands(frame);
        return;
      case 'add':
      case 'update':
        // Whoever was kept through a restart comes back by an `add`.
        if (Boolean(known) === (frame.action === 'add') && !this.fresh) this.#distrust(`${frame.action} of ${frame.user}`);
        yield* this.#put({ joined: known?.joined, ...frame });
        this.cursor = frame.cursor;
        return;
      case 'del':
        if (!known) this.#distrust(`del of ${frame.user}`);
        yield* this.#drop(frame);
        this.cursor = frame.cursor;
    }
  }

  /** All parts as one frame, or null before the last one: set and cursor stay as they are until then. */
  #joined(frame) {
    if (frame.part === 0) this.#parts = []; // a new snapshot may begin before the last part of one
    const follows = frame.part === this.#parts.length && (this.#parts[0] ?? frame).cursor === frame.cursor;
    if (!follows) this.#distrust(`part ${frame.part}`);
    this.#parts.push(frame);
    if (!frame.last) return null;
    const parts = this.#parts.splice(0);
    const all = (name) => parts.flatMap((part) => part[name] ?? []);
    return { ...frame, users: all('users'), set: all('set'), gone: all('gone') };
  }

  *#whole({ action, users, set, gone, ...frame }) {
    if (action === 'snapshot' && !frame.fresh_for) {
      const present = new Set(users.map(({ user }) => user));
      for (const user of [...this.members.keys()]) if (!present.has(user)) yield* this.#drop({ user });
    }
    // Just after its start the gateway may not know all members yet: those of before stay.
    for (const one of gone) yield* this.#drop(one);
    for (const member of [...users, ...set]) yield* this.#put(member);
    yield* this.#stands(frame);
  }

  *#stands({ cursor, fresh_for: freshFor }) {
    this.cursor = cursor;
    this.fresh = Boolean(freshFor);
    yield { action: 'live', cursor, fresh: this.fresh };
  }

  *#put({ user, meta, info = {}, joined }) {
    const [known, member] = [this.members.get(user), { user, meta, info, joined }];
    this.members.set(user, member);
    if (!isDeepStrictEqual(member, known)) yield { action: known ? 'update' : 'add', ...member };
  }

  *#drop({ user, reason = null }) {
    if (this.members.delete(user)) yield { action: 'del', user, reason };
  }

  /** What does not follow says that something was missed: the whole set has to come. */
  #distrust(what) {
    this.cursor = '';
    throw new Lost(`${what} does not follow`);
  }
}

/** The events of a stream (WHATWG HTML, 9.2) as far as Presently uses them: a type, and `data:` of one line. */
async function* events(body, heard, retry) {
  let [rest, event] = ['', ''];
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    heard();
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^(\w*): ?(.*)$/.exec(line) ?? [];
      if (line === '') event = '';
      else if (field === 'event') event = value;
      else if (field === 'retry') retry(Number(value));
      else if (field === 'data') yield [event, value];
    }
  }
}

async function main([gateway, room]) {
  if (!room) throw new Error('usage: mirror.mjs GATEWAY ROOM');
  for await (const change of new Mirror(gateway, room).changes()) console.log(JSON.stringify(change));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv.slice(2)).catch((error) => {
    console.error(error instanceof Refused ? `refused: ${error.message}` : error.message);
    process.exit(1);
  });
}
