/** What no name has: control characters, half of a surrogate pair, marks that turn the text around the name. */
const UNFIT = /^\.\.?$|[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/u;
/** Of names like these nothing would be seen. */
const UNSEEN = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{M}\u2800]*$/u;
/** `JSON.stringify` escapes nothing of a pair, and each half without the other. */
const HALF = /[^\\](\\\\)*\\ud/;

const isLong = (text, most) => new TextEncoder().encode(text).length > most;

/** Throws where a rule is broken. */
export function fits(fit, rule) {
  if (!fit) throw new TypeError(`Presently: ${rule}`);
}

/** A name by PROTOCOL's rules. */
export function named(name, what) {
  const fit = typeof name === 'string' && !isLong(name, 128) && !UNFIT.test(name) && !UNSEEN.test(name);
  fits(fit, `${what} is a name of 1 to 128 bytes`);
  return name;
}

/**
 * What is said of a user, with the time: the last of several tabs counts. `meta` is JSON text, made once, so that nobody
 * reads a number otherwise on the way; null where nothing is said.
 */
export function said(meta, rank = 0) {
  fits(Number.isInteger(rank) && Math.abs(rank) < 10, 'rank is a whole number from -9 to 9');
  if (meta === undefined) return null;
  const text = JSON.stringify(meta) ?? '';
  fits(text[0] === '{' && !isLong(text, 1024), 'meta is a JSON object of at most 1,024 bytes');
  fits(!HALF.test(JSON.stringify(JSON.parse(text))), 'meta has half of a surrogate pair');
  return { meta: text, rank, at: Date.now() };
}
