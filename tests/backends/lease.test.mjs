// A backend's lease holds for as long as the backend runs, and ends with it.

import assert from 'node:assert/strict';
import { Gateway } from '../browsers/gateway.mjs';
import { Proxy } from '../browsers/proxy.mjs';
import { until } from '../browsers/until.mjs';
import { inEach } from './example.mjs';

const user = '/api/rooms/team-7/users/worker-7';

async function proxied(t, args = []) {
  const gateway = await Gateway.start(args);
  t.after(() => gateway.stop('SIGKILL'));
  const proxy = await Proxy.start(gateway.port);
  t.after(() => proxy.end());
  return { gateway, proxy };
}

/** When the lease ends, or null without one. */
async function lease(gateway, hold) {
  const answer = await gateway.api(user);
  const { holds = [] } = await answer.json();
  return holds.find((one) => one.hold === hold) ?? null;
}

/** The events of the room from now on. */
async function follow(t, gateway) {
  const ending = new AbortController();
  const { body } = await gateway.api('/api/rooms/team-7/stream', { signal: ending.signal });
  const seen = [];
  const read = async () => {
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      seen.push(...text.split('\n').filter((line) => line.startsWith('data:')).map((line) => JSON.parse(line.slice(5))));
    }
  };
  read().catch(() => {});
  t.after(() => ending.abort());
  return seen;
}

inEach('a lease outlives its time, and ends at once at SIGTERM', 'lease', async (t, run) => {
  const { gateway } = await proxied(t);
  const seen = await follow(t, gateway);
  const args = [gateway.url, 'team-7', 'worker-7', '--hold', 'a', '--ttl', '2', '--meta', '{"status":"busy"}'];
  const worker = run(args);
  await worker.said('held until');
  const first = await lease(gateway, 'a');
  assert.deepEqual(first.meta, { status: 'busy' });
  await until('the first time is over', async () => (await lease(gateway, 'a')).expires > first.expires);
  await until('and another one', () => worker.lines.filter((line) => line.startsWith('held')).length > 5);
  worker.signal('SIGTERM');
  assert.equal(await worker.exited(), 0, worker.stderr);
  assert.equal(await lease(gateway, 'a'), null);
  const actions = seen.filter(({ user: who }) => who).map(({ action, reason }) => reason ?? action);
  assert.deepEqual(actions, ['add', 'closed']);
});

inEach('two processes hold one user, each for itself', 'lease', async (t, run) => {
  const { gateway } = await proxied(t);
  const [one, other] = ['a', 'b'].map((hold) => run([gateway.url, 'team-7', 'worker-7', '--hold', hold]));
  for (const worker of [one, other]) await worker.said('held until');
  one.signal('SIGINT');
  assert.equal(await one.exited(), 0, one.stderr);
  assert.deepEqual([await lease(gateway, 'a'), (await lease(gateway, 'b')).hold], [null, 'b']);
});

inEach('outages shorter than the lease are seen by nobody, and a restart is made up for', 'lease', async (t, run) => {
  const { gateway, proxy } = await proxied(t);
  const seen = await follow(t, gateway);
  const worker = run([proxy.url, 'team-7', 'worker-7', '--hold', 'a', '--ttl', '6']);
  await worker.said('held until');
  proxy.shut();
  await worker.said('not renewed');
  proxy.open();
  const before = worker.lines.length;
  await worker.said('held until', before);
  assert.deepEqual(seen.filter(({ user: who }) => who).map(({ action }) => action), ['add']);
  await gateway.restart();
  await until('held again', () => lease(gateway, 'a'));
  proxy.shut();
  worker.signal('SIGTERM');
  assert.equal(await worker.exited(), 0, worker.stderr);
  assert.ok(worker.lines.at(-1).startsWith('not ended'), 'it ends by itself');
});

inEach('a refusal for good ends it, and a key opens', 'lease', async (t, run) => {
  const key = 'a-secret-of-a-backend-with-32-bytes-or-more';
  const gateway = await Gateway.start([], { env: { PRESENTLY_API_KEY_VALUE: key }, apiKey: key });
  t.after(() => gateway.stop('SIGKILL'));
  const stranger = run([gateway.url, 'team-7', 'worker-7']);
  assert.equal(await stranger.exited(), 1);
  assert.match(stranger.stderr, /^refused: token_missing: /);
  const worker = run([gateway.url, 'team-7', 'worker-7', '--hold', 'a'], { PRESENTLY_TOKEN: key });
  await worker.said('held until');
  assert.ok(await lease(gateway, 'a'));
});
