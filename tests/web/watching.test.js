import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pause } from '../../web/client/delay.js';
import { Sessions } from './fake-session.js';
import { GRACE_MS } from './fake-socket.js';
import { World } from './world.js';

const HELLO = { grace: GRACE_MS, keep_alive: 10_000, silence: 25_000 };

function greeting(t, hello = {}) {
  const world = new World(t);
  world.hello = { ...HELLO, ...hello };
  return world;
}

/** Listens to the states of a room. */
function told(room) {
  const states = [];
  room.addEventListener('state', () => states.push(room.state));
  return states;
}

test('a wait is about as long as all before it, up to a bound; all but the first are at least half as long', () => {
  const waits = (random, most, sum = 0) => Array.from({ length: 9 }, () => {
    const wait = pause(sum, most, () => random);
    sum += wait;
    return Math.round(wait);
  });
  assert.deepEqual(waits(1), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  assert.deepEqual(waits(1, 625), [500, ...Array(8).fill(625)]);
  assert.deepEqual(waits(1, 250), Array(9).fill(500), 'a short grace is no reason to storm');
  assert.equal(pause(0, undefined, () => 0), 0);
  assert.equal(pause(1_500, undefined, () => 0), 1_000);
});

test('a connection that is cut for up to 4 s is back within the grace, and nobody sees an event', async (t) => {
  for (const outage of [1_000, 2_000, 3_000, 4_000]) {
    for (const random of [1, 0.5, 0.01]) {
      const world = greeting(t);
      t.mock.method(Math, 'random', () => random);
      const [tab, other] = [await world.tab(), await world.tab()];
      const rooms = [await tab.room('lobby', { as: 'ann' }), await other.room('lobby', { as: 'bob' })];
      const cursor = `k3f.${world.room('lobby').log.length}`;
      world.up = false;
      await world.cut();
      await world.pass(outage);
      world.up = true;
      await world.pass(GRACE_MS - outage);
      assert.deepEqual(rooms.map(({ state, holding }) => `${state} ${holding}`), ['live true', 'live true'], `${outage} ${random}`);
      await world.pass(2 * GRACE_MS);
      assert.equal(rooms[0].cursor, cursor);
      t.mock.timers.reset();
    }
  }
});

test('a way that swallows what is sent is tried again within the grace', async (t) => {
  const world = greeting(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  const outage = 3_000;
  let silent = true;
  const Real = globalThis.WebSocket;
  t.mock.method(globalThis, 'WebSocket', function either(url) {
    return silent ? { close() {} } : new Real(url);
  });
  await world.cut();
  await world.pass(outage);
  silent = false;
  await world.pass(GRACE_MS - outage);
  assert.deepEqual([room.state, room.transport], ['live', 'websocket']);
});

test('a page that may make no requests, or whose proxy says that nobody is there, tries WebSockets all the same', async (t) => {
  for (const broken of [{ requests: false }, { health: 502 }]) {
    const world = Object.assign(greeting(t), broken);
    const room = await (await world.tab()).room('lobby', { as: 'ann' });
    world.up = false;
    await world.cut();
    await world.pass(2_000);
    assert.equal(world.tries, 2, 'the connection of before, and one more');
    world.up = true;
    await world.pass(GRACE_MS - 2_000);
    assert.deepEqual([room.state, room.holding, world.tries], ['live', true, 3]);
    t.mock.timers.reset();
  }
});

test('a gateway that is away for longer is tried ever less often, one that restarts by nobody at once', async (t) => {
  const world = greeting(t);
  const room = await (await world.tab()).room('lobby', { transport: 'websocket' });
  world.up = false;
  await world.cut();
  const tries = [];
  for (const ms of [5_000, 25_000, 300_000]) {
    const before = world.tries;
    await world.pass(ms);
    tries.push(world.tries - before);
  }
  assert.deepEqual(tries, [3, 3, 10]);
  world.up = true;
  await world.pass(60_000);
  assert.equal(room.state, 'live');
  world.up = false;
  await world.cut(1012, 'stopping');
  const waits = [];
  for (let i = 0; i < 4; i += 1) {
    waits.push(room.retryAt - Date.now());
    await world.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
});

for (const transport of ['websocket', 'sse']) {
  test(`a gateway that stops says over ${transport} when to return, and nobody tries before`, async (t) => {
    const world = greeting(t);
    const sessions = transport === 'sse' && new Sessions(world);
    const tab = await world.tab();
    const room = await tab.room('lobby', { as: 'ann', transport });
    const opened = () => (sessions ? sessions.open.length : world.tries);
    const stops = async (ms) => {
      const refused = JSON.stringify({ action: 'refused', code: 'stopping', message: '', retry: true });
      if (sessions) sessions.open.at(-1).raw(`retry: ${ms}\n\nevent: refused\ndata: ${refused}\n\n`);
      await world.cut(1012, `stopping ${ms}`);
    };
    world.rooms.clear();
    await stops(7_000);
    assert.deepEqual([room.state, room.retryAt - Date.now(), room.refusal], ['waiting', 7_000, null]);
    await world.pass(3_000);
    await tab.show();
    assert.deepEqual([room.retryAt - Date.now(), opened()], [4_000, 1], 'nor when the page is shown again');
    world.up = false;
    await world.pass(4_000);
    const waits = [];
    for (let i = 0; i < 3; i += 1) {
      waits.push(room.retryAt - Date.now());
      await world.pass(waits.at(-1));
    }
    assert.deepEqual(waits, [500, 1_000, 2_000], 'the outage begins then');
    world.up = true;
    await world.pass(4_000);
    assert.deepEqual([room.state, room.transport, room.holding], ['live', transport, true]);
    await stops(86_400_000);
    assert.equal(room.retryAt - Date.now(), 60_000, 'there is a bound');
    await world.pass(60_000);
    const before = opened();
    await stops(0);
    assert.equal(room.retryAt - Date.now(), 10);
    await world.pass(100);
    assert.deepEqual([room.state, opened()], ['live', before + 1]);
  });
}

test('a gateway that cuts what it has just accepted is not stormed', async (t) => {
  const world = greeting(t);
  const room = await (await world.tab()).room('lobby', { transport: 'websocket' });
  for (let i = 0; i < 20; i += 1) {
    await world.cut();
    await world.pass(room.retryAt - Date.now());
  }
  await world.cut();
  assert.equal(room.retryAt - Date.now(), 30_000);
});

for (const keepAlive of [10_000, 60_000]) {
  test(`a healthy connection stays, with a keep-alive each ${keepAlive / 1_000} s`, async (t) => {
    const world = greeting(t, { keep_alive: keepAlive, silence: keepAlive + 15_000 });
    const [one, two] = [await world.tab(), await world.tab()];
    const rooms = [await one.room('lobby'), await two.room('lobby')];
    for (let i = 0; i < 5; i += 1) {
      await world.pass(keepAlive);
      world.sockets.forEach((socket) => socket.tell({ action: 'alive' }));
    }
    assert.deepEqual([world.tries, world.heard.filter(({ action }) => action === 'alive').length], [1, 0]);
    assert.deepEqual(rooms.map(({ state }) => state), ['live', 'live']);
  });
}

for (const [what, back] of [
  ['looked at', (tab) => tab.show()],
  ['shown again', (tab) => tab.fire('pageshow')],
  ['run again', (tab) => tab.fire('resume')],
]) {
  test(`a page that is ${what} asks whether its connection is there, however recent the last word`, async (t) => {
    const world = greeting(t);
    const tab = await world.tab();
    const room = await tab.room('lobby');
    const [socket] = world.sockets;
    await back(tab);
    await world.pass(4_000);
    assert.deepEqual([...world.sockets], [socket], 'it is');
    world.dead = true;
    await back(tab);
    await world.pass(2_900);
    assert.equal(room.state, 'live');
    await world.pass(200);
    assert.equal(room.state, 'waiting');
    world.dead = false;
    await world.pass(1_000);
    assert.equal(room.state, 'live');
    assert.ok(!world.sockets.has(socket));
  });
}

test('a page that did not run for a while asks, but first reads what came meanwhile', async (t) => {
  const world = greeting(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  const [socket] = world.sockets;
  const states = told(room);
  tab.suspend();
  await world.signIn('lobby', 'ann');
  await world.pass(20_000);
  tab.resume();
  await world.pass(5_000);
  assert.deepEqual([[...world.sockets], states, room.seen.at(-1)], [[socket], [], 'add ann']);
  tab.suspend();
  world.dead = true;
  await world.pass(20_000);
  tab.resume();
  await world.pass(4_500);
  assert.notEqual(room.state, 'live');
});

test('a large answer that is still coming is a sign of life', async (t) => {
  const world = greeting(t);
  const tab = await world.tab();
  await tab.room('lobby');
  const [socket] = world.sockets;
  await tab.show();
  t.mock.method(socket, 'hear', () => {}); // the answer waits behind all that
  await tab.show();
  for (let i = 0; i < 5; i += 1) {
    await world.pass(2_000);
    socket.tell({ action: 'part of a snapshot' });
  }
  assert.deepEqual([...world.sockets], [socket]);
});

test('a browser that is offline says so at once in all tabs, and tries on, as it may be wrong', async (t) => {
  const world = greeting(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [await one.room('lobby', { as: 'ann' }), await two.room('lobby')];
  const states = told(rooms[1]);
  for (const tab of [one, two]) await tab.fire('offline');
  assert.deepEqual(rooms.map(({ state }) => state), ['waiting', 'waiting']);
  assert.ok(rooms[1].retryAt > Date.now());
  await world.pass(1_000);
  assert.deepEqual([rooms.map(({ state }) => state), states.at(-1)], [['live', 'live'], 'live'], 'it was wrong');
  world.up = false;
  for (const tab of [one, two]) await tab.fire('offline');
  await world.pass(120_000);
  world.up = true;
  for (const tab of [one, two]) await tab.fire('online');
  await world.pass(500);
  assert.deepEqual(rooms.map(({ state }) => state), ['live', 'live']);
});

test('offline is no reason to ask a gateway that refused', async (t) => {
  const world = greeting(t);
  const tab = await world.tab();
  const room = await tab.room('lobby');
  await world.cut(4403, 'cross_site');
  await tab.fire('offline');
  await world.pass(60_000);
  assert.deepEqual([room.state, world.tries], ['refused', 1]);
});

test('a leader that hangs freezes a tab that is looked at for 5 s at most', async (t) => {
  const world = greeting(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  const rooms = [await leader.room('lobby', { as: 'ann' }), await tab.room('lobby', { as: 'ann' })];
  await world.pass(10_000);
  const states = rooms.map(told);
  leader.suspend();
  await world.signIn('lobby', 'bob');
  await world.pass(5_500);
  assert.deepEqual([rooms[1].state, rooms[1].seen.at(-1), states[1].includes('refused')], ['live', 'add bob', false]);
  leader.resume();
  await world.pass(2 * GRACE_MS);
  assert.deepEqual(rooms.map(({ state, holding, seen }) => `${state} ${holding} ${seen}`), Array(2).fill('live true snapshot 1,add bob'));
  assert.deepEqual([world.users(), world.sockets.size, states[0].includes('refused')], [['ann', 'bob'], 1, false]);
});

test('a tab that hangs itself does not take the lead for that', async (t) => {
  const world = greeting(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  await tab.room('lobby');
  const [socket] = world.sockets;
  for (let i = 0; i < 5; i += 1) {
    tab.suspend();
    await world.pass(7_000);
    tab.resume();
    await world.pass(300);
  }
  assert.deepEqual([...world.sockets], [socket]);
});

test('the gateway restarts while the leader goes, and all come together again', async (t) => {
  const world = greeting(t);
  const tabs = [await world.tab(), await world.tab(), await world.tab()];
  const rooms = [];
  for (const tab of tabs) rooms.push(await tab.room('lobby', { as: 'ann' }));
  world.up = false;
  const restart = world.restart();
  await tabs[0].fire('pagehide');
  await restart;
  world.room('lobby').epoch = 'm8x';
  await world.pass(1_000);
  world.up = true;
  await tabs[0].fire('pageshow');
  await world.pass(5_000);
  assert.deepEqual(rooms.map(({ state, holding, cursor }) => `${state} ${holding} ${cursor}`), Array(3).fill('live true m8x.1'));
  assert.equal(world.sockets.size, 1);
});

test('two tabs that take the lead at once agree on one of them', async (t) => {
  const world = greeting(t);
  const tabs = [await world.tab(), await world.tab(), await world.tab(), await world.tab()];
  const rooms = [];
  for (const tab of tabs) rooms.push(await tab.room('lobby', { as: 'ann' }));
  tabs[0].suspend();
  for (const tab of tabs.slice(1)) tab.fire('visibilitychange');
  await world.settle();
  await world.pass(10_000);
  assert.deepEqual(rooms.slice(1).map(({ state, holding }) => `${state} ${holding}`), Array(3).fill('live true'));
  await tabs[1].fire('pagehide');
  tabs[0].resume();
  await world.pass(2 * GRACE_MS);
  await world.signIn('lobby', 'bob');
  assert.deepEqual(rooms.filter((_, i) => i !== 1).map(({ seen }) => seen.at(-1)), Array(3).fill('add bob'));
  assert.deepEqual([world.sockets.size, world.users()], [1, ['ann', 'bob']]);
});

for (const code of [1006, 1001, 1005]) {
  test(`WebSockets that open and end at once with ${code}, three in a row, are left alone for 10 min`, async (t) => {
    const world = greeting(t);
    const tab = await world.tab();
    const room = await tab.room('lobby', { as: 'ann' });
    const { Sessions } = await import('./fake-session.js');
    const sessions = new Sessions(world);
    world.upgrades = true;
    for (let i = 0; i < 3; i += 1) {
      assert.deepEqual([room.state, room.transport], ['live', 'websocket']);
      await world.pass(200);
      await world.cut(code);
      await world.pass(room.retryAt - Date.now());
    }
    assert.deepEqual([room.state, room.transport, sessions.open.length], ['live', 'sse', 1]);
    const other = await tab.room('hall', { user: 'bob', token: 'x' });
    assert.equal(other.transport === 'websocket', false, 'the page has learnt it');
    await world.pass(600_000);
    await world.cut();
    await world.pass(1_000);
    assert.equal(room.transport, 'websocket');
  });
}

test('WebSockets that last, or that the gateway itself ends, are used on', async (t) => {
  const world = greeting(t);
  const room = await (await world.tab()).room('lobby');
  for (const [ms, code] of [[200, 1006], [200, 1006], [4_000, 1006], [200, 1006], [200, 1006], [200, 1012], [200, 1006], [200, 1013]]) {
    await world.pass(ms);
    await world.cut(code);
    await world.pass(room.retryAt - Date.now());
    assert.deepEqual([room.state, room.transport], ['live', 'websocket']);
  }
});
