// The random mix, short, of the same acts each time; `SEED` chooses others, and tests/long has the long ones.

import nodeTest from 'node:test';
import { mix } from './mix/mix.mjs';

const LIMIT_MS = 300_000;
const wanted = (process.env.BROWSERS ?? 'chromium,firefox').split(',');

const mixed = (browser, steps, usual) =>
  nodeTest(`${steps} random acts end in the right sets (${browser})`, { timeout: LIMIT_MS, skip: !wanted.includes(browser) }, async (t) => {
    const seed = Number(process.env.SEED ?? usual);
    t.diagnostic(`seed ${seed}`);
    await mix({ browser, steps, seed, patient: 0 });
  });

mixed('chromium', 300, 31);
mixed('firefox', 50, 77);
