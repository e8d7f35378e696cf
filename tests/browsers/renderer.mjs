// The process behind a tab of Chromium, to be stopped as a system does it that suspends the tab.

import { readdirSync, readFileSync } from 'node:fs';
import { until } from './until.mjs';

/** How many workers run in a process, by the names of its threads. */
function workers(pid) {
  try {
    const names = readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/comm`, 'utf8'));
    return names.filter((name) => name.startsWith('DedicatedWorker')).length;
  } catch {
    return 0; // a thread or the process has just ended
  }
}

async function renderers(session) {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
}

/** The process of a tab: the one in which a worker of the tab's appears. The tab's origin serves `/presently.js`. */
export async function renderer(tab) {
  const session = await tab.browser.puppet.target().createCDPSession();
  try {
    const before = new Map((await renderers(session)).map((pid) => [pid, workers(pid)]));
    await tab.run(() => (globalThis.probe = new Worker('/presently.js', { type: 'module' })) && null);
    const found = async () => (await renderers(session)).find((pid) => workers(pid) > (before.get(pid) ?? 0));
    return await until('a worker runs in a renderer', found);
  } finally {
    await tab.run(() => globalThis.probe?.terminate()).catch(() => {});
    await session.detach();
  }
}
