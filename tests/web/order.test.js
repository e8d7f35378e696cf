import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byName } from '../../web/page/names.js';
import { AT_ONCE, Order } from '../../web/page/order.js';
import { merging } from '../../web/page/sorting.js';

const member = (user, second = 0, meta = {}) => {
  const joined = `2026-11-22T05:53:${String(second).padStart(2, '0')}Z`;
  return { user, meta, joined };
};

const names = (order) => order.slice(0, order.length).map(({ user }) => user);

function of(...members) {
  const order = new Order();
  order.replace(members);
  return order;
}

test('names stand in the order of their language', () => {
  const order = of(...['Zed', 'user-10', 'émile', 'ann', 'user-9', 'Émile', 'eve', 'a\u200d', 'a'].map((user) => member(user)));
  assert.deepEqual(names(order), ['a', 'a\u200d', 'ann', 'émile', 'Émile', 'eve', 'user-9', 'user-10', 'Zed']);
});

test('names that a language takes for the same have an order, too', () => {
  const same = ['a\u2060', 'a', 'a\u200d'];
  for (const one of same) for (const other of same) assert.equal(byName(one, other) === 0, one === other);
});

/** Members whose order is another in each sense, in no order at all. */
const crowd = (count) => Array.from({ length: count }, (_, i) => member(`${i % 2 ? 'é' : 'F'}-${(i * 7_919) % count}`, (i * 31) % 60));

test('a crowd stands in its order when that is made, whoever came, changed and went meanwhile', async () => {
  let settle;
  const settled = new Promise((resolve) => (settle = resolve));
  const order = new Order(() => settle());
  const members = crowd(AT_ONCE + 3_000);
  order.replace(members);
  const [gone, changed] = [members[17], members[4_000]];
  const [came, again] = [member('aaron', 1), { ...changed, meta: { status: 'away' } }];
  order.remove(gone.user);
  order.put(came);
  order.put(again);
  assert.equal(order.length, members.length);
  for (const one of [came, again, members[99]]) assert.equal(order.at(order.indexOf(one.user)), one, 'found at any time');
  await settled;
  const expected = [...members.filter((one) => one !== gone && one !== changed), came, again].sort((a, b) => byName(a.user, b.user));
  assert.deepEqual(order.slice(0, order.length), expected);
});

test('the last order that was asked for is made', async () => {
  const order = new Order();
  order.replace(crowd(AT_ONCE + 1));
  order.arrange({ sort: 'newest' });
  order.arrange({ sort: 'longest', search: 'é-1' });
  const shown = () => order.slice(0, order.length);
  const isOrdered = () => shown().every(({ joined }, i, all) => i === 0 || all[i - 1].joined <= joined);
  while (!isOrdered()) await new Promise(setImmediate);
  assert.ok(order.length > 100 && shown().every(({ user }) => user.startsWith('é-1')));
});

test('work in steps sorts as a sort does, and stably', () => {
  const list = Array.from({ length: 5_000 }, (_, i) => ({ key: (i * 7_919) % 97, i }));
  const compare = (a, b) => a.key - b.key;
  const work = merging(list, compare);
  let step = work.next();
  let steps = 1;
  for (; !step.done; steps++) step = work.next();
  assert.ok(steps > 10);
  assert.deepEqual(step.value, [...list].sort(compare));
  assert.deepEqual(merging([], compare).next(), { value: [], done: true });
});

test('members stand by name, newest or longest here, and by name where they came together', () => {
  const order = of(member('cyd', 3), member('ann', 5), member('bob', 3));
  assert.deepEqual(names(order), ['ann', 'bob', 'cyd']);
  order.arrange({ sort: 'newest' });
  assert.deepEqual(names(order), ['ann', 'bob', 'cyd']);
  order.arrange({ sort: 'longest' });
  assert.deepEqual(names(order), ['bob', 'cyd', 'ann']);
});

test('who comes is put where they belong and who goes is taken out', () => {
  for (const [sort, expected] of [['name', ['ann', 'dee', 'eve']], ['newest', ['eve', 'dee', 'ann']]]) {
    const order = of(member('dee', 4), member('ann', 1), member('bob', 2));
    order.arrange({ sort });
    order.put(member('eve', 5));
    assert.equal(order.remove('bob'), true);
    assert.equal(order.remove('bob'), false);
    assert.deepEqual(names(order), expected, sort);
    expected.forEach((user, i) => assert.equal(order.indexOf(user), i));
    assert.equal(order.indexOf('bob'), -1);
    assert.equal(order.size, 3);
  }
});

test('a member that is put again is there once, where they now belong', () => {
  const order = of(member('ann', 1), member('bob', 2));
  order.arrange({ sort: 'newest' });
  const again = member('ann', 9);
  order.put(again);
  assert.deepEqual(names(order), ['ann', 'bob']);
  assert.equal(order.get('ann'), again);
  assert.equal(order.at(0), again);
});

test('a search looks at names and at what is said, in any case, also of who comes later', () => {
  const order = of(member('Ann'), member('bob', 0, { status: 'with ANNA' }), member('cyd', 0, { n: { a: 'annex' } }), member('dee'));
  order.arrange({ search: ' ann ' });
  assert.deepEqual(names(order), ['Ann', 'bob', 'cyd']);
  assert.deepEqual([order.size, order.length], [4, 3]);
  order.put(member('hannah'));
  order.put(member('eve'));
  order.put(member('bob', 0, { status: 'alone' }));
  assert.deepEqual(names(order), ['Ann', 'cyd', 'hannah']);
  assert.equal(order.indexOf('bob'), -1);
  order.remove('eve');
  order.arrange({ search: '' });
  assert.deepEqual(names(order), ['Ann', 'bob', 'cyd', 'dee', 'hannah']);
});

test('sorting keeps the search, and another set keeps both', () => {
  const order = of(member('ann', 1), member('anna', 2), member('bob', 3));
  order.arrange({ search: 'ann' });
  order.arrange({ sort: 'newest' });
  assert.deepEqual(names(order), ['anna', 'ann']);
  order.replace([member('hanna', 1), member('joann', 7), member('bob', 8)]);
  assert.deepEqual(names(order), ['joann', 'hanna']);
});

test('names that objects have by nature are names like any other', () => {
  const order = of(member('__proto__'), member('constructor'));
  order.put(member('toString'));
  order.remove('__proto__');
  assert.deepEqual(names(order), ['constructor', 'toString']);
});

test('whatever happens, the order is that of sorting all anew', () => {
  const random = seeded(7);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const alphabet = ['a', 'b', 'é', '\uffee', '🦊', '李'];
  for (const sort of ['name', 'newest', 'longest']) {
    for (const search of ['', 'a']) {
      const order = new Order();
      order.arrange({ sort, search });
      const model = new Map();
      for (let step = 0; step < 400; step++) {
        const user = pick(alphabet) + pick(alphabet);
        if (random() < 0.4) {
          assert.equal(order.remove(user), model.delete(user));
        } else {
          const put = member(user, Math.floor(random() * 5), { step });
          model.set(user, put);
          order.put(put);
        }
      }
      const anew = new Order();
      anew.arrange({ sort, search });
      anew.replace(model.values());
      assert.deepEqual(order.slice(0, Infinity), anew.slice(0, Infinity));
      assert.equal(order.size, model.size);
    }
  }
});

/** mulberry32 */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
