// A backend's mirror of a room is the gateway's set, whatever happens to the connection and to the gateway.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { Gateway } from '../browsers/gateway.mjs';
import { Proxy } from '../browsers/proxy.mjs';
import { until } from '../browsers/until.mjs';
import { folded, inEach } from './example.mjs';

const FAST = ['--keep-alive', '1s', '--send-within', '2s', '--history', '20', '--max-batch', '10000'];
const users = '/api/rooms/team-7/users';

const named = (from, to) => Array.from({ length: to - from }, (_, n) => `somebody-${from + n}`);

async function proxied(t, args) {
  const gateway = await Gateway.start(args);
  t.after(() => gateway.stop('SIGKILL'));
  const proxy = await Proxy.start(gateway.port);
  t.after(() => proxy.end());
  return { gateway, proxy };
}

async function batch(gateway, body) {
  const answer = await gateway.api(users, { method: 'POST', body });
  assert.equal(answer.status, 200, await answer.text());
}

const add = (names) => ({ add: names.map((user) => ({ user, meta: { of: user } })) });

/** Waits until the mirror says that it is live, and its lines lead to the gateway's set. */
async function same(gateway, mirror) {
  const expected = new Map([...(await gateway.members('team-7'))].map(([user, { meta }]) => [user, meta]));
  await until('the mirror is the set', () => {
    const { members, last } = folded(mirror.lines);
    if (last.action === 'live' && isDeepStrictEqual(members, expected)) return true;
    throw new Error(`${members.size} members instead of ${expected.size}, ${JSON.stringify(last)}`);
  });
  assert.deepEqual(folded(mirror.lines).faults, []);
}

inEach('cuts, long ones too, cost nothing but time', 'mirror', async (t, run) => {
  const { gateway, proxy } = await proxied(t, FAST);
  await batch(gateway, add(named(0, 3_000)));
  const mirror = run([proxy.url, 'team-7']);
  await mirror.said('"live"');
  await same(gateway, mirror);

  // A cut alone: it resumes, and nothing is said anew.
  let before = mirror.lines.length;
  proxy.cut();
  await mirror.said('"live"', before);
  assert.deepEqual(mirror.lines.slice(before).map((line) => JSON.parse(line).action), ['lost', 'live']);

  // Behind the history: changes bridge the gap.
  before = mirror.lines.length;
  proxy.shut();
  await mirror.said('"lost"', before);
  await batch(gateway, { ...add(named(3_000, 3_060)), del: named(0, 30) });
  await gateway.api(`${users}/somebody-40?reason=kicked`, { method: 'DELETE' });
  proxy.open();
  await same(gateway, mirror);
  assert.deepEqual(mirror.lines.slice(before).filter((line) => line.includes('somebody-40"')), ['{"action":"del","user":"somebody-40","reason":"kicked"}']);

  before = mirror.lines.length;
  await gateway.api(`${users}/late`, { method: 'PUT', body: { meta: { n: 1 } } });
  await mirror.said('late', before);
  await gateway.api(`${users}/late`, { method: 'PATCH', body: { meta: { n: 2 } } });
  await same(gateway, mirror);
});

inEach('silence is noticed, and ends the connection', 'mirror', async (t, run) => {
  const { gateway, proxy } = await proxied(t, FAST);
  const mirror = run([proxy.url, 'team-7']);
  await mirror.said('"live"');
  proxy.mute();
  await mirror.said('"lost"');
  await batch(gateway, add(['ann']));
  proxy.open();
  await same(gateway, mirror);
});

inEach('a restart takes nobody out until the gateway knows all, and leaves nobody behind', 'mirror', async (t, run) => {
  const { gateway, proxy } = await proxied(t, [...FAST, '--fresh-for', '3s']);
  await batch(gateway, add(['ann', 'bob']));
  const mirror = run([proxy.url, 'team-7']);
  await mirror.said('bob');
  const before = mirror.lines.length;
  await gateway.restart('SIGKILL');
  await mirror.said('"fresh":true', before);
  assert.deepEqual([...folded(mirror.lines).members.keys()], ['ann', 'bob']);
  // Cut off in this time, it must not resume from a set without those it kept.
  await gateway.api(`${users}/bob`, { method: 'PUT', body: { meta: { of: 'bob', back: 1 } } });
  await mirror.said('"user":"bob","meta":{"back":1,"of":"bob"}', before);
  const { faults } = folded(mirror.lines);
  assert.deepEqual(faults, [], 'a member who was kept is updated by the add of the return');
  proxy.shut();
  await until('the gateway knows all', async () => !('fresh_for' in (await (await gateway.api(users)).json())));
  proxy.open();
  await same(gateway, mirror);
  assert.deepEqual([...folded(mirror.lines).members.keys()], ['bob']);
  assert.equal(mirror.lines.filter((line) => line.includes('does not follow')).length, 0, mirror.lines.join('\n'));
});

inEach('a refusal for good ends it, and a key opens', 'mirror', async (t, run) => {
  const key = 'a-secret-of-a-backend-with-32-bytes-or-more';
  const gateway = await Gateway.start([], { env: { PRESENTLY_API_KEY_VALUE: key }, apiKey: key });
  t.after(() => gateway.stop('SIGKILL'));
  const stranger = run([gateway.url, 'team-7']);
  assert.equal(await stranger.exited(), 1);
  assert.match(stranger.stderr, /^refused: token_missing: /);
  await batch(gateway, add(['ann']));
  await same(gateway, run([gateway.url, 'team-7'], { PRESENTLY_TOKEN: key }));
});

/** Answers of something between, and of a gateway that is full, before the stream. */
const HARD_TIMES = [
  (answer) => answer.writeHead(502, { 'Content-Type': 'text/html' }).end('<h1>Bad gateway</h1>'),
  (answer) => answer.writeHead(404, { 'Content-Type': 'application/json' }).end('{}'),
  (answer) => {
    answer.writeHead(503, { 'Content-Type': 'application/problem+json', 'Retry-After': '0' });
    answer.end('{"code":"too_much_memory","detail":"later","retry":true}');
  },
  (answer) => {
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    answer.end('retry: 10\n\nevent: refused\ndata: {"action":"refused","code":"too_fast","message":"later","retry":true}\n\n');
  },
  (answer) => {
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    answer.write('data: {"action":"snapshot","room":"team-7","cursor":"k.1","part":0,"last":false,"count":2,"users":[]}\n\n');
    answer.end('data: {"action":"snapshot","room":"team-7","cursor":"k.1","part":2,"last":true,"count":2,"users":[]}\n\n');
  },
  (answer) => {
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    answer.end('data: {"action":"snapshot","room":"team-7","cursor":"k.1","part":0,"last":false,"count":2,"users":[]}\n\n');
  },
  (answer) => {
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const member = '{"user":"ann","meta":{},"joined":"2026-11-22T05:53:00Z","later":1}';
    answer.write(`data: {"action":"snapshot","room":"team-7","cursor":"k.1","part":0,"last":true,"count":1,"users":[${member}]}\n\n`);
    answer.write('data: {"action":"dance"}\n\n');
  },
];

inEach('what is not the gateway, or passes, is tried again', 'mirror', async (t, run) => {
  const cursors = [];
  const answers = (request, answer) => {
    const turn = cursors.push(request.headers['last-event-id']);
    HARD_TIMES[turn - 1](answer);
  };
  const server = createServer(answers).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close() && server.closeAllConnections());
  const mirror = run([`http://127.0.0.1:${server.address().port}`, 'team-7']);
  await mirror.said('"live"');
  assert.deepEqual([...folded(mirror.lines).members.keys()], ['ann']);
  assert.ok(cursors.every((cursor) => cursor === undefined), 'half a snapshot is no place to resume from');
  assert.equal(mirror.lines.filter((line) => line.includes('"lost"')).length, HARD_TIMES.length - 1, mirror.lines.join('\n'));
});
