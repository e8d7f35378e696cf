// What tests in browsers share: `import { start, test } from './harness.mjs'`.
//
//   test('two tabs are one member', async (t) => {
//     const { gateway, browser } = await start(t, { browser: 'chromium', args: ['--grace', '1s'] });
//     const tab = await browser.open(gateway.url);
//     await tab.run(() => (the.room = new Room('lobby', { as: 'ann' })));
//     await tab.until('live', () => the.room.state === 'live');
//   });
//
// `PRESENTLY` names the gateway's program, by default the debug build in `CARGO_TARGET_DIR` or `target`. `BROWSERS=chromium`
// or `BROWSERS=firefox` runs the tests of one browser only. All programs end with their test, however it ends.

import nodeTest from 'node:test';
import { Browser } from './browser.mjs';
import { Gateway } from './gateway.mjs';
import { Proxy } from './proxy.mjs';

export { Browser, Tab, program } from './browser.mjs';
export { Gateway } from './gateway.mjs';
export { Proxy } from './proxy.mjs';
export { Site } from './site.mjs';
export { renderer } from './renderer.mjs';
export { pause, until } from './until.mjs';

/** A test that hangs has failed. */
const LIMIT_MS = 120_000;

const wanted = (process.env.BROWSERS ?? 'chromium,firefox').split(',');

/** A test with a limit of time. */
export const test = (name, work) => nodeTest(name, { timeout: LIMIT_MS }, work);

/** The same test in each of these browsers, with the browser's name as second argument. */
export function inEach(name, work, browsers = ['chromium', 'firefox']) {
  for (const browser of browsers.filter((one) => wanted.includes(one))) {
    test(`${name} (${browser})`, (t) => work(t, browser));
  }
}

/**
 * A gateway with the options `args`, a browser with puppeteer's options `launch`, and with `proxied` a proxy between them; they
 * end with the test `t`. `browser: null` starts none.
 */
export async function start(t, { browser = 'chromium', args = [], env, apiKey, launch, proxied = false } = {}) {
  const gateway = await Gateway.start(args, { env, apiKey });
  t.after(() => gateway.stop('SIGKILL'));
  const proxy = proxied ? await Proxy.start(gateway.port) : null;
  if (proxy) t.after(() => proxy.end());
  const running = browser ? await Browser.launch(browser, launch) : null;
  if (running) t.after(() => running.close());
  t.after(() => t.failed && gateway.log.forEach((line) => console.error(line)));
  return { gateway, browser: running, proxy, url: (proxy ?? gateway).url };
}
