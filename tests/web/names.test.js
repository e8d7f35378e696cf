import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compose, entries, readExactly } from '../../web/page/exactly.js';
import { visible } from '../../web/page/names.js';

test('names are shown as they are', () => {
  for (const name of ['ann', 'a b', 'Zoë', 'نعمي', '👩‍👧', '🏴\u{e0067}\u{e007f}', '❤\ufe0f', 'می\u200cخواهم']) assert.equal(visible(name), name);
});

test('what nobody would see of a name is shown', () => {
  const shown = [
    ['  ', '⟨0020⟩⟨0020⟩'],
    ['\u3164', '⟨3164⟩'],
    ['\u2800', '⟨2800⟩'],
    ['\u200d', '⟨200D⟩'],
    ['\u0301', '⟨0301⟩'],
    ['ann ', 'ann␣'],
    [' ann', '␣ann'],
    ['a  b', 'a ␣b'],
    ['a\u200bb', 'a⟨200B⟩b'],
    ['a\u202eb', 'a⟨202E⟩b'],
    ['a\nb', 'a⟨000A⟩b'],
    ['', ''],
  ];
  for (const [name, said] of shown) assert.equal(visible(name), said, JSON.stringify(name));
});

test('a table of keys and values is JSON again, each value as it was typed', () => {
  assert.deepEqual(entries({ a: 1, b: 'x', c: { d: [] } }), [['a', '1'], ['b', '"x"'], ['c', '{"d":[]}']]);
  assert.deepEqual(compose([['a', '1E5'], ['', ' '], ['b "c"', ' 9007199254740993 ']]), { json: '{"a":1E5,"b \\"c\\"":9007199254740993}' });
  assert.deepEqual(compose([]), { json: '{}' });
});

test('what is no JSON is said, with its row', () => {
  assert.deepEqual(compose([['a', '1'], ['b', 'away']]), { at: 1, wrong: 'b: that is no JSON. Text stands in quotes: "away".' });
  assert.deepEqual(compose([['a', '1'], ['a', '2']]), { at: 1, wrong: 'a stands there twice.' });
  assert.match(compose([['a', '']]).wrong, /^a: that is no JSON\. A value is missing/);
});

test('numbers keep their text, where the runtime can', () => {
  const read = readExactly('{"n":1E5,"big":9007199254740993,"s":"1E5"}');
  const said = typeof JSON.rawJSON === 'function' ? '{"n":1E5,"big":9007199254740993,"s":"1E5"}' : '{"n":100000,"big":9007199254740992,"s":"1E5"}';
  assert.equal(JSON.stringify(read), said);
});
