import { Keys } from './fake-keys.js';
import { World } from './world.js';

/** A gateway with keys, and what the client says in the console. */
export function guarded(t) {
  const errors = [];
  t.mock.method(console, 'error', (...said) => errors.push(said.join(' ')));
  const world = new World(t);
  world.keys = new Keys();
  return { world, keys: world.keys, errors };
}

/** Time passes, and the gateway says that it is there. */
export async function stay(world, ms) {
  for (let left = ms; left > 0; left -= 10_000) {
    world.sockets.forEach((socket) => socket.tell({ action: 'alive' }));
    await world.pass(Math.min(left, 10_000));
  }
}

export const actions = (world) => world.heard.map(({ action }) => action);

export const how = ({ state, refusal }) => [state, refusal?.code].filter(Boolean).join(' ');
