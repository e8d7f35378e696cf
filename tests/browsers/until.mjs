// Tests wait for conditions and never for a time to pass.

/** As long as anything may take on a busy machine. */
export const PATIENCE_MS = 30_000;
const LOOK_MS = 20;

export const pause = (ms) => new Promise((over) => setTimeout(over, ms));

/**
 * Looks again and again until `condition` answers with something true, and gives it. A condition that throws is not met yet:
 * pages that load have no rooms.
 */
export async function until(what, condition, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  for (;;) {
    let seen;
    try {
      seen = await condition();
      if (seen) return seen;
    } catch (error) {
      seen = error;
    }
    if (Date.now() > end) throw new Error(`never: ${what}; last seen: ${seen?.stack ?? JSON.stringify(seen)}`);
    await pause(LOOK_MS);
  }
}
