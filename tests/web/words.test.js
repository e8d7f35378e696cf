import assert from 'node:assert/strict';
import { test } from 'node:test';

import { snippets } from '../../web/page/connect.js';
import { duration, rate, short, told } from '../../web/page/gateway.js';
import { summary, told as heldBy } from '../../web/page/holds.js';
import { News } from '../../web/page/news.js';
import { rows, trouble } from '../../web/page/nodes.js';
import { said } from '../../web/page/row.js';
import { TERMS, ago, asked, banner, clock, colour, ended, initial, lasting, noun, number, roomsNote, status, why } from '../../web/page/words.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const plain = (text) => text.replaceAll(/[\u2068\u2069]/g, '');

test('how long ago somebody came', () => {
  const said = [
    ['2026-11-22T12:00:30Z', 'just now'], // the server's clock is ahead
    ['2026-11-22T11:59:01Z', 'just now'],
    ['2026-11-22T11:59:00Z', '1 min ago'],
    ['2026-11-22T11:00:01Z', '59 min ago'],
    ['2026-11-22T11:00:00Z', '1 h ago'],
    ['2026-11-21T12:00:01Z', '23 h ago'],
    ['2026-11-21T12:00:00Z', 'yesterday'],
    ['2026-11-20T12:00:00Z', '2 days ago'],
    ['nonsense', ''],
  ];
  for (const [joined, words] of said) assert.equal(ago(joined, NOW), words, joined);
});

test('how many rooms there are, and how many of them are listed', () => {
  const said = [
    [{ rooms: 0, members: 0 }, {}, '0 rooms, 0 members.'],
    [{ rooms: 1, members: 1 }, {}, '1 room, 1 member.'],
    [{ rooms: 200, members: 1234 }, {}, '200 rooms, 1\u202f234 members.'],
    [{ rooms: 100_000, members: 2 }, {}, '100\u202f000 rooms, 2 members. The first 200 are listed; typing finds the others.'],
    [{ rooms: 201, members: 2 }, { largest: true }, '201 rooms, 2 members. The largest 200 are listed; typing finds the others.'],
    [{ rooms: 2, members: 3 }, { wanted: 'ga', absent: true }, 'Enter opens it. 2 rooms found, 3 members.'],
  ];
  for (const [total, how, words] of said) assert.equal(roomsNote({ total, listed: 200, ...how }), words);
});

test('the circle has the first letter, whole', () => {
  assert.deepEqual(['ann', 'éva', '🦊 fox', 'שלום', '<img>', ''].map(initial), ['A', 'É', '🦊', 'ש', '<', '']);
});

test('a colour is one of twelve, the same for the same name on the server', () => {
  assert.equal(colour('ann'), `h${(0x61 + 0x6e + 0x6e) % 12}`);
  assert.equal(colour('é'), `h${(0xc3 + 0xa9) % 12}`);
});

test('one is a member, none and more are members', () => {
  assert.deepEqual([0, 1, 2].map(noun), ['members', 'member', 'members']);
});

test('thousands are set apart', () => {
  assert.deepEqual([0, 999, 1_000, 50_000, 1_234_567].map(number), ['0', '999', '1\u202f000', '50\u202f000', '1\u202f234\u202f567']);
});

test('the banner says nothing while all is well, and since when it is not', () => {
  assert.equal(status('live'), 'Live');
  assert.equal(banner({ state: 'live', lost: 0, now: NOW, known: true }), '');
  assert.match(banner({ state: 'live', lost: 0, now: NOW, known: true, fresh: true }), /just started/);
  assert.equal(banner({ state: 'connecting', lost: 0, now: NOW, known: false }), '');
  const lost = NOW - 5_000;
  assert.equal(banner({ state: 'waiting', lost, now: NOW, known: true }), `The connection was lost. The list is of ${clock(lost)}.`);
  assert.equal(banner({ state: 'waiting', lost, now: NOW, known: false }), 'The connection was lost.');
  assert.match(banner({ state: 'connecting', lost, now: lost + 20_001, known: true }), /out of reach since/);
  assert.match(banner({ state: 'refused', refusal: { message: 'no room left' }, lost, now: NOW }), /no room left/);
});

test('a status alone is told in words, anything else as it is', () => {
  assert.deepEqual([{}, { status: 'away' }, { status: 3 }, { status: 'away', on: 'phone' }].map(said), [
    '', 'away', '{"status":3}', '{"status":"away","on":"phone"}',
  ]);
});

test('reasons are words, and those to come are shown as they are', () => {
  assert.deepEqual(['closed', 'timeout', 'node_lost', 'eaten', undefined].map(why), ['left', 'connection lost', 'gateway lost', 'eaten', '']);
});

const connection = (transport, more) => ({ kind: 'connection', connection: 'x', transport, ...more });

test('each hold says what it is, how it stands and what it says', () => {
  const expires = new Date(NOW + 252_000).toISOString();
  const lines = [
    [{ kind: 'sign_in' }, 'Sign-in', '', ''],
    [{ kind: 'lease', hold: 'worker-a', expires, meta: { a: 1 }, rank: 0 }, 'Lease worker-a', '4 min 12 s left', 'says {"a":1}'],
    [connection('sse', { lost: true, expires: new Date(NOW + 3_000).toISOString() }), 'Event stream', 'lost, ends in 3 s', ''],
    [connection('websocket', { meta: {}, rank: -1 }), 'WebSocket', '', 'says {} at rank -1'],
    [connection('pigeon'), 'pigeon', '', ''],
  ];
  for (const [hold, what, how, says] of lines) {
    const said = heldBy(hold, NOW);
    assert.deepEqual([plain(said.what), said.how, said.says], [what, how, says]);
  }
  assert.equal(plain(summary([connection('websocket'), { kind: 'sign_in', hold: 'a' }, connection('websocket')])), '2 × WebSocket, Sign-in a');
  assert.equal(summary([]), '');
});

test('what is left of a term is said in two units', () => {
  assert.deepEqual([-1, 0.2, 59, 60, 61, 3_600, 3_660, 86_400].map(lasting), ['0 s', '1 s', '59 s', '1 min', '1 min 1 s', '1 h', '1 h 1 min', '24 h']);
  assert.deepEqual(TERMS[0], ['for good', 0]);
});

test('before others are signed out it is asked, with what ends', () => {
  const out = asked('ann', 'den', '', '2 × WebSocket');
  assert.deepEqual([plain(out.title), out.act], ['Sign out ann?', 'Sign out']);
  assert.match(plain(out.text), /^All that holds ann in den ends: 2 × WebSocket\./);
  const kick = asked('ann', 'den', 'kicked', '');
  assert.equal(plain(kick.title), 'Kick ann?');
  assert.match(plain(kick.text), /^All that holds ann in den ends\. Everybody sees that they were kicked\./);
  assert.deepEqual(['kicked', 'signed_out', undefined, 'eaten'].map(ended), ['Kicked by somebody', ...Array(3).fill('Signed out by somebody')]);
});

test('news names a few and counts many', () => {
  const news = new News();
  ['ann', 'bob'].forEach((user) => news.came(user));
  news.left('cyd');
  assert.equal(plain(news.take(5)), 'ann, bob came; cyd left. 5 members here.');
  ['a', 'b', 'c', 'd'].forEach((user) => news.came(user));
  assert.equal(plain(news.take(1)), '4 came. 1 member here.');
});

test('who came and went meanwhile is no news, and news is told once', () => {
  const news = new News();
  news.came('ann');
  news.left('bob');
  news.came('bob');
  news.left('ann');
  assert.equal(news.take(0), '');
  news.came('ann');
  news.take(1);
  assert.equal(news.take(1), '');
});

test('deliveries a second are told between two looks at one gateway', () => {
  assert.equal(rate(null, { at: 0, deliveries: 5 }), null);
  assert.equal(rate({ at: 1_000, deliveries: 100 }, { at: 3_000, deliveries: 300 }), 100);
  assert.equal(rate({ at: 1_000, deliveries: 100 }, { at: 3_000, deliveries: 0 }), null, 'it began anew');
});

test('the glance is in units that people read', () => {
  const body = { connections: { open: 1_200, websocket: 1_000, sse: 150 }, deliveries: 1, pass_p99: 0.000256, memory: 12.34 * 2 ** 20, uptime: 90_061, version: '1.2.3' };
  assert.deepEqual(told(body, 1234.4), {
    connections: '1\u202f200', transports: '1\u202f000, 150', rate: '1\u202f234', p99: '260 µs', memory: '12.3 MiB', uptime: '1 d 1 h', version: '1.2.3',
  });
  assert.deepEqual(Object.values(told({ ...body, pass_p99: null, memory: null }, null)).filter((said) => said === '–').length, 3);
  assert.deepEqual([59, 60, 3_599, 3_600, 86_399, 86_400].map(duration), ['59 s', '1 min', '59 min', '1 h 0 min', '23 h 59 min', '1 d 0 h']);
  assert.deepEqual([0.0000012, 0.004, 1.25].map(short), ['1.2 µs', '4 ms', '1.3 s']);
});

test('nodes are told with the one that answers first, and each with what is wrong with it', () => {
  const node = { self: false, version: '0.1.0', standing: 'live', full: false, behind: 0, members: 0 };
  const nodes = [
    { ...node, incarnation: 'bbbbbbbb-1', standing: 'suspect', behind: null, members: 3 },
    { ...node, incarnation: 'cccccccc-1', self: true, members: 12_345 },
    { ...node, incarnation: 'aaaaaaaa-1', standing: 'dozing', full: true, behind: 2_000 },
  ];
  assert.deepEqual(rows(nodes).map(({ id, cells }) => [id, ...cells]), [
    ['cccccccc-1', 'cccccccc (this)', 'live', '0', '12\u202f345'],
    ['aaaaaaaa-1', 'aaaaaaaa', 'dozing, short of memory', '2\u202f000', '0'],
    ['bbbbbbbb-1', 'bbbbbbbb', 'silent', '–', '3'],
  ]);
  assert.equal(rows(nodes)[0].title, 'cccccccc-1, version 0.1.0');
});

test('what is wrong with the shared log is one sentence, and nothing as a rule', () => {
  const well = { stale: false, behind: false, lag: 12 };
  assert.deepEqual([well, { ...well, stale: true }, { ...well, behind: true, lag: 3_400 }, { ...well, behind: true, stale: true }].map(trouble), [
    '',
    'The shared log does not answer. Changes wait.',
    'This gateway is behind the shared log.',
    'This gateway catches up with the shared log. Readers see the set of before.',
  ]);
});

test('snippets name this gateway and this room, whatever it is called', () => {
  const all = snippets('https://example.org/', "a/b 'c' \"d\"").map(({ text }) => text).join('\n');
  assert.ok(all.includes("'https://example.org/api/rooms/a%2Fb%20'\\''c'\\''%20%22d%22/stream'"), all);
  assert.ok(all.includes('new Room("a/b \'c\' \\"d\\"", { as: "yay" })'), all);
  assert.ok(all.includes('new WebSocket("wss://example.org/ws?room=a%2Fb%20\'c\'%20%22d%22")'), all);
});
