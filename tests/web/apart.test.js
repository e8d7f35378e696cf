import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GRACE_MS } from './fake-socket.js';
import { World } from './world.js';

/** Watches for promises that nobody handles. */
function handled(t) {
  const reasons = [];
  const note = (reason) => reasons.push(reason);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  return reasons;
}

for (const [what, broken, ms] of [
  ['channels are denied', { channel: 'denied' }, 0],
  ['locks are denied', { locks: 'denied' }, 0],
  ['channels and locks are denied', { channel: 'denied', locks: 'denied' }, 0],
  ['locks never settle', { locks: 'silent' }, 3_000],
]) {
  test(`where ${what} each page has a connection of its own, for all its rooms`, async (t) => {
    const reasons = handled(t);
    const world = new World(t);
    const [one, two] = [await world.tab(broken), await world.tab(broken)];
    const rooms = [await one.room('lobby', { as: 'ann' }), await two.room('lobby', { as: 'bob' }), await one.room('hall')];
    await world.pass(ms);
    assert.deepEqual(rooms.map(({ state }) => state), ['live', 'live', 'live']);
    assert.deepEqual([rooms[0].holding, rooms[1].holding, world.sockets.size], [true, true, 2]);
    rooms[0].update({ a: 1 });
    await world.settle();
    for (const room of rooms.slice(0, 2)) assert.deepEqual(room.members.get('ann').meta, { a: 1 });
    await world.pass(60_000);
    assert.deepEqual([world.tries, reasons], [2, []]);
    const late = await one.room('attic', { user: 'cyd', token: 'x' });
    await world.settle();
    assert.notEqual(late.state, 'connecting', 'what this page learnt it need not learn again');
  });
}

test('a tab that hears nobody takes the lead twice at most, and then goes alone; the others share on', async (t) => {
  for (const first of [true, false]) {
    const world = new World(t);
    const tabs = [await world.tab(first ? { channel: 'mute' } : {}), await world.tab(first ? {} : { channel: 'mute' })];
    tabs.push(await world.tab());
    const rooms = [];
    for (const tab of tabs) {
      rooms.push(await tab.room('lobby', { as: 'ann' }));
      await world.pass(500);
    }
    const states = [];
    rooms[2].addEventListener('state', () => states.push(rooms[2].state));
    await world.pass(30_000);
    assert.deepEqual(rooms.map(({ state, holding }) => `${state} ${holding}`), Array(3).fill('live true'));
    const { tries } = world;
    await world.pass(120_000);
    assert.equal(world.tries, tries, 'it is over');
    assert.equal(world.sockets.size, 2, 'two share');
    assert.ok(!states.includes('refused'), states);
    for (const room of rooms) room.update({ by: rooms.indexOf(room) });
    await world.signIn('lobby', 'bob');
    for (const room of rooms) assert.deepEqual([...room.members.keys()], ['ann', 'bob']);
    for (const room of rooms) room.close();
    await world.pass(2 * GRACE_MS);
    assert.deepEqual(world.users(), ['bob']);
    t.mock.timers.reset();
  }
});

test('a tab that goes alone leaves the others their leader, who knows that it is gone', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  const watcher = await leader.room('lobby');
  const alone = await world.tab({ locks: 'silent' });
  const room = await alone.room('lobby', { as: 'ann' });
  await tab.room('lobby');
  const [shared] = world.sockets;
  await world.pass(3_000);
  assert.deepEqual([room.state, room.holding, world.sockets.size, world.sockets.has(shared)], ['live', true, 2, true]);
  room.close();
  await world.pass(2 * GRACE_MS);
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'del ann closed']);
});

test('the first page is live at once, a second as soon as it hears the first', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  assert.equal((await one.room('lobby')).state, 'live');
  assert.equal((await two.room('lobby')).state, 'live');
});

test('a lock of the leader that is never granted is no reason to go alone while a leader is heard', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  await one.room('lobby');
  const room = await two.room('lobby');
  await world.pass(600_000);
  assert.deepEqual([room.state, world.tries], ['live', 1]);
});

test('a page that is opened in the background beside a leader that hangs does not wait for somebody to look', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  leader.suspend();
  tab.document.hidden = true;
  const room = await tab.room('lobby', { as: 'ann' });
  await world.pass(4_000);
  assert.deepEqual([room.state, room.holding], ['live', true]);
});

test('a tab that goes alone later takes nobody the hold that they shared', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  const rooms = [await leader.room('lobby', { as: 'ann' }), await tab.room('lobby', { as: 'ann' })];
  const states = [];
  rooms[0].addEventListener('state', () => states.push(rooms[0].state));
  tab.mute();
  await world.pass(120_000);
  assert.deepEqual(rooms.map(({ state, holding }) => `${state} ${holding}`), ['live true', 'live true']);
  assert.deepEqual([world.sockets.size, states.includes('refused')], [2, false]);
});
