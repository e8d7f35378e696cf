import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Keys } from './fake-keys.js';
import { Sessions } from './fake-session.js';
import { GRACE_MS } from './fake-socket.js';
import { World } from './world.js';

const MINUTE_MS = 60_000;

/** A gateway with keys, and what the client says in the console. */
function guarded(t) {
  const errors = [];
  t.mock.method(console, 'error', (...said) => errors.push(said.join(' ')));
  const world = new World(t);
  world.keys = new Keys();
  return { world, keys: world.keys, errors };
}

const actions = (world) => world.heard.map(({ action }) => action);
/** Time passes, and the gateway says that it is there. */
async function stay(world, ms) {
  for (let left = ms; left > 0; left -= 10_000) {
    world.sockets.forEach((socket) => socket.tell({ action: 'alive' }));
    await world.pass(Math.min(left, 10_000));
  }
}

const how = ({ state, refusal }) => [state, refusal?.code].filter(Boolean).join(' ');

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
  assert.equal(errors.filter((error) => error.includes('token_expired')).length, 1);
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
  await world.settle();
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
    await world.settle();
  }
});

test('without a token a gateway that wants one is left alone', async (t) => {
  const { world, errors } = guarded(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  await world.pass(MINUTE_MS);
  assert.deepEqual([how(room), room.as, world.tries, world.sockets.size], ['refused token_missing', 'ann', 1, 0]);
  assert.equal(errors.length, 1);
  assert.match(errors[0], /`token`/);
});

for (const [what, seconds, after] of [
  ['30 s before its end', 600, 570],
  ['at the last third of a short life', 60, 40],
]) {
  test(`a token is renewed in place ${what}`, async (t) => {
    const { world, keys } = guarded(t);
    const token = keys.giver('ann', seconds);
    const room = await (await world.tab()).room('lobby', { as: 'ann', token });
    await stay(world, after * 1_000 - 500);
    assert.equal(token.asked, 1);
    await world.pass(1_000);
    assert.deepEqual([token.asked, keys.shown.length], [2, 2]);
    await stay(world, 2 * after * 1_000);
    assert.deepEqual([token.asked, world.tries, room.state, ...room.seen], [4, 1, 'live', 'snapshot 1']);
  });
}

test('a token is renewed when the gateway says so, though timers are late', async (t) => {
  const { world, keys } = guarded(t);
  const token = keys.giver('ann');
  await (await world.tab()).room('lobby', { token });
  const [socket] = world.sockets;
  for (let i = 0; i < 2; i += 1) socket.tell({ action: 'auth_expires', in: 30 });
  await world.settle();
  assert.deepEqual([token.asked, keys.shown.length], [2, 2], 'and once');
  t.mock.timers.setTime(Date.now() + 3_575_000);
  socket.tell({ action: 'alive' });
  await world.settle();
  assert.deepEqual([token.asked, keys.shown.length], [3, 3], 'any frame is a moment to see that it is time');
});

test('a connection cut comes back with the token that is still good', async (t) => {
  const { world, keys } = guarded(t);
  const tab = await world.tab();
  const token = keys.giver('ann');
  const room = await tab.room('lobby', { as: 'ann', token });
  await world.restart();
  await world.pass(500);
  await tab.fire('online');
  await world.pass(500);
  assert.deepEqual([room.state, room.holding, token.asked, keys.shown.length], ['live', true, 1, 3]);
  t.mock.timers.setTime(Date.now() + 3_580_000); // asleep
  await world.cut();
  await world.pass(2_000);
  assert.deepEqual([room.state, token.asked], ['live', 2]);
});

test('a token that ends while the network is cut is asked for when the gateway can be reached', async (t) => {
  const { world, keys } = guarded(t);
  const tab = await world.tab();
  const token = keys.giver('ann', 60);
  const room = await tab.room('lobby', { as: 'ann', token });
  world.up = false;
  await world.cut();
  await world.pass(3 * MINUTE_MS);
  assert.deepEqual([room.state, token.asked], ['waiting', 1]);
  world.up = true;
  await tab.fire('online');
  await world.pass(500);
  assert.deepEqual([room.state, room.holding, token.asked], ['live', true, 2]);
});

test('a device that slept past the end asks for another token', async (t) => {
  const { world, keys } = guarded(t);
  const tab = await world.tab();
  const token = keys.giver('ann', 600);
  const room = await tab.room('lobby', { as: 'ann', token });
  t.mock.timers.setTime(Date.now() + 60 * MINUTE_MS); // no timer ran
  await tab.show();
  await world.pass(5_000);
  assert.deepEqual([room.state, token.asked], ['live', 2]);
});

test('the same token again after its end is refused, as is none, and neither is asked for again', async (t) => {
  for (const [second, code] of [[undefined, 'token_missing'], ['', 'token_missing'], [7, 'token_missing'], ['same', 'token_expired']]) {
    const { world, keys } = guarded(t);
    const tab = await world.tab();
    const first = keys.issue('ann');
    let asked = 0;
    const token = async () => {
      asked += 1;
      return asked === 1 || second === 'same' ? first : second;
    };
    const room = await tab.room('lobby', { as: 'ann', token });
    await world.cut(4401, 'token_expired');
    await world.pass(5 * MINUTE_MS);
    assert.deepEqual([how(room), asked, world.sockets.size], [`refused ${code}`, 2, 0]);
    await tab.fire('online');
    await world.pass(1_000);
    assert.equal(asked, 2);
    room.retry();
    await world.settle();
    assert.equal(asked, 3, 'but when somebody wants it');
    t.mock.timers.reset();
  }
});

test('tokens that are over when they come are asked for ever less often', async (t) => {
  const { world, keys } = guarded(t);
  const token = keys.giver('ann', -3_600);
  const room = await (await world.tab()).room('lobby', { token });
  await world.pass(10 * MINUTE_MS);
  assert.equal(room.state, 'waiting');
  assert.ok(token.asked < 30, token.asked);
});

test('a token() that fails is asked again by the usual delay, and complained of once', async (t) => {
  const { world, keys, errors } = guarded(t);
  let asked = 0;
  const token = () => {
    asked += 1;
    if (asked > 3) return keys.issue('ann');
    if (asked > 1) return Promise.reject(new TypeError('offline'));
    throw new Error('a slip');
  };
  const room = await (await world.tab()).room('lobby', { as: 'ann', token });
  assert.deepEqual([room.state, room.retryAt - Date.now()], ['waiting', 500]);
  await world.pass(500);
  assert.deepEqual([room.state, room.retryAt - Date.now()], ['waiting', 1_000]);
  await world.pass(10_000);
  assert.deepEqual([room.state, room.holding, asked, errors.length], ['live', true, 4, 1]);
  assert.ok(actions(world).indexOf('auth') === 0, 'never without');
});

test('a slow token() is asked once, though the gateway does not wait for it', async (t) => {
  const { world, keys } = guarded(t);
  const token = keys.giver('ann');
  const slow = () => new Promise((give) => setTimeout(() => give(token()), 8_000));
  const room = await (await world.tab()).room('lobby', { token: slow });
  await world.pass(7_900);
  assert.deepEqual([world.tries, keys.shown.length], [2, 0]);
  await world.pass(200);
  assert.deepEqual([room.state, token.asked, world.tries], ['live', 1, 2]);
});

test('a token() without an answer has failed after 10 s, and what it says then is not used', async (t) => {
  const { world, keys } = guarded(t);
  const late = [];
  const token = () => new Promise((give) => late.push(give));
  const room = await (await world.tab()).room('lobby', { token });
  await world.pass(13_000);
  assert.equal(late.length, 2);
  late[0](keys.issue('ann'));
  await world.settle();
  assert.deepEqual([room.state === 'live', keys.shown.length], [false, 0]);
  late[1](keys.issue('ann'));
  await world.pass(5_000);
  assert.deepEqual([room.state, keys.shown], ['live', ['ann 2']]);
});

test('a token that comes for a tab that leads no more is not used', async (t) => {
  const { world, keys } = guarded(t);
  const [one, two] = [await world.tab(), await world.tab()];
  let give;
  await one.room('lobby', { user: 'ann', token: () => new Promise((resolve) => (give = resolve)) });
  const room = await two.room('lobby', { user: 'ann', token: keys.giver('ann') });
  await one.fire('pagehide');
  give(keys.issue('ann'));
  await world.settle();
  assert.deepEqual([room.state, ...keys.shown], ['live', 'ann 1']);
});

test('a gateway that does not answer a token is tried again', async (t) => {
  const { world, keys } = guarded(t);
  keys.refuse = () => ({ action: 'alive' });
  keys.begin = () => ({ auth: true });
  await (await world.tab()).room('lobby', { token: keys.giver('ann') });
  await world.pass(11_000);
  assert.equal(world.tries, 2);
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

test('a renewal that fails ends nothing before the end, and is tried again until then', async (t) => {
  const { world, keys } = guarded(t);
  let asked = 0;
  const token = () => {
    asked += 1;
    if (asked === 1) return keys.issue('ann', 120);
    if (asked === 2) throw new Error('offline');
    return asked === 3 ? 'ann 1' : asked === 4 ? 'forged' : keys.issue('ann');
  };
  const room = await (await world.tab()).room('lobby', { as: 'ann', token });
  const states = [];
  room.addEventListener('state', () => states.push(room.state));
  await stay(world, 95_000);
  assert.ok(asked > 1 && asked < 5, asked);
  await stay(world, 25_000);
  assert.deepEqual([asked, room.state, world.tries, states], [5, 'live', 1, []]);
});

test('another user in a renewal is refused at once', async (t) => {
  const { world, keys } = guarded(t);
  const users = ['ann', 'bob'];
  const room = await (await world.tab()).room('lobby', { token: () => keys.issue(users.shift(), 120) });
  await stay(world, 91_000);
  assert.deepEqual([how(room), world.sockets.size], ['refused wrong_user', 0]);
});

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
  assert.equal(how(await open(one, 'yard')), 'refused not_allowed', 'also who comes later is told');
  await world.signIn('lobby', 'bob');
  assert.deepEqual([room.state, room.seen.at(-1)], ['live', 'add bob']);
});

test('a page of an origin that the gateway does not know is told what to do', async (t) => {
  const { world, keys, errors } = guarded(t);
  globalThis.location = { href: 'https://app.test/', origin: 'https://app.test' };
  await (await world.tab()).room('lobby', { transport: 'sse' });
  assert.match(errors.join(), /http:\/\/gateway\.test .*--allow-origin https:\/\/app\.test/);
  const room = await (await world.tab()).room('lobby', { transport: 'websocket', token: keys.issue('ann') });
  await world.cut(4403, 'cross_site');
  assert.equal(how(room), 'refused cross_site');
  assert.match(errors.at(-1), /--allow-origin https:\/\/app\.test/);
});
