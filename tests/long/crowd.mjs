// The page with a crowd, by hand: `node tests/long/crowd.mjs` prints how much of the main thread of Chromium the page takes, and
// its longest frames. `--names mixed` has names of several languages. On a busy machine the figures are those of the machine.

import http from 'node:http';
import { parseArgs } from 'node:util';
import puppeteer from 'puppeteer-core';

import { Gateway, pause, program } from '../browsers/harness.mjs';

const { values } = parseArgs({
  options: {
    members: { type: 'string', default: '50000' },
    rate: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '10' },
    names: { type: 'string', default: 'plain' },
  },
});
const [members, rate, seconds] = [values.members, values.rate, values.seconds].map(Number);
const MIXED = ['Zoë', 'ann', '山田', 'שלום', 'émile'];
const name = (n) => (values.names === 'mixed' ? `${MIXED[n % MIXED.length]}${n}` : `member-${n}`);

const gateway = await Gateway.start();
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

function send(method, path, body) {
  const text = JSON.stringify(body);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = http.request(`${gateway.url}${path}`, { agent, method, headers }, (answer) => answer.resume().on('end', resolve));
    request.on('error', reject).end(text);
  });
}

const STEP = 10;

/** Some come, some go, and some say something else: so many changes a second, a batch of ten at once. */
async function change(stopped, done) {
  const begun = performance.now();
  for (let sent = 0; !stopped(); await pause(5)) {
    for (const due = ((performance.now() - begun) / 1_000) * rate; sent + STEP <= due; sent += STEP) {
      const some = [...new Set(Array.from({ length: STEP }, () => Math.floor(Math.random() * members)))];
      const add = some.slice(3).map((n, i) => (i % 2 ? { user: `${name(n)}-new-${sent}` } : { user: name(n), meta: { status: `s${sent}` } }));
      await send('POST', '/api/rooms/lobby/users', { add, del: some.slice(0, 3).map(name) });
      done(some.length);
    }
  }
}

const frames = (ms) => new Promise((resolve) => {
  const gaps = [];
  let last = performance.now();
  const end = last + ms;
  const frame = (now) => {
    gaps.push(now - last);
    last = now;
    if (now < end) requestAnimationFrame(frame);
    else resolve(gaps.sort((a, b) => b - a).slice(0, 5).map(Math.round));
  };
  requestAnimationFrame(frame);
});

const browser = await puppeteer.launch({ executablePath: program('chromium'), args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
try {
  for (let at = 0; at < members; at += 1_000) {
    await send('POST', '/api/rooms/lobby/users', { add: Array.from({ length: 1_000 }, (_, n) => ({ user: name(at + n) })) });
  }
  const page = await browser.newPage();
  await page.goto(`${gateway.url}/users`);
  await page.waitForFunction((count) => document.getElementById('count').textContent.replaceAll(/\D/g, '') === String(count), {}, members);
  const tools = await page.createCDPSession();
  await tools.send('Performance.enable');
  const read = async () => Object.fromEntries((await tools.send('Performance.getMetrics')).metrics.map(({ name: of, value }) => [of, value]));
  let [stopped, sent] = [false, 0];
  const changing = change(() => stopped, (count) => (sent += count));
  await pause(1_000);
  const [before, first] = [await read(), sent];
  const gaps = await page.evaluate(frames, seconds * 1_000);
  const [after, last] = [await read(), sent];
  stopped = true;
  await changing;
  const took = after.Timestamp - before.Timestamp;
  const part = (of) => `${((100 * (after[of] - before[of])) / took).toFixed(1)} %`;
  console.log(`${Math.round((last - first) / took)} changes a second; tasks ${part('TaskDuration')} of the main thread, its own time ${part('ThreadTime')}`);
  console.log(`script ${part('ScriptDuration')}, style ${part('RecalcStyleDuration')}, layout ${part('LayoutDuration')}; longest frames ${gaps.join(', ')} ms`);
} finally {
  await browser.close();
  await gateway.stop('SIGKILL');
  agent.destroy();
}
