import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { baseOf } from '../../web/client/base.js';
import { address } from './joined.mjs';

const PAGE = 'https://app.test/shop/cart';

test('without a url the base is where the gateway served the client, also below a path prefix', () => {
  const scripts = {
    'https://app.test/presently.js': 'https://app.test/',
    'https://app.test/apps/presence/presently.js': 'https://app.test/apps/presence/',
    'https://app.test/apps/presence/presently.0123456789abcdef.js?x=/y': 'https://app.test/apps/presence/',
    'https://app.test/static/main-0123456789abcdef.js': 'https://app.test/',
    'https://app.test/static/presently.min.js': 'https://app.test/',
    'https://cdn.test/static/main.js': 'https://app.test/',
    'https://cdn.test/presently.js': 'https://cdn.test/',
    'file:///srv/presently.js': 'https://app.test/',
    '': 'https://app.test/',
  };
  for (const [script, base] of Object.entries(scripts)) assert.equal(baseOf(undefined, PAGE, script), base, script);
});

test('a worker made of a text has the base of its page', () => {
  assert.equal(baseOf(undefined, 'blob:https://app.test/0f3a5c', ''), 'https://app.test/');
});

test('where there is no page and no url, it is said what is missing', () => {
  for (const [page, url] of [[undefined], ['file:///srv/index.html'], ['data:text/html,'], [PAGE, 'http://'], [undefined, '/apps']]) {
    assert.throws(() => baseOf(url, page, ''), { name: 'TypeError', message: /needs the url of a gateway/ }, `${page} ${url}`);
  }
});

test('the client can be imported where there is no browser at all', () => {
  const script = `
    for (const name of ['crypto', 'navigator', 'WebSocket', 'BroadcastChannel', 'fetch', 'performance', 'addEventListener']) {
      Object.defineProperty(globalThis, name, { value: undefined });
    }
    const { Room } = await import(${JSON.stringify(address())});
    if (typeof Room !== 'function') throw new Error('no Room');
  `;
  const options = process.execArgv.filter((option) => option.includes('default-type')); // as tests/run has it
  execFileSync(process.execPath, [...options, '--input-type=module', '-e', script], { stdio: 'pipe' });
});

test('no source but one that bundles leave out asks for its own address', () => {
  const folder = new URL('../../web/client/', import.meta.url);
  const asking = readdirSync(folder).filter((file) => readFileSync(new URL(file, folder), 'utf8').includes('import.meta'));
  assert.deepEqual(asking, ['served.js']);
  const importing = readdirSync(folder).filter((file) => /from '.*served\.js'/.test(readFileSync(new URL(file, folder), 'utf8')));
  assert.deepEqual(importing, []);
});

test('a url is absolute or relative to the page, and a folder, without query and fragment', () => {
  const script = 'https://cdn.test/presently.js';
  const urls = {
    'https://presence.test': 'https://presence.test/',
    'https://presence.test/a': 'https://presence.test/a/',
    'https://presence.test/a?v=2#x': 'https://presence.test/a/',
    '/apps/presence': 'https://app.test/apps/presence/',
    './': 'https://app.test/shop/',
  };
  for (const [url, base] of Object.entries(urls)) assert.equal(baseOf(url, PAGE, script), base, url);
  assert.equal(baseOf(new URL('http://127.0.0.1:4000/'), undefined, script), 'http://127.0.0.1:4000/');
  assert.throws(() => baseOf(undefined, undefined, 'file:///presently.js'), /url/);
  assert.throws(() => baseOf('ftp://presence.test/', PAGE, script), /url/);
});
