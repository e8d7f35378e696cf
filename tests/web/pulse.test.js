import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LEAST, Pulse, STEPS, STEP_MS } from '../../web/page/pulse.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const after = (steps) => NOW + steps * STEP_MS;

test('what happens within a step is one step', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5, 2, 1);
  pulse.tell(NOW + 100, 6, 1, 0);
  const { members, came, left, time } = pulse.columns(NOW + 200);
  assert.deepEqual([members.at(-1), came.at(-1), left.at(-1)], [6, 3, 1]);
  assert.equal(time.at(-1), NOW / 1000);
  assert.deepEqual(pulse.sums(NOW + 200), { came: 3, left: 1 });
});

test('all columns have a value for each step, and at first none for the time before the page came', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5);
  pulse.tell(after(2), 7, 2);
  const columns = pulse.columns(after(3));
  for (const column of Object.values(columns)) assert.equal(column.length, LEAST);
  assert.deepEqual(columns.members.slice(-5), [null, 5, 5, 7, 7]);
  assert.deepEqual(columns.came.slice(-5), [null, 0, 0, 2, 0]);
  columns.time.slice(1).forEach((time, i) => assert.equal(time - columns.time[i], STEP_MS / 1000));
});

test('what is older than the chart is gone, however long nobody looked', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5, 5);
  pulse.tell(after(STEPS - 1), 6, 1);
  assert.deepEqual(pulse.sums(after(STEPS - 1)), { came: 6, left: 0 });
  assert.deepEqual(pulse.sums(after(STEPS)), { came: 1, left: 0 });
  const { members } = pulse.columns(after(100 * STEPS));
  assert.equal(members.length, STEPS);
  assert.deepEqual(new Set(members), new Set([6]));
  assert.deepEqual(pulse.sums(after(100 * STEPS)), { came: 0, left: 0 });
});
