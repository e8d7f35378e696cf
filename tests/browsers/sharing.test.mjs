// How tabs share a connection and keep it, in real browsers.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inEach, renderer, start, test, until } from './harness.mjs';

const here = (user, name = 'lobby') => {
  the.room = new Room(name, { as: user });
  the.states = [];
  the.room.addEventListener('state', () => the.states.push(the.room.state));
  the.seen = [];
  for (const type of ['add', 'del', 'update']) the.room.addEventListener(type, ({ detail }) => the.seen.push(`${type} ${detail.user}`));
};
/** What the states of a tab were since it was live the last time. */
const forget = () => (the.states = []);
/** Whether the tab has got another connection since. */
const isLedAnew = () => the.states.includes('connecting') && the.room.state === 'live' && the.room.holding;
const isThere = () => the.room.state === 'live' && the.room.holding;
const sees = (users) => the.room.state === 'live' && [...the.room.members.keys()].sort().join() === users;

async function member(browser, url, user, name) {
  const tab = await browser.open(url);
  await tab.run(here, user, name);
  await tab.until(`${user} is there`, isThere);
  return tab;
}

/** How many connections the gateway has by now. */
const connections = async (gateway) => {
  const { connections: all } = await (await gateway.api('/api/gateway')).json();
  return all.websocket + all.sse;
};

/** Until the room has had no event for long enough to be sure that nobody goes. */
async function unmoved(gateway, work) {
  const cursor = async () => (await (await gateway.api('/api/rooms/lobby')).json()).cursor;
  const before = await cursor();
  await work();
  assert.equal(await cursor(), before, 'there was no event');
}

/** Blocks the tab's main thread for a while, and does not wait for its end. */
const hang = (tab, ms) =>
  tab.run((time) => {
    setTimeout(() => {
      for (const end = Date.now() + time; Date.now() < end; );
    });
  }, ms);

/** Where the site may store nothing, in the way of each browser. */
function blocked(t, kind) {
  if (kind === 'firefox') return { extraPrefsFirefox: { 'network.cookie.cookieBehavior': 2 } };
  const userDataDir = mkdtempSync(join(tmpdir(), 'presently-blocked-'));
  t.after(() => rmSync(userDataDir, { recursive: true, force: true, maxRetries: 5 }));
  mkdirSync(join(userDataDir, 'Default'));
  const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
  writeFileSync(join(userDataDir, 'Default/Preferences'), JSON.stringify(preferences));
  return { userDataDir };
}

inEach('where a site may store nothing, each page has a connection of its own, and the page of the gateway is live', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind, launch: blocked(t, kind) });
  const [ann, bob] = [await member(browser, gateway.url, 'ann'), await member(browser, gateway.url, 'bob')];
  const denied = async () => {
    try {
      new BroadcastChannel('x').close();
      return await navigator.locks.request('x', () => false);
    } catch {
      return true;
    }
  };
  assert.equal(await ann.run(denied), true, 'something is denied');
  for (const tab of [ann, bob]) await tab.until('both are there', sees, 'ann,bob');
  await ann.run(() => the.room.update({ status: 'away' }));
  for (const tab of [ann, bob]) await tab.until('the word', () => the.room.members.get('ann').meta.status === 'away');
  assert.equal(await connections(gateway), 2);
  assert.deepEqual([...ann.errors, ...ann.complaints, ...bob.errors, ...bob.complaints], []);
});

inEach('a tab that leads and hangs holds up the one that is looked at for a few seconds, and follows then', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind });
  const leader = await member(browser, gateway.url, 'ann');
  const tab = await member(browser, gateway.url, 'bob');
  assert.equal(await connections(gateway), 1);
  await unmoved(gateway, async () => {
    await tab.page.bringToFront();
    await tab.run(forget);
    await hang(leader, 12_000);
    await tab.until('another leader', isLedAnew);
  });
  await gateway.api('/api/rooms/lobby/users/cyd', { method: 'PUT' });
  await tab.until('the event', () => the.seen.at(-1) === 'add cyd');
  await leader.until('the old leader follows', sees, 'ann,bob,cyd');
  await until('one connection', async () => (await connections(gateway)) === 1);
  assert.equal(await leader.run(() => the.states.includes('refused')), false);
  assert.deepEqual([...leader.errors, ...leader.complaints, ...tab.errors, ...tab.complaints], []);
});

test('a leading tab whose process the system stops loses the lead, though it keeps its lock', async (t) => {
  const { gateway, browser } = await start(t);
  const leader = await member(browser, gateway.url, 'ann');
  const tab = await member(browser, gateway.url, 'ann');
  const pid = await renderer(leader);
  await tab.page.bringToFront();
  await unmoved(gateway, async () => {
    await tab.run(forget);
    process.kill(pid, 'SIGSTOP');
    await tab.until('another leader', isLedAnew);
    process.kill(pid, 'SIGCONT');
    await leader.until('it follows', isThere);
    await until('one connection', async () => (await connections(gateway)) === 1);
  });
  assert.equal(await leader.run(() => the.states.includes('refused')), false);
  assert.deepEqual([...leader.errors, ...leader.complaints], []);
});

test('a leading tab that Chromium freezes hands the lead over, and follows when it runs again', async (t) => {
  const { gateway, browser } = await start(t);
  const leader = await member(browser, gateway.url, 'ann');
  const tab = await member(browser, gateway.url, 'ann');
  const session = await leader.cdp();
  await unmoved(gateway, async () => {
    await tab.run(forget);
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await tab.until('another leader', isLedAnew);
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await leader.until('it follows', isThere);
  });
});

inEach('an outage of 3.5 s within a grace of 5 s is seen by nobody', async (t, kind) => {
  const { gateway, browser, proxy, url } = await start(t, { browser: kind, proxied: true });
  // Firefox puts off the WebSockets of all its profiles after one that failed.
  const contexts = await Promise.all((kind === 'firefox' ? [1] : [1, 2, 3]).map(() => browser.puppet.createBrowserContext()));
  const tabs = [];
  for (const [i, context] of contexts.entries()) {
    const tab = await member({ open: (...rest) => browser.openIn(context, ...rest) }, url, `user ${i}`);
    tabs.push(tab);
  }
  await unmoved(gateway, async () => {
    proxy.shut();
    for (const tab of tabs) await tab.until('lost', () => the.room.state !== 'live');
    const over = Date.now() + 3_500;
    await until('3.5 s', () => Date.now() > over);
    proxy.open();
    for (const tab of tabs) await tab.until('back', isThere);
  });
});

inEach('150 rooms in two tabs of a browser are live, and hold', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind });
  const open = (from, to) => {
    the.rooms = Array.from({ length: to - from }, (_, i) => new Room(`room ${from + i}`, { as: 'ann' }));
  };
  const all = () => the.rooms.every(({ state, holding }) => state === 'live' && holding);
  const [one, two] = [await browser.open(gateway.url), await browser.open(gateway.url)];
  await one.run(open, 0, 75);
  await two.run(open, 75, 150);
  for (const tab of [one, two]) await tab.until('all live', all);
  assert.equal(await connections(gateway), 2);
  assert.deepEqual(await gateway.users('room 149'), ['ann']);
  await one.close();
  await two.until('still live', all);
  await two.run(() => the.rooms.forEach((room) => room.close()));
  await until('no connection', async () => (await connections(gateway)) === 0);
  assert.deepEqual([...one.errors, ...two.errors, ...two.complaints], []);
});

test('offline counts at once in all tabs, and the way back is tried when it is over', async (t) => {
  const { gateway, browser } = await start(t);
  const [one, two] = [await member(browser, gateway.url, 'ann'), await member(browser, gateway.url, 'bob')];
  const states = () => the.states.join();
  await unmoved(gateway, async () => {
    for (const tab of [one, two]) await tab.run(forget);
    for (const tab of [one, two]) await tab.run(() => dispatchEvent(new Event('offline')));
    for (const tab of [one, two]) await tab.until('told', () => the.states.includes('waiting'));
    for (const tab of [one, two]) await tab.until('back, as it was wrong', isThere);
  });
  assert.ok(!(await one.run(states)).includes('refused'));
});
