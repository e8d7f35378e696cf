// The process behind a tab of Chromium, to be stopped as a system does it that suspends the tab.

/** A tab's work that shows which process is the tab's. */
const SPIN_MS = 60;
const MOST_LOOKS = 100;

/** CPU seconds of each renderer, by its process. */
async function cpu(session) {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  return new Map(processInfo.filter(({ type }) => type === 'renderer').map(({ id, cpuTime }) => [id, cpuTime]));
}

/** The renderer that worked while the tab did for `ms`, and no other nearly as much; else undefined. */
async function busiest(session, tab, ms) {
  const before = await cpu(session);
  await tab.run((time) => {
    for (const end = performance.now() + time; performance.now() < end; );
  }, ms);
  const after = await cpu(session);
  const worked = [...after].map(([id, time]) => ({ id, time: time - (before.get(id) ?? 0) }));
  const [first, second] = worked.sort((one, other) => other.time - one.time);
  return first.time > ms / 3_000 && !(second?.time > first.time / 3) ? first.id : undefined;
}

/** The process of a tab: three looks in a row agree, since another renderer may be starting just now. */
export async function renderer(tab) {
  const session = await tab.browser.puppet.target().createCDPSession();
  try {
    for (let looks = [], all = 0; all < MOST_LOOKS; all += 1) {
      const id = await busiest(session, tab, SPIN_MS);
      looks = id && (!looks.length || looks[0] === id) ? [...looks, id] : [];
      if (looks.length === 3) return id;
    }
    throw new Error('no renderer stands out');
  } finally {
    await session.detach();
  }
}
