import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stay } from './guarded.js';
import { World } from './world.js';

const words = (world) => world.heard.filter(({ meta }) => meta).map(({ meta, rank = 0 }) => `${meta.status ?? 'nothing'} ${rank}`);
const meta = (world) => world.room('lobby').members.get('ann').meta;

const idle = { after: 60_000, meta: { status: 'away' } };

test('who touches no tab of the browser says the idle word, below all others, and their own again at the first touch', async (t) => {
  const world = new World(t);
  const [one, two, three] = [await world.tab(), await world.tab(), await world.tab()];
  await one.room('lobby', { as: 'ann', meta: { status: 'here' }, idle });
  await world.pass(100);
  const silent = await two.room('lobby', { as: 'ann', idle });
  await three.room('lobby');
  assert.deepEqual(words(world), ['here 0', 'nothing 0'], 'a tab says its word from the start');
  await stay(world, 59_000);
  await one.fire('pointermove');
  await stay(world, 59_000);
  assert.deepEqual(words(world).slice(2), []);
  await stay(world, 1_000);
  assert.equal(words(world).at(-1), 'away -1');
  assert.deepEqual(meta(world), { status: 'away' });
  await stay(world, 100_000);
  const before = words(world).length;
  await two.fire('keydown');
  assert.deepEqual([words(world)[before], meta(world)], ['nothing 0', {}]);
  await one.fire('pointerdown');
  silent.update({ status: 'busy' });
  await world.settle();
  assert.deepEqual(meta(world), { status: 'busy' });
});

test('a touch of one tab is a touch of all, told once a second', async (t) => {
  const world = new World(t);
  const [one, two] = [await world.tab(), await world.tab()];
  await one.room('hall');
  await two.room('lobby', { as: 'ann', meta: { status: 'here' }, idle });
  const other = await one.room('lobby', { as: 'ann', idle });
  for (let i = 0; i < 20; i += 1) {
    await stay(world, 20_000);
    for (let n = 0; n < 5; n += 1) await one.fire('pointermove');
  }
  assert.deepEqual(meta(world), {});
  other.close();
  await stay(world, 60_000);
  assert.equal(words(world).at(-1), 'away -1', 'a closed room touches nothing');
  await one.fire('pointermove');
  await world.settle();
  assert.deepEqual(meta(world), { status: 'away' });
  two.document.hidden = true;
  await two.show();
  assert.deepEqual(meta(world), { status: 'away' }, 'to be hidden is no touch');
  two.document.hidden = false;
  await two.show();
  assert.deepEqual(meta(world), { status: 'here' });
});

test('what is said while idle is said at the next touch, and a cut changes nothing', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  const room = await tab.room('lobby', { as: 'ann', meta: { status: 'here' }, rank: 2, idle });
  await stay(world, 60_000);
  assert.equal(words(world).at(-1), 'away -1');
  await room.update({ status: 'busy' }, { rank: 1 });
  await world.cut();
  await stay(world, 1_000);
  assert.deepEqual([words(world).at(-1), meta(world)], ['away -1', { status: 'away' }]);
  await tab.fire('wheel');
  assert.deepEqual([words(world).at(-1), room.holding], ['busy 1', true]);
});

test('an idle word that cannot be said, and no time, are a TypeError', async (t) => {
  const tab = await new World(t).tab();
  for (const wrong of [{ after: 0, meta: {} }, { after: 'soon', meta: {} }, { after: 1 }, { after: 1, meta: [] }]) {
    await assert.rejects(tab.room('lobby', { as: 'ann', idle: wrong }), TypeError);
  }
});
