/** The most explanations to remember. */
const MOST_SAID = 100;

const explained = new Set();

/** What to do about a refusal, by its code. */
const REMEDIES = {
  cross_site: () => `Start the gateway with --allow-origin ${globalThis.location?.origin ?? 'ORIGIN'}.`,
  token_missing: () => 'Give Room a `token`.',
  token_expired: () => 'Give a new token, and call retry().',
  token_invalid: () => 'See `presently check-token`.',
  mixed_content: () => 'Serve the gateway over https.',
  no_gateway: () => 'Give Room the `url` of a gateway.',
  unreachable: () => `Is it up? ${REMEDIES.cross_site()} Browsers ask before public pages reach local networks.`,
  wrong_user: () => 'Give Room the `token` of its `as` or `user`.',
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

const LOOPBACK = /^(127\.|\[::1)|localhost$/;

/**
 * Why no gateway answers at `base`, as far as a script can know; null if it may just be down. What answers with a `status`
 * is none.
 */
export async function diagnose(base, status) {
  const { origin, protocol } = globalThis.location ?? {};
  const there = new URL(base);
  const refusal = (code, message) => ({ code, message: `${there.origin}${there.pathname} ${message}`, retry: code !== 'mixed_content' });
  if (status) return refusal('no_gateway', `answers with ${status}, and is no gateway.`);
  if (!origin || origin === there.origin) return null;
  if (protocol === 'https:' && there.protocol === 'http:' && !LOOPBACK.test(there.hostname)) {
    return refusal('mixed_content', 'is not https, as the page is.');
  }
  const answers = await fetch(new URL('healthz', base), { mode: 'no-cors' }).then(() => true, () => false);
  return refusal(answers ? 'cross_site' : 'unreachable', `does not answer pages of ${origin}.`);
}
