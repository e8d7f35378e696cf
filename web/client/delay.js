const BASE_MS = 500;
const CAP_MS = 30_000;

/** Full jitter: after a restart of the gateway all clients come back, but not all at once. */
export const delay = (failures, random = Math.random) => random() * Math.min(CAP_MS, BASE_MS * 2 ** failures);

/** The wait before another try after all the waits before it: about as long as those together, and at `most` so long. */
export function pause(waited, most = CAP_MS, random = Math.random) {
  const cap = Math.min(CAP_MS, BASE_MS + waited, Math.max(BASE_MS, most));
  return cap * (waited ? (1 + random()) / 2 : random());
}
