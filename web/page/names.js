/** People look for Zed behind ann, and for user-10 behind user-9: the order of their language, not of bytes. */
const COLLATOR = new Intl.Collator(undefined, { numeric: true });

/** The order of code units, which is one for all names that a language takes for the same. */
const byUnits = (a, b) => (a < b ? -1 : Number(a > b));

export const byName = (a, b) => COLLATOR.compare(a, b) || byUnits(a, b);

/** What nobody sees, or what turns the text around it: joiners and tags within emoji and words are neither. */
const UNSEEN = new RegExp(
  '[\\p{Cc}\\p{Zl}\\p{Zp}\\u2800\\u202a-\\u202e\\u2066-\\u2069]'
    + '|(?![\\u200c\\u200d\\ufe0e\\ufe0f\\u{e0020}-\\u{e007f}])\\p{Default_Ignorable_Code_Point}',
  'u',
);
const SEEN = /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\p{M}\u2800]/u;
/** Spaces at the ends, and all further ones of several. */
const LOOSE = /^\p{White_Space}+|\p{White_Space}+$|(?<=\p{White_Space})\p{White_Space}+/gu;
/** Most names need no second look. */
const PLAIN = /^[!-~]+$/;

const code = (char) => `⟨${char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;

/**
 * A name so that people see all of it: a name of only spaces is no blank row, and `ann ` is not `ann`.
 * Gateways of today refuse most such names; older ones, and rooms from elsewhere, do not.
 */
export function visible(name) {
  if (PLAIN.test(name)) return name;
  if (!SEEN.test(name)) return Array.from(name, code).join('');
  const shown = name.replace(LOOSE, (spaces) => '␣'.repeat(spaces.length));
  return UNSEEN.test(shown) ? Array.from(shown, (char) => (UNSEEN.test(char) ? code(char) : char)).join('') : shown;
}
