import assert from 'node:assert/strict';
import { test } from 'node:test';

import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);

test('a room that only counts has a number, and no members', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  await world.signIn('lobby 2', 'bob');
  const [leader, tab] = [await world.tab(), await world.tab()];
  const rooms = [await leader.room('lobby', { only: 'count' }), await tab.room('lobby', { only: 'count', as: 'cyd' })];
  let changes = 0;
  rooms[1].addEventListener('change', () => (changes += 1));
  await world.pass(100);
  assert.deepEqual(said(world, 'subscribe').map(({ room, counts }) => [room, counts])[0], [undefined, 'lobby']);
  for (const room of rooms) assert.deepEqual([room.state, room.count, room.members.size, room.list, room.seen], ['live', 2, 0, [], []]);
  await Promise.all(rooms.map(({ ready }) => ready));
  changes = 0;
  await world.signIn('lobby', 'dee');
  await world.signIn('lobby 2', 'dee');
  await world.pass(100);
  assert.deepEqual([rooms.map(({ count }) => count), changes, rooms[1].holding], [[3, 3], 1, true]);
  await world.cut();
  await world.signOut('lobby', 'dee');
  await world.pass(2_000);
  assert.deepEqual(rooms.map(({ count, state }) => `${count} ${state}`), ['2 live', '2 live']);
  rooms[1].close();
  await world.pass(100);
  rooms[0].close();
  await world.pass(100);
  assert.deepEqual([world.sockets.size, world.users()], [0, ['ann']]);
});

test('whoever is signed out of a room that is only counted knows it', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { only: 'count', as: 'ann' });
  for (const socket of world.sockets) socket.tell({ action: 'del', room: 'lobby', cursor: 'k3f.9', user: 'ann', reason: 'kicked', at: 'now' });
  await world.settle();
  assert.deepEqual([room.holding, room.ended], [false, { user: 'ann', reason: 'kicked', at: 'now' }]);
});

test('counts by prefix follow the rooms, in all tabs over one connection', async (t) => {
  const world = new World(t);
  await world.signIn('game 1', 'ann');
  await world.signIn('game 2', 'ann');
  await world.signIn('lobby', 'bob');
  const tabs = [await world.tab(), await world.tab()];
  const all = [];
  for (const tab of tabs) all.push(await tab.counts('game ', { url: 'http://gateway.test/' }));
  await Promise.all(all.map(({ ready }) => ready));
  await world.signIn('game 2', 'cyd');
  await world.signIn('game 3', 'dee');
  world.count('game 1', null);
  await world.settle();
  for (const counts of all) {
    assert.deepEqual([counts.state, Object.fromEntries(counts.rooms), counts.total], ['live', { 'game 2': 2, 'game 3': 1 }, 3]);
  }
  assert.equal(world.sockets.size, 1);
  const every = await tabs[1].counts();
  assert.deepEqual([every.rooms.get('lobby'), all[0].rooms.get('lobby')], [1, undefined]);
  every.close();
  await world.pass(100);
  assert.deepEqual(said(world, 'unsubscribe').map(({ counts }) => counts), ['']);
  all.forEach((counts) => counts.close());
  await world.pass(100);
  assert.equal(world.sockets.size, 0);
});

test('counts that are refused say so', async (t) => {
  const world = new World(t);
  t.mock.method(console, 'error', () => {});
  world.refuse = ({ counts }) => counts === 'game ' && { code: 'not_allowed', message: 'no', retry: false };
  const tab = await world.tab();
  const counts = await tab.counts('game ');
  assert.deepEqual([counts.state, counts.refusal.code], ['refused', 'not_allowed']);
  await assert.rejects(counts.ready, { code: 'not_allowed' });
  const good = await tab.counts('team ');
  for (const socket of world.sockets) socket.tell({ action: 'refused', counts: 'team ', code: 'not_allowed', message: 'no more' });
  await world.settle();
  assert.deepEqual([good.state, good.refusal.message], ['refused', 'no more']);
});

test('the holds of a user are those that the gateway shows', async (t) => {
  const world = new World(t);
  const asked = [];
  let answer = { user: 'ann', holds: [{ kind: 'sign_in' }] };
  world.answer = ({ url, headers }) => {
    asked.push([url.pathname, headers.Authorization]);
    return new Response(JSON.stringify(answer), { status: answer.status ?? 200 });
  };
  const room = await (await world.tab()).room('a/b', { as: 'ann' });
  assert.deepEqual(await room.holds(), [{ kind: 'sign_in' }]);
  answer = { status: 404, code: 'not_present', detail: 'not here' };
  assert.deepEqual(await room.holds('bob c'), []);
  answer = { user: 'bob' };
  await assert.rejects(room.holds('bob'), { name: 'RefusedError', code: 'not_allowed' });
  await assert.rejects(room.holds(''), TypeError);
  assert.deepEqual(asked.slice(0, 2), [['/api/rooms/a%2Fb/users/ann', undefined], ['/api/rooms/a%2Fb/users/bob%20c', undefined]]);
});
