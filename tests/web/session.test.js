import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Sessions, refusal } from './fake-session.js';
import { World } from './world.js';

/** A gateway behind a proxy that breaks upgrades. */
function behindProxy(t) {
  const world = new World(t);
  return { world, sessions: new Sessions(world) };
}

const OPEN = 'POST /api/stream 0';
const posted = (number, ...actions) => [`POST /api/stream/messages ${number}`, ...actions].join(' ');

test('where upgrades fail and HTTP works, it goes on over a session from the same cursor', async (t) => {
  const { world, sessions } = behindProxy(t);
  world.upgrades = true;
  const tab = await world.tab();
  const room = await tab.room('lobby');
  assert.equal(room.transport, 'websocket');
  world.upgrades = false;
  await world.cut();
  await world.pass(500);
  assert.deepEqual(sessions.asked, [], 'where WebSockets worked, one failure says little');
  await world.pass(10_000);
  assert.deepEqual(sessions.asked, [`${OPEN} subscribe`]);
  assert.equal(world.heard.at(-1).since, 'k3f.0');
  await world.signIn('lobby', 'ann');
  assert.deepEqual([room.state, room.transport, ...room.seen], ['live', 'sse', 'snapshot 0', 'add ann']);
  world.upgrades = true;
  await world.cut();
  assert.equal(room.state, 'waiting');
  await world.pass(30_000);
  assert.deepEqual([room.state, room.transport, room.seen.length], ['live', 'websocket', 2]);
});

test('a first visit through such a proxy waits for nothing', async (t) => {
  const { world } = behindProxy(t);
  await world.signIn('lobby', 'ann');
  const room = await (await world.tab()).room('lobby');
  assert.deepEqual([room.state, room.transport, room.count], ['live', 'sse', 1]);
});

test('an upgrade that is swallowed without a word is given up', async (t) => {
  const { world, sessions } = behindProxy(t);
  const tab = await world.tab();
  t.mock.method(globalThis, 'WebSocket', function silent() {
    return { close() {} };
  });
  await tab.room('lobby');
  await world.pass(5_000);
  assert.equal(sessions.open.length, 1);
});

test('events may be cut anywhere, and end lines in either way', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse' });
  const add = (cursor, user) => ({ action: 'add', room: 'lobby', cursor, user, meta: {}, joined: '' });
  const bytes = new TextEncoder().encode(`: hello\r\n\r\ndata: ${JSON.stringify(add('k3f.1', 'zoë'))}\r\n\r\n`);
  for (const byte of bytes) sessions.open[0].raw(String.fromCharCode(byte)); // two bytes of ë become one broken letter each
  await world.settle();
  assert.equal(room.count, 1);
  sessions.open[0].raw('data:{"action":"add","room":"lobby",');
  sessions.open[0].raw('"cursor":"k3f.2","user":"yay","meta":{},"joined":""}\n');
  await world.settle();
  assert.equal(room.seen.at(-1), 'add yay');
});

test('all rooms and users of a page are one stream, and the first messages come with it', async (t) => {
  const { world, sessions } = behindProxy(t);
  const tab = await world.tab({ locks: false });
  const rooms = [];
  for (let i = 0; i < 8; i += 1) rooms.push(await tab.room(`room ${i}`, { transport: 'sse', as: 'ann' }));
  assert.deepEqual(rooms.map(({ state, holding }) => `${state} ${holding}`), Array(8).fill('live true'));
  assert.equal(sessions.open.length, 1);
  assert.equal(sessions.asked[0], `${OPEN} join ann subscribe`);
});

test('what is said at once is one request, and requests come one after the other with their numbers', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann', meta: { n: 0 }, every: 0 });
  const answers = [];
  sessions.after = ({ number }) => number && new Promise((answer) => answers.push(answer));
  for (let n = 1; n <= 3; n += 1) room.update({ n });
  await world.settle();
  room.update({ n: 4 });
  room.update({ n: 5 });
  await world.settle();
  assert.equal(answers.length, 1, 'the next request waits');
  answers.shift()();
  await world.settle();
  const three = posted(1, ...Array(3).fill('update ann'));
  assert.deepEqual(sessions.asked.slice(1), [three, posted(2, 'update ann', 'update ann')]);
  assert.deepEqual(world.room('lobby').members.get('ann').meta, { n: 5 });
});

test('a request has at most a hundred messages and 64 KiB', async (t) => {
  const { world, sessions } = behindProxy(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann', every: 0 });
  for (let n = 0; n < 250; n += 1) room.update({ n });
  for (let n = 0; n < 150; n += 1) room.update({ n, filling: 'ä'.repeat(500) });
  await world.settle();
  const counts = sessions.asked.slice(1).map((asked) => asked.split('update').length - 1);
  assert.deepEqual(counts.slice(0, 3), [100, 100, 100]);
  assert.equal(counts.reduce((sum, count) => sum + count), 400);
  assert.ok(sessions.sizes.every((bytes) => bytes < 64 * 1024) && Math.max(...sessions.sizes) > 50_000, sessions.sizes);
});

test('a request without an answer is sent once more with its number', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann' });
  let cuts = 1;
  sessions.after = ({ number }) => {
    if (number && cuts-- > 0) throw new TypeError('the connection closed');
  };
  room.update({ a: 1 });
  await world.pass(100);
  assert.deepEqual(sessions.asked.slice(1), [posted(1, 'update ann'), posted(1, 'update ann')]);
  assert.deepEqual(room.seen, ['snapshot 1', 'update ann'], 'and done once');
  room.update({ a: 2 });
  await world.settle();
  assert.equal(sessions.asked.at(-1), posted(2, 'update ann'));
});

for (const [what, answer] of [
  ['a second time without an answer', () => Promise.reject(new TypeError('the connection closed'))],
  ['an answer of a proxy', () => new Response('<h1>Bad Gateway</h1>', { status: 502 })],
  ['a 404 of a proxy', () => new Response('', { status: 404 })],
  ['an answer of a service worker', () => Response.json({ code: 'offline', detail: 'You are offline.', status: 503 }, { status: 503 })],
  ['a page in place of an answer', () => new Response('<h1>Sign in</h1>', { status: 200 })],
  ['no_session', () => refusal(404, 'no_session')],
  ['out_of_order', () => refusal(409, 'out_of_order')],
]) {
  test(`after ${what} it opens a new session with its cursors`, async (t) => {
    const { world, sessions } = behindProxy(t);
    const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann', meta: { a: 1 } });
    sessions.before = ({ number }) => (number ? answer() : null);
    room.update({ a: 2 });
    await world.settle();
    assert.equal(room.state, 'waiting');
    sessions.before = null;
    await world.signIn('lobby', 'bob');
    await world.pass(500);
    assert.equal(sessions.asked.at(-1), `${OPEN} join ann subscribe`);
    assert.equal(world.heard.at(-1).since, 'k3f.1');
    assert.deepEqual([room.state, room.holding, sessions.open.length], ['live', true, 2]);
    assert.deepEqual(room.seen, ['snapshot 1', 'add bob', 'update ann']);
    await world.pass(10_000);
    assert.deepEqual(world.users(), ['ann', 'bob'], 'the older session has lost its hold to the newer one');
  });
}

test('when the gateway is busy it is asked again with the same number', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann' });
  let busy = 2;
  sessions.before = ({ number }) => number && busy-- > 0 && refusal(409, 'busy', true);
  room.update({ a: 1 });
  await world.settle();
  assert.equal(sessions.asked.length, 2);
  await world.pass(100);
  assert.equal(sessions.asked.length, 3);
  await world.pass(100);
  assert.deepEqual(sessions.asked.slice(1), Array(3).fill(posted(1, 'update ann')));
  assert.equal(room.seen.at(-1), 'update ann');
});

test('a refusal of the gateway is told, uses up no number, and ends nothing', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann' });
  sessions.before = ({ number }) => number && refusal(413, 'body_too_large');
  room.update({ a: 1 });
  await world.settle();
  assert.deepEqual(room.refusal, { code: 'body_too_large', message: 'body_too_large' });
  sessions.before = ({ number }) => number && refusal(503, 'too_much_memory', true);
  room.update({ a: 2 });
  await world.pass(3_000);
  sessions.before = null;
  await world.pass(10_000);
  assert.deepEqual([...new Set(sessions.asked.slice(1))], [posted(1, 'update ann')]);
  assert.deepEqual([room.state, room.holding, room.members.get('ann').meta], ['live', true, { a: 2 }]);
});

test('close() says good-bye behind all that was said, and the stream ends', async (t) => {
  const { world, sessions } = behindProxy(t);
  const room = await (await world.tab()).room('lobby', { transport: 'sse', as: 'ann' });
  room.update({ a: 1 });
  room.close();
  await world.settle();
  await world.pass(100);
  assert.deepEqual(sessions.asked.slice(1), [posted(1, 'update ann'), posted(2, 'leave ann', 'unsubscribe', 'close')]);
  assert.deepEqual([world.users(), world.sockets.size, sessions.open[0].ended], [[], 0, true]);
});

test('a tab that leads says what it has to say before it goes, and the others go on', async (t) => {
  const { world } = behindProxy(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  const room = await leader.room('lobby', { transport: 'sse', as: 'ann' });
  const other = await tab.room('lobby', { transport: 'sse', as: 'bob' });
  room.close();
  await world.pass(1_000);
  assert.deepEqual([other.state, other.holding, other.seen.at(-1)], ['live', true, 'del ann closed']);
});

test('a room that is closed before the stream has begun leaves all the same', async (t) => {
  const { world, sessions } = behindProxy(t);
  const tab = await world.tab();
  const begins = [];
  sessions.after = ({ number }) => number || new Promise((begin) => begins.push(begin));
  const room = await tab.room('lobby', { transport: 'sse', as: 'ann' });
  assert.deepEqual(world.users(), ['ann']);
  room.close();
  await world.pass(100);
  begins.shift()();
  sessions.after = null;
  await world.settle();
  assert.deepEqual(world.users(), []);
});

for (const transport of ['websocket', 'sse']) {
  test(`a room that takes the place of a closed one at once holds on, without an event, by ${transport}`, async (t) => {
    const { world } = behindProxy(t);
    world.upgrades = true;
    const tab = await world.tab();
    const watcher = await (await world.tab()).room('lobby', { transport: 'websocket', share: false });
    const room = await tab.room('lobby', { transport, as: 'ann' });
    room.close();
    const next = await tab.room('lobby', { transport, as: 'ann' });
    assert.deepEqual([next.holding, next.state, [...next.members.keys()]], [true, 'live', ['ann']]);
    await world.pass(10_000);
    assert.deepEqual([watcher.seen, next.seen, world.sockets.size], [['snapshot 0', 'add ann'], ['snapshot 1'], 2]);
    next.close();
    await world.pass(100);
    assert.deepEqual(watcher.seen.at(-1), 'del ann closed');
  });
}

test('it answers when it is asked whether it is alive', async (t) => {
  const { world, sessions } = behindProxy(t);
  await (await world.tab()).room('lobby', { transport: 'sse' });
  for (const socket of world.sockets) socket.tell({ action: 'alive', ask: true });
  await world.settle();
  assert.equal(sessions.asked.at(-1), posted(1, 'alive'));
});

test('a proxy that keeps the stream back is named as the reason', async (t) => {
  const { world, sessions } = behindProxy(t);
  const warn = t.mock.method(console, 'warn', () => {});
  sessions.after = () => new Promise(() => {});
  const room = await (await world.tab()).room('lobby', { transport: 'sse' });
  await world.pass(5_000);
  assert.match(warn.mock.calls[0].arguments[0], /proxy/);
  await world.pass(10_000);
  assert.equal(room.state, 'waiting');
});

test('a stream that is refused for good is not asked for again, one refused for now is', async (t) => {
  const { world, sessions } = behindProxy(t);
  sessions.before = () => refusal(403, 'cross_site');
  const room = await (await world.tab()).room('lobby', { transport: 'sse' });
  await world.pass(60_000);
  assert.deepEqual([room.state, room.refusal, sessions.asked.length], ['refused', { code: 'cross_site', message: 'cross_site' }, 1]);
  sessions.before = () => refusal(503, 'too_many_connections', true);
  room.retry();
  await world.pass(2_000);
  sessions.before = null;
  await world.pass(10_000);
  assert.deepEqual([room.state, room.refusal], ['live', null]);
});

test('a session whose hold another one took is over', async (t) => {
  const { world } = behindProxy(t);
  const client = '0190a5d2-7c1e-4b7a-9f54-3c2d1e0f9a8b';
  const [one, other] = [await world.tab(), await world.tab()];
  const first = await one.room('lobby', { transport: 'sse', share: false, as: 'ann', client });
  const second = await other.room('lobby', { transport: 'sse', share: false, as: 'ann', client });
  await world.pass(20_000);
  assert.deepEqual([first.state, first.refusal.code, second.state, second.holding], ['refused', 'replaced', 'live', true]);
});

test('a stream that others than the gateway refuse is a loss, and no refusal', async (t) => {
  for (const answer of [
    () => new Response('<h1>Not Found</h1>', { status: 404, headers: { 'Content-Type': 'text/html' } }),
    () => Response.json({ code: 'forbidden', detail: 'no', status: 403, retry: false }, { status: 403 }),
    () => new Response('data: {', { status: 200 }),
    () => Promise.reject(new Error('Error in input stream')),
  ]) {
    const { world, sessions } = behindProxy(t);
    sessions.before = answer;
    const room = await (await world.tab()).room('lobby', { transport: 'sse' });
    assert.equal(room.state, 'waiting');
    sessions.before = null;
    await world.pass(1_000);
    assert.equal(room.state, 'live');
    t.mock.timers.reset();
  }
});

test('an error of a proxy is a loss, and any byte is a sign of life', async (t) => {
  const { world, sessions } = behindProxy(t);
  sessions.before = () => new Response('', { status: 502 });
  const room = await (await world.tab()).room('lobby', { transport: 'sse' });
  assert.equal(room.state, 'waiting');
  sessions.before = null;
  await world.pass(500);
  for (let i = 0; i < 6; i += 1) {
    await world.pass(10_000);
    sessions.open[0].raw(':\n\n');
  }
  assert.equal(sessions.open.length, 1);
  world.dead = true;
  await world.pass(30_000);
  assert.ok(sessions.open.length > 1, 'silence is not');
});

test('the gateway says which silence is too long', async (t) => {
  const { world, sessions } = behindProxy(t);
  await (await world.tab()).room('lobby', { transport: 'sse' });
  for (const socket of world.sockets) socket.tell({ action: 'hello', grace: 1_000, keep_alive: 60_000, silence: 90_000 });
  world.dead = true;
  await world.pass(92_500);
  assert.equal(sessions.open.length, 1);
  await world.pass(3_000);
  assert.ok(sessions.open.length > 1);
});
