import assert from 'node:assert/strict';
import { test } from 'node:test';

import { named, said } from '../../web/client/judge.js';
import { World } from './world.js';

const half = 'x🦊'.slice(0, 2);
const names = [undefined, null, '', 7, {}, ' ', '\u200b', '\u0301', '.', '..', 'a\nb', '\u0085', half, 'a\u202eb', 'x'.repeat(129), 'ä'.repeat(65)];

test('what is no name is a TypeError, and what is one is taken as it is', () => {
  for (const name of names) assert.throws(() => named(name, 'room'), TypeError, String(name));
  for (const name of ['a', '...', 'ann ', 'ä'.repeat(64), '👩‍👧', 'a/b', 'a\u200cb', '7']) assert.equal(named(name, 'room'), name);
});

test('what cannot be said is a TypeError', () => {
  const cycle = {};
  cycle.cycle = cycle;
  const metas = [null, 7, 'text', [], () => {}, cycle, { n: 1n }, { name: half }, { [half]: 1 }, { a: [{ b: half }] }, { x: 'x'.repeat(1017) }];
  for (const meta of metas) assert.throws(() => said(meta), TypeError);
  for (const rank of [10, -10, 0.5, '1', NaN, null]) assert.throws(() => said({}, rank), TypeError);
  assert.equal(said(undefined), null);
  assert.equal(said({ x: 'x'.repeat(1016) }, -9).rank, -9);
});

test('what looks like half of a pair and is none is said', () => {
  for (const name of ['x🦊', '\\ud83e', '\\\\ud83e', '🦊\\']) assert.equal(said({ name }).meta, JSON.stringify({ name }));
});

test('what is said is text from then on', () => {
  const meta = { n: 1 };
  const { meta: text } = said(meta);
  meta.n = 2;
  assert.equal(text, '{"n":1}');
  assert.equal(said(new Proxy({ n: 1 }, {})).meta, '{"n":1}');
});

test('a room is not made, and nothing is said, of nonsense', async (t) => {
  const world = new World(t);
  const tab = await world.tab();
  for (const name of names) await assert.rejects(tab.room(name), TypeError, String(name));
  await assert.rejects(tab.room('lobby', { as: half }), TypeError);
  await assert.rejects(tab.room('lobby', { user: half }), TypeError);
  await assert.rejects(tab.room('lobby', { as: 'ann', meta: { name: half } }), TypeError);
  await assert.rejects(tab.room('lobby', { as: 'ann', meta: {}, rank: 10 }), TypeError);
  assert.equal(world.sockets.size, 0);
  const room = await tab.room('lobby', { as: 'ann', meta: { n: 0 } });
  for (const meta of [undefined, null, { name: half }]) assert.throws(() => room.update(meta), TypeError);
  assert.throws(() => room.update({}, { rank: 10 }), TypeError);
  for (const user of names) assert.throws(() => room.join(user), TypeError);
  assert.throws(() => room.join('bob', { name: half }), TypeError);
  await world.pass(1_000);
  assert.deepEqual([world.heard.length, room.holding, world.users()], [2, true, ['ann']]);
});

/** A number as `JSON.rawJSON` writes it, where there is none. */
const raw = (text) => ({ toJSON: () => `raw ${text}` });

test('the text that was given goes to the gateway, in a follower and after a cut, too', async (t) => {
  const written = [];
  const { stringify } = JSON;
  t.mock.method(JSON, 'stringify', (...rest) => stringify(...rest)?.replace(/"raw ([^"]*)"/g, '$1'));
  const world = new World(t);
  const [leader, tab] = [await world.tab(), await world.tab()];
  const { send } = WebSocket.prototype;
  t.mock.method(WebSocket.prototype, 'send', function note(text) {
    if (text.includes('"meta"')) written.push(text.match(/"meta":(\{.*?\})/)[1]);
    return send.call(this, text);
  });
  await leader.room('lobby');
  const room = await tab.room('lobby', { as: 'ann', meta: { id: raw('9007199254740993') } });
  room.update({ id: raw('9007199254740993'), score: raw('1.0') });
  await world.settle();
  await world.cut();
  await world.pass(1_000);
  const both = '{"id":9007199254740993,"score":1.0}';
  assert.deepEqual(written, ['{"id":9007199254740993}', both, both]);
});
