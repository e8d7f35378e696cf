import assert from 'node:assert/strict';
import { test } from 'node:test';

import { data } from '../../web/page/chart.js';
import { ceiling } from '../../web/page/plot.js';
import { Pulse, STEPS, STEP_MS } from '../../web/page/pulse.js';
import { columns } from '../../web/page/spark.js';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const after = (steps) => NOW + steps * STEP_MS;

test('what happens within a step is one step', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5, 2, 1);
  pulse.tell(NOW + 100, 6, 1, 0);
  const { members, came, left } = pulse.columns(NOW + 200);
  assert.deepEqual([members.at(-1), came.at(-1), left.at(-1)], [6, 3, 1]);
  assert.deepEqual(pulse.sums(NOW + 200), { came: 3, left: 1 });
});

test('all columns have a value for each step, and none for the time before the page came', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5);
  pulse.tell(after(2), 7, 2);
  const columns = pulse.columns(after(3));
  for (const column of Object.values(columns)) assert.equal(column.length, STEPS);
  assert.deepEqual(columns.members.slice(-5), [null, 5, 5, 7, 7]);
  assert.deepEqual(columns.came.slice(-5), [null, 0, 0, 2, 0]);
});

test('what is older than the chart is gone', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5, 5);
  for (let step = 1; step < STEPS; step++) pulse.columns(after(step));
  pulse.tell(after(STEPS - 1), 6, 1);
  assert.deepEqual(pulse.sums(after(STEPS - 1)), { came: 6, left: 0 });
  assert.deepEqual(pulse.sums(after(STEPS)), { came: 1, left: 0 });
});

test('nothing is known while the room is out of reach, and while nobody looked', () => {
  const pulse = new Pulse();
  pulse.tell(NOW, 5);
  pulse.columns(after(1));
  pulse.lapse(after(2));
  pulse.tell(after(4), 7);
  assert.deepEqual(pulse.columns(after(5)).members.slice(-6), [5, 5, 5, null, 7, 7]);
  assert.deepEqual(pulse.columns(after(20)).members.slice(-16), [7, ...Array(15).fill(null)]);
  pulse.tell(after(20), 3, 1);
  assert.deepEqual(pulse.columns(after(21)).members.slice(-3), [null, 3, 3]);
});

test("the room's history fills the time before, as far back as it goes", () => {
  const pulse = new Pulse();
  pulse.tell(after(10), 3, 9, 9);
  const event = (action, step) => ({ action, at: after(step) + 1 });
  const events = [event('add', 5), event('add', 7), event('update', 7), event('del', 8), event('add', 10)];
  pulse.recall(after(10) + 10, { count: 3, from: after(3) + 1, events });
  const { members, came, left } = pulse.columns(after(11));
  assert.deepEqual(members.slice(-10), [null, 1, 1, 2, 2, 3, 2, 2, 3, 3]);
  assert.deepEqual(came.slice(-10), [null, 0, 0, 1, 0, 1, 0, 0, 1, 0]);
  assert.deepEqual(left.slice(-10), [null, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
});

test('an axis ends at a whole number with a whole middle, no less than the largest value', () => {
  assert.deepEqual([0, 1, 2, 3, 5, 9, 11, 49, 50_000, 99_999].map(ceiling), [2, 2, 2, 4, 6, 10, 12, 60, 60_000, 100_000]);
  for (let value = 0; value < 5_000; value += 7) assert.ok(ceiling(value) >= value && ceiling(value) % 2 === 0, value);
});

test('plots reach to the end of the last step, have bars downwards for who left, and nothing where nothing is known', () => {
  const steps = (...last) => [...Array(STEPS - last.length).fill(null), ...last];
  const [over, flow] = data({ members: steps(1, 2), came: steps(0, 3), left: steps(4, 0) });
  assert.deepEqual([over[0].at(-1), over[1].slice(-4)], [STEPS, [null, 1, 2, 2]]);
  assert.deepEqual([flow[0].at(-1), flow[1].slice(-3), flow[2].slice(-3)], [STEPS - 0.5, [null, 0, 3], [null, -4, -0]]);
});

test('a sparkline has a gap where a value is missing or long nobody asked', () => {
  const at = (seconds, value) => ({ at: NOW - seconds * 1_000, value });
  const samples = [at(60, 1), at(57, 2), at(54, null), at(51, 1), at(20, 1)];
  const times = [-60_000, -57_000, -54_000, -51_000, -35_500, -20_000];
  assert.deepEqual(columns(samples, NOW), [times, [1, 2, null, 1, null, 1]]);
});
