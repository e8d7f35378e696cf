/** The gateway's base, where the page stands: below a path prefix it is not the root. Paths here are relative to it. */
export const base = () => new URL('.', location.href).href;

/**
 * Asks the gateway, with a body that is JSON already or is made so: `{ ok, body, text }`, or `{ ok: false, wrong }` with
 * what to tell people. Never throws.
 */
export async function ask(method, path, body, more = {}) {
  const headers = { Accept: 'application/json, application/problem+json', ...more };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  try {
    const sent = typeof body === 'string' ? body : body && JSON.stringify(body);
    const answer = await fetch(path, { method, headers, body: sent });
    const text = await answer.text();
    const said = parsed(text);
    if (answer.ok) return { ok: true, body: said, text };
    return { ok: false, status: answer.status, wrong: said?.detail ?? `The gateway answered ${answer.status}.` };
  } catch {
    return { ok: false, status: 0, wrong: 'The gateway could not be reached.' };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an answer without a body, or a proxy's
  }
}

export const roomPath = (room) => `api/rooms/${encodeURIComponent(room)}`;

export const memberPath = (room, user) => `${roomPath(room)}/users/${encodeURIComponent(user)}`;

/** Names that a path can't carry, as browsers take them for steps up and down. */
const STEPS = ['.', '..'];

/** For `ttl` seconds, or without it until they are signed out. */
export const signIn = (room, user, ttl) => change('PUT', room, user, ttl ? { ttl } : undefined);
export const lease = (room, user, ttl) => change('PUT', room, user, { ttl });
/** `reason` is kicked, or '' for a sign-out. */
export const signOut = (room, user, reason) => change('DELETE', room, user, undefined, { reason });
export const endHold = (room, user, hold) => change('DELETE', room, user, undefined, { hold });

/** What is said of a member, with another `status`; '' takes it back. */
export function withStatus({ status: _, ...rest }, status) {
  return status ? { ...rest, status } : rest;
}

/** Says `json`, the text of an object, as a member's `meta` or `info`. */
export const setSaid = (room, user, of, json) => change('PATCH', room, user, `{${JSON.stringify(of)}:${json}}`);

/** Resolves to what went wrong, or ''. */
async function change(method, room, user, body, params = {}) {
  if (STEPS.includes(user)) return `${user} is no name.`;
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
  const { wrong = '' } = await ask(method, `${memberPath(room, user)}${query.size ? `?${query}` : ''}`, body);
  return wrong;
}
