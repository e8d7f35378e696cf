import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Roster } from '../../web/roster.js';
import { Stream, delay } from '../../web/stream.js';

const URL = '/api/rooms/lobby/stream';
const CONNECTING = 0;
const CLOSED = 2;

/** An EventSource whose server, network and clock are this test. */
class FakeSource extends EventTarget {
  readyState = CONNECTING;

  constructor(url) {
    super();
    this.url = url;
  }

  close() {
    this.readyState = CLOSED;
  }

  send(frame, type = 'message') {
    this.raw(JSON.stringify(frame), type);
  }

  raw(data, type = 'message') {
    this.dispatchEvent(Object.assign(new Event(type), { data }));
  }

  /** The connection is lost; the EventSource tries again by itself. */
  drop() {
    this.dispatchEvent(new Event('error'));
  }

  /** It got an answer that was no stream, and gave up. */
  giveUp() {
    this.readyState = CLOSED;
    this.drop();
  }
}

function setUp(cursor = '') {
  const roster = new Roster([], cursor);
  const at = { roster, states: [], sources: [], timers: new Map() };
  const to = {
    cursor: () => roster.cursor,
    lost: () => roster.forget(),
    frame: (frame) => roster.apply(frame),
    state: (state, message) => at.states.push(message ? `${state}: ${message}` : state),
  };
  at.stream = new Stream(URL, to, {
    source: (url) => at.sources[at.sources.push(new FakeSource(url)) - 1],
    later: (work, ms) => {
      const timer = Symbol('timer');
      at.timers.set(timer, { work, ms });
      return timer;
    },
    cancel: (timer) => at.timers.delete(timer),
    random: () => 1,
  });
  at.source = () => at.sources.at(-1);
  at.state = () => at.states.at(-1);
  at.open = () => at.sources.filter(({ readyState }) => readyState !== CLOSED).length;
  at.ring = () => {
    const [[timer, { work, ms }]] = at.timers;
    at.timers.delete(timer);
    work();
    return ms;
  };
  return at;
}

const snapshot = (cursor, part = 0, last = true) => ({ action: 'snapshot', cursor, part, last, users: [] });

test('it begins at the cursor the page came with', () => {
  const at = setUp('k3f.17');
  at.stream.open();
  assert.equal(at.source().url, `${URL}?since=k3f.17`);
  assert.equal(at.state(), 'connecting');
});

test('without a cursor it asks for the snapshot, and is live when that is whole', () => {
  const at = setUp();
  at.stream.open();
  assert.equal(at.source().url, URL);
  at.source().send(snapshot('k3f.9', 0, false));
  assert.equal(at.state(), 'connecting');
  at.source().send(snapshot('k3f.9', 1, true));
  assert.equal(at.state(), 'live');
});

test('a cursor is encoded for the URL', () => {
  const at = setUp('a&b=c.1');
  at.stream.open();
  assert.equal(at.source().url, `${URL}?since=a%26b%3Dc.1`);
});

test('a connection that the browser takes up again is left to it', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.source().send({ action: 'resumed', cursor: 'k3f.1' });
  at.source().drop();
  assert.equal(at.state(), 'waiting');
  assert.equal(at.timers.size, 0);
  at.source().send({ action: 'resumed', cursor: 'k3f.1' });
  assert.equal(at.state(), 'live');
  assert.equal(at.sources.length, 1);
});

test('where the browser gave up it tries again, from the last cursor', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.source().send({ action: 'add', cursor: 'k3f.2', user: 'yay', meta: {}, joined: '2026-11-22T05:53:01Z' });
  at.source().giveUp();
  assert.equal(at.state(), 'waiting');
  at.ring();
  assert.equal(at.source().url, `${URL}?since=k3f.2`);
  assert.equal(at.state(), 'waiting');
  assert.equal(at.open(), 1);
});

test('it waits longer each time, and starts over once it was live', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  const waits = [];
  for (let i = 0; i < 7; i++) {
    at.source().giveUp();
    waits.push(at.ring());
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  at.source().send({ action: 'resumed', cursor: 'k3f.1' });
  at.source().giveUp();
  assert.equal(at.ring(), 1000);
});

test('the wait is anything from nothing to its bound', () => {
  assert.equal(delay(3, () => 0), 0);
  assert.equal(delay(3, () => 0.5), 4000);
  assert.equal(delay(2000, () => 1), 30000);
});

test('a refusal says why until the stream is live again', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  const refused = { action: 'refused', code: 'too_many_connections', message: 'full', retry: true };
  at.source().send(refused, 'refused');
  at.source().drop();
  assert.equal(at.state(), 'refused: full');
  at.source().send(refused, 'refused');
  at.source().drop();
  assert.equal(at.state(), 'refused: full');
  assert.equal(at.open(), 1);
  at.source().drop();
  assert.equal(at.state(), 'waiting');
  at.source().send({ action: 'resumed', cursor: 'k3f.1' });
  assert.equal(at.state(), 'live');
});

test('a refusal for good is not asked again', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.source().send({ action: 'refused', code: 'no', message: 'no', retry: false }, 'refused');
  assert.equal(at.open(), 0);
  assert.equal(at.timers.size, 0);
});

test('what cannot be read or does not follow is put right by a snapshot', (t) => {
  t.mock.method(console, 'error', () => {});
  for (const data of ['{"action":', JSON.stringify(snapshot('k3f.9', 3))]) {
    const at = setUp('k3f.1');
    at.stream.open();
    at.source().raw(data);
    assert.equal(at.open(), 0);
    assert.equal(at.state(), 'waiting');
    at.ring();
    assert.equal(at.source().url, URL);
  }
});

test('what is closed stays closed', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.source().giveUp();
  at.stream.close();
  assert.equal(at.timers.size, 0);
  assert.equal(at.open(), 0);
  at.stream.hurry();
  assert.equal(at.sources.length, 1);
});

test('opened again it goes on from the last cursor, on one connection', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.source().send(snapshot('k3f.5'));
  at.stream.close();
  at.stream.open();
  assert.equal(at.source().url, `${URL}?since=k3f.5`);
  at.stream.open('waiting');
  assert.equal(at.state(), 'waiting');
  assert.equal(at.open(), 1);
});

test('hurrying shortens a wait and disturbs nothing else', () => {
  const at = setUp('k3f.1');
  at.stream.open();
  at.stream.hurry();
  assert.equal(at.sources.length, 1);
  at.source().giveUp();
  at.stream.hurry();
  assert.equal(at.sources.length, 2);
  assert.equal(at.timers.size, 0);
  assert.equal(at.state(), 'waiting');
});
