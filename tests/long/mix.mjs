// The random mix, by hand: `node tests/long/mix.mjs --browser firefox --steps 1000 --seed 7`.

import { parseArgs } from 'node:util';
import { mix } from '../browsers/mix/mix.mjs';

const { values } = parseArgs({
  options: {
    browser: { type: 'string', default: 'chromium' },
    steps: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    patient: { type: 'string', default: '0.1' },
  },
});
const [steps, seed, patient] = [values.steps, values.seed, values.patient].map(Number);
const { browser } = values;
console.log(`${browser}, ${steps} steps, seed ${seed}`);
const begun = Date.now();
const progress = ({ done, took }) => {
  console.log(`${Math.round((Date.now() - begun) / 1_000)} s: ${done} steps, the last rest took ${took} ms`);
};
try {
  const seen = await mix({ browser, steps, seed, patient, progress });
  console.log(`right, seed ${seed}, ${Math.round((Date.now() - begun) / 1_000)} s`, JSON.stringify(seen));
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}
