import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Sessions } from './fake-session.js';
import { GRACE_MS } from './fake-socket.js';
import { actions, guarded, how, stay } from './guarded.js';
import { World } from './world.js';

const MINUTE_MS = 60_000;

for (const transport of ['websocket', 'sse']) {
  test(`a token comes before all else, and nothing before it is taken: ${transport}`, async (t) => {
    const { world, keys } = guarded(t);
    const sessions = transport === 'sse' && new Sessions(world);
    const tab = await world.tab();
    let give;
    const token = () => new Promise((resolve) => (give = resolve));
    const room = await tab.room('lobby', { as: 'ann', token, transport });
    assert.deepEqual([world.sockets.size, room.state, ...actions(world)], [1, 'connecting']);
    world.sockets.forEach((socket) => socket.tell({ action: 'alive', ask: true }));
    await world.settle();
    assert.deepEqual(actions(world), [], 'not even that it is there');
    const shown = keys.issue('ann');
    give(shown);
    await world.settle();
    assert.deepEqual(actions(world), ['auth', 'join', 'subscribe']);
    assert.deepEqual([room.state, room.holding, room.transport, ...keys.shown], ['live', true, transport, shown]);
    if (sessions) assert.equal(sessions.asked.length, 3, 'the stream, the token, and all the rest');
  });

  test(`a token that is over is replaced, and nobody sees anything: ${transport}`, async (t) => {
    const { world, keys } = guarded(t);
    if (transport === 'sse') new Sessions(world);
    const watcher = await (await world.tab()).room('lobby', { as: 'bob', token: keys.giver('bob'), transport });
    const token = keys.giver('ann');
    const room = await (await world.tab()).room('lobby', { as: 'ann', token, transport });
    const states = [];
    room.addEventListener('state', () => states.push(room.state));
    const [, socket] = world.sockets;
    socket.cut(4401, 'token_expired');
    await world.settle();
    assert.deepEqual([[...new Set(states)], room.holding, token.asked], [['connecting', 'live'], true, 2]);
    await world.pass(2 * GRACE_MS);
    assert.deepEqual(watcher.seen, ['snapshot 1', 'add ann']);
  });
}

test('a token as a string is shown each time, until it is over', async (t) => {
  const { world, keys, errors } = guarded(t);
  const token = keys.issue('ann', 120);
  const room = await (await world.tab()).room('lobby', { as: 'ann', token });
  await world.cut();
  await world.pass(500);
  assert.deepEqual([room.state, ...keys.shown], ['live', token, token]);
  await stay(world, 4 * MINUTE_MS);
  assert.deepEqual([how(room), keys.shown.length, world.sockets.size], ['refused token_expired', 2, 0]);
  assert.deepEqual([errors.length, errors[0].includes('token_expired')], [1, true]);
});

test('of the tokens that rooms of a page came with the newest is shown', async (t) => {
  const { world, keys } = guarded(t);
  const tab = await world.tab();
  const tokens = [keys.issue('ann'), keys.issue('ann')];
  for (const token of tokens) await tab.room('lobby', { user: 'ann', token });
  await world.cut();
  await world.pass(500);
  assert.deepEqual(keys.shown, tokens);
});

test('a string in the first request of a session needs no other', async (t) => {
  const { world, keys } = guarded(t);
  const sessions = new Sessions(world);
  await (await world.tab()).room('lobby', { token: keys.issue('ann'), transport: 'sse' });
  assert.equal(sessions.asked[0], 'POST /api/stream 0 auth');
});

test('a gateway without keys takes any token', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann', token: () => 'any' });
  assert.deepEqual([room.state, room.holding, ...actions(world)], ['live', true, 'auth', 'join', 'subscribe']);
});

test('a token is asked for once per user and not once per tab, and the next leader asks its own', async (t) => {
  const { world, keys } = guarded(t);
  const tabs = [await world.tab(), await world.tab(), await world.tab()];
  const givers = tabs.map(() => keys.giver('ann'));
  const rooms = [];
  for (const [i, tab] of tabs.entries()) rooms.push(await tab.room('lobby', { as: 'ann', token: givers[i] }));
  assert.deepEqual([rooms.map(how), givers.map(({ asked }) => asked)], [['live', 'live', 'live'], [1, 0, 0]]);
  assert.equal(world.sockets.size, 1);
  await tabs[0].fire('pagehide');
  await world.pass(2 * GRACE_MS);
  assert.deepEqual([rooms.slice(1).map(how), givers.map(({ asked }) => asked)], [['live', 'live'], [1, 1, 0]]);
  assert.deepEqual(rooms[2].seen, ['snapshot 1'], 'and nobody sees it');
});

test('users share no connection, and who is not named shares with nobody else', async (t) => {
  const { world, keys } = guarded(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const token = keys.giver('ann');
  const rooms = [
    await one.room('lobby', { as: 'ann', token }),
    await two.room('lobby', { user: 'ann', token: keys.giver('ann') }),
    await two.room('lobby', { as: 'bob', token: keys.giver('bob') }),
    await one.room('lobby', { token }),
    await one.room('hall', { token }),
    await two.room('lobby', { token }),
    await one.room('lobby', { user: 'ann', token, url: 'http://gateway.test/below/' }),
  ];
  assert.deepEqual(rooms.map(how), Array(7).fill('live'));
  assert.equal(world.sockets.size, 5, 'ann, bob, ann unnamed in two tabs, and ann at another gateway');
  rooms.forEach((room) => room.close());
  await world.pass(100);
  assert.equal(world.sockets.size, 0);
});

test('another user than the connection is for is refused, and nothing is asked for', async (t) => {
  const { world, keys } = guarded(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const first = await one.room('lobby', { as: 'ann', token: keys.giver('bob') });
  const second = await two.room('lobby', { as: 'ann', token: keys.giver('ann') });
  assert.deepEqual([how(first), how(second)], ['refused wrong_user', 'refused wrong_user']);
  assert.deepEqual([world.sockets.size, ...actions(world)], [0, 'auth']);
  world.keys = null;
  world.hello = { sub: 'bob' };
  await one.room('hall', { user: 'cyd', token: keys.giver('cyd') });
  assert.deepEqual(actions(world), ['auth'], 'nor where a cookie says so');
});

test('a page of a cookie stays the page of its user', async (t) => {
  const { world } = guarded(t);
  world.keys = null;
  const tab = await world.tab();
  for (const hello of [{ sub: 'bob' }, {}, { auth: true }]) {
    world.hello = { sub: 'ann' };
    const room = await tab.room('lobby', { share: false });
    assert.equal(room.state, 'live');
    world.hello = hello;
    await world.cut();
    await world.pass(1_000);
    assert.equal(how(room), hello.sub ? 'refused wrong_user' : 'refused token_missing');
    room.retry();
    await world.settle();
    assert.equal(how(room), hello.auth ? 'refused token_missing' : 'live', 'what is wanted is not refused');
    room.close();
    await world.pass(100);
  }
});

test('who is named without a token is the user of the cookie, and shares with the same user only', async (t) => {
  const world = new World(t);
  world.hello = { sub: 'ann' };
  const [one, two] = [await world.tab(), await world.tab()];
  const rooms = [await one.room('lobby', { user: 'ann' }), await two.room('lobby', { user: 'ann' })];
  assert.deepEqual([...rooms.map(how), world.sockets.size], ['live', 'live', 1]);
  assert.equal(how(await two.room('lobby', { user: 'bob' })), 'refused wrong_user');
  world.hello = {};
  assert.equal(how(await two.room('lobby', { user: 'cyd' })), 'refused token_missing');
});

test('without a token a gateway that wants one is left alone', async (t) => {
  const { world, errors } = guarded(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  await world.pass(MINUTE_MS);
  assert.deepEqual([how(room), room.as, world.tries, world.sockets.size], ['refused token_missing', 'ann', 1, 0]);
  assert.equal(errors.length, 1);
  assert.match(errors[0], /`token`/);
});

for (const [code, token] of [['token_invalid', () => 'forged'], ['revoked', null]]) {
  test(`a token that is ${code} is not shown again, unless somebody wants it`, async (t) => {
    const { world, keys, errors } = guarded(t);
    let asked = 0;
    const ask = () => {
      asked += 1;
      return token ? token() : keys.issue('ann');
    };
    const room = await (await world.tab()).room('lobby', { as: 'ann', token: ask });
    if (!token) await world.cut(4403, code);
    await world.pass(MINUTE_MS);
    assert.deepEqual([how(room), asked, world.tries], [`refused ${code}`, 1, 1]);
    assert.equal(errors.filter((error) => error.includes(code)).length, 1);
    room.retry();
    await world.settle();
    assert.equal(asked, 2);
  });
}

test('what a new token does not allow any more ends by itself, in all tabs', async (t) => {
  const { world, keys, errors } = guarded(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const token = keys.giver('ann');
  const open = (tab, name, more) => tab.room(name, { user: 'ann', token, ...more });
  const [room, other] = [await open(one, 'lobby', { as: 'ann' }), await open(one, 'hall')];
  const far = await open(two, 'hall');
  const tell = (frame) => [...world.sockets][0].tell({ action: 'refused', code: 'not_allowed', message: 'no', ...frame });
  tell({ room: 'lobby', user: 'ann' });
  tell({ room: 'hall' });
  await world.settle();
  assert.deepEqual([room.state, room.holding, room.refusal.code], ['live', false, 'not_allowed']);
  assert.deepEqual([how(other), how(far)], ['refused not_allowed', 'refused not_allowed']);
  assert.equal(errors.filter((error) => error.includes('hall')).length, 2, 'each tab says so in its console');
  assert.equal(how(await open(two, 'hall')), 'refused not_allowed');
  keys.denied.add('yard');
  assert.equal(how(await open(two, 'yard')), 'refused not_allowed');
  for (const tab of [one, await world.tab()]) {
    assert.equal(how(await open(tab, 'yard')), 'refused not_allowed', 'also who comes later is told');
  }
  await world.signIn('lobby', 'bob');
  assert.deepEqual([room.state, room.seen.at(-1)], ['live', 'add bob']);
});

test('a page of an origin that the gateway does not know is told what to do', async (t) => {
  const { world, keys, errors } = guarded(t);
  globalThis.location = { href: 'https://app.test/', origin: 'https://app.test' };
  await (await world.tab()).room('lobby', { transport: 'sse' });
  assert.match(errors.join(), /http:\/\/gateway\.test\/ .*--allow-origin https:\/\/app\.test/);
  const room = await (await world.tab()).room('lobby', { transport: 'websocket', token: keys.issue('ann') });
  await world.cut(4403, 'cross_site');
  assert.equal(how(room), 'refused cross_site');
  assert.match(errors.at(-1), /--allow-origin https:\/\/app\.test/);
});
