// The package in bundlers other than those of the tests: node --test tests/long/bundlers/bundlers.test.mjs
//
// Installs them by npm into a scratch folder. Each bundles a room and the elements without a warning, and the bundle runs in
// Chromium below a path prefix, beside a gateway of another origin. Needs a built gateway, and `npm ci --prefix tests`.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before } from 'node:test';
import { installed, run } from '../../app/packed.mjs';
import { runs, serve } from '../../app/site.mjs';
import { start, test } from '../../browsers/harness.mjs';

const PACKAGES = ['parcel@2', 'webpack@5', 'webpack-cli@6', 'rollup@4', '@rollup/plugin-node-resolve@16'];

/** How each makes `out/plain.js` of `plain.js`. */
const BUNDLERS = {
  parcel: (folder) => ['build', join(folder, 'plain.js'), '--dist-dir', join(folder, 'parcel'), '--no-cache', '--no-source-maps'],
  webpack: (folder) => ['--mode', 'production', '--entry', join(folder, 'plain.js'), '-o', join(folder, 'webpack'), '--output-filename', 'plain.js'],
  rollup: (folder) => [join(folder, 'plain.js'), '--format', 'iife', '--plugin', 'node-resolve', '--file', join(folder, 'rollup', 'plain.js'), '--failAfterWarnings'],
};

let scratch;
before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'presently-bundlers-'));
  process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
  writeFileSync(join(scratch, 'package.json'), JSON.stringify({ private: true }));
  await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', scratch, ...PACKAGES]);
});

for (const [name, args] of Object.entries(BUNDLERS)) {
  test(`bundled by ${name}, it runs`, async (t) => {
    const { folder } = await installed();
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
    const { stdout, stderr } = await run(join(scratch, 'node_modules', '.bin', name), args(folder), { cwd: folder });
    assert.doesNotMatch(stdout + stderr, /warning/i);
    const site = await serve(t, join(folder, name));
    const { gateway, browser } = await start(t, { args: ['--allow-origin', site.origin] });
    const tab = await browser.open(site.page(gateway, '', '', 'nothing'), { plain: false });
    await runs(tab);
    assert.deepEqual(await gateway.users('lobby'), ['plain']);
    assert.deepEqual(tab.errors, []);
  });
}
