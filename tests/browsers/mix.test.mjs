// The random mix, short. `SEED` repeats one; tests/long has the long ones.

import nodeTest from 'node:test';
import { mix } from './mix/mix.mjs';

const LIMIT_MS = 300_000;
const wanted = (process.env.BROWSERS ?? 'chromium,firefox').split(',');

const mixed = (browser, steps) =>
  nodeTest(`${steps} random acts end in the right sets (${browser})`, { timeout: LIMIT_MS, skip: !wanted.includes(browser) }, async (t) => {
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
    t.diagnostic(`seed ${seed}`);
    await mix({ browser, steps, seed, patient: 0 });
  });

mixed('chromium', 300);
mixed('firefox', 50);
