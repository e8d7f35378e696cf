// Lighthouse on the page, by hand: `node tests/long/lighthouse.mjs` prints the four scores, once as a phone and once as a
// desktop. `PRESENTLY` names the gateway's program, `CHROME_PATH` Chromium; npx fetches Lighthouse.

import { execFile } from 'node:child_process';
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Gateway } from '../browsers/harness.mjs';

const LIGHTHOUSE = 'lighthouse@12';
const FLAGS = '--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage';

const people = Array.from({ length: 50 }, (_, n) => ['--user', `user-${n}`]).flat();
const gateway = await Gateway.start(people);
const folder = await mkdtemp(join(tmpdir(), 'lighthouse-'));
const env = { CHROME_PATH: '/usr/bin/chromium', ...process.env };
try {
  for (const [name, more] of [['phone', []], ['desktop', ['--preset=desktop']]]) {
    const file = join(folder, `${name}.json`);
    const args = ['--yes', LIGHTHOUSE, `${gateway.url}/users`, '--quiet', '--output=json', `--output-path=${file}`, `--chrome-flags=${FLAGS}`, ...more];
    await promisify(execFile)('npx', args, { env });
    const { categories } = JSON.parse(await readFile(file, 'utf8'));
    console.log(name, Object.values(categories).map(({ title, score }) => `${title} ${Math.round(score * 100)}`).join(', '));
  }
} finally {
  await gateway.stop('SIGKILL');
  await rm(folder, { recursive: true });
}
