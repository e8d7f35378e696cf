/** The gateway's base, where the page stands: below a path prefix it is not the root. Paths here are relative to it. */
export const base = () => new URL('.', location.href).href;

/** Asks the gateway: `{ ok, body }`, or `{ ok: false, wrong }` with what to tell people. Never throws. */
export async function ask(method, path, body, more = {}) {
  const headers = { Accept: 'application/json, application/problem+json', ...more };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  try {
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const said = await answer.json().catch(() => null);
    if (answer.ok) return { ok: true, body: said };
    return { ok: false, status: answer.status, wrong: said?.detail ?? `The gateway answered ${answer.status}.` };
  } catch {
    return { ok: false, status: 0, wrong: 'The gateway could not be reached.' };
  }
}

export const roomPath = (room) => `api/rooms/${encodeURIComponent(room)}`;

export const memberPath = (room, user) => `${roomPath(room)}/users/${encodeURIComponent(user)}`;

/** Names that a path can't carry, as browsers take them for steps up and down. */
const STEPS = ['.', '..'];

export const signIn = (room, user) => change('PUT', room, user);
export const signOut = (room, user) => change('DELETE', room, user);

/** What is said of a member, with another `status`; '' takes it back. */
export function withStatus({ status: _, ...rest }, status) {
  return status ? { ...rest, status } : rest;
}

/** Says `status` of a member and leaves what else is said of them. */
export function setStatus(room, { user, meta }, status) {
  return change('PATCH', room, user, { meta: withStatus(meta, status) });
}

/** Resolves to what went wrong, or ''. */
async function change(method, room, user, body) {
  if (STEPS.includes(user)) return `${user} is no name.`;
  const { wrong = '' } = await ask(method, memberPath(room, user), body);
  return wrong;
}
