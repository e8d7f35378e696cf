import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Span, TALLEST } from '../../web/page/span.js';

test('every place in the list is in the row that begins above it, also around an open one', () => {
  for (const open of [-1, 0, 3, 9]) {
    const span = new Span({ count: 10, row: 50, open, extra: 120 });
    assert.equal(span.height, open < 0 ? 500 : 620);
    for (let y = 0; y < span.height; y++) {
      const index = span.at(y);
      const next = index + 1 < 10 ? span.top(index + 1) : span.height;
      assert.ok(span.top(index) <= y && y < next, `${y} is in row ${index}, open ${open}`);
    }
  }
});

test('places beyond the list are in its first and last row', () => {
  const span = new Span({ count: 10, row: 50 });
  assert.deepEqual([span.at(-100), span.at(5_000)], [0, 9]);
});

test('the rows around a view are those in it and a few more', () => {
  const span = new Span({ count: 50_000, row: 50 });
  assert.deepEqual(span.around(0, 500), [0, 19]);
  assert.deepEqual(span.around(500_000, 500), [9_992, 10_019]);
  assert.deepEqual(span.around(span.height - 500, 500), [49_982, 50_000]);
  assert.deepEqual(new Span({ count: 0, row: 50 }).around(0, 500), [0, 0]);
});

test('what browsers could not lay out is left out', () => {
  const span = new Span({ count: 10_000_000, row: 50 });
  assert.ok(span.height <= TALLEST);
  assert.equal(span.count, 300_000);
});

test('revealing a row scrolls no further than it must', () => {
  const span = new Span({ count: 100, row: 50, open: 20, extra: 200 });
  assert.equal(span.reveal(3, 100, 400), 100, 'in view');
  assert.equal(span.reveal(1, 100, 400), 50, 'above');
  assert.equal(span.reveal(11, 100, 400), 200, 'below');
  assert.equal(span.reveal(20, 100, 400), 850, 'with what it shows');
  assert.equal(span.reveal(20, 0, 100), 1_000, 'from its beginning, where it is taller than the view');
});
