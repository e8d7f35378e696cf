import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GRACE_MS, JOINED } from './fake-socket.js';
import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);

test('however many tabs there are, one has a connection, and all of them follow', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const tabs = [await world.tab(), await world.tab(), await world.tab()];
  const rooms = [];
  for (const tab of tabs) rooms.push(await tab.room('lobby'));
  rooms.push(await tabs[1].room('hall'));
  await world.signIn('lobby', 'bob');
  await world.signIn('hall', 'cyd');
  await world.signOut('lobby', 'ann');
  assert.equal(world.sockets.size, 1);
  assert.deepEqual(said(world, 'subscribe').map(({ room }) => room), ['lobby', 'hall']);
  for (const room of rooms.slice(0, 3)) {
    assert.deepEqual([room.state, room.transport, room.cursor], ['live', 'websocket', 'k3f.3']);
    assert.deepEqual([...room.members.keys()], ['bob']);
    assert.deepEqual(room.seen, ['snapshot 1', 'add bob', 'del ann signed_out']);
  }
  assert.deepEqual(rooms[3].seen, ['snapshot 0', 'add cyd']);
});

test('when the leader goes another takes over from where it stands, and nobody sees anything', async (t) => {
  for (const go of ['pagehide', 'crash']) {
    const world = new World(t);
    const tabs = [await world.tab(), await world.tab(), await world.tab()];
    const rooms = [];
    for (const tab of tabs) rooms.push(await tab.room('lobby', { as: 'ann' }));
    const hall = await tabs[2].room('hall');
    const [socket] = world.sockets;
    if (go === 'crash') {
      await tabs[0].crash();
      socket.cut(1006, '');
      tabs[0].suspend(); // its timers run on here
      await tabs[0].fire('pagehide');
    } else await tabs[0].fire('pagehide');
    await world.signIn('lobby', 'bob');
    await world.signIn('hall', 'cyd');
    await world.pass(2 * GRACE_MS);
    await world.signIn('hall', 'dee');
    assert.equal(world.sockets.size, 1);
    for (const room of rooms.slice(1)) assert.deepEqual([room.state, ...room.seen], ['live', 'snapshot 1', 'add bob'], go);
    assert.deepEqual(hall.seen, ['snapshot 0', 'add cyd', 'add dee'], go);
    assert.deepEqual(world.users(), ['ann', 'bob']);
    assert.ok(said(world, 'subscribe').slice(-2).every(({ since }) => /^k3f/.test(since)), 'it went on from cursors');
    await world.cut();
    assert.deepEqual(rooms.slice(1).map(({ state }) => state), ['waiting', 'waiting']);
    t.mock.timers.reset();
  }
});

test('a page that comes back from the cache follows whoever leads by then', async (t) => {
  const world = new World(t);
  const [leader, tab, other] = [await world.tab(), await world.tab(), await world.tab()];
  await leader.room('lobby');
  const room = await tab.room('lobby');
  await other.room('lobby');
  await tab.fire('pagehide');
  await leader.fire('pagehide');
  await tab.fire('pageshow');
  await world.signIn('lobby', 'ann');
  assert.deepEqual([room.state, room.transport, ...room.seen], ['live', 'websocket', 'snapshot 0', 'add ann']);
  assert.equal(world.sockets.size, 1);
});

test('a tab that comes after the take-over gets the set of a room that the leader never had', async (t) => {
  const world = new World(t);
  await world.signIn('hall', 'ann');
  const tabs = [await world.tab(), await world.tab(), await world.tab(), await world.tab()];
  await tabs[0].room('hall');
  await tabs[1].room('lobby');
  const hall = await tabs[2].room('hall');
  await tabs[0].fire('pagehide');
  await world.signIn('hall', 'bob');
  const leaders = await tabs[1].room('hall');
  const late = await tabs[3].room('hall');
  await world.signIn('hall', 'cyd');
  assert.deepEqual(hall.seen, ['snapshot 1', 'add bob', 'add cyd']);
  for (const room of [late, leaders]) assert.deepEqual(room.seen, ['snapshot 2', 'add cyd']);
  for (const room of [hall, late, leaders]) {
    assert.deepEqual([room.state, ...room.members.keys()], ['live', 'ann', 'bob', 'cyd']);
  }
  assert.equal(world.sockets.size, 1);
});

test('a leader that passes on a room without its set has the set once its own tab is there, too', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'zoe');
  const [leader, follower] = [await world.tab(), await world.tab()];
  await leader.room('hall');
  // The follower's cursor is all that the leader knows of the lobby.
  await follower.room('lobby', { since: 'k3f.1', members: [{ user: 'zoe', meta: {}, joined: JOINED }] });
  world.up = false;
  await world.cut();
  const late = await leader.room('lobby');
  world.up = true;
  await world.pass(10_000);
  assert.deepEqual([late.state, [...late.members.keys()]], ['live', ['zoe']]);
});

test('replaced by an own opening that came late it comes back, replaced again it was another client', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  for (const [after, code] of [['live', undefined], ['refused', 'replaced']]) {
    await world.cut(4409, 'replaced');
    await world.pass(5_000);
    assert.deepEqual([room.state, room.refusal?.code], [after, code]);
  }
});

test('one user in two tabs is one hold, which ends with the last of them', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const watcher = await one.room('lobby');
  const [first, second] = [await one.room('lobby', { as: 'ann' }), await two.room('lobby', { as: 'ann' })];
  assert.deepEqual([first.holding, second.holding, said(world, 'join').length], [true, true, 1]);
  second.update({ status: 'away' });
  await world.settle();
  first.close();
  await world.pass(100);
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'update ann']);
  second.close();
  await world.pass(100);
  assert.deepEqual(watcher.seen.slice(3), ['del ann closed']);
});

test('a tab that is closed by its reader leaves soon, one that vanished after the grace', async (t) => {
  const world = new World(t);
  const [leader, tab, other] = [await world.tab(), await world.tab(), await world.tab()];
  const watcher = await leader.room('lobby');
  const room = await tab.room('lobby', { as: 'ann' });
  room.close();
  await world.pass(100);
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'del ann closed']);
  await other.room('lobby', { as: 'bob' });
  await other.crash();
  await world.pass(GRACE_MS - 100);
  assert.deepEqual(watcher.seen.slice(3), ['add bob']);
  await world.pass(200);
  assert.deepEqual(watcher.seen.slice(4), ['del bob closed']);
});

for (const leads of [true, false]) {
  test(`a reload within the grace is seen by nobody, where the tab ${leads ? 'led' : 'followed'}`, async (t) => {
    const world = new World(t);
    const [tab, other, fresh] = [await world.tab(), await world.tab(), await world.tab()];
    if (!leads) await other.room('hall');
    await tab.room('lobby', { as: 'ann' });
    const watcher = await other.room('lobby');
    await tab.fire('pagehide');
    await world.pass(1_000);
    await fresh.room('lobby', { as: 'ann' });
    await world.pass(2 * GRACE_MS);
    assert.deepEqual(watcher.seen, ['snapshot 1']);
    assert.deepEqual([world.users(), world.sockets.size], [['ann'], 1]);
  });
}

for (const [go, back] of [['pagehide', 'pageshow'], ['freeze', 'resume']]) {
  test(`a page that comes back after ${go} is live again, with what happened meanwhile`, async (t) => {
    const world = new World(t);
    const tab = await world.tab();
    const room = await tab.room('lobby', { as: 'ann' });
    await tab.fire(go);
    assert.equal(world.sockets.size, 0);
    await world.signIn('lobby', 'bob');
    await world.pass(1_000);
    await tab.fire(back);
    assert.deepEqual([room.state, room.holding, ...room.seen], ['live', true, 'snapshot 1', 'add bob']);
    assert.equal(said(world, 'join')[0].client, said(world, 'join')[1].client);
    await world.pass(2 * GRACE_MS);
    assert.deepEqual(world.users(), ['ann', 'bob']);
    await tab.fire(go);
    await world.pass(60_000);
    await tab.show();
    assert.equal(world.sockets.size, 0, 'away it does nothing');
  });
}

test('a page that is shown for the first time does not start twice', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  await tab.fire('pageshow');
  await tab.room('lobby');
  await tab.fire('pageshow');
  assert.deepEqual([world.sockets.size, said(world, 'subscribe').length], [1, 1]);
});

test('a follower that missed a frame, or stands elsewhere, is brought to the set', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  await world.signIn('lobby', 'bob');
  const members = [{ user: 'ann', meta: {}, joined: '2026-11-22T05:53:00Z' }];
  const room = await tab.room('lobby', { since: 'k3f.1', members });
  await world.signIn('lobby', 'cyd');
  assert.deepEqual(room.seen, ['snapshot 2', 'add cyd']);
  assert.equal(said(world, 'subscribe').length, 1, 'the leader had it');
});

test('a follower that is behind where the leader resumes is brought to the set, one that is ahead waits', async (t) => {
  const world = new World(t);
  for (const user of ['ann', 'bob', 'cyd']) await world.signIn('lobby', user);
  world.up = false;
  const [leader, behind, ahead] = [await world.tab(), await world.tab(), await world.tab()];
  const member = (user) => ({ user, meta: {}, joined: '' });
  const known = (...users) => ({ since: `k3f.${users.length}`, members: users.map(member) });
  const rooms = [
    await leader.room('lobby', known('ann', 'bob')),
    await behind.room('lobby', known('ann')),
    await ahead.room('lobby', known('ann', 'bob', 'cyd')),
  ];
  world.up = true;
  await world.pass(500);
  await world.signIn('lobby', 'dee');
  for (const room of rooms) assert.deepEqual([...room.members.keys()], ['ann', 'bob', 'cyd', 'dee']);
  assert.deepEqual(rooms.map(({ seen }) => seen), [['add cyd', 'add dee'], ['snapshot 3', 'add dee'], ['add dee']]);
});

test('the grace of a vanished tab ends in time, though the leader is hidden and its timers are late', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  await tab.room('lobby', { as: 'ann' });
  await tab.crash();
  const [socket] = world.sockets;
  t.mock.timers.setTime(Date.now() + GRACE_MS);
  socket.tell({ action: 'alive' });
  await world.settle();
  assert.deepEqual(world.users(), []);
});

test('signed out, all tabs that held stop holding', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [await one.room('lobby', { as: 'ann' }), await two.room('lobby', { as: 'ann' })];
  await world.signOut('lobby', 'ann');
  assert.deepEqual(rooms.map(({ holding, state, as }) => [holding, state, as]), [[false, 'live', ''], [false, 'live', '']]);
  const other = await two.room('lobby', { as: 'bob' });
  rooms[0].join('ann');
  await world.settle();
  await world.signOut('lobby', 'ann');
  assert.deepEqual([rooms[0].holding, other.holding], [false, true], 'but those of another user');
  await two.fire('pagehide');
  await world.pass(2 * GRACE_MS);
  assert.deepEqual(world.users(), []);
});

test('every tab knows how the line is, and any of them can hurry it', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [await one.room('lobby'), await two.room('lobby')];
  world.up = false;
  await world.cut();
  await world.pass(10_000);
  assert.deepEqual(rooms.map(({ state }) => state), ['waiting', 'waiting']);
  assert.equal(rooms[0].retryAt, rooms[1].retryAt);
  world.up = true;
  rooms[1].retry();
  await world.settle();
  assert.deepEqual(rooms.map(({ state }) => state), ['live', 'live']);
  world.up = false;
  await world.cut();
  await world.pass(20_000);
  world.up = true;
  await two.show();
  await world.pass(500);
  assert.deepEqual(rooms.map(({ state }) => state), ['live', 'live'], 'also by being looked at');
});

test('where the browser has no locks, or sharing is not wanted, each has a connection', async (t) => {
  const world = new World(t);
  for (const [locks, share] of [[false, true], [true, false]]) {
    const before = world.sockets.size;
    const tabs = [await world.tab({ locks }), await world.tab({ locks })];
    for (const tab of tabs) assert.equal((await tab.room('lobby', { share })).state, 'live');
    assert.equal(world.sockets.size, before + 2);
  }
});

test('what a framework wraps goes to other tabs all the same', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const members = [{ user: 'ann', meta: new Proxy({ a: 1 }, {}), joined: '2026-11-22T05:53:00Z' }];
  await world.signIn('lobby', 'ann', { a: 1 });
  await one.room('lobby', { since: 'k3f.1', members });
  const room = await two.room('lobby', { as: 'bob', meta: new Proxy({ b: 1 }, {}) });
  assert.deepEqual(Array.from(room.members.values(), ({ meta }) => meta), [{ a: 1 }, { b: 1 }]);
  room.update(new Proxy({ b: 2 }, {}));
  await world.settle();
  assert.deepEqual(room.members.get('bob').meta, { b: 2 });
});

test('by a page that is not shown yet nobody is there', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  tab.document.prerendering = true;
  const room = await tab.room('lobby', { as: 'ann' });
  assert.deepEqual([room.state, world.sockets.size], ['connecting', 0]);
  tab.document.prerendering = false;
  tab.document.dispatchEvent(new Event('prerenderingchange'));
  await world.settle();
  assert.deepEqual([room.holding, world.users()], [true, ['ann']]);
});

test('a leader that is suspended loses the lead to a tab that is looked at, and follows when it runs again', async (t) => {
  const world = new World(t);
  const [leader, tab, hidden] = [await world.tab(), await world.tab(), await world.tab()];
  const rooms = [await leader.room('lobby'), await tab.room('lobby', { as: 'ann' }), await hidden.room('lobby')];
  const [first] = world.sockets;
  const seen = () => rooms.map((room) => room.seen.at(-1));
  leader.suspend();
  await world.signIn('lobby', 'bob');
  assert.deepEqual(seen(), ['add ann', 'add ann', 'snapshot 1']);
  await tab.show();
  await world.pass(3_500);
  assert.deepEqual(seen(), ['add ann', 'add bob', 'add bob']);
  assert.ok(!world.sockets.has(first), 'the new connection took the hold over');
  leader.resume();
  await world.pass(2 * GRACE_MS);
  assert.deepEqual(rooms.map(({ state, transport }) => `${state} ${transport}`), Array(3).fill('live websocket'));
  await world.signIn('lobby', 'cyd');
  assert.deepEqual(rooms.map((room) => room.seen.length), [4, 4, 3]);
  assert.deepEqual([...seen(), world.sockets.size], ['add cyd', 'add cyd', 'add cyd', 1]);
});

test('a leader that answers keeps the lead, however quiet the room', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  await tab.room('lobby');
  const [socket] = world.sockets;
  for (let i = 0; i < 12; i += 1) {
    socket.tell({ action: 'alive' });
    if (i < 6) await tab.show();
    await world.pass(10_000);
  }
  assert.deepEqual([...world.sockets], [socket]);
});

test('tabs that see to their leader do not make it try more often', async (t) => {
  const world = new World(t);
  world.up = false;
  for (let i = 0; i < 3; i += 1) await (await world.tab()).room('lobby');
  await world.pass(185_000);
  assert.equal(world.tries, 12, 'at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5 s and every 30 s from then on');
});

test('a leader that is missed without anybody looking is found silent in time', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  const room = await tab.room('lobby');
  leader.suspend();
  await world.signIn('lobby', 'ann');
  tab.document.hidden = true;
  await world.pass(60_000);
  assert.deepEqual(room.seen, ['snapshot 0'], 'whoever is hidden does not mind');
  tab.document.hidden = false;
  await world.pass(10_000);
  assert.deepEqual([room.state, ...room.seen], ['live', 'snapshot 0', 'add ann']);
});
