// The elements in pages of their own.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { inEach, start, test, until } from './harness.mjs';

/** A page of the gateway's origin with `html` in it and the elements defined after it. */
async function page(t, html, { browser: kind = 'chromium', ...options } = {}) {
  const { gateway, browser } = await start(t, { browser: kind, ...options });
  const tab = await browser.open(gateway.url);
  await tab.run((text) => {
    document.body.innerHTML = text;
    the.element = document.body.firstElementChild;
    the.parts = (name, of = the.element) => [...of.shadowRoot.querySelectorAll(`[part~=${name}]`)];
    the.texts = (name) => the.parts(name).map((part) => part.textContent).join('|');
  }, html);
  await tab.run(() => import('/presently-room.js'));
  return { gateway, browser, tab };
}

const signIn = (gateway, user, body = {}, room = 'lobby') =>
  gateway.api(`/api/rooms/${room}/users/${user}`, { method: 'PUT', body });

const names = (expected) => the.element.getAttribute('state') === 'live' && the.texts('name') === expected;

inEach('a room that is set later opens, and one that is removed clears the list', async (t, browser) => {
  const { gateway, tab } = await page(t, '<presently-room></presently-room>', { browser });
  await signIn(gateway, 'ann');
  assert.equal(await tab.run(() => the.element.presence), null);
  await tab.run(() => the.element.setAttribute('room', 'lobby'));
  await tab.until('listed', names, 'ann');
  await tab.run(() => the.element.removeAttribute('room'));
  const cleared = () => !the.element.presence && the.texts('name') === '' && !the.element.hasAttribute('state');
  await tab.until('cleared', cleared);
  await tab.run(() => (the.element.room = 'lobby'));
  await tab.until('listed again', names, 'ann');
  assert.deepEqual([...tab.errors, ...tab.complaints], []);
});

test('half-typed JSON in meta keeps what was said, and is complained of once', async (t) => {
  const { gateway, tab } = await page(t, `<presently-room room="lobby" as="ann" meta='{"status":"here"}'></presently-room>`);
  await tab.until('held', () => the.element.presence.holding && the.texts('status') === 'here');
  const cursor = await tab.run(() => the.element.presence.cursor);
  const typed = '{"status":"away","id":9007199254740993}';
  for (const text of ['{', '{"sta', '[]', '7', '"text"', 'nul']) {
    await tab.run(async (meta) => {
      the.element.setAttribute('meta', meta);
      await null; // attributes that change together are judged together
    }, text);
  }
  assert.deepEqual(await tab.run(() => the.element.meta), { status: 'here' });
  await tab.run((meta) => the.element.setAttribute('meta', meta), typed);
  await tab.until('the whole word', () => the.texts('status') === 'away');
  const [told] = tab.complaints.splice(0);
  assert.match(told, /presently-room: meta is not JSON: /);
  assert.deepEqual(tab.complaints, []);
  const { meta } = (await gateway.members('lobby')).get('ann');
  assert.equal(meta.status, 'away');
  const text = await (await gateway.api('/api/rooms/lobby/users/ann')).text();
  assert.match(text, /9007199254740993/, 'numbers stay as they were written');
  const changes = (from, to) => Number(to.split('.')[1]) - Number(from.split('.')[1]);
  assert.equal(changes(cursor, await tab.run(() => the.element.presence.cursor)), 1, 'one update, and no other event');
});

test('who was kicked is told in the list, until they join again', async (t) => {
  const { gateway, tab } = await page(t, '<presently-room room="lobby" as="ann"></presently-room>');
  await tab.until('held', () => the.element.presence.holding && the.texts('me') !== '');
  await gateway.api('/api/rooms/lobby/users/ann?reason=kicked', { method: 'DELETE' });
  await tab.until('told', () => the.texts('state') === 'ann was removed by others.' && the.texts('name') === '');
  await tab.run(() => the.element.presence.join('ann'));
  await tab.until('back', () => the.texts('state') === '' && the.texts('name') === 'ann');
});

test('what cannot be a room is said in the element, and throws nowhere', async (t) => {
  const { tab } = await page(t, '<presently-room room=".."></presently-room>');
  await tab.until('refused', () => the.element.getAttribute('state') === 'refused' && the.texts('state') !== '');
  assert.deepEqual(tab.errors, []);
  assert.equal(await tab.run(() => the.element.shadowRoot.querySelector('slot[name=empty]').hidden), true);
});

test('properties that were set before the script came are taken up, and a second copy does not throw', async (t) => {
  const { gateway, browser } = await start(t);
  const tab = await browser.open(gateway.url);
  await tab.run(async () => {
    the.element = document.createElement('presently-room');
    Object.assign(the.element, { room: 'lobby', as: 'ann', meta: { status: 'early' }, limit: 3, token: undefined });
    document.body.append(the.element);
    await import('/presently-room.js');
    await import('/presently-room.js?another=copy').catch((error) => (the.error = String(error)));
  });
  await tab.until('held', () => the.element.presence?.holding && the.element.presence.members.get('ann')?.meta.status === 'early');
  assert.deepEqual(await tab.run(() => [the.error, the.element.limit, the.element.getAttribute('room')]), [null, '3', 'lobby']);
  assert.deepEqual([...tab.errors, ...tab.complaints], []);
});

test('an element that is taken out and put in again is no event, and one that stays out leaves', async (t) => {
  const { gateway, tab } = await page(t, '<presently-room room="lobby" as="ann"></presently-room>');
  const held = () => the.element.presence?.holding;
  await tab.until('held', held);
  const cursor = async () => (await (await gateway.api('/api/rooms/lobby')).json()).cursor;
  const before = await cursor();
  for (const wait of [() => Promise.resolve(), () => new Promise((over) => setTimeout(over, 20))]) {
    await tab.run(async (text) => {
      the.element.remove();
      await new Function(`return (${text})()`)();
      document.body.append(the.element);
    }, String(wait));
    await tab.until('held again', held);
  }
  assert.equal(await cursor(), before);
  await tab.run(() => the.element.remove());
  await until('gone', async () => (await gateway.users('lobby')).length === 0);
  assert.equal(await tab.run(() => the.element.presence), null);
});

test('several attributes that change together make one room', async (t) => {
  const { gateway, tab } = await page(t, '<presently-room room="lobby" as="ann"></presently-room>');
  await tab.until('held', () => the.element.presence.holding);
  await tab.run(() => {
    the.first = the.element.presence;
    Object.assign(the.element, { room: 'hall', as: 'bob', limit: 5 });
    Object.assign(the.element, { as: 'cyd' });
  });
  await tab.until('held there', () => the.element.presence !== the.first && the.element.presence.holding);
  assert.deepEqual(await gateway.users('hall'), ['cyd']);
  await tab.run(() => (the.element.room = null));
  await tab.until('closed', () => the.element.presence === null);
});

inEach('a row says a name and a status and no JSON, and a template says what it likes', async (t, browser) => {
  const html = '<presently-room room="lobby"></presently-room>';
  const { gateway, tab } = await page(t, html, { browser });
  await signIn(gateway, 'u1', { meta: { name: 'Zed', status: 'away', mood: { deep: '<b>x</b>' }, n: 7 } });
  await signIn(gateway, 'u2', { meta: { name: 'somebody else' }, info: { name: '<i>ann</i>' } });
  await signIn(gateway, 'bob', { meta: { name: ' ', status: { is: 'no text' } } });
  await tab.until('in the order of names', names, '<i>ann</i>|bob|Zed');
  assert.equal(await tab.run(() => the.texts('status')), '||away');
  assert.equal(await tab.run(() => the.element.shadowRoot.querySelector('b, i')), null);
  await tab.run(() => {
    const row = '<em part="nick" data-field="name"></em><span data-field="meta.mood.deep"></span><span data-field="meta.n"></span>';
    the.element.innerHTML = `<template>${row}<span data-field="meta"></span><span data-field="meta.toString"></span></template>`;
  });
  const rows = () => Array.from(the.element.shadowRoot.querySelectorAll('li'), (li) => li.textContent).join('|');
  await tab.until('the template', `(${rows})() === '<i>ann</i>|bob|Zed<b>x</b>7'`);
  assert.equal(await tab.run(() => the.texts('nick')), '<i>ann</i>|bob|Zed');
  await tab.run(() => (the.li = the.element.shadowRoot.querySelector('li:last-child')));
  await signIn(gateway, 'u1', { meta: { name: 'Zed', n: 8 } });
  await tab.until('its texts change', () => the.li.textContent === 'Zed8');
  assert.equal(await tab.run(() => the.li.isConnected), true, 'the row stays');
  await tab.run(() => the.element.replaceChildren());
  await tab.until('the plain rows again', names, '<i>ann</i>|bob|Zed');
  assert.deepEqual([...tab.errors, ...tab.complaints], []);
});

inEach('a stack of faces counts the others and has a name, and who stays is not drawn anew', async (t, browser) => {
  const { gateway, tab } = await page(t, '<presently-avatars room="lobby" max="2"></presently-avatars>', { browser });
  const label = (expected) => the.parts('stack')[0].getAttribute('aria-label') === expected;
  await tab.until('nobody', label, 'Nobody is here');
  await signIn(gateway, 'zoe', { meta: { name: 'Zoe van Dam' } });
  await tab.until('one', label, 'Zoe van Dam is here');
  await signIn(gateway, 'ann');
  await tab.until('two', label, 'Zoe van Dam and ann are here');
  assert.equal(await tab.run(() => the.texts('initials')), 'ZD|A');
  await tab.run(() => {
    the.touched = 0;
    const count = (records) => (the.touched += records.filter(({ removedNodes }) => removedNodes.length).length);
    the.faces = the.parts('avatar');
    new MutationObserver(count).observe(the.parts('stack')[0], { childList: true });
  });
  for (const user of ['bob', 'cyd', 'eve']) await signIn(gateway, user);
  await tab.until('five', label, 'Zoe van Dam, ann and 3 others are here');
  assert.equal(await tab.run(() => the.texts('more')), '+3');
  assert.equal(await tab.run(() => the.touched + the.parts('avatar').filter((face, i) => face !== the.faces[i]).length), 0);
  await gateway.api('/api/rooms/lobby/users/zoe', { method: 'DELETE' });
  await tab.until('the next moves up', label, 'ann, bob and 2 others are here');
  assert.equal(await tab.run(() => the.parts('avatar')[0] === the.faces[1]), true);
  await tab.run(() => (the.element.max = 3));
  await tab.until('one more face', label, 'ann, bob, cyd and 1 other are here');
  assert.deepEqual([...tab.errors, ...tab.complaints], []);
});

/** A member's own word could otherwise make each reader ask for an address with the reader's rights: `/api/logout/ann`. */
test("pictures are https, and those of the page's origin only what the backend says", async (t) => {
  const { gateway, tab } = await page(t, '<presently-avatars room="lobby" max="9"></presently-avatars>');
  const own = `${gateway.url}/api/logout/ann`;
  const bad = ['javascript:alert(1)', 'data:image/png;base64,AA', 'http://other.example/a.png', 'blob:null/1', own, '/a.png', 7];
  for (const [i, avatar] of bad.entries()) await signIn(gateway, `m${i}`, { meta: { avatar } });
  await signIn(gateway, 'info', { info: { avatar: '/assets/favicon.svg' }, meta: { avatar: 'https://pictures.invalid/b.png' } });
  await tab.until('all there', (count) => the.parts('avatar').length === count, bad.length + 1);
  const pictures = () => the.parts('picture').map(({ src, referrerPolicy }) => `${new URL(src).pathname} ${referrerPolicy}`).join();
  assert.equal(await tab.run(pictures), '/assets/favicon.svg no-referrer');
  await tab.until('loaded', () => the.parts('picture')[0].naturalWidth > 0);
  await signIn(gateway, 'said', { meta: { avatar: 'https://pictures.invalid/a.png' } });
  await tab.until('the initials stay where no picture is', () => the.parts('avatar').length === 9 && the.parts('picture').length === 1);
  assert.equal(await tab.run(() => the.parts('initials').at(-1).textContent), 'S');
});

/** On the gateway's own page, whose policy allows neither style nor script in elements. */
test('the elements are without findings of axe, in light, dark and forced colours, and keep a strict policy', async (t) => {
  const { gateway, browser } = await start(t);
  for (const user of ['ann', 'bob', 'cyd', 'dan']) await signIn(gateway, user, { meta: { status: `in ${user}'s room` } });
  const tab = await browser.open(`${gateway.url}/users`, { plain: false });
  await tab.run(async () => {
    globalThis.broken = [];
    addEventListener('securitypolicyviolation', ({ violatedDirective }) => broken.push(violatedDirective));
    await import('/presently-room.js');
    const elements = ['presently-room', 'presently-avatars'].map((name) => document.createElement(name));
    for (const element of elements) Object.assign(element, { room: 'lobby', limit: 3, max: 3, as: 'eve' });
    const main = document.createElement('main');
    main.append(...elements);
    document.body.replaceChildren(main);
  });
  await tab.until('live', () => document.querySelectorAll('[state=live]').length === 2);
  await tab.run(readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8'));
  const cdp = await tab.cdp();
  for (const [name, value] of [['prefers-color-scheme', 'light'], ['prefers-color-scheme', 'dark'], ['forced-colors', 'active']]) {
    await cdp.send('Emulation.setEmulatedMedia', { features: [{ name, value }, { name: 'prefers-reduced-motion', value: 'reduce' }] });
    const { violations, passes } = await tab.run(() => axe.run(document.querySelector('main')));
    assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes.map(({ html }) => html)}`), [], `${name}: ${value}`);
    assert.ok(passes.some(({ id }) => id === 'color-contrast'));
  }
  assert.deepEqual(await tab.run(() => broken), []);
  await cdp.send('Emulation.setEmulatedMedia', { features: [] });
  const hues = await tab.run(() => {
    const faces = document.querySelector('presently-avatars').shadowRoot.querySelectorAll('[part~=avatar]');
    return Array.from(faces, (face) => getComputedStyle(face).backgroundColor);
  });
  assert.equal(new Set(hues).size, 3, 'colours are not held back by the policy');
});
