// An application with Vite, React and strict TypeScript, made of the packed client, in Chromium and beside a gateway.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build as bundle } from 'esbuild';
import { build, createLogger } from 'vite';
import { Gateway, start, test, until } from '../browsers/harness.mjs';
import { installed, run, tool } from './packed.mjs';
import { runs, serve } from './site.mjs';

/** The key of tokens. */
const SECRET = 'a-secret-of-the-tests-which-is-long-enough';

let app;
before(async () => {
  app = await installed();
  app.key = join(app.folder, 'key');
  writeFileSync(app.key, SECRET);
});

/** A user's token for all rooms, for a minute. */
function token(sub) {
  const json = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1_000) + 60;
  const rooms = [{ match: '*', can: ['watch', 'join'] }];
  const said = `${json({ alg: 'HS256', typ: 'JWT' })}.${json({ aud: 'presently', sub, exp, presently: { rooms } })}`;
  return `${said}.${createHmac('sha256', SECRET).update(said).digest('base64url')}`;
}

/** Serves a folder, beside a gateway that allows its pages, and starts a browser. */
async function beside(t, folder, more = []) {
  const site = await serve(t, folder);
  const { gateway, browser } = await start(t, { args: ['--allow-origin', site.origin, '--grace', '2s', ...more] });
  return { gateway, browser, page: (...named) => site.page(gateway, ...named) };
}

/** Everything that others see of a room, in order. */
async function seen(t, gateway) {
  const events = [];
  const end = new AbortController();
  t.after(() => end.abort());
  const { body } = await gateway.api('/api/rooms/lobby/stream', { signal: end.signal });
  const read = async () => {
    let text = '';
    for await (const part of body.pipeThrough(new TextDecoderStream())) {
      const lines = (text + part).split('\n');
      text = lines.pop();
      for (const line of lines.filter((one) => one.startsWith('data: '))) {
        const { action, user, count } = JSON.parse(line.slice('data: '.length));
        events.push(`${action} ${user ?? count}`);
      }
    }
  };
  read().catch(() => {});
  await until('a snapshot', () => events.length);
  return events;
}

/** The text of elements of the application. */
const says = (expected) =>
  Object.entries(expected).every(([id, text]) => document.getElementById(id)?.textContent === text);

test('the package is as package managers and TypeScript want it', async () => {
  await run(tool('publint'), ['--strict', app.tarball]);
  await run(tool('attw'), ['--profile', 'esm-only', app.tarball]);
});

test('strict TypeScript takes the application', () => run(tool('tsc'), ['-p', app.folder]));

test('strict TypeScript takes the types with and without those of the DOM', async () => {
  const types = fileURLToPath(new URL('../web/types/', import.meta.url));
  const options = ['--strict', '--noEmit', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022'];
  const compile = (lib, files) => run(tool('tsc'), [...options, '--types', '', '--lib', lib, ...files.map((file) => join(types, file))]);
  await compile('es2022,dom', ['room.ts', 'dom.ts']);
  await compile('es2022', ['room.ts']);
});

test('built by Vite, it is quiet under StrictMode and at remounts, and draws what changes', async (t) => {
  const warnings = [];
  const say = (message) => warnings.push(message);
  const customLogger = { ...createLogger('silent'), warn: say, warnOnce: say, error: say };
  const define = { 'process.env.NODE_ENV': '"development"' }; // or StrictMode would do nothing
  const options = { configFile: false, root: app.folder, base: './', mode: 'development', customLogger, define };
  await build({ ...options, build: { outDir: 'strict' } });
  assert.deepEqual(warnings, []);
  const { gateway, browser, page } = await beside(t, join(app.folder, 'strict'));
  const events = await seen(t, gateway);
  const ann = await browser.open(page('ann'), { plain: false });
  await ann.until('ann is there', says, { state: 'live true', names: 'ann', self: 'here', others: '', count: '1' });
  const bob = await browser.open(page('bob'), { plain: false });
  await bob.until('both are there', says, { state: 'live true', names: 'ann,bob', others: 'ann', count: '2' });
  await ann.until('here, too', says, { names: 'ann,bob', others: 'bob' });
  await ann.until('a stack of faces', () => document.querySelector('presently-avatars').shadowRoot.querySelectorAll('[part~=avatar]').length === 2);
  for (let round = 0; round < 3; round += 1) {
    await bob.run(() => document.getElementById('renew').click());
    await bob.until('made anew', says, { state: 'live true', names: 'ann,bob' });
  }
  const names = await ann.run(() => globalThis.drawn.names);
  await bob.run(() => document.getElementById('away').click());
  await bob.until('another word', says, { self: 'away' });
  await ann.until('seen', says, { words: 'here,away' });
  assert.equal(await ann.run(() => globalThis.drawn.names), names, 'a selector that makes the same again draws nothing');
  assert.deepEqual(events, ['snapshot 0', 'add ann', 'add bob', 'update bob']);
  await bob.run(() => document.getElementById('toggle').click());
  await ann.until('bob is gone', says, { names: 'ann', others: '' });
  assert.deepEqual(events.slice(4), ['del bob']);
  assert.ok((await ann.run(() => globalThis.drawn.here)) < 60, 'it is not drawn for ever');
  assert.deepEqual([...ann.errors, ...ann.complaints, ...bob.errors, ...bob.complaints], []);
});

test('built for production, it has the elements, and no more than the package is', async (t) => {
  const warnings = [];
  const say = (message) => warnings.push(message);
  const customLogger = { ...createLogger('silent'), warn: say, warnOnce: say, error: say };
  await build({ configFile: false, root: app.folder, base: './', customLogger, build: { outDir: 'dist' } });
  assert.deepEqual(warnings, []);
  const { gateway, browser, page } = await beside(t, join(app.folder, 'dist'), ['--key', app.key]);
  const tab = await browser.open(page('ann', token('ann')), { plain: false });
  await tab.until('ann is there', says, { state: 'live true', names: 'ann', words: 'here' });
  const faces = (count) => document.querySelector('presently-avatars').shadowRoot.querySelectorAll('[part~=avatar]').length === count;
  await tab.until('a face', faces, 1);
  await tab.run(() => (globalThis.shown = document.querySelector('presently-avatars').presence));
  await tab.run(() => document.getElementById('away').click());
  await tab.until('another word', says, { words: 'away' });
  assert.equal(await tab.run(() => globalThis.rooms.size), 1, 'neither a word nor another function is another room');
  assert.equal(await tab.run(() => document.querySelector('presently-avatars').presence === globalThis.shown), true);
  await tab.run(() => document.getElementById('hall').click());
  await tab.until('in the hall', says, { name: 'hall', state: 'live true', names: 'ann', words: 'away' });
  await tab.run(() => document.getElementById('nowhere').click());
  await tab.until('nowhere', says, { name: 'nowhere', state: 'connecting false', names: '', self: '' });
  await tab.until('nobody in the lobby', faces, 0);
  const member = () => gateway.api('/api/rooms/hall/users/ann', { headers: { Authorization: `Bearer ${token('ann')}` } });
  await until('it has left the hall', async () => (await member()).status === 404);
  assert.deepEqual([...tab.errors, ...tab.complaints], []);
});

for (const format of ['esm', 'iife']) {
  test(`bundled by esbuild as ${format}, it runs`, async (t) => {
    const outfile = join(app.folder, format, 'plain.js');
    const entryPoints = [join(app.folder, 'plain.js')];
    const { warnings } = await bundle({ entryPoints, outfile, format, bundle: true, minify: true, logLevel: 'silent' });
    assert.deepEqual(warnings, []);
    const { gateway, browser, page } = await beside(t, join(app.folder, format));
    const tab = await browser.open(page('', '', 'nothing'), { plain: false });
    await runs(tab, format === 'esm' ? 'module' : '');
    assert.deepEqual(await gateway.users('lobby'), ['plain']);
    assert.deepEqual(tab.errors, []);
  });
}

test('on a server it renders, connects to nothing by itself, and follows a room', async (t) => {
  const gateway = await Gateway.start();
  t.after(() => gateway.stop('SIGKILL'));
  const { stdout } = await run(process.execPath, [join(app.folder, 'server.mjs'), gateway.url], { timeout: 60_000 });
  assert.match(stdout, /^auto is (websocket|sse)\nsse is sse\n$/);
});
