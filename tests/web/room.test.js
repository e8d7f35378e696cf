import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

import { delay } from '../../web/client/delay.js';
import { address } from './joined.mjs';
import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);

test('the wait is anything from nothing to its bound, which doubles up to 30 s', () => {
  const waits = [0, 1, 2, 5, 6, 2000].map((failures) => delay(failures, () => 1));
  assert.deepEqual(waits, [500, 1000, 2000, 16000, 30000, 30000]);
  assert.equal(delay(3, () => 0), 0);
  assert.equal(delay(3, () => 0.5), 2000);
});

test('a room follows what happens, and its members are whole at each event', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const tab = await world.tab();
  const room = await tab.room('lobby');
  assert.deepEqual([...room.members], [['ann', { user: 'ann', meta: {}, info: {}, joined: '2026-11-22T05:53:00Z' }]]);
  assert.deepEqual([room.state, room.transport, room.count, room.cursor], ['live', 'websocket', 1, 'k3f.1']);
  await world.signIn('lobby', 'bob');
  await world.signIn('lobby', 'bob', { status: 'away' });
  await world.signOut('lobby', 'ann');
  assert.deepEqual(room.seen, ['snapshot 1', 'add bob', 'update bob', 'del ann signed_out']);
  assert.deepEqual(room.members.get('bob').meta, { status: 'away' });
});

test('a change is told once for all that a frame brought, and without frames by a timer', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  await world.pass(100);
  let changes = 0;
  room.addEventListener('change', () => (changes += 1));
  for (const user of ['ann', 'bob', 'cyd']) await world.signIn('lobby', user);
  assert.equal(changes, 0);
  await world.pass(100);
  assert.equal(changes, 1);
});

test('a room holds whom it is for before it asks for the set, which has them', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { status: 'here' }, client: 'c-1' });
  assert.deepEqual(world.heard, [
    { action: 'join', room: 'lobby', user: 'ann', meta: { status: 'here' }, client: 'c-1', ref: 1 },
    { action: 'subscribe', room: 'lobby', ref: 2 },
  ]);
  assert.equal(room.holding, true);
  assert.deepEqual(room.seen, ['snapshot 1']);
  room.update({ status: 'away' });
  await world.settle();
  assert.deepEqual(world.heard.at(-1), { action: 'update', room: 'lobby', user: 'ann', meta: { status: 'away' }, ref: 3 });
  assert.deepEqual(room.members.get('ann').meta, { status: 'away' });
  room.leave();
  await world.settle();
  assert.deepEqual(room.seen.slice(1), ['update ann', 'del ann closed']);
  assert.deepEqual([room.holding, room.state], [false, 'live']);
});

test('closing leaves, stops watching and closes the connection that nobody needs any more', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  room.close();
  await world.pass(100);
  assert.deepEqual([world.users(), world.sockets.size], [[], 0]);
  assert.deepEqual(room.seen, ['snapshot 1'], 'and says nothing more');
});

test('joining changes who is held, not whether they are there, and a closed room holds nobody', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const watcher = await tab.room('lobby');
  const room = await tab.room('lobby', { as: 'ann' });
  room.join('ann');
  room.join('ann', { status: 'here' });
  await world.settle();
  room.join('bob');
  await world.settle();
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'update ann', 'del ann closed', 'add bob']);
  room.close();
  room.join('cyd');
  room.update({});
  room.leave();
  await world.pass(100);
  assert.deepEqual(watcher.seen.slice(5), ['del bob closed']);
});

test('all rooms of a page share one connection, and the rooms of one name one subscription', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const tab = await world.tab({ locks: true });
  await tab.room('lobby');
  const [again, other] = [await tab.room('lobby'), await tab.room('hall', { as: 'bob' })];
  assert.equal(world.sockets.size, 1);
  assert.deepEqual(said(world, 'subscribe').map(({ room }) => room), ['lobby', 'hall']);
  assert.deepEqual([again.state, again.count, again.seen], ['live', 1, ['snapshot 1']]);
  assert.deepEqual(world.heard.slice(-2).map(({ action, room }) => `${action} ${room}`), ['join hall', 'subscribe hall']);
  other.close();
  await world.pass(100);
  assert.equal(said(world, 'unsubscribe')[0].room, 'hall');
  assert.equal(world.sockets.size, 1);
});

test('whoever starts from a known set gets only what happened since', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  await world.signIn('lobby', 'bob');
  const tab = await world.tab();
  const members = [{ user: 'ann', meta: {}, joined: '2026-11-22T05:53:00Z' }];
  const room = await tab.room('lobby', { since: 'k3f.1', members });
  assert.deepEqual(room.seen, ['add bob']);
  assert.equal(room.count, 2);
});

test('after a loss it comes back where it was, holding whom it held, and says what it said itself', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { status: 'here' } });
  const other = await tab.room('lobby');
  await world.signIn('lobby', 'ann', { status: 'away' });
  await world.cut();
  assert.equal(room.state, 'waiting');
  assert.equal(room.retryAt, Date.now() + 500);
  await world.signIn('lobby', 'bob');
  await world.pass(500);
  assert.equal(room.state, 'live');
  assert.deepEqual(said(world, 'join').at(-1).meta, { status: 'here' });
  assert.equal(said(world, 'join')[0].client, said(world, 'join').at(-1).client);
  assert.equal(said(world, 'subscribe').at(-1).since, 'k3f.2');
  await world.pass(10_000);
  assert.deepEqual(other.seen, ['snapshot 1', 'update ann', 'add bob']);
});

test('a state is told once', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  const states = [];
  room.addEventListener('state', () => states.push(`${room.state} ${room.holding}`));
  for (let i = 0; i < 2; i += 1) room.leave();
  await world.cut();
  await world.pass(1_000);
  assert.deepEqual(states, ['live false', 'waiting false', 'connecting false', 'connecting false', 'live false']);
});

test('a room may be closed by whoever hears of its state', async (t) => {
  for (const at of ['waiting', 'connecting', 'live']) {
    const world = new World(t);
    const tab = await world.tab();
    const room = await tab.room('lobby', { as: 'ann' });
    room.addEventListener('state', () => room.state === at && room.close());
    await world.cut();
    await world.pass(10_000);
    assert.deepEqual([world.sockets.size, world.users()], [0, []], at);
    t.mock.timers.reset();
  }
});

test('it waits longer each time and starts over once a connection has lasted', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  world.up = false;
  const room = await tab.room('lobby');
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    waits.push(room.retryAt - Date.now());
    await world.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  world.up = true;
  await world.pass(30_000);
  assert.equal(room.state, 'live');
  await world.cut(1012, 'stopping');
  assert.ok(room.retryAt - Date.now() > 500, 'one that was cut at once proves nothing');
  await world.pass(30_000);
  await world.pass(11_000);
  await world.cut(1012, 'stopping');
  assert.equal(room.retryAt - Date.now(), 500);
});

test('a gateway that starts anew has another epoch, and the set is replaced', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'old');
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  await world.restart();
  world.room('lobby').epoch = 'm8x';
  await world.pass(500);
  assert.deepEqual([...room.members.keys()], ['ann']);
  assert.deepEqual([room.cursor, room.holding], ['m8x.1', true]);
});

test('a refusal for good is not asked again, unless somebody wants it', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  await world.cut(4401, 'unauthorized');
  assert.deepEqual([room.state, room.refusal.code], ['refused', 'unauthorized']);
  await world.pass(60_000);
  await tab.fire('online');
  await world.pass(1_000);
  assert.equal(world.sockets.size, 0);
  room.retry();
  await world.settle();
  assert.deepEqual([room.state, room.refusal], ['live', null]);
});

test('a hold that is refused leaves the room watched, and says why', async (t) => {
  const world = new World(t);
  world.refuse = ({ action }) => action === 'join' && { code: 'bad_name', message: 'no such name', retry: false };
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  assert.deepEqual([room.state, room.holding, room.as], ['live', false, '']);
  assert.deepEqual(room.refusal, { code: 'bad_name', message: 'no such name' });
});

test('a hold that is refused for now is asked for again', async (t) => {
  const world = new World(t);
  world.refuse = ({ action }) => action === 'join' && { code: 'too_many_members', message: 'full', retry: true };
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  assert.equal(room.holding, false);
  world.refuse = null;
  await world.pass(1_000);
  assert.deepEqual([room.holding, world.users()], [true, ['ann']]);
});

/** Refuses updates for now. */
test('a room that is refused says so, the others of the connection go on', async (t) => {
  const world = new World(t);
  world.refuse = ({ room }) => room === 'full' && { code: 'too_many_subscribed', message: 'enough', retry: false };
  const tab = await world.tab();
  const [room, other] = [await tab.room('full'), await tab.room('lobby')];
  assert.deepEqual([room.state, room.refusal.code], ['refused', 'too_many_subscribed']);
  assert.deepEqual([other.state, other.refusal], ['live', null]);
  room.retry();
  assert.deepEqual([room.state, room.refusal], ['connecting', null]);
});

for (const reason of ['signed_out', 'kicked']) {
  test(`who is ${reason} holds no more and goes on watching, until they join again under another id`, async (t) => {
    const world = new World(t);
    const tab = await world.tab();
    const room = await tab.room('lobby', { as: 'ann' });
    await world.signOut('lobby', 'ann', reason);
    assert.deepEqual([room.holding, room.state, room.as], [false, 'live', '']);
    await world.pass(60_000);
    await world.signIn('lobby', 'bob');
    assert.deepEqual(room.seen, ['snapshot 1', `del ann ${reason}`, 'add bob']);
    assert.equal(said(world, 'join').length, 1);
    room.join('ann');
    await world.settle();
    assert.deepEqual([room.holding, world.users()], [true, ['bob', 'ann']]);
    assert.notEqual(said(world, 'join')[0].client, said(world, 'join')[1].client);
  });
}

test('a sign-out of before the hold, heard late, does not end it', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  await world.signIn('lobby', 'ann');
  const room = await tab.room('lobby');
  await world.cut();
  await world.signOut('lobby', 'ann');
  room.join('ann');
  await world.pass(500);
  assert.deepEqual(room.seen, ['snapshot 1', 'del ann signed_out', 'add ann']);
  assert.equal(room.holding, true);
});

test('silence is taken for a dead connection when it is next looked at, and not before what waits was read', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  const [socket] = world.sockets;
  t.mock.timers.setTime(Date.now() + 3_600_000); // asleep: no timer ran
  await tab.show();
  socket.tell({ action: 'alive' });
  await world.pass(2_500);
  assert.deepEqual([...world.sockets], [socket]);
  world.dead = true;
  await world.pass(29_000);
  assert.ok(!world.sockets.has(socket), 'nothing came');
  world.dead = false;
  await world.pass(6_000);
  assert.equal(room.state, 'live');
  assert.equal(said(world, 'subscribe').at(-1).since, 'k3f.0');
});

test('what keeps a connection alive moves nothing', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  for (let i = 0; i < 10; i += 1) {
    for (const socket of world.sockets) socket.tell({ action: 'alive' });
    await world.pass(10_000);
  }
  assert.deepEqual([room.cursor, said(world, 'subscribe').length], ['k3f.0', 1]);
});

test('the browser that is online again, or looked at while it waits, does not wait for long', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  const [first] = world.sockets;
  await tab.fire('online');
  await world.pass(500);
  assert.equal(room.state, 'live');
  assert.ok(!world.sockets.has(first), 'the old connection may be one of the old network');
  world.up = false;
  await world.cut();
  await world.pass(20_000);
  assert.ok(room.retryAt - Date.now() > 500);
  world.up = true;
  await tab.show();
  await world.pass(500);
  assert.equal(room.state, 'live');
});

test('what cannot be read or does not follow is put right by a snapshot', async (t) => {
  t.mock.method(console, 'error', () => {});
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const tab = await world.tab();
  const room = await tab.room('lobby');
  for (const frame of [{ action: 'update', room: 'lobby', cursor: 'k3f.9', user: 'nobody', meta: {} }, undefined]) {
    for (const socket of world.sockets) socket.onmessage({ data: frame ? JSON.stringify(frame) : '{"action":' });
    await world.pass(1_000);
    assert.deepEqual([room.state, room.count, room.cursor], ['live', 1, 'k3f.1']);
  }
  assert.equal(said(world, 'subscribe')[1].since, undefined);
  assert.equal(said(world, 'subscribe')[2].since, 'k3f.1');
});

test('iterating gives what happens, from the set as it is to the end', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const tab = await world.tab();
  const room = await tab.room('lobby');
  const seen = [];
  const reading = (async () => {
    for await (const { type, detail } of room) seen.push(`${type} ${detail.user ?? detail.count}`);
  })();
  await world.signIn('lobby', 'bob');
  await world.signOut('lobby', 'bob');
  room.close();
  await reading;
  assert.deepEqual(seen, ['snapshot 1', 'add bob', 'del bob']);
});

test('who iterates slower than things happen starts over from the set', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  const events = room[Symbol.asyncIterator]();
  assert.equal((await events.next()).value.type, 'snapshot');
  for (let i = 0; i < 10_002; i += 1) {
    world.event(world.room('lobby'), { action: 'add', user: `u${i}`, meta: {}, joined: '' });
  }
  await world.settle();
  const { value } = await events.next();
  assert.deepEqual([value.type, value.detail.count], ['snapshot', 10_002]);
  await events.return();
});

test('without a gateway to go to there is nothing to make', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  await assert.rejects(tab.room('lobby', { url: 'ftp://gateway.test' }), { name: 'TypeError', message: /url/ });
});

test('a process ends when its rooms are closed', async () => {
  const script = `
    import { Room } from ${JSON.stringify(address())};
    const room = new Room('lobby', { url: 'http://127.0.0.1:9/' });
    room.addEventListener('state', () => room.state === 'waiting' && room.close());
  `;
  const options = process.execArgv.filter((option) => option.includes('default-type')); // as tests/run has it
  const running = spawn(process.execPath, [...options, '--input-type=module', '-e', script], { timeout: 10_000 });
  assert.deepEqual(await once(running, 'exit'), [0, null]);
});
