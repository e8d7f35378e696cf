import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stay } from './guarded.js';
import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);
const tooFast = ({ action }) => action === 'update' && { code: 'too_fast', message: 'too fast', retry: true };

/** A world with a room that holds ann, whose update was refused for now. */
async function refused(t) {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  world.refuse = tooFast;
  room.update({ n: 1 });
  await world.settle();
  return { world, room };
}

/** The gateway tells everybody of an empty lobby of another epoch. */
function emptied(world, fields) {
  const snapshot = { action: 'snapshot', room: 'lobby', cursor: 'zzz.1', count: 0, part: 0, last: true, users: [] };
  for (const socket of world.sockets) socket.tell({ ...snapshot, ...fields });
  return world.settle();
}

test('a snapshot without its user makes it join again, unless it was ended or the gateway has just started', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { status: 'here' } });
  const tell = async (fields) => {
    await emptied(world, fields);
    return said(world, 'join').length;
  };
  assert.equal(await tell({ fresh_for: 4_000 }), 1);
  assert.deepEqual([[...room.members.keys()], room.fresh], [['ann'], true], 'nobody is taken out until the gateway knows all');
  assert.equal(await tell({ cursor: 'k3f.0' }), 1, 'a set of before the join');
  assert.equal(await tell({}), 2);
  assert.equal(room.fresh, false);
  assert.deepEqual(said(world, 'join')[1].meta, { status: 'here' });
  room.leave();
  await world.settle();
  assert.equal(await tell({ cursor: 'zzz.2' }), 2);
});

test('the tabs that follow the leader keep whom they knew, too, until the gateway knows all', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'zoe');
  const rooms = [];
  for (const tab of [await world.tab(), await world.tab()]) rooms.push(await tab.room('lobby'));
  const tell = async (fields) => {
    await emptied(world, fields);
    return rooms.map((room) => [room.fresh, room.count]);
  };
  assert.deepEqual(await tell({ fresh_for: 4_000 }), [[true, 1], [true, 1]]);
  assert.deepEqual(await tell({}), [[false, 0], [false, 0]]);
});

test('who is cut off before the gateway knows all takes the whole set afterwards', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'zoe');
  const rooms = [];
  for (const tab of [await world.tab(), await world.tab()]) rooms.push(await tab.room('lobby'));
  await emptied(world, { fresh_for: 4_000 });
  Object.assign(world.room('lobby'), { epoch: 'zzz', log: [{}], members: new Map() });
  await world.cut();
  await world.pass(2_000);
  assert.equal(said(world, 'subscribe').at(-1).since, undefined, 'the cursor tells nothing of whom was kept');
  assert.deepEqual(rooms.map(({ state, fresh, count }) => [state, fresh, count]), Array(2).fill(['live', false, 0]));
});

test('a tab that comes back with members of before takes the whole set, also from a leader that resumes', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'zoe');
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  const room = await tab.room('lobby');
  await emptied(world, { fresh_for: 4_000 });
  await tab.fire('pagehide');
  await emptied(world, {});
  Object.assign(world.room('lobby'), { epoch: 'zzz', log: [{}], members: new Map() });
  world.up = false;
  await world.cut();
  await tab.fire('pageshow');
  world.up = true;
  await world.pass(10_000);
  assert.deepEqual([room.state, room.fresh, room.count], ['live', false, 0]);
});

test('a rank goes with what is said, and another tab says it too', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const first = await one.room('lobby', { as: 'ann', meta: { status: 'away' }, rank: -1 });
  const second = await two.room('lobby', { as: 'ann', meta: { status: 'here' } });
  const told = world.heard.filter(({ action }) => action === 'join' || action === 'update');
  assert.deepEqual(told.map(({ meta, rank }) => [meta.status, rank]), [['away', -1], ['here', undefined]]);
  first.update({ status: 'away' }, { rank: -1 });
  await world.settle();
  assert.deepEqual(said(world, 'update').length, 1, 'what is not seen says nothing anew of what is');
  second.update({ status: 'here' });
  await world.settle();
  assert.deepEqual(said(world, 'update').length, 2, 'what is seen is said anew');
  second.close();
  await world.pass(100);
  const { meta, rank } = said(world, 'update').at(-1);
  assert.deepEqual([meta, rank], [{ status: 'away' }, -1]);
});

test('what was said when the connection was lost is said again, and what others say is never said for them', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { status: 'here' } });
  room.update({ status: 'away' });
  await world.cut();
  await world.pass(1_000);
  assert.deepEqual(said(world, 'join').at(-1).meta, { status: 'away' });
  await world.signIn('lobby', 'ann', { status: 'back' });
  await world.cut();
  await world.pass(1_000);
  assert.deepEqual(said(world, 'join').at(-1).meta, { status: 'away' });
  assert.deepEqual(room.members.get('ann').meta, { status: 'back' });
});

test('an update that is refused for now is said again, once, with what was said last', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { n: 0 }, every: 0 });
  world.refuse = tooFast;
  for (const n of [1, 2]) room.update({ n });
  await world.settle();
  room.update({ n: 3 });
  await world.signIn('lobby', 'ann', { n: 'of another device, before' });
  world.refuse = null;
  await world.pass(1_000);
  assert.deepEqual(said(world, 'update').map(({ meta }) => meta.n), [1, 2, 3]);
  assert.deepEqual(room.members.get('ann').meta, { n: 3 });
  assert.deepEqual([room.holding, room.refusal], [true, null]);
  await world.signIn('lobby', 'ann', { n: 'of another device, after' });
  await world.cut();
  await world.pass(1_000);
  assert.deepEqual(room.members.get('ann').meta, { n: 'of another device, after' });
});

test('an update that is refused again and again waits longer each time', async (t) => {
  const { world, room } = await refused(t);
  const tries = [];
  for (let i = 0; i < 4; i += 1) {
    await world.pass(1_000);
    tries.push(said(world, 'update').length);
  }
  assert.deepEqual(tries, [2, 2, 3, 3]);
  world.refuse = null;
  await world.pass(4_000);
  world.refuse = tooFast;
  room.update({ n: 2 });
  await world.settle();
  await world.pass(1_000);
  assert.equal(said(world, 'update').length, 6, 'after a success the wait is short again');
});

test('an update that waits is not said again where it is needless', async (t) => {
  const { world, room } = await refused(t);
  world.refuse = null;
  await world.cut();
  await world.pass(5_000);
  assert.deepEqual(room.members.get('ann').meta, { n: 1 }, 'the new connection joins with it');
  world.refuse = tooFast;
  room.update({ n: 2 });
  await world.settle();
  room.leave();
  await world.pass(5_000);
  assert.equal(said(world, 'update').length, 2);
});

test('what is said while a hold waits to be asked for again goes with it', async (t) => {
  const world = new World(t);
  world.refuse = ({ action }) => action === 'join' && { code: 'too_fast', message: 'too fast', retry: true };
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { n: 0 } });
  room.update({ n: 1 });
  await world.settle();
  world.refuse = null;
  await world.pass(5_000);
  assert.deepEqual([room.holding, room.refusal, room.members.get('ann').meta], [true, null, { n: 1 }]);
});

test('a refusal for now of one tab is not one of the others', async (t) => {
  t.mock.method(console, 'error', () => {});
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [await one.room('lobby', { as: 'ann' }), await two.room('lobby', { as: 'ann' })];
  world.refuse = tooFast;
  rooms[1].update({ n: 1 });
  await world.settle();
  assert.deepEqual(rooms.map(({ refusal }) => refusal?.code), [undefined, 'too_fast']);
  world.refuse = null;
  await world.pass(1_000);
  assert.deepEqual(rooms.map(({ refusal, holding }) => [refusal, holding]), [[null, true], [null, true]]);
});

test('two devices that come back restore no word, so that they do not flip it', async (t) => {
  const world = new World(t);
  world.hello = { grace: 5_000, silence: 25_000 };
  const devices = [];
  for (const n of [1, 2]) devices.push(await (await world.tab()).room('lobby', { as: 'ann', meta: { n }, share: false }));
  for (let i = 0; i < 5; i += 1) {
    await world.cut();
    await stay(world, 12_000);
  }
  assert.deepEqual(devices.map(({ holding, seen }) => [holding, seen.length]), [[true, 2], [true, 1]], 'what was said at first');
  assert.deepEqual([said(world, 'update'), world.room('lobby').members.get('ann').meta], [[], { n: 2 }]);
});

test('what a leading tab said that is gone counts no longer than the grace, though another tab holds on', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby', { as: 'ann', meta: { n: 1 } });
  const room = await tab.room('lobby', { as: 'ann' });
  await leader.fire('pagehide');
  await world.pass(1_000);
  assert.deepEqual([room.holding, world.room('lobby').members.get('ann').meta], [true, { n: 1 }]);
  await world.pass(10_000);
  assert.deepEqual([room.holding, world.room('lobby').members.get('ann').meta], [true, {}]);
});
