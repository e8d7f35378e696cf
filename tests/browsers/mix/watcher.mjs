// A reader of its own for a room, straight at the gateway: the judge of the events.

import { pause } from '../until.mjs';

const RETRY_MS = 50;

export class Watcher {
  faults = [];
  /** The members' `meta` by name; null until the first snapshot. */
  members = null;
  cursor = '';
  /** How many of each event came. */
  seen = { add: 0, update: 0, del: 0, snapshot: 0, changes: 0, resumed: 0 };
  #gateway;
  #room;
  #ending = new AbortController();
  #parts = [];

  constructor(gateway, room) {
    this.#gateway = gateway;
    this.#room = room;
    this.#run();
  }

  end() {
    this.#ending.abort();
  }

  async #run() {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        const since = this.cursor && `?since=${this.cursor}`;
        const path = `/api/rooms/${this.#room}/stream${since}`;
        const { body } = await this.#gateway.api(path, { signal });
        for await (const frame of frames(body)) this.#take(frame);
      } catch {
        // The gateway is down, or starts.
      }
      this.#parts = [];
      await pause(RETRY_MS);
    }
  }

  #take(frame) {
    const { action } = frame;
    if (action in this.seen) this.seen[action] += 1;
    if (frame.part !== undefined) {
      this.#parts.push(frame);
      if (frame.last) this.#whole(action, this.#parts.splice(0));
    } else if (action === 'add') this.#add(frame);
    else if (action === 'update') this.#update(frame);
    else if (action === 'del') this.#del(frame);
    if (frame.cursor) this.cursor = frame.cursor;
  }

  #whole(action, parts) {
    if (action === 'snapshot') this.members = new Map();
    for (const { users = [], set = [], gone = [] } of parts) {
      for (const { user } of gone) this.members.delete(user);
      for (const { user, meta } of [...users, ...set]) this.members.set(user, meta);
    }
  }

  #add({ user, meta, cursor }) {
    if (this.members.has(user)) this.#fault('a second add', user, cursor);
    this.members.set(user, meta);
  }

  #update({ user, meta, cursor }) {
    if (!this.members.has(user)) this.#fault('an update without add', user, cursor);
    this.members.set(user, meta);
  }

  #del({ user, cursor }) {
    if (!this.members.delete(user)) this.#fault('a del without add', user, cursor);
  }

  #fault(what, user, cursor) {
    this.faults.push(`the gateway sent ${what} of ${user} in ${this.#room} at ${cursor}`);
  }
}

/** The frames of an event stream, each in one line of `data:`. */
async function* frames(body) {
  let rest = '';
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data:')) yield JSON.parse(line.slice(5));
  }
}
