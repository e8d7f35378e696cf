// A random mix of acts of tabs, of others and of the network, and what must be true whenever all is well again.

import { ACTS } from './acts.mjs';
import { Random } from './random.mjs';
import { Fault, rest } from './rest.mjs';
import { World } from './world.mjs';

/** Steps between two rests. */
const CALM = { least: 15, most: 35 };
/** The part of the rests in which nobody helps a connection that only one side knows to be dead. */
const PATIENT = 0.1;

/**
 * Does `steps` acts, chosen by `seed`, in a browser. `progress` hears of each rest. A fault is thrown with the seed and the
 * steps that led to it.
 */
export async function mix({ browser = 'chromium', steps, seed, patient = PATIENT, progress = () => {} }) {
  const random = new Random(seed);
  const world = await World.start(browser, random);
  try {
    await world.openTab();
    await world.openTab();
    for (let until = 0; world.steps.length < steps; ) {
      until = Math.min(steps, world.steps.length + random.between(CALM.least, CALM.most));
      while (world.steps.length < until) await step(world);
      const took = await rest(world, random.chance(patient));
      world.steps.push(`all is right after ${took} ms`);
      progress({ done: world.steps.length, took, seen: world.watchers.map(({ seen }) => seen) });
    }
    return world.watchers.map(({ seen }) => seen);
  } catch (error) {
    throw new Fault(report(world, { browser, seed, steps }, error));
  } finally {
    await world.end();
  }
}

async function step(world) {
  const possible = ACTS.filter(({ chromium }) => !chromium || world.browser.kind === 'chromium');
  for (;;) {
    const { act } = world.random.weighted(possible);
    const did = await act(world);
    if (!did) continue;
    world.steps.push(did);
    return;
  }
}

function report({ steps }, { browser, seed, steps: wanted }, error) {
  const lines = steps.map((did, at) => `${String(at + 1).padStart(5)} ${did}`);
  return `${browser}, ${wanted} steps, seed ${seed}, after these steps:\n${lines.join('\n')}\n${error instanceof Fault ? error.message : error.stack}`;
}
