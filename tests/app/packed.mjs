// The package as users install it: packed by npm, and unpacked beside the packages of the tests.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** Runs a program; what it printed is the error where it fails. */
export async function run(program, args, options) {
  try {
    return await execute(program, args, options);
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')}: ${error.message}\n${error.stdout}${error.stderr}`);
  }
}

/** A program of the tests' packages. */
export const tool = (name) => path(`../node_modules/.bin/${name}`);

/** A folder with this application, the tests' packages, and `presently` from the `tarball`. It goes when this process ends. */
export async function installed() {
  const folder = mkdtempSync(join(tmpdir(), 'presently-app-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder, path('../../web/client')]);
  const [{ filename }] = JSON.parse(stdout);
  const tarball = join(folder, filename);
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, 'presently'), { recursive: true });
  for (const name of readdirSync(path('../node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(path(`../node_modules/${name}`), join(modules, name));
  }
  await run('tar', ['-xzf', tarball, '-C', join(modules, 'presently'), '--strip-components=1']);
  for (const part of ['index.html', 'tsconfig.json', 'server.mjs', 'plain.js', 'src']) cpSync(path(part), join(folder, part), { recursive: true });
  return { folder, tarball };
}
