import assert from 'node:assert/strict';
import { test } from 'node:test';

import { World } from './world.js';

const said = (world, action) => world.heard.filter((message) => message.action === action);
const bad = { code: 'bad_meta', message: 'not so', retry: false };

/** What becomes of a promise: 'ok', the code of a refusal, or '' so far. */
function fate(promise) {
  const seen = { now: '' };
  promise.then(() => (seen.now = 'ok'), ({ name, code }) => (seen.now = `${name} ${code}`));
  return seen;
}

/** A world in which what `no` names is refused, and the console is quiet. */
function strict(t) {
  const world = new World(t);
  const errors = [];
  t.mock.method(console, 'error', (...words) => errors.push(words.join(' ')));
  return Object.assign(world, { errors });
}

test('a room is ready once it is live, or says why not', async (t) => {
  const world = strict(t);
  const tab = await world.tab();
  const [first, again] = [await tab.room('lobby'), await tab.room('lobby')];
  await Promise.all([first.ready, again.ready]);
  assert.equal(first.ready, first.ready);
  world.refuse = ({ room }) => room === 'full' && { code: 'too_many_subscribed', message: 'enough', retry: false };
  const full = fate((await tab.room('full')).ready);
  const closed = await tab.room('hall', { share: false, transport: 'sse' });
  closed.close();
  const over = fate(closed.ready);
  await world.settle();
  assert.deepEqual([full.now, over.now], ['RefusedError too_many_subscribed', 'RefusedError closed']);
});

test('who is here oneself, who else, and all of them, are the same objects until something changes', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann' });
  await world.signIn('lobby', 'bob');
  const { list, others, self } = room;
  assert.deepEqual([list.map(({ user }) => user), others.map(({ user }) => user), self.user], [['ann', 'bob'], ['bob'], 'ann']);
  assert.ok(Object.isFrozen(list) && Object.isFrozen(others));
  assert.deepEqual([room.list === list, room.others === others, room.self === self], [true, true, true]);
  await world.signIn('lobby', 'bob', { status: 'away' });
  assert.deepEqual([room.list === list, room.others === others, room.self === self], [false, false, true]);
  assert.deepEqual(room.others, [room.members.get('bob')]);
  room.leave();
  await world.settle();
  assert.deepEqual([room.self, room.others.length, room.others === room.list], [null, 1, false]);
});

for (const shared of [false, true]) {
  const where = shared ? 'in a tab that follows' : 'in the tab that leads';

  test(`joining, updating and leaving are answered, ${where}`, async (t) => {
    const world = strict(t);
    const tabs = [await world.tab(), await world.tab()];
    if (shared) await tabs[0].room('lobby');
    const room = await tabs[1].room('lobby');
    const joining = fate(room.join('ann', { n: 0 }));
    assert.equal(joining.now, '');
    await world.settle();
    const updating = fate(room.update({ n: 1 }));
    const again = fate(room.join('ann'));
    await world.settle();
    const leaving = fate(room.leave());
    const nothing = [fate(room.leave()), fate(room.update({}))];
    await world.settle();
    const all = [joining, updating, again, leaving, ...nothing].map(({ now }) => now);
    assert.deepEqual(all, ['ok', 'ok', 'ok', 'ok', 'ok', 'RefusedError closed']);
  });

  test(`what is refused is told, and taken back, ${where}`, async (t) => {
    const world = strict(t);
    const tabs = [await world.tab(), await world.tab()];
    if (shared) await tabs[0].room('lobby');
    const room = await tabs[1].room('lobby', { as: 'ann', meta: { n: 0 } });
    const errors = [];
    room.addEventListener('error', ({ detail }) => errors.push(detail.code));
    world.refuse = ({ meta }) => meta?.n < 0 && bad;
    const fates = [fate(room.update({ n: 1 })), fate(room.update({ n: -2 }))];
    await world.pass(100);
    assert.deepEqual(fates.map(({ now }) => now), ['ok', 'RefusedError bad_meta']);
    assert.deepEqual([room.holding, room.state, room.refusal.code, ...errors], [true, 'live', 'bad_meta', 'bad_meta']);
    assert.deepEqual(world.errors, ['Presently: ann in lobby is refused: bad_meta: not so']);
    await world.cut();
    await world.pass(1_000);
    assert.deepEqual(said(world, 'join').at(-1).meta, { n: 1 });
    assert.deepEqual([room.holding, world.users(), world.room('lobby').members.get('ann').meta], [true, ['ann'], { n: 1 }]);
    await tabs[0].fire('pagehide');
    await world.settle();
    if (shared) assert.deepEqual([said(world, 'join').at(-1).meta, said(world, 'join').length], [{ n: 1 }, 3], 'nor by another leader');
    const good = fate(room.update({ n: 3 }));
    await world.pass(100);
    if (shared) assert.deepEqual([good.now, room.refusal], ['ok', null]);
  });
}

test('an update that was under way when the line was cut is said again, and if refused costs no presence', async (t) => {
  const world = strict(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { n: 0 } });
  world.refuse = ({ meta }) => meta?.n < 0 && bad;
  const fates = [1, -1].map((n) => {
    const seen = fate(room.update({ n }));
    return { n, seen };
  });
  await world.pass(50);
  fates.push({ n: -2, seen: fate(room.update({ n: -2 })) });
  world.sockets.forEach((socket) => socket.cut(1006, '')); // before anything is answered
  await world.pass(2_000);
  assert.deepEqual(fates.map(({ seen }) => seen.now), ['ok', 'RefusedError bad_meta', 'RefusedError bad_meta']);
  assert.deepEqual([room.holding, world.room('lobby').members.get('ann').meta], [true, { n: 1 }]);
  assert.deepEqual(room.seen.filter((event) => !event.startsWith('update')), ['snapshot 1']);
});

test('a hold that is refused at once is not held, whatever was said', async (t) => {
  const world = strict(t);
  world.refuse = ({ meta }) => meta && bad;
  const room = await (await world.tab()).room('lobby');
  const joining = fate(room.join('ann', { n: 1 }));
  await world.settle();
  assert.deepEqual([joining.now, room.holding, room.as, room.refusal.code], ['RefusedError bad_meta', false, '', 'bad_meta']);
});

test('a refused word of one tab leaves that of the other', async (t) => {
  const world = strict(t);
  const [one, two] = [await world.tab(), await world.tab()];
  const first = await one.room('lobby', { as: 'ann', meta: { n: 1 } });
  const second = await two.room('lobby', { as: 'ann', meta: { n: 2 } });
  world.refuse = ({ meta }) => meta?.n < 0 && bad;
  const refused = fate(second.update({ n: -2 }));
  await world.settle();
  assert.deepEqual([refused.now, first.refusal, second.refusal.code], ['RefusedError bad_meta', null, 'bad_meta']);
  second.leave();
  await world.settle();
  assert.deepEqual(world.room('lobby').members.get('ann').meta, { n: 1 });
  await world.cut();
  await world.pass(1_000);
  assert.deepEqual(said(world, 'join').at(-1).meta, { n: 1 });
});

test('updates are coalesced: the first goes at once, the last of those that follow when the pause is over', async (t) => {
  const world = new World(t);
  const room = await (await world.tab()).room('lobby', { as: 'ann' });
  const fates = [1, 2, 3, 4].map((n) => fate(room.update({ n })));
  await world.settle();
  assert.deepEqual(fates.map(({ now }) => now), ['ok', '', '', '']);
  await world.pass(100);
  assert.deepEqual(fates.map(({ now }) => now), ['ok', 'ok', 'ok', 'ok']);
  assert.deepEqual(said(world, 'update').map(({ meta }) => meta.n), [1, 4]);
  const slow = await (await world.tab()).room('hall', { as: 'ann', every: 1_000 });
  for (let n = 0; n < 30; n += 1) {
    slow.update({ n });
    await world.pass(100);
  }
  assert.deepEqual(said(world, 'update').slice(2).map(({ meta }) => meta.n), [0, 9, 19, 29]);
  const late = fate(slow.update({ n: 'never' }));
  slow.close();
  await world.pass(2_000);
  assert.deepEqual([late.now, said(world, 'update').length], ['RefusedError closed', 6]);
});

test('join, leave and join in one task are done in order', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const watcher = await tab.room('lobby');
  const room = await tab.room('lobby');
  const fates = [fate(room.join('ann')), fate(room.leave()), fate(room.join('ann', { n: 1 }))];
  await world.settle();
  assert.deepEqual(fates.map(({ now }) => now), ['RefusedError closed', 'ok', 'ok']);
  assert.deepEqual([room.holding, world.room('lobby').members.get('ann').meta], [true, { n: 1 }]);
  assert.deepEqual(watcher.seen, ['snapshot 0', 'add ann', 'del ann closed', 'add ann']);
});

test('the update of a tab is answered by the next leader, where its leader went without an answer', async (t) => {
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  await leader.room('lobby');
  const room = await tab.room('lobby', { as: 'ann', meta: { n: 0 } });
  world.sockets.forEach((socket) => (socket.onmessage = null)); // it answers nothing more
  const updating = fate(room.update({ n: 1 }));
  await world.settle();
  assert.equal(updating.now, '');
  await leader.fire('pagehide');
  await world.settle();
  assert.deepEqual([updating.now, world.room('lobby').members.get('ann').meta], ['ok', { n: 1 }]);
  const joins = said(world, 'join');
  assert.equal(joins[0].client, joins.at(-1).client, 'the hold is the same');
});

test('a connection that is refused refuses what waits, and nothing that is ignored is an error of the page', async (t) => {
  const world = strict(t);
  const tab = await world.tab();
  world.up = false;
  const room = await tab.room('lobby', { as: 'ann' });
  room.update({ n: 1 });
  const [joining, leaving] = [fate(room.join('ann')), fate((await tab.room('lobby', { as: 'bob' })).leave())];
  world.up = true;
  await world.pass(400);
  assert.deepEqual([joining.now, leaving.now], ['', 'ok']);
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  await world.pass(200);
  await world.cut(4401, 'unauthorized');
  const late = fate(room.join('bob'));
  await world.settle();
  assert.deepEqual([joining.now, late.now, unhandled], ['ok', 'RefusedError unauthorized', []]);
});
