import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Members } from '../../web/client/members.js';
import { Sessions } from './fake-session.js';
import { World } from './world.js';

const golden = (name) => JSON.parse(readFileSync(new URL(`../wire/${name}.json`, import.meta.url), 'utf8'));

/** By entries: an object made here would take `__proto__` for its prototype. */
const set = (members) => [...members].map(([user, { meta, info = {}, joined, suspect }]) => [user, { meta, info, joined, suspect }]).sort();

for (const story of ['story', 'suspects']) {
  test(`a reader comes to the set and the cursor of the ${story}, frame by frame`, () => {
    const members = new Members();
    for (const { about, frame, users, cursor } of golden(story)) {
      members.apply(frame);
      assert.deepEqual(set(members.map), set(Object.entries(users)), about);
      assert.equal(members.cursor, cursor, about);
      for (const [user, member] of members.map) {
        const fields = ['user', 'meta', 'info', 'joined', ...(member.suspect ? ['suspect'] : [])];
        assert.deepEqual(Object.keys(member), fields, user);
      }
    }
  });
}

test('the frame that stands for several parts has all of them, and leads to the same set', () => {
  const [members, other] = [new Members(), new Members()];
  for (const { about, frame, users, cursor } of golden('story')) {
    const done = members.apply(frame);
    if (done) other.apply(done.whole);
    assert.deepEqual(set(other.map), set(Object.entries(users)), about);
    assert.equal(other.cursor, cursor, about);
  }
});

test('events say what changed, those of changes too', () => {
  const members = new Members();
  const told = golden('story').map(({ frame }) => members.apply(frame)?.events ?? []);
  const at40 = golden('story').findIndex(({ frame }) => frame.cursor === 'k3f.40');
  const [changes, whole] = [told[at40], golden('story')[at40].frame];
  assert.deepEqual(changes, [
    { type: 'del', detail: { user: 'yay', reason: 'closed', at: whole.gone[0].at } },
    { type: 'update', detail: { user: 'ann', meta: { status: 'here' }, info: {}, joined: '2026-11-22T05:53:00Z' } },
    { type: 'add', detail: { user: 'bob', meta: {}, info: {}, joined: '2026-11-22T05:53:08Z' } },
  ]);
  const [added, gone] = [told[4], told.find(([event]) => event?.type === 'del')];
  assert.deepEqual(added, [{ type: 'add', detail: { user: 'ann', meta: {}, info: {}, joined: '2026-11-22T05:53:00Z' } }]);
  const { user, reason, at } = golden('story').find(({ frame }) => frame.action === 'del').frame;
  assert.deepEqual(gone, [{ type: 'del', detail: { user, reason, at } }]);
});

test('a part that does not follow is not taken, nor an update of who is not there', () => {
  const members = new Members();
  const part = { action: 'snapshot', room: 'lobby', cursor: 'k3f.9', count: 0, part: 0, last: false, users: [] };
  assert.throws(() => members.apply({ ...part, part: 1 }));
  members.apply(part);
  assert.throws(() => members.apply({ ...part, part: 2 }));
  assert.throws(() => members.apply({ ...part, part: 1, cursor: 'k3f.10' }));
  members.apply({ ...part, part: 1, last: true });
  assert.throws(() => members.apply({ ...part, part: 2, last: true }));
  assert.throws(() => members.apply({ action: 'update', room: 'lobby', cursor: 'k3f.10', user: 'ann', meta: {} }));
});

test('where only the place is known, events move it and a snapshot brings the set', () => {
  const members = new Members();
  const add = { action: 'add', room: 'lobby', cursor: 'k3f.5', user: 'ann', meta: {}, joined: '2026-11-22T05:53:00Z' };
  assert.equal(members.apply(add), null, 'without a place there is nothing to add to');
  members.cursor = 'k3f.4';
  assert.deepEqual(members.apply(add).events, []);
  assert.equal(members.cursor, 'k3f.5');
  assert.equal(members.map.size, 0);
  assert.equal(members.complete, false);
  members.apply({ action: 'snapshot', room: 'lobby', cursor: 'k3f.5', count: 1, part: 0, last: true, users: [add] });
  assert.equal(members.complete, true);
  assert.equal(members.map.size, 1);
});

test('a member is suspect until an update says nothing of it', () => {
  const members = new Members();
  const ann = { user: 'ann', meta: {}, joined: '2026-11-22T05:53:00Z' };
  const part = { action: 'snapshot', room: 'lobby', cursor: 'k3f.5', count: 1, part: 0, last: true };
  members.apply({ ...part, users: [{ ...ann, suspect: true }] });
  assert.deepEqual(members.list, [{ ...ann, info: {}, suspect: true }]);
  const update = { action: 'update', room: 'lobby', user: 'ann', meta: {} };
  members.apply({ ...update, cursor: 'k3f.6' });
  assert.deepEqual(members.list, [{ ...ann, info: {} }]);
  const told = members.apply({ ...update, cursor: 'k3f.7', suspect: true });
  assert.deepEqual(told.events, [{ type: 'update', detail: { ...ann, info: {}, suspect: true } }]);
});

test('only a room that asks for suspects has a connection that asks', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  await tab.room('lobby', { suspects: true });
  await tab.room('lobby');
  await tab.room('den', { suspects: true });
  assert.deepEqual([...world.sockets].map(({ url }) => new URL(url).search).sort(), ['?alive=1', '?alive=1&suspect=1']);
});

test('a room that asks for suspects shows the members it is given, and takes the whole set all the same', async (t) => {
  const world = new World(t);
  await world.signIn('lobby', 'ann');
  await world.signIn('lobby', 'bob');
  const ann = { user: 'ann', meta: {}, info: {}, joined: '2026-11-22T05:53:00Z' };
  world.up = false;
  const tab = await world.tab();
  const room = await tab.room('lobby', { suspects: true, since: 'k3f.1', members: [ann] });
  assert.deepEqual([room.list, room.cursor, room.seen], [[ann], '', []]);
  world.up = true;
  await world.pass(500);
  assert.deepEqual([world.heard.at(-1).since, room.count, room.cursor, room.seen], [undefined, 2, 'k3f.2', ['snapshot 2']]);
  await world.cut();
  await world.pass(10_000);
  assert.equal(world.heard.at(-1).since, 'k3f.2', 'a cursor of its own stream');
});

test('a session asks for suspects, too, and the query is shown to nobody', async (t) => {
  const world = new World(t);
  const sessions = new Sessions(world);
  const tab = await world.tab();
  const options = { suspects: true, transport: 'sse', share: false, url: 'http://gateway.test/a?v=2#x' };
  assert.equal((await tab.room('lobby', options)).state, 'live');
  sessions.before = () => new Response('', { status: 404 });
  const { refusal } = await tab.room('lobby', options);
  assert.deepEqual(refusal, { code: 'no_gateway', message: 'http://gateway.test/a/ answers with 404, and is no gateway.' });
  assert.deepEqual(sessions.asked, Array(2).fill('POST /a/api/stream?suspect=1 0 subscribe'));
});

/** The fake stands for the gateway in what follows, so it has to keep to the same golden messages. */
test('the gateway of these tests answers the golden messages, as far as it judges them', async (t) => {
  const world = new World(t);
  const socket = new WebSocket('ws://gateway.test/ws?alive=1');
  const answers = [];
  socket.onmessage = ({ data }) => answers.push(JSON.parse(data));
  await world.settle();
  for (const { about, says, answer } of golden('messages')) {
    // The client reads no counts, so the fake has none.
    if (/^bad_/.test(answer.code) || 'counts' in says) continue;
    answers.length = 0;
    socket.send(JSON.stringify(says));
    await world.settle();
    const [{ message, ...given }] = answers.filter(({ action }) => action === 'ok' || action === 'refused');
    // Offsets may skip, and do so in the gateway alone.
    const placed = (told) => ({ ...told, ...(told.cursor && { cursor: told.cursor.split('.')[0] }) });
    assert.deepEqual(placed(given), placed(answer), `${about}: ${message}`);
  }
});
