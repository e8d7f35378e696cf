/** Close codes. */
export const CLEAN = 1000;
/** "Going away: keep my holds for the grace period". Scripts can't send 1001. */
export const AWAY = 4001;
/** The gateway stops. */
export const RESTART = 1012;

/** Reasons for the end of a hold that others ended. */
export const ENDED = ['signed_out', 'kicked'];

/** Frames that say where a reader stands. */
export const WHOLE = ['resumed', 'snapshot', 'changes'];
export const KNOWN = [...WHOLE, 'add', 'update', 'del'];

/** Whether a reader at the cursor `here` has seen what happened up to `cursor`. */
export function reached(here, cursor) {
  const [[epoch, at], [other, offset]] = [here.split('.'), cursor.split('.')];
  return epoch === other && Number(at) >= Number(offset);
}

export function sameEpoch(cursor, other) {
  return cursor.split('.')[0] === other.split('.')[0];
}
