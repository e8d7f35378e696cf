import { ENDED } from './wire.js';

/**
 * SSE streams and requests as a link that takes the same messages: a stream for each user held in a room, or one that
 * only watches; the first of a room is read. By fetch, since an EventSource can't say why it was refused.
 */
export class Streams {
  #base;
  #to;
  #rooms = new Map();

  constructor(base, to) {
    this.#base = base;
    this.#to = to;
    queueMicrotask(() => to.open());
  }

  send(message) {
    const { action, room: name, user } = message;
    const room = this.#rooms.get(name) ?? { name, watched: false, holds: new Map(), streams: new Map() };
    this.#rooms.set(name, room);
    const hold = room.holds.get(user);
    if (action === 'subscribe' || action === 'unsubscribe') {
      room.watched = action === 'subscribe';
      for (const stream of room.streams.values()) stream.stale ||= stream.read;
    } else if (action === 'join') {
      room.holds.set(user, message);
      this.#drop(room, user);
    } else if (action === 'leave' && hold) {
      room.holds.delete(user);
      this.#ask('DELETE', `${this.#path(name, user)}?client=${hold.client}`);
    } else if (action === 'update' && hold) {
      Object.assign(hold, { meta: message.meta });
      if (room.streams.get(user)?.began) this.#patch(message);
    }
    this.#settleSoon(room);
  }

  /** Nothing is open, after refusals: there is nothing to be heard. */
  get quiet() {
    return [...this.#rooms.values()].every(({ streams }) => !streams.size);
  }

  close() {
    for (const room of this.#rooms.values()) for (const user of room.streams.keys()) this.#drop(room, user);
    this.#rooms.clear();
  }

  /** Messages come together: one stream for all of them. */
  #settleSoon(room) {
    room.due ??= Promise.resolve().then(() => {
      room.due = null;
      if (this.#rooms.get(room.name) === room) this.#settle(room);
    });
  }

  #settle(room) {
    const { name, watched, holds, streams } = room;
    const users = holds.size ? [...holds.keys()] : [''].filter(() => watched);
    const reads = (user) => watched && user === users[0];
    for (const [user, { stale, read }] of streams) {
      if (stale || read !== reads(user) || !users.includes(user)) this.#drop(room, user);
    }
    for (const user of users) if (!streams.has(user)) this.#open(room, user, reads(user));
    if (!users.length) this.#rooms.delete(name);
  }

  #drop({ streams }, user) {
    streams.get(user)?.end.abort();
    streams.delete(user);
  }

  async #open(room, user, read) {
    const stream = { user, read, hold: room.holds.get(user), end: new AbortController() };
    stream.meta = stream.hold?.meta;
    room.streams.set(user, stream);
    const { signal } = stream.end;
    try {
      const answer = await fetch(this.#url(room.name, stream), { signal });
      const take = (frame) => signal.aborted || this.#take(room, stream, frame);
      if (answer.ok) await follow(answer.body, take, this.#to.alive);
      else if (answer.status < 500) take(await problem(answer));
    } catch {
      // It broke off, or what it said can't be read: both are the end of it.
    }
    if (room.streams.get(user) === stream) this.#to.lost(1006, '');
  }

  #url(name, { user, read, hold, meta }) {
    const url = new URL(`api/rooms/${encodeURIComponent(name)}/stream`, this.#base);
    const since = read && this.#to.cursor(name);
    const query = { as: user, meta: meta && JSON.stringify(meta), client: hold?.client, since };
    for (const [parameter, value] of Object.entries(query)) if (value) url.searchParams.set(parameter, value);
    return url;
  }

  #take(room, stream, frame) {
    const { user, read, hold, meta } = stream;
    const about = user ? { room: room.name, user, ref: hold.ref } : { room: room.name };
    const refused = frame.action === 'refused';
    if (refused && !ENDED.includes(frame.code)) {
      room.holds.delete(user);
      this.#drop(room, user);
      if (user) this.#settleSoon(room); // it may still be watched
    } else if (!stream.began) {
      stream.began = true;
      if (user && !refused) this.#to.frame({ action: 'ok', ...about });
      if (user && hold.meta !== meta) this.#patch(hold);
    }
    if (refused) this.#to.frame({ ...frame, ...about });
    else if (read) this.#to.frame(frame);
  }

  #path(room, user) {
    return `api/rooms/${encodeURIComponent(room)}/users/${encodeURIComponent(user)}`;
  }

  async #patch({ room, user, meta, ref }) {
    const answer = await this.#ask('PATCH', this.#path(room, user), JSON.stringify({ meta }));
    if (answer) this.#to.frame({ ...(answer.ok ? { action: 'ok' } : await problem(answer)), ref });
  }

  /** Also while the page goes away. */
  #ask(method, path, body) {
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    return fetch(new URL(path, this.#base), { method, body, headers, keepalive: true }).catch(() => null);
  }
}

/** A request's refusal as a frame. */
async function problem(answer) {
  const { status: http, statusText } = answer;
  const { code = `http_${http}`, detail = statusText, retry = http === 429 } = await answer.json().catch(() => ({}));
  return { action: 'refused', code, message: detail, retry, after: 1000 * answer.headers.get('retry-after') || 0 };
}

/** Reads the events of a stream (WHATWG HTML, 9.2) as far as Presently uses them: `data:` of one line. */
async function follow(body, take, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data:')) take(JSON.parse(line.slice(5)));
  }
}
