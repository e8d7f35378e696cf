import assert from 'node:assert/strict';
import { test } from 'node:test';

import { baseOf } from '../../web/client/base.js';

const PAGE = 'https://app.test/shop/cart';

test('without a url the base is where the gateway served the client, also below a path prefix', () => {
  const scripts = {
    'https://app.test/presently.js': 'https://app.test/',
    'https://app.test/apps/presence/presently.js': 'https://app.test/apps/presence/',
    'https://app.test/apps/presence/presently.0123456789abcdef.js?x=/y': 'https://app.test/apps/presence/',
    'https://app.test/static/main-0123456789abcdef.js': 'https://app.test/',
    'https://app.test/static/presently.min.js': 'https://app.test/',
  };
  for (const [script, base] of Object.entries(scripts)) assert.equal(baseOf(undefined, PAGE, script), base, script);
});

test('a url is absolute or relative to the page, and a folder', () => {
  const script = 'https://cdn.test/presently.js';
  const urls = {
    'https://presence.test': 'https://presence.test/',
    'https://presence.test/a': 'https://presence.test/a/',
    '/apps/presence': 'https://app.test/apps/presence/',
    './': 'https://app.test/shop/',
  };
  for (const [url, base] of Object.entries(urls)) assert.equal(baseOf(url, PAGE, script), base, url);
  assert.equal(baseOf(new URL('http://127.0.0.1:4000/'), undefined, script), 'http://127.0.0.1:4000/');
  assert.throws(() => baseOf(undefined, undefined, 'file:///presently.js'), /url/);
  assert.throws(() => baseOf('ftp://presence.test/', PAGE, script), /url/);
});
