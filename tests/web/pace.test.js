import assert from 'node:assert/strict';
import { test } from 'node:test';

import { throttled } from '../../web/page/pace.js';

test('one call works at once, and many within a while once more after it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let worked = 0;
  const call = throttled(() => (worked += 1), 250);
  call();
  assert.equal(worked, 1);
  for (let i = 0; i < 100; i++) call();
  t.mock.timers.tick(249);
  assert.equal(worked, 1);
  t.mock.timers.tick(1);
  assert.equal(worked, 2);
  t.mock.timers.tick(1_000);
  assert.equal(worked, 2, 'nothing more was asked for');
  call();
  assert.equal(worked, 3);
});
