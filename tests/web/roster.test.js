import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Roster, byBytes } from '../../web/roster.js';

const JOINED = '2026-11-22T05:53:00Z';

const member = (user, meta = {}) => ({ user, meta, joined: JOINED });
const members = (...names) => names.map((name) => member(name));
const at = (offset) => `k3f.${offset}`;

const snapshot = (offset, users, part = 0, last = true) => ({
  action: 'snapshot', room: 'lobby', cursor: at(offset), count: users.length, part, last, users,
});
const changes = (offset, set, gone, part = 0, last = true) => ({
  action: 'changes', room: 'lobby', cursor: at(offset), part, last, set, gone,
});
const resumed = (offset) => ({ action: 'resumed', room: 'lobby', cursor: at(offset) });
const add = (offset, user, meta) => ({ action: 'add', room: 'lobby', cursor: at(offset), ...member(user, meta) });
const update = (offset, user, meta) => ({ action: 'update', room: 'lobby', cursor: at(offset), user, meta });
const del = (offset, user) => ({ action: 'del', room: 'lobby', cursor: at(offset), user, reason: 'signed_out' });

const names = (roster) => roster.first(Infinity).map(({ user }) => user);
const lobby = (...users) => new Roster(members(...users), at(1));

test('a room that is not known yet has no cursor', () => {
  const roster = new Roster();
  assert.equal(roster.cursor, '');
  assert.equal(roster.count, 0);
});

test('a snapshot replaces the set and tells who came and left by it', () => {
  const roster = lobby('ann', 'bob');
  assert.deepEqual(roster.apply(snapshot(7, members('bob', 'cyd'))), { came: ['cyd'], left: ['ann'] });
  assert.deepEqual(names(roster), ['bob', 'cyd']);
  assert.equal(roster.cursor, at(7));
});

test('the first snapshot of an unknown room is no news', () => {
  assert.deepEqual(new Roster().apply(snapshot(1, members('ann'))), { came: [], left: [] });
});

test('a snapshot in parts keeps the old set and the old cursor until the last', () => {
  const roster = lobby('old');
  for (const part of [snapshot(9, members('ann'), 0, false), snapshot(9, members('bob'), 1, false)]) {
    assert.deepEqual(roster.apply(part), { came: [], left: [] });
    assert.deepEqual(names(roster), ['old']);
    assert.equal(roster.cursor, at(1));
  }
  roster.apply(snapshot(9, members('cyd'), 2, true));
  assert.deepEqual(names(roster), ['ann', 'bob', 'cyd']);
  assert.equal(roster.cursor, at(9));
});

test('parts that were cut off with their stream leave nothing behind', () => {
  const roster = lobby('old');
  roster.apply(snapshot(9, members('ann'), 0, false));
  roster.apply(resumed(1));
  roster.apply(add(2, 'bob'));
  assert.deepEqual(names(roster), ['bob', 'old']);
  assert.throws(() => roster.apply(snapshot(9, members('cyd'), 1, true)), /does not follow/);
});

test('a snapshot that starts again forgets the parts before', () => {
  const roster = lobby();
  roster.apply(snapshot(9, members('ann'), 0, false));
  roster.apply(snapshot(12, members('bob'), 0, false));
  roster.apply(snapshot(12, members('cyd'), 1, true));
  assert.deepEqual(names(roster), ['bob', 'cyd']);
});

test('a part that is missing or of another cursor is refused, and the old set stays', () => {
  for (const stray of [snapshot(9, members('cyd'), 2), snapshot(8, members('cyd'), 1)]) {
    const roster = lobby('old');
    roster.apply(snapshot(9, members('ann'), 0, false));
    assert.throws(() => roster.apply(stray), /does not follow/);
    assert.deepEqual(names(roster), ['old']);
    assert.equal(roster.cursor, at(1));
  }
});

test('an unknown action between parts does not part them', () => {
  const roster = lobby();
  roster.apply(snapshot(9, members('ann'), 0, false));
  roster.apply({ action: 'alive' });
  roster.apply(snapshot(9, members('bob'), 1));
  assert.deepEqual(names(roster), ['ann', 'bob']);
});

test('events apply in order and move the cursor', () => {
  const roster = lobby('ann');
  assert.deepEqual(roster.apply(add(2, 'yay')), { came: ['yay'], left: [] });
  assert.equal(roster.cursor, at(2));
  assert.deepEqual(roster.apply(update(3, 'yay', { status: 'away' })), { came: [], left: [] });
  assert.equal(roster.cursor, at(3));
  assert.deepEqual(roster.apply(del(4, 'ann')), { came: [], left: ['ann'] });
  assert.equal(roster.cursor, at(4));
  assert.deepEqual(roster.first(10), [member('yay', { status: 'away' })]);
});

test('an update replaces the member and keeps when they came', () => {
  const roster = lobby('ann', 'bob');
  const [ann, bob] = roster.first(2);
  roster.apply(update(2, 'ann', { status: 'away' }));
  assert.deepEqual(roster.get('ann'), member('ann', { status: 'away' }));
  assert.notEqual(roster.get('ann'), ann);
  assert.equal(roster.get('bob'), bob);
  assert.deepEqual(ann.meta, {});
});

test('what is there already is not added twice, and who is absent does not leave', () => {
  const roster = lobby('ann');
  assert.deepEqual(roster.apply(add(2, 'ann', { again: true })), { came: [], left: [] });
  assert.deepEqual(roster.apply(del(3, 'bob')), { came: [], left: [] });
  assert.deepEqual(names(roster), ['ann']);
  assert.deepEqual(roster.get('ann').meta, { again: true });
  assert.equal(roster.cursor, at(3));
});

test('changes are put and taken away, whoever was there before', () => {
  const roster = lobby('ann', 'bob', 'cyd');
  const set = [member('bob', { status: 'here' }), member('dee')];
  const gone = [{ user: 'ann', reason: 'closed' }, { user: 'eve', reason: 'timeout' }];
  assert.deepEqual(roster.apply(changes(40, set, gone)), { came: ['dee'], left: ['ann'] });
  assert.deepEqual(names(roster), ['bob', 'cyd', 'dee']);
  assert.deepEqual(roster.get('bob').meta, { status: 'here' });
  assert.equal(roster.cursor, at(40));
});

test('changes in parts count with the last', () => {
  const roster = lobby('ann', 'bob');
  roster.apply(changes(40, members('cyd'), [], 0, false));
  assert.deepEqual(names(roster), ['ann', 'bob']);
  assert.equal(roster.cursor, at(1));
  roster.apply(changes(40, [], [{ user: 'ann', reason: 'expired' }], 1, true));
  assert.deepEqual(names(roster), ['bob', 'cyd']);
  assert.equal(roster.cursor, at(40));
});

test('resumed keeps the set', () => {
  const roster = lobby('ann');
  roster.apply(resumed(1));
  assert.deepEqual(names(roster), ['ann']);
  assert.equal(roster.cursor, at(1));
});

test('actions and fields that are not known are ignored', () => {
  const roster = lobby('ann');
  for (const frame of [{ action: 'alive' }, { action: 'renamed', cursor: at(9), user: 'ann' }, {}]) {
    assert.deepEqual(roster.apply(frame), { came: [], left: [] });
  }
  assert.equal(roster.cursor, at(1));
  roster.apply({ ...add(2, 'bob'), mood: 'sunny' });
  assert.deepEqual(roster.get('bob'), member('bob'));
});

test('a refusal changes nothing', () => {
  const roster = lobby('ann');
  roster.apply({ action: 'refused', code: 'too_many_connections', message: 'full', retry: true });
  assert.deepEqual(names(roster), ['ann']);
  assert.equal(roster.cursor, at(1));
});

test('a roster that forgot where it stood still has its set', () => {
  const roster = lobby('ann');
  roster.forget();
  assert.equal(roster.cursor, '');
  assert.deepEqual(names(roster), ['ann']);
});

test('names that objects have by nature are names like any other', () => {
  const roster = lobby('__proto__', 'constructor');
  roster.apply(add(2, 'toString'));
  assert.deepEqual(names(roster), ['__proto__', 'constructor', 'toString']);
  roster.apply(del(3, '__proto__'));
  assert.equal(roster.count, 2);
});

test('names stand in the order of their UTF-8 bytes', () => {
  const some = ['Zoe', 'a', 'aa', 'ab', 'b', 'é', '\ud7ff', '\ue000', '\uffee', '\u{10000}', '🦊', '\u{10ffff}', ''];
  const encoded = (name) => Buffer.from(name);
  const expected = [...some].sort((a, b) => Buffer.compare(encoded(a), encoded(b)));
  assert.deepEqual([...some].reverse().sort(byBytes), expected);
  for (const a of some) {
    for (const b of some) {
      assert.equal(Math.sign(byBytes(a, b)), Buffer.compare(encoded(a), encoded(b)), `${a} and ${b}`);
    }
  }
});

test('the snapshot at k and the events after it are the snapshot at n', () => {
  const random = seeded(7);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const alphabet = ['a', 'b', 'é', '\uffee', '🦊', '李'];
  for (let round = 0; round < 50; round++) {
    const server = new Map();
    const readers = [];
    for (let offset = 1; offset <= 120; offset++) {
      const user = pick(alphabet) + pick(alphabet);
      const frame = !server.has(user) ? add(offset, user)
        : random() < 0.5 ? del(offset, user) : update(offset, user, { offset });
      if (frame.action === 'del') server.delete(user);
      else server.set(user, member(user, frame.meta));
      for (const reader of readers) reader.apply(frame);
      if (offset % 20 === 0) readers.push(joined(server, offset, random));
    }
    for (const reader of readers) assert.deepEqual(reader.first(Infinity), sorted(server));
  }
});

function joined(server, offset, random) {
  const reader = new Roster();
  const all = sorted(server);
  const cut = Math.floor(random() * all.length);
  reader.apply(snapshot(offset, all.slice(0, cut), 0, false));
  reader.apply(snapshot(offset, all.slice(cut), 1, true));
  return reader;
}

function sorted(server) {
  return [...server.values()].sort((a, b) => Buffer.compare(Buffer.from(a.user), Buffer.from(b.user)));
}

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
