import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Sessions } from './fake-session.js';
import { GRACE_MS } from './fake-socket.js';
import { World } from './world.js';

const PLACES = 3;

function narrow(t) {
  const world = new World(t);
  world.places = PLACES;
  return world;
}

const how = ({ state, holding, refusal }) => [state, holding, refusal?.code].filter(Boolean).join(' ');

async function open(tab, count, options, from = 0) {
  const rooms = [];
  for (let i = from; i < from + count; i += 1) rooms.push(await tab.room(`room ${i}`, options));
  return rooms;
}

for (const share of [true, false]) {
  test(`rooms that a connection has no place for have another one, ${share ? 'with' : 'without'} sharing`, async (t) => {
    const world = narrow(t);
    const tab = await world.tab({ locks: share });
    const rooms = await open(tab, 3 * PLACES + 1, { as: 'ann' });
    const states = rooms.map((room) => room.state);
    assert.deepEqual([...new Set(rooms.map(how))], ['live true']);
    assert.deepEqual([world.sockets.size, states.includes('refused')], [4, false]);
    const [maps, last] = [rooms.map(({ members }) => members), rooms.at(-1)];
    await world.signIn(last.name, 'bob');
    assert.deepEqual([...last.members.keys()], ['ann', 'bob']);
    last.update({ a: 1 });
    await world.settle();
    assert.deepEqual(last.members.get('ann').meta, { a: 1 });
    await world.cut();
    await world.pass(1_000);
    assert.deepEqual([...new Set(rooms.map(how))], ['live true']);
    assert.ok(rooms.every(({ members }, i) => members === maps[i]), 'the sets are the same objects');
    for (const room of rooms) room.close();
    await world.pass(2 * GRACE_MS);
    assert.deepEqual([world.sockets.size, world.users(last.name)], [0, ['bob']]);
  });
}

test('tabs share the further connections as well', async (t) => {
  const errors = t.mock.method(console, 'error', () => {});
  const world = narrow(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [...(await open(one, 2)), ...(await open(two, PLACES, {}, 2))];
  assert.deepEqual([rooms.map(how), world.sockets.size], [Array(5).fill('live'), 2]);
  rooms.push(await one.room('room 4', { as: 'ann' }), await one.room('hall'));
  assert.deepEqual([rooms.map(how), world.sockets.size], [['live', 'live', 'live', 'live', 'live', 'live true', 'live'], 2]);
  await two.fire('pagehide');
  await world.pass(1_000);
  await world.signIn('room 4', 'bob');
  assert.deepEqual([...rooms[5].members.keys()], ['ann', 'bob']);
  assert.equal(errors.mock.callCount(), 0, 'nobody lacks anything');
});

test('a room that others of the line watch goes on there, when this page takes its own to another line', async (t) => {
  const world = narrow(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await open(leader, PLACES - 1, { as: 'ann' });
  const watcher = await tab.room('hall');
  const filler = await tab.room('room 0', { as: 'bob' });
  const room = await leader.room('hall', { as: 'ann' });
  const seen = [...watcher.seen];
  assert.deepEqual([how(filler), how(room), world.sockets.size], ['live true', 'live true', 2]);
  await world.signIn('hall', 'cyd');
  assert.deepEqual([[...watcher.members.keys()], [...room.members.keys()]], [['ann', 'cyd'], ['ann', 'cyd']]);
  assert.ok(seen.length < watcher.seen.length);
  await leader.crash();
  await world.pass(2 * GRACE_MS);
  assert.equal(watcher.state, 'live');
});

test('past the most connections a room is refused, and there when there is place again', async (t) => {
  for (const [transport, lines] of [['websocket', 10], ['sse', 3]]) {
    const world = narrow(t);
    if (transport === 'sse') new Sessions(world);
    const tab = await world.tab();
    const rooms = await open(tab, lines * PLACES, { as: 'ann', transport });
    const [late] = await open(tab, 1, { as: 'ann', transport }, rooms.length);
    assert.deepEqual([...new Set(rooms.map(how))], ['live true'], transport);
    assert.deepEqual([late.state, late.refusal.code, world.sockets.size], ['refused', 'too_many_subscribed', lines]);
    rooms.at(-1).close();
    await world.pass(40_000);
    assert.equal(how(late), 'live true');
    t.mock.timers.reset();
  }
});

for (const locks of [true, false]) {
  test(`a hold moves with its room and without an event, ${locks ? 'with' : 'without'} sharing`, async (t) => {
    const world = narrow(t);
    const [tab, other] = [await world.tab({ locks }), await world.tab({ locks })];
    const watcher = await other.room('hall', { share: false });
    const rooms = await open(tab, PLACES);
    const room = await tab.room('hall', { as: 'ann' });
    await world.pass(2 * GRACE_MS);
    assert.deepEqual([...rooms, room].map(how), ['live', 'live', 'live', 'live true']);
    assert.deepEqual([watcher.seen, world.tries, world.sockets.size], [['snapshot 0', 'add ann'], 3, 3]);
    room.leave();
    await world.settle();
    assert.deepEqual(watcher.seen.at(-1), 'del ann closed');
  });
}

test('a hold that has no place beside one that has stays where it is, until there is place', async (t) => {
  const world = narrow(t);
  const tab = await world.tab();
  const rooms = [await tab.room('hall', { as: 'ann' }), await tab.room('hall', { as: 'bob' }), await tab.room('hall', { as: 'cyd' })];
  const late = await tab.room('hall', { as: 'dee' });
  assert.deepEqual([late.state, late.holding, late.refusal.code], ['live', false, 'too_many_joined']);
  rooms[0].close();
  await world.pass(40_000);
  assert.deepEqual([late.holding, late.refusal, world.users('hall'), world.sockets.size], [true, null, ['bob', 'cyd', 'dee'], 1]);
});
