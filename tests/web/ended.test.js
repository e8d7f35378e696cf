import assert from 'node:assert/strict';
import { test } from 'node:test';

import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);

for (const leads of [true, false]) {
  for (const reason of ['signed_out', 'kicked']) {
    test(`whoever is ${reason} knows why, first by the event and then by the state, in a tab that ${leads ? 'leads' : 'follows'}`, async (t) => {
      const world = new World(t);
      const tabs = [await world.tab(), await world.tab()];
      await tabs[0].room('hall');
      const room = await tabs[leads ? 0 : 1].room('lobby', { as: 'ann' });
      const told = [];
      for (const type of ['del', 'state', 'error']) {
        room.addEventListener(type, () => told.push(`${type} ${room.holding} ${room.ended?.reason ?? ''}`.trim()));
      }
      const hall = await tabs[leads ? 0 : 1].room('hall', { as: 'ann' });
      const [socket] = world.sockets;
      await world.signOut('lobby', 'ann', reason);
      assert.deepEqual(told, ['del true', `state false ${reason}`]);
      assert.deepEqual([room.ended, room.refusal, room.as], [{ user: 'ann', reason, at: undefined }, null, '']);
      assert.deepEqual([...world.sockets, hall.holding, hall.ended], [socket, true, null], 'the connection goes on');
      await room.join('ann');
      assert.deepEqual([room.ended, room.holding], [null, true]);
    });
  }
}

test('whoever was kicked while cut off knows it, too', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  await world.cut();
  await world.signOut('lobby', 'ann', 'kicked');
  world.refuse = ({ action }) => action === 'join' && { code: 'kicked', message: 'only watches', retry: false };
  await world.pass(1_000);
  assert.deepEqual([room.state, room.ended?.reason, room.refusal, room.holding], ['live', 'kicked', null, false]);
  assert.equal(room.seen.at(-1), 'del ann kicked');
});

test('a kick ends what an update that is under way waits for', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  const updating = room.update({ n: 1 });
  world.signOut('lobby', 'ann', 'kicked'); // before the gateway hears of it
  await assert.rejects(updating, { name: 'RefusedError', code: 'kicked' });
  await world.pass(1_000);
  assert.deepEqual([room.ended.reason, room.holding, said(world, 'join').length], ['kicked', false, 1]);
});

test('a hold that the gateway ended for another reason is taken up again', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  await world.signOut('lobby', 'ann', 'timeout');
  assert.deepEqual([room.holding, room.ended, room.seen.slice(1)], [true, null, ['del ann timeout', 'add ann']]);
});

for (const transport of ['websocket', 'sse']) {
  for (const leads of [true, false]) {
    test(`a remount is seen by nobody, by ${transport}, in a tab that ${leads ? 'leads' : 'follows'}`, async (t) => {
      const world = new World(t);
      if (transport === 'sse') new (await import('./fake-session.js')).Sessions(world);
      const options = { transport, as: 'ann', meta: { status: 'here' } };
      const tabs = [await world.tab(), await world.tab()];
      const watcher = await (await world.tab()).room('lobby', { transport, share: false });
      await tabs[0].room('hall', { transport });
      const tab = tabs[leads ? 0 : 1];
      let room = await tab.room('lobby', options);
      for (const ms of [0, 50, 99]) {
        room.close();
        await world.pass(ms);
        room = await tab.room('lobby', options);
        assert.deepEqual([room.state, room.holding], ['live', true], ms);
      }
      const ready = room.ready;
      room.close(); // within one task, twice
      for (let i = 0; i < 2; i += 1) {
        room = await tab.room('lobby', options);
        if (!i) room.close();
      }
      await ready;
      await world.pass(10_000);
      assert.deepEqual([room.holding, watcher.seen], [true, ['snapshot 0', 'add ann']]);
      room.close();
      await world.pass(99);
      assert.deepEqual(world.users(), ['ann']);
      await world.pass(1);
      assert.deepEqual(watcher.seen.at(-1), 'del ann closed');
    });
  }
}

test('rooms that share nothing follow each other on one connection, too', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const watcher = await tab.room('lobby');
  const room = await tab.room('lobby', { as: 'ann', share: false });
  const other = await tab.room('lobby', { as: 'bob', share: false });
  room.close();
  const next = await tab.room('lobby', { as: 'ann', share: false });
  await world.pass(10_000);
  assert.deepEqual([next.holding, other.holding, world.sockets.size], [true, true, 3]);
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'add bob']);
});

test('a page that goes away does not wait', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const [room, other] = [await tab.room('lobby', { as: 'ann' }), await tab.room('lobby', { as: 'bob' })];
  room.close();
  await tab.fire('pagehide');
  assert.deepEqual([world.users(), other.as, world.sockets.size], [['bob'], 'bob', 0], 'and the other is lost for now');
});

test('the last room of a tab that goes away leaves as well', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  (await tab.room('lobby', { as: 'ann' })).close();
  await tab.fire('pagehide');
  assert.deepEqual([world.users(), world.sockets.size], [[], 0]);
});

test('each hold has an id of its own', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  await tab.room('lobby', { as: 'ann' });
  await tab.room('lobby', { as: 'bob' });
  await tab.room('hall', { as: 'ann' });
  assert.equal(new Set(said(world, 'join').map(({ client }) => client)).size, 3);
});

test('a signal that aborts closes the room', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const abort = new AbortController();
  const room = await tab.room('lobby', { as: 'ann', signal: abort.signal });
  let closed = 0;
  room.addEventListener('close', () => (closed += 1));
  abort.abort();
  await world.pass(100);
  assert.deepEqual([closed, world.users(), world.sockets.size], [1, [], 0]);
  const late = await tab.room('lobby', { as: 'ann', signal: AbortSignal.abort() });
  await assert.rejects(late.ready, { code: 'closed' });
  await world.pass(100);
  assert.equal(world.sockets.size, 0);
});
