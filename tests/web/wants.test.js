import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Wants } from '../../web/client/wants.js';
import { GRACE_MS } from './fake-socket.js';

test('of what tabs want the connection gets one of each, until the last of them wants it no more', () => {
  const wants = new Wants();
  assert.deepEqual(['t1', 't2', 't1'].map((tab) => wants.watch(tab, 'lobby')), [true, false, false]);
  assert.deepEqual(['t1', 't2', 't2'].map((tab) => wants.unwatch(tab, 'lobby')), [false, true, false]);
  const ann = { room: 'lobby', user: 'ann' };
  const first = wants.join({ tab: 't1', id: 'r1', client: 'c1', ...ann });
  assert.deepEqual([first.fresh, first.hold.client], [true, 'c1']);
  const second = wants.join({ tab: 't2', id: 'r2', client: 'c2', ...ann });
  assert.deepEqual([second.fresh, second.hold.client], [false, 'c1']);
  assert.equal(wants.leave('r1', 'lobby', 'ann').by.size, 1);
  assert.equal(wants.leave('r1', 'lobby', 'ann'), null, 'twice is once');
  assert.equal(wants.leave('r2', 'lobby', 'ann'), first.hold);
  assert.equal(first.hold.by.size, 0);
  assert.equal(wants.empty, true);
});

test('a connection says what its tabs said last at the highest rank, and falls back with them', () => {
  const wants = new Wants();
  const join = (id, at, meta, rank = 0) => {
    const word = meta ? { meta: JSON.stringify(meta), rank, at } : null;
    return wants.join({ tab: id, id, room: 'lobby', user: 'ann', word });
  };
  const { hold } = join('r1', 1, { status: 'here' });
  assert.deepEqual(hold.statement, { meta: '{"status":"here"}', rank: 0, at: 1 });
  const says = () => [wants.settle(hold), JSON.parse(hold.statement.meta), hold.statement.rank];
  join('r2', 2, { status: 'away' }, -1);
  assert.deepEqual(says(), [false, { status: 'here' }, 0]);
  join('r3', 3, { typing: true });
  assert.deepEqual(says(), [true, { typing: true }, 0]);
  join('r4', 4);
  assert.deepEqual(says(), [false, { typing: true }, 0], 'who says nothing changes nothing');
  wants.gone('r3', 1_000);
  assert.deepEqual(says(), [false, { typing: true }, 0], 'it lasts for the grace');
  wants.due(1_000 + GRACE_MS);
  assert.deepEqual(says(), [true, { status: 'here' }, 0]);
  wants.leave('r1', 'lobby', 'ann');
  assert.deepEqual(says(), [true, { status: 'away' }, -1]);
  wants.leave('r2', 'lobby', 'ann');
  assert.deepEqual(says(), [true, {}, -9], 'and hides nothing that others say');
});

test('what only a vanished tab held is due after the grace, unless it is wanted again', () => {
  const wants = new Wants();
  wants.watch('t1', 'lobby');
  wants.watch('t1', 'hall');
  wants.watch('t2', 'hall');
  for (const [tab, id, user] of [['t1', 'r1', 'ann'], ['t1', 'r2', 'bob'], ['t2', 'r3', 'bob'], ['t1', 'r4', 'cyd']]) {
    wants.join({ tab, id, room: 'lobby', user });
  }
  assert.deepEqual(wants.gone('t1', 1_000), ['lobby']);
  wants.join({ tab: 't3', id: 'r5', room: 'lobby', user: 'cyd' });
  assert.deepEqual(wants.due(999 + GRACE_MS), []);
  const over = wants.due(1_000 + GRACE_MS);
  assert.deepEqual(over.map(({ user, by }) => [user, by.size]), [['ann', 0], ['bob', 1], ['cyd', 1]]);
  assert.deepEqual([...wants.holds.values()].map(({ user }) => user), ['bob', 'cyd']);
  assert.deepEqual(wants.due(Number.MAX_SAFE_INTEGER), []);
});
