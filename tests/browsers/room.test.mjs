// What people program against, in real browsers: words, remounts, ends, refusals, counts.

import assert from 'node:assert/strict';
import { Site, inEach, start, until } from './harness.mjs';

/** Writes down what a room of the page's sees of others. */
const watch = (name) => {
  the.seen = [];
  the.watcher = new Room(name, { share: false });
  for (const type of ['add', 'update', 'del']) {
    the.watcher.addEventListener(type, ({ detail }) => the.seen.push([type, detail.user, detail.reason].join(' ').trim()));
  }
};

const text = async (gateway, user) => (await (await gateway.api(`/api/rooms/lobby/users/${user}`)).text()).match(/"meta":(\{.*?\}),"joined/)?.[1];

for (const transport of ['websocket', 'sse']) {
  inEach(`a remount is seen by nobody, by ${transport}`, async (t, kind) => {
    const { gateway, browser } = await start(t, { browser: kind, args: ['--grace', '2s'] });
    const [watcher, leader, follower] = [await browser.open(gateway.url), await browser.open(gateway.url), await browser.open(gateway.url)];
    await watcher.run(watch, 'lobby');
    await watcher.until('watching', () => the.watcher.state === 'live');
    for (const [tab, as] of [[leader, 'ann'], [follower, 'bob']]) {
      await tab.run(async (options) => {
        the.mount = () => (the.room = new Room('lobby', { ...options, meta: { status: 'here' } }));
        await the.mount().ready;
      }, { transport, as });
      await tab.until('holding', () => the.room.holding);
      await tab.run(async () => {
        for (const wait of [null, 0, 40, 80]) {
          the.room.close();
          if (wait !== null) await new Promise((over) => setTimeout(over, wait));
          the.mount();
          if (wait === 0) the.room.close(), the.mount(); // twice, as StrictMode does
        }
        await the.room.ready;
      });
      await tab.until('holding', () => the.room.holding);
    }
    await follower.run(() => the.room.join('cyd'));
    await until('all is told', () => watcher.run(() => the.seen.length > 3));
    assert.deepEqual((await watcher.run(() => the.seen)).sort(), ['add ann', 'add bob', 'add cyd', 'del bob closed']);
    await leader.run(() => the.room.close());
    await until('ann has left', () => watcher.run(() => the.seen.at(-1) === 'del ann closed'));
    assert.deepEqual([...watcher.errors, ...leader.errors, ...follower.errors], []);
  });
}

inEach('what is refused costs nobody, and what is accepted is said again to the letter', async (t, kind) => {
  const { gateway, browser, proxy, url } = await start(t, { browser: kind, proxied: true });
  const [leader, tab] = [await browser.open(url), await browser.open(url)];
  await leader.run(() => (the.room = new Room('hall')).ready);
  const codes = await tab.run(async () => {
    const exact = JSON.rawJSON ? { id: JSON.rawJSON('9007199254740993'), score: JSON.rawJSON('1.0') } : { id: 1 };
    the.room = new Room('lobby', { as: 'ann', meta: { status: 'here' } });
    the.told = [];
    the.room.addEventListener('error', ({ detail }) => the.told.push(detail.code));
    await the.room.ready;
    await the.room.update(exact);
    const deep = JSON.parse(`${'{"a":'.repeat(40)}1${'}'.repeat(40)}`);
    const code = await the.room.update(deep).catch(({ name, code }) => `${name} ${code}`);
    return [code, the.room.holding, the.room.refusal.code, ...the.told];
  });
  assert.deepEqual(codes, ['RefusedError bad_meta', true, 'bad_meta', 'bad_meta']);
  const exact = await text(gateway, 'ann');
  assert.equal(exact, '{"id":9007199254740993,"score":1.0}');
  await proxy.shut();
  await tab.until('lost', () => the.room.state !== 'live');
  await proxy.open();
  await tab.until('live again', () => the.room.state === 'live' && the.room.self);
  await leader.close();
  await tab.until('leading', () => the.room.state === 'live' && the.room.holding);
  assert.deepEqual(await tab.run(async () => (await the.room.holds()).map(({ kind }) => kind)), ['connection'], 'one hold, taken over');
  assert.equal(await text(gateway, 'ann'), exact);
  assert.deepEqual(await tab.run(() => the.told), ['bad_meta']);
  assert.deepEqual(tab.errors, []);
});

inEach('whoever is kicked knows why, in one order, and keeps the connection', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind });
  const tabs = [await browser.open(gateway.url), await browser.open(gateway.url)];
  for (const tab of tabs) {
    await tab.run(async () => {
      the.told = [];
      [the.room, the.hall] = [new Room('lobby', { as: 'ann' }), new Room('hall', { as: 'ann' })];
      await Promise.all([the.room.ready, the.hall.ready]);
      the.hall.addEventListener('state', () => the.told.push(`hall ${the.hall.state} ${the.hall.holding}`));
      for (const type of ['del', 'state']) the.room.addEventListener(type, () => the.told.push(`${type} ${the.room.ended?.reason ?? ''}`.trim()));
    });
    await tab.until('holding', () => the.room.holding && the.hall.holding);
    await tab.run(() => the.told.splice(0));
  }
  await gateway.api('/api/rooms/lobby/users/ann?reason=kicked', { method: 'DELETE' });
  for (const tab of tabs) {
    await tab.until('ended', () => the.room.ended);
    assert.deepEqual(await tab.run(() => the.told), ['del', 'state kicked']);
    const { at, ...ended } = await tab.run(() => the.room.ended);
    assert.match(at, /^\d{4}-.*Z$/);
    assert.deepEqual(ended, { user: 'ann', reason: 'kicked' });
  }
  assert.deepEqual([await gateway.users('lobby'), await gateway.users('hall')], [[], ['ann']]);
  await tabs[1].run(() => the.room.join('ann'));
  assert.deepEqual(await gateway.users('lobby'), ['ann']);
});

inEach('why nothing answers is in the refusal, an event and the console', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind });
  const site = await Site.start();
  t.after(() => site.end());
  await site.copy(gateway);
  const tab = await browser.open(site.url, { plain: false });
  await tab.equip(`${site.url}/presently.js`);
  const cases = [
    [gateway.url, 'auto', 'refused cross_site', /--allow-origin/],
    [gateway.url, 'sse', 'waiting cross_site', /--allow-origin/],
    [`${site.url}/nowhere/`, 'auto', 'waiting no_gateway', /nowhere.*url/],
    ['http://127.0.0.1:9/', 'sse', 'waiting unreachable', /127\.0\.0\.1:9/],
  ];
  for (const [url, transport, expected, said] of cases) {
    await tab.run((options) => {
      the.errors = [];
      the.room = new Room('lobby', options);
      the.room.addEventListener('error', ({ detail }) => the.errors.push(`${the.room.state} ${detail.code}`));
    }, { url, transport });
    await tab.until(expected, () => the.errors.length > 0);
    assert.deepEqual(await tab.run(() => the.errors), [expected]);
    await until('the console says what to do', () => tab.complaints.some((line) => said.test(line)));
    await tab.run(() => the.room.close());
  }
  const own = tab.errors.filter((error) => !error.startsWith('Cross-Origin Request Blocked')); // as Firefox reports them
  assert.deepEqual(own, []);
});

inEach('counts, and a word for when nobody is at the screen', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind });
  const [one, two] = [await browser.open(gateway.url), await browser.open(gateway.url)];
  await two.run(async (client) => {
    const { Counts } = await import(client);
    the.counts = new Counts('game ');
    the.room = new Room('lobby', { only: 'count' });
    await Promise.all([the.counts.ready, the.room.ready]);
  }, '/presently.js');
  await one.run(() => {
    the.room = new Room('lobby', { as: 'ann', meta: { status: 'here' }, idle: { after: 1_000, meta: { status: 'away' } } });
    the.game = new Room('game 1', { as: 'ann' });
  });
  await two.until('counted', () => the.counts.rooms.get('game 1') === 1 && the.room.count === 1 && the.counts.total === 1);
  await until('away', async () => (await text(gateway, 'ann')) === '{"status":"away"}');
  await one.page.bringToFront();
  await one.page.mouse.move(10, 10);
  await one.page.mouse.move(20, 20);
  await until('here again', async () => (await text(gateway, 'ann')) === '{"status":"here"}');
  await gateway.api('/api/rooms/game%201/users/ann', { method: 'DELETE' });
  await two.until('none', () => the.counts.total === 0);
  assert.deepEqual([...one.errors, ...two.errors], []);
});
