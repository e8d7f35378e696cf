// The harness itself, and what the other tests in browsers rely on.

import assert from 'node:assert/strict';
import { inEach, renderer, start, until } from './harness.mjs';

const join = (user) => {
  the.room = new Room('lobby', { as: user });
};
const sees = (users) => the.room.state === 'live' && [...the.room.members.keys()].sort().join() === users;

inEach('two tabs see each other, and one of them go', async (t, kind) => {
  const { gateway, browser } = await start(t, { browser: kind, args: ['--grace', '1s'] });
  const [ann, bob] = [await browser.open(gateway.url), await browser.open(gateway.url)];
  await ann.run(join, 'ann');
  await bob.run(join, 'bob');
  for (const tab of [ann, bob]) await tab.until('both are there', sees, 'ann,bob');
  assert.deepEqual(await gateway.users('lobby'), ['ann', 'bob']);
  await bob.close();
  await ann.until('bob is gone', sees, 'ann');
  assert.deepEqual([...ann.errors, ...ann.complaints, ...bob.errors], []);
});

inEach('a network that breaks, and a gateway that starts anew, cost nobody', async (t, kind) => {
  const { gateway, browser, proxy, url } = await start(t, { browser: kind, proxied: true });
  const tab = await browser.open(url);
  await tab.run(join, 'ann');
  await tab.until('live', sees, 'ann');
  proxy.shut();
  await tab.until('lost', () => the.room.state !== 'live');
  proxy.open();
  await tab.until('live again', sees, 'ann');
  proxy.halfCut('client');
  await tab.until('lost', () => the.room.state !== 'live');
  await tab.until('live again', sees, 'ann');
  await gateway.restart();
  await until('ann is back', async () => (await gateway.users('lobby')).join() === 'ann');
  assert.deepEqual(tab.errors, []);
});

const stopping = async (t) => {
  const { gateway, browser } = await start(t);
  const [one, other] = [await browser.open(gateway.url), await browser.open(gateway.url)];
  const pids = [await renderer(one), await renderer(other)];
  assert.notEqual(pids[0], pids[1]);
  process.kill(pids[0], 'SIGSTOP');
  let answered = false;
  const answer = one.run(() => true).then(() => (answered = true));
  assert.equal(await other.run(() => 1 + 1), 2);
  assert.equal(answered, false);
  process.kill(pids[0], 'SIGCONT');
  await answer;
};
inEach("a tab's process is found, and can be stopped", stopping, ['chromium']);
