// A server in front of the gateway that compresses what it passes on, as Express, Next.js and webpack's do.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import compression from 'compression';
import { start, test, until } from './harness.mjs';

/** Passes requests on, and compresses the answers, however short they are. */
async function compressing(t, gateway) {
  const compress = compression({ threshold: 0 });
  const pass = (request, answer) => {
    const { 'accept-encoding': _, ...headers } = request.headers;
    const asked = http.request(gateway.url + request.url, { method: request.method, headers });
    asked.on('response', (given) => {
      answer.writeHead(given.statusCode, given.headers);
      given.pipe(answer);
    });
    asked.on('error', () => answer.destroy());
    answer.on('close', () => asked.destroy());
    request.pipe(asked);
  };
  const server = http.createServer((request, answer) => compress(request, answer, () => pass(request, answer)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

test('behind a server that compresses, events arrive one by one', async (t) => {
  const { gateway, browser } = await start(t);
  const url = await compressing(t, gateway);
  const ordinary = await fetch(`${url}/presently.js`);
  assert.equal(ordinary.headers.get('content-encoding'), 'gzip', 'it compresses');
  const tab = await browser.open(url);
  await tab.run(() => {
    the.seen = [];
    new EventSource('/api/rooms/lobby/stream').onmessage = ({ data }) => the.seen.push(JSON.parse(data).action);
    the.room = new Room('lobby', { as: 'bob', transport: 'sse' });
  });
  await tab.until('live', () => the.room.holding && the.seen.includes('snapshot'));
  for (const user of ['ann', 'cyd']) {
    await gateway.api(`/api/rooms/lobby/users/${user}`, { method: 'PUT', body: {} });
    await tab.until(user, (name) => the.room.members.has(name), user);
  }
  await until('each by itself', () => tab.run(() => the.seen.filter((one) => one === 'add').length >= 2));
  assert.deepEqual(tab.errors, []);
});
