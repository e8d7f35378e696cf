import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const read = (file) => readFileSync(new URL(`../../web/client/${file}`, import.meta.url), 'utf8');

/** `presently.js` as the gateway serves it: joined by the rules of `src/http/page/client.rs`. */
export function joined() {
  const files = JSON.parse(read('files.json'));
  const part = (file) => {
    const lines = read(file).split('\n').filter((line) => !line.startsWith('import '));
    return (file === files.at(-1) ? lines : lines.map((line) => line.replace(/^export /, ''))).join('\n').trim();
  };
  return `${files.map(part).join('\n\n')}\n`;
}

/** The address of a copy of `presently.js` that stays while the tests of this process run. */
export function address(preamble = '') {
  const folder = mkdtempSync(join(tmpdir(), 'presently-'));
  process.on('exit', () => rmSync(folder, { recursive: true }));
  const file = join(folder, 'presently.mjs');
  writeFileSync(file, preamble + joined());
  return pathToFileURL(file).href;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(joined());
