import { ask } from './api.js';

/** What everybody may do where the gateway has no keys. */
const OPEN = { keys: false, sub: null, expires_in: null, api_key: false, admin: true, rooms: [{ match: '*', can: [] }] };

/** What nobody in particular may do, until the gateway says otherwise. */
const STRANGER = { ...OPEN, keys: true, admin: false, rooms: [] };

const COOKIE = 'api/cookie';

/** Whether a pattern names a room: exactly, or by its beginning before the star. */
const names = (match, room) => (match.endsWith('*') ? room.startsWith(match.slice(0, -1)) : room === match);

/** Who is signed in here, and what they may do. The page asks by the browser's cookie, which no script can read. */
export class Access {
  #now;

  /** `keys` is whether the gateway has some: without, it is asked nothing. */
  constructor(keys) {
    this.#now = keys ? STRANGER : OPEN;
  }

  get keys() {
    return this.#now.keys;
  }

  /** The user; null for who may be anyone. */
  get sub() {
    return this.#now.sub;
  }

  get isKnown() {
    return Boolean(this.sub) || this.#now.api_key;
  }

  get admin() {
    return this.#now.admin;
  }

  get grants() {
    return this.#now.rooms;
  }

  /** When it ends, by this device's clock; 0 for never. */
  get until() {
    return this.#now.until ?? 0;
  }

  may(verb, room) {
    return !this.keys || this.grants.some(({ match, can }) => can.includes(verb) && names(match, room));
  }

  /** Whether this page may hold `user` in a room. */
  mayBe(room, user) {
    return this.may('join', room) && (!this.sub || user === this.sub);
  }

  /** Whether this page may sign `user` out of a room, and speak for them. */
  mayChange(room, user) {
    return this.may('manage', room) || (user === this.sub && this.may('sign_in', room));
  }

  /** What tells one access from another. */
  get mark() {
    const { keys, sub, api_key: key, admin, rooms } = this.#now;
    return JSON.stringify([keys, sub, key, admin, rooms]);
  }

  /** Asks the gateway. A cookie that is over or revoked is given up. Resolves to what was wrong, or ''. */
  async load() {
    const first = await ask('GET', 'api/access');
    const isOver = [401, 403].includes(first.status);
    if (isOver) await ask('DELETE', COOKIE);
    const { ok, body, wrong } = isOver ? await ask('GET', 'api/access') : first;
    if (ok) this.#now = { ...body, until: body.expires_in === null ? 0 : Date.now() + body.expires_in * 1_000 };
    return isOver ? first.wrong : wrong ?? '';
  }

  /** Exchanges a token or API key for a cookie. Resolves to what was wrong, or ''. */
  async signIn(credential) {
    if (!/^[!-~]+$/.test(credential)) return 'That is neither a token nor an API key.';
    const { ok, wrong } = await ask('POST', COOKIE, undefined, { Authorization: `Bearer ${credential}` });
    if (!ok) return wrong;
    const missed = await this.load();
    return missed || (this.isKnown ? '' : 'The browser did not keep the cookie.');
  }

  async signOut() {
    const { wrong = '' } = await ask('DELETE', COOKIE);
    return wrong;
  }
}
