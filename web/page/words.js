// What the page says. The server's template says the same where both can.

/** The letter in a member's circle: whole code points, so that an emoji stays one. */
export function initial(user) {
  const [first = ''] = user;
  return first.toUpperCase();
}

const encoder = new TextEncoder();

/** The class of a member's colour. A sum of bytes, because the template can count no better. */
export function colour(user) {
  const sum = encoder.encode(user).reduce((all, byte) => all + byte, 0);
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

/** Below the list of rooms: how many there are, how many are listed, and how to open one that is not. */
export function roomsNote({ total, listed, largest, wanted, absent }) {
  const { rooms, members } = total;
  const many = `${number(rooms)} ${rooms === 1 ? 'room' : 'rooms'}${wanted ? ' found' : ''}, ${number(members)} ${noun(members)}.`;
  const rest = rooms > listed && ` The ${largest ? 'largest' : 'first'} ${number(listed)} are listed; typing finds the others.`;
  return [absent && 'Enter opens it. ', many, rest].filter(Boolean).join('');
}

export const noun = (count) => (count === 1 ? 'member' : 'members');

/** A number for people: thousands are set apart by a thin space, in every language. */
export function number(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** A name within a sentence, isolated so that a right-to-left one does not turn the rest around. */
export const quoted = (user) => `\u2068${user}\u2069`;

const STATES = {
  connecting: 'Connecting…',
  live: 'Live',
  waiting: 'Reconnecting…',
  refused: 'Not admitted',
};

export const status = (state) => STATES[state];

/** Above the list while it is not live: how things stand, and what the list is of. */
export function banner({ state, refusal, lost, now, known, fresh }) {
  if (state === 'refused') return `The gateway does not admit this page: ${refusal?.message ?? 'it said no'}.`;
  if (state === 'live' && fresh) return 'The gateway has just started. Members of before may not be back yet.';
  if (state === 'live' || !lost) return '';
  const list = known ? ` The list is of ${clock(lost)}.` : '';
  return now - lost > 20_000 ? `The gateway has been out of reach since ${clock(lost)}.${list}` : `The connection was lost.${list}`;
}

const CLOCK = new Intl.DateTimeFormat([], { timeStyle: 'medium', hourCycle: 'h23' });

export const clock = (time) => CLOCK.format(new Date(time));

/** A time soon to come: with its day where that is not today. */
export function briefly(time, now) {
  const [date, today] = [time, now].map((at) => new Date(at).toDateString());
  return new Date(time).toLocaleString([], { dateStyle: date === today ? undefined : 'medium', timeStyle: 'short', hourCycle: 'h23' });
}

const ALL = ['count', 'watch', 'join', 'sign_in', 'manage'];

/** What somebody may do: the rooms, and the rights there. */
export function allowed(grants, admin) {
  const words = (can) => (ALL.every((verb) => can.includes(verb)) ? 'everything' : can.join(', ').replace('sign_in', 'sign in'));
  const rooms = grants.map(({ match, can }) => [match === '*' ? 'All rooms' : match, words(can)]);
  return admin ? [...rooms, ['The gateway', 'its numbers']] : rooms;
}

export function when(time) {
  return new Date(time).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
}

const REASONS = {
  signed_out: 'signed out',
  closed: 'left',
  timeout: 'connection lost',
  expired: 'lease ran out',
  kicked: 'kicked',
  node_lost: 'gateway lost',
};

/** Why somebody went; reasons that are not known yet are shown as they are. */
export const why = (reason) => REASONS[reason] ?? reason ?? '';

/** How long somebody may be signed in for, in seconds; 0 is until they are signed out. */
export const TERMS = [
  ['for good', 0],
  ['30 s', 30],
  ['5 min', 300],
  ['1 h', 3_600],
  ['8 h', 28_800],
  ['1 day', 86_400],
];

/** What is left of a term, in seconds: in two units that say something. */
export function lasting(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  const [s, m, h] = [left % 60, Math.floor(left / 60) % 60, Math.floor(left / 3_600)];
  if (h) return m ? `${h} h ${m} min` : `${h} h`;
  if (m) return s ? `${m} min ${s} s` : `${m} min`;
  return `${s} s`;
}

/** What is asked before others are signed out or kicked; `held` is what holds them, where that is known. */
export function asked(user, room, reason, held) {
  const did = reason === 'kicked' ? 'Kick' : 'Sign out';
  const what = `All that holds ${quoted(user)} in ${quoted(room)} ends${held ? `: ${held}` : ''}.`;
  const then = reason === 'kicked' ? ' Everybody sees that they were kicked.' : '';
  const text = `${what}${then} Their open pages stay and may only watch for an hour.`;
  return { title: `${did} ${quoted(user)}?`, text, act: did };
}

const ENDED = { signed_out: 'Signed out by somebody', kicked: 'Kicked by somebody', expired: 'Your lease ran out' };

/** Why others ended one's being here. */
export const ended = (reason) => ENDED[reason] ?? ENDED.signed_out;

/** How a number of the last minutes went, for those who hear the page. */
export function course(name, values, told) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return `${name}: nothing is known yet.`;
  const [least, most] = [Math.min(...known), Math.max(...known)].map(told);
  return `${name} over the last five minutes: ${least === most ? most : `between ${least} and ${most}`}.`;
}
