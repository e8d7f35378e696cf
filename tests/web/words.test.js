import assert from 'node:assert/strict';
import { test } from 'node:test';

import { News } from '../../web/news.js';
import { ago, colour, initial, noun, status } from '../../web/words.js';

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

test('the state is a word, and says why where there is a why', () => {
  assert.equal(status('live'), 'Live');
  assert.equal(status('refused', 'no room left'), 'Not admitted: no room left');
});

test('news names a few and counts many', () => {
  const news = new News();
  news.add({ came: ['ann', 'bob'], left: ['cyd'] });
  assert.equal(plain(news.take(5)), 'ann, bob came; cyd left. 5 members here.');
  news.add({ came: ['a', 'b', 'c', 'd'], left: [] });
  assert.equal(plain(news.take(1)), '4 came. 1 member here.');
});

test('who came and went meanwhile is no news, and news is told once', () => {
  const news = new News();
  news.add({ came: ['ann'], left: ['bob'] });
  news.add({ came: ['bob'], left: ['ann'] });
  assert.equal(news.take(0), '');
  news.add({ came: ['ann'], left: [] });
  news.take(1);
  assert.equal(news.take(1), '');
});
