// What the page says. The server's template says the same where both can.

/** The letter in a member's circle: whole code points, so that an emoji stays one. */
export function initial(user) {
  const [first = ''] = user;
  return first.toUpperCase();
}

/** The class of a member's colour. A sum of bytes, because the template can count no better. */
export function colour(user) {
  const sum = new TextEncoder().encode(user).reduce((all, byte) => all + byte, 0);
  return `h${sum % 12}`;
}

/** How long ago `joined` was. The two clocks may differ, so what lies ahead is just now. */
export function ago(joined, now) {
  const minutes = Math.floor((now - Date.parse(joined)) / 60_000);
  if (Number.isNaN(minutes)) return '';
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`;
  const days = Math.floor(minutes / (24 * 60));
  return days === 1 ? 'yesterday' : `${days} days ago`;
}

export const noun = (count) => (count === 1 ? 'member' : 'members');

/** A name within a sentence, isolated so that a right-to-left one does not turn the rest around. */
export const quoted = (user) => `\u2068${user}\u2069`;

const STATES = {
  connecting: 'Connecting…',
  live: 'Live',
  waiting: 'Reconnecting…',
  refused: 'Not admitted',
};

export function status(state, message) {
  return message ? `${STATES[state]}: ${message}` : STATES[state];
}
