import assert from 'node:assert/strict';
import { test } from 'node:test';

import { World } from './world.js';

const snapshot = (cursor, ...users) => ({
  action: 'snapshot', room: 'lobby', cursor, count: users.length, part: 0, last: true,
  users: users.map((user) => ({ user, meta: {}, joined: '' })),
});
const add = (cursor, user) => ({ action: 'add', room: 'lobby', cursor, user, meta: {}, joined: '' });

/** A gateway behind a proxy that breaks upgrades: what was asked, and the streams that are open. */
function behindProxy(t) {
  const world = new World(t);
  world.upgrades = false;
  const at = { world, asked: [], streams: [], refuse: null };
  world.answer = ({ url, method, signal, body }) => {
    at.asked.push(`${method} ${url.pathname}${decodeURIComponent(url.search)}${body ? ` ${body}` : ''}`);
    const refusal = at.refuse?.(url, method);
    if (refusal) return Response.json(refusal, { status: refusal.status, headers: refusal.headers });
    if (method !== 'GET') return new Response(null, { status: 204 });
    return new Response(stream(at, url, signal));
  };
  return at;
}

function stream(at, url, signal) {
  const open = { as: url.searchParams.get('as') };
  const end = () => (at.streams = at.streams.filter((other) => other !== open));
  const body = new ReadableStream({
    start(to) {
      open.raw = (text) => to.enqueue(new TextEncoder().encode(text));
      open.send = (frame) => open.raw(`id: ${frame.cursor}\ndata: ${JSON.stringify(frame)}\n\n`);
      open.cut = () => {
        end();
        to.close();
      };
      signal.addEventListener('abort', () => {
        end();
        to.error(signal.reason);
      });
    },
  });
  open.raw('retry: 1337\n\n');
  at.streams.push(open);
  return body;
}

test('where upgrades fail and HTTP works, it goes on over SSE from the same cursor', async (t) => {
  const at = behindProxy(t);
  at.world.upgrades = true;
  const tab = await at.world.tab();
  const room = await tab.room('lobby');
  assert.equal(room.transport, 'websocket');
  at.world.upgrades = false;
  await at.world.cut();
  await at.world.pass(500);
  assert.deepEqual(at.asked, [], 'where WebSockets worked, one failure says little');
  await at.world.pass(10_000);
  assert.deepEqual(at.asked, ['GET /api/rooms/lobby/stream?since=k3f.0']);
  at.streams[0].send({ action: 'resumed', room: 'lobby', cursor: 'k3f.0' });
  at.streams[0].send(add('k3f.1', 'ann'));
  await at.world.settle();
  assert.deepEqual([room.state, room.transport, ...room.seen], ['live', 'sse', 'snapshot 0', 'add ann']);
  at.world.upgrades = true;
  at.world.signIn('lobby', 'ann');
  at.streams[0].cut();
  await at.world.settle();
  assert.equal(room.state, 'waiting');
  await at.world.pass(30_000);
  assert.deepEqual([room.state, room.transport, room.seen.length], ['live', 'websocket', 2]);
});

test('a first visit through such a proxy waits for nothing', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby');
  at.streams[0].send(snapshot('k3f.1', 'ann'));
  await at.world.settle();
  assert.deepEqual([room.state, room.transport, room.count], ['live', 'sse', 1]);
});

test('an upgrade that is swallowed without a word is given up', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  t.mock.method(globalThis, 'WebSocket', function silent() {
    return { close() {} };
  });
  await tab.room('lobby');
  await at.world.pass(5_000);
  assert.equal(at.streams.length, 1);
});

test('events may be cut anywhere, and end lines in either way', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse' });
  const bytes = new TextEncoder().encode(`: hello\r\n\r\ndata: ${JSON.stringify(snapshot('k3f.1', 'zoë'))}\r\n\r\n`);
  for (const byte of bytes) at.streams[0].raw(String.fromCharCode(byte)); // two bytes of ë become one broken letter each
  await at.world.settle();
  assert.equal(room.count, 1);
  at.streams[0].raw('data:{"action":"add","room":"lobby",');
  at.streams[0].raw('"cursor":"k3f.2","user":"yay","meta":{},"joined":""}\n');
  await at.world.settle();
  assert.deepEqual(room.seen, ['snapshot 1', 'add yay']);
});

test('a stream holds, requests say what else a message would', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann/1', meta: { a: 1 }, client: 'c-1' });
  assert.deepEqual(at.asked, ['GET /api/rooms/lobby/stream?as=ann/1&meta={"a":1}&client=c-1']);
  at.streams[0].send(snapshot('k3f.1', 'ann/1'));
  await at.world.settle();
  assert.equal(room.holding, true);
  room.update({ a: 2 });
  room.leave();
  await at.world.settle();
  assert.deepEqual(at.asked.slice(1), [
    'PATCH /api/rooms/lobby/users/ann%2F1 {"meta":{"a":2}}',
    'DELETE /api/rooms/lobby/users/ann%2F1?client=c-1',
    'GET /api/rooms/lobby/stream?since=k3f.1',
  ]);
  assert.equal(at.streams.length, 1);
  room.join('bob');
  await at.world.settle();
  assert.match(at.asked.at(-1), /^GET \/api\/rooms\/lobby\/stream\?as=bob&client=[0-9a-f-]{36}&since=k3f.1$/);
  room.close();
  await at.world.settle();
  assert.equal(at.streams.length, 0);
  assert.match(at.asked.at(-1), /^DELETE/);
});

test('what is said of a user while the stream is not open yet is said when it is', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann', meta: { a: 1 } });
  room.update({ a: 2 });
  assert.equal(at.asked.length, 1);
  at.streams[0].send(snapshot('k3f.1', 'ann'));
  await at.world.settle();
  assert.equal(at.asked[1], 'PATCH /api/rooms/lobby/users/ann {"meta":{"a":2}}');
});

test('a request that is refused for now is sent again, and not before the time that the gateway names', async (t) => {
  const at = behindProxy(t);
  const headers = { 'Retry-After': '7' };
  at.refuse = (url, method) => method === 'PATCH' && { status: 429, code: 'too_fast', detail: 'no', retry: true, headers };
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  at.streams[0].send(snapshot('k3f.1', 'ann'));
  await at.world.settle();
  room.update({ a: 1 });
  const patches = () => at.asked.filter((asked) => asked.startsWith('PATCH')).length;
  await at.world.pass(6_900);
  assert.deepEqual([patches(), room.holding, room.refusal], [1, true, null]);
  at.refuse = null;
  await at.world.pass(2_000);
  assert.equal(patches(), 2);
  await at.world.pass(60_000);
  assert.equal(patches(), 2);
});

test('several users of one room have a stream each, of which one is read', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann' });
  const other = await tab.room('lobby', { transport: 'sse', as: 'bob' });
  assert.deepEqual(at.streams.map(({ as }) => as), ['ann', 'bob']);
  for (const stream of at.streams) stream.send(snapshot('k3f.2', 'ann', 'bob'));
  await at.world.settle();
  assert.deepEqual([room.holding, other.holding, ...room.seen], [true, true, 'snapshot 2']);
  room.close();
  await at.world.settle();
  assert.deepEqual(at.streams.map(({ as }) => as), ['bob']);
  assert.match(at.asked.at(-1), /as=bob.*since=k3f.2/);
  at.streams[0].send({ action: 'update', room: 'lobby', cursor: 'k3f.3', user: 'bob', meta: { a: 1 } });
  await at.world.settle();
  at.streams[0].cut();
  await at.world.pass(1_000);
  assert.match(at.asked.at(-1), /as=bob&meta={"a":1}.*since=k3f.3/);
});

test('a hold that is refused leaves the room watched', async (t) => {
  const at = behindProxy(t);
  at.refuse = (url) => url.searchParams.has('as') && { status: 400, code: 'bad_meta', detail: 'too large', retry: false };
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann' });
  at.streams[0].send(snapshot('k3f.0'));
  await at.world.settle();
  assert.deepEqual([room.state, room.holding, room.refusal], ['live', false, { code: 'bad_meta', message: 'too large' }]);
});

test('who was signed out meanwhile only watches', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann' });
  at.streams[0].send({ action: 'refused', code: 'signed_out', message: 'signed out', retry: false });
  at.streams[0].send(snapshot('k3f.2'));
  await at.world.settle();
  assert.deepEqual([room.state, room.holding, room.refusal.code, at.streams.length], ['live', false, 'signed_out', 1]);
  at.streams[0].send({ action: 'refused', code: 'signed_out', message: 'signed out', retry: false });
  await at.world.settle();
  assert.equal(room.state, 'live', 'said twice it is still no refusal of the room');
  at.streams[0].cut();
  await at.world.pass(1_000);
  assert.equal(at.asked.at(-1), 'GET /api/rooms/lobby/stream?since=k3f.2');
});

test('who was signed out joins again by a stream under another id', async (t) => {
  const at = behindProxy(t);
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann', client: 'c-1' });
  at.streams[0].send(snapshot('k3f.1', 'ann'));
  at.streams[0].send({ action: 'del', room: 'lobby', cursor: 'k3f.2', user: 'ann', reason: 'signed_out' });
  await at.world.settle();
  assert.equal(room.holding, false);
  room.join('ann');
  await at.world.settle();
  assert.match(at.asked.at(-1), /as=ann&client=[0-9a-f-]{36}&since=k3f.2$/);
  assert.equal(at.streams.length, 1);
});

test('a room that the new leader never had is asked for anew when somebody needs its set', async (t) => {
  const at = behindProxy(t);
  const tabs = [await at.world.tab(), await at.world.tab(), await at.world.tab(), await at.world.tab()];
  await tabs[0].room('lobby', { transport: 'sse' });
  await tabs[1].room('hall', { transport: 'sse' });
  const room = await tabs[2].room('lobby', { transport: 'sse' });
  at.streams[0].send(snapshot('k3f.1', 'ann'));
  await at.world.settle();
  await tabs[0].fire('pagehide');
  assert.deepEqual(at.asked.slice(-2).sort(), ['GET /api/rooms/hall/stream', 'GET /api/rooms/lobby/stream?since=k3f.1']);
  for (const stream of at.streams) stream.send({ action: 'resumed', room: 'lobby', cursor: 'k3f.1' });
  await at.world.settle();
  const late = await tabs[3].room('lobby', { transport: 'sse' });
  assert.equal(at.asked.at(-1), 'GET /api/rooms/lobby/stream');
  at.streams.at(-1).send(snapshot('k3f.1', 'ann'));
  await at.world.settle();
  assert.deepEqual([late.state, late.count, ...room.seen], ['live', 1, 'snapshot 1']);
});

test('a room that is refused for good is not asked for again, one refused for now is', async (t) => {
  const at = behindProxy(t);
  at.refuse = () => ({ status: 400, code: 'bad_name', detail: 'no', retry: false });
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse' });
  await at.world.pass(60_000);
  assert.deepEqual([room.state, room.refusal.code, at.asked.length], ['refused', 'bad_name', 1]);
  at.refuse = null;
  room.retry();
  await at.world.settle();
  at.streams[0].raw('event: refused\ndata: {"action":"refused","code":"too_many_rooms","message":"full","retry":true}\n\n');
  await at.world.settle();
  assert.deepEqual([room.state, at.streams.length], ['refused', 0]);
  await at.world.pass(10_000);
  at.streams[0].send(snapshot('k3f.0'));
  await at.world.settle();
  assert.deepEqual([room.state, room.refusal], ['live', null]);
});

test('an error of a proxy is a loss, and a comment is a sign of life', async (t) => {
  const at = behindProxy(t);
  at.refuse = () => ({ status: 502 });
  const tab = await at.world.tab();
  const room = await tab.room('lobby', { transport: 'sse' });
  assert.equal(room.state, 'waiting');
  at.refuse = null;
  await at.world.pass(500);
  at.streams[0].send(snapshot('k3f.0'));
  for (let i = 0; i < 6; i += 1) {
    await at.world.pass(10_000);
    at.streams[0].raw(':\n\n');
  }
  assert.equal(at.asked.length, 2);
  await at.world.pass(35_000);
  assert.equal(at.asked.length, 3, 'silence is not');
});
