/** Close codes. */
export const CLEAN = 1000;
/** "Going away: keep my holds for the grace period". Scripts can't send 1001. */
export const AWAY = 4001;
/** The gateway stops; the reason says when to return, in ms. */
export const RESTART = 1012;

/** Reasons for the end of a hold that others ended. */
export const ENDED = ['signed_out', 'kicked'];

/** Refusals of a connection that has no place for more holds, or for more rooms. */
export const FULL = ['too_many_joined', 'too_many_subscribed'];

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

/** A message as text. Its `meta` is JSON text already. */
export function encode({ meta, ...message }) {
  const text = JSON.stringify(message);
  return meta ? `${text.slice(0, -1)},"meta":${meta}}` : text;
}
