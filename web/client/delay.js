const BASE_MS = 500;
const CAP_MS = 30_000;

/** Full jitter: after a restart of the gateway all clients come back, but not all at once. */
export const delay = (failures, random = Math.random) => random() * Math.min(CAP_MS, BASE_MS * 2 ** failures);
