import assert from 'node:assert/strict';
import { test } from 'node:test';

import { actions, guarded, how, stay } from './guarded.js';

const MINUTE_MS = 60_000;

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
    assert.equal(actions(world).filter((action) => action === 'subscribe').length, 1, 'nothing else is said again');
  });
}

test('a token is renewed in time where the gateway says nothing at all', async (t) => {
  const { world, keys } = guarded(t);
  keys.warns = false;
  const token = keys.giver('ann', 24);
  await (await world.tab()).room('lobby', { token });
  await world.pass(17_000);
  assert.deepEqual([token.asked, world.tries], [2, 1]);
});

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
  assert.deepEqual([room.state, token.asked, world.tries, keys.shown.length], ['live', 1, 2, 1]);
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
  const slow = () => new Promise((give) => setTimeout(() => give(keys.issue('ann')), 3_000));
  const room = await (await world.tab()).room('lobby', { token: slow });
  for (const wait of [500, 1_000, 2_000]) {
    await world.pass(13_000);
    assert.equal(room.retryAt - Date.now(), wait);
    await world.pass(wait);
  }
  assert.equal(world.tries, 4);
});

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
  assert.deepEqual(keys.shown, ['ann 1', 'forged', 'ann 2'], 'the same is not shown again');
});

test('another user in a renewal is refused at once', async (t) => {
  const { world, keys } = guarded(t);
  const users = ['ann', 'bob'];
  const room = await (await world.tab()).room('lobby', { token: () => keys.issue(users.shift(), 120) });
  await stay(world, 91_000);
  assert.deepEqual([how(room), world.sockets.size], ['refused wrong_user', 0]);
});
