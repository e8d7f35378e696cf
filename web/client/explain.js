/** The most explanations to remember. */
const MOST_SAID = 100;

const explained = new Set();

/** What to do about a refusal, by its code. */
const REMEDIES = {
  cross_site: () => `Start the gateway with --allow-origin ${globalThis.location?.origin ?? 'ORIGIN'}.`,
  token_missing: () => 'Give Room the option `token`, and a token in it.',
  token_expired: () => 'Give a new token, and call retry().',
  token_invalid: () => 'See `presently check-token`.',
  wrong_user: () => 'Give Room the `token` of the user whom `as` or `user` names.',
};

/** Says in the console what is wrong, once each. */
export function complain(text, ...more) {
  if (explained.has(text)) return;
  if (explained.size >= MOST_SAID) explained.clear();
  explained.add(text);
  console.error(`Presently: ${text}`, ...more);
}

/** Says in the console why something was refused, and what to do. */
export function explain({ code, message }, what = 'the connection') {
  complain([`${what} is refused: ${code}: ${message}`, REMEDIES[code]?.()].filter(Boolean).join(' '));
}
