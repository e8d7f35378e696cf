import { Room } from './presently.js';

/** On a server there are no elements: importing this file there does nothing. */
const Base = globalThis.HTMLElement ?? class {};

/** Attributes that another Room is made for. The properties of the same names are the attributes. */
const OPTIONS = ['room', 'as', 'user', 'url'];

const REFLECTED = [...OPTIONS, 'limit', 'max'];

/** Why others ended a hold, in words. */
const ENDED = { kicked: 'removed' };

/** Numbers stay as they were written, where the browser can: 9007199254740993 is no number of JavaScript's. */
function exact(_key, value, context) {
  const lost = typeof value === 'number' && context?.source && String(value) !== context.source;
  return lost && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

/** What the elements have in common: a Room made of the attributes, see element.d.ts. */
export class PresenceElement extends Base {
  static observedAttributes = [...REFLECTED, 'meta'];

  presence = null;
  #token = undefined;
  /** What the Room was made of. */
  #made = { key: '', token: undefined };
  /** The attribute `meta` as it was judged last, and what it says: null where it says nothing. */
  #text = '';
  #meta = null;
  #complained = false;
  #due = false;

  /** Another element may share its token's connection, so tokens are compared by identity. */
  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
    if (this.isConnected) this.#settle();
  }

  get meta() {
    return this.#meta && JSON.parse(JSON.stringify(this.#meta));
  }

  set meta(meta) {
    reflect(this, 'meta', typeof meta === 'object' && meta ? JSON.stringify(meta) : meta);
  }

  connectedCallback() {
    for (const name of [...PresenceElement.observedAttributes, 'token']) this.#upgrade(name);
    this.#settle();
  }

  /** Moved within the document it is still there: leaving would be seen by everybody. */
  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.#settle());
  }

  /** Once for all attributes that change together. */
  attributeChangedCallback(_name, before, now) {
    if (before === now || !this.isConnected || this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#settle();
    });
  }

  /** What was set before this class was there hides what belongs to the class. */
  #upgrade(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  /** Brings the Room to what the attributes say now. */
  #settle() {
    const said = this.#judge();
    const [room, as, user, url] = OPTIONS.map((name) => this.getAttribute(name) || undefined);
    const token = this.#token;
    const waits = user && token === undefined;
    const key = this.isConnected && room && !waits ? JSON.stringify([room, as, user, url]) : '';
    const made = this.#made;
    this.#made = { key, token };
    const meta = this.#meta ?? undefined;
    if (key !== made.key || (key && this.#replaced(made.token, user || as))) {
      // Where nobody is named, rooms share a connection by the token's identity.
      const asked = typeof token === 'function' && (user || as) ? () => this.#token() : token;
      this.#renew(key && room, { as, user, url, token: asked, meta });
    } else if (said && this.presence?.as) this.#try(() => this.presence.update(meta ?? {}));
    this.#draw();
  }

  /** Whether the Room needs to be shown another token. A function of a known user is only asked the next time. */
  #replaced(before, named) {
    const token = this.#token;
    if (token === before) return false;
    if (!named || typeof token !== 'function' || typeof before !== 'function') return true;
    if (this.presence?.state === 'refused') this.presence.retry();
    return false;
  }

  /** The new hold is there before the old one leaves, so that nobody sees one who stays flicker. */
  #renew(room, options) {
    const before = this.presence;
    this.presence = null;
    if (room) this.#try(() => this.#open(new Room(room, options)));
    before?.close();
  }

  #open(presence) {
    this.presence = presence;
    const ours = (work) => () => this.presence === presence && work();
    presence.addEventListener('change', ours(() => this.#draw()));
    presence.addEventListener('state', ours(() => this.#show()));
  }

  /** A callback of an element has no caller who could catch what Room throws: it shows as a refusal does. */
  #try(work) {
    try {
      work();
    } catch (error) {
      console.error(`${this.localName}:`, error);
      if (!this.presence) this.told('refused', error.message, 0);
    }
  }

  /** Whether `meta` says something else. Half-typed JSON says nothing: what was said before stays. */
  #judge() {
    const text = this.getAttribute('meta') ?? '';
    if (text === this.#text) return false;
    this.#text = text;
    try {
      const meta = text ? JSON.parse(text, exact) : null;
      if (typeof meta !== 'object' || Array.isArray(meta)) throw new TypeError('it is no object');
      this.#meta = meta;
      return true;
    } catch (error) {
      if (!this.#complained) console.error(`${this.localName}: meta is not JSON: ${error.message}: ${text}`);
      this.#complained = true;
      return false;
    }
  }

  #draw() {
    this.drawn(this.presence);
    if (this.presence || !this.#made.key) this.#show();
    this.dispatchEvent(new CustomEvent('change'));
  }

  #show() {
    const { state = '', refusal, ended, count = 0 } = this.presence ?? {};
    const why = refusal?.message ?? (ended && `${ended.user} was ${ENDED[ended.reason] ?? 'signed out'} by others.`) ?? '';
    const texts = { connecting: 'Connecting …', live: why, waiting: 'Offline, trying again …', refused: why || 'Refused' };
    this.told(state, texts[state] ?? '', count);
  }

  /** Draws the members of a Room, or nobody. */
  drawn() {}

  /** Shows the state, and what it says to people. */
  told(state) {
    reflect(this, 'state', state || null);
  }
}

for (const name of REFLECTED) {
  Object.defineProperty(PresenceElement.prototype, name, {
    configurable: true,
    enumerable: true,
    get() {
      return this.getAttribute(name) ?? '';
    },
    set(value) {
      reflect(this, name, value);
    },
  });
}

function reflect(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** An attribute that has a whole number. */
export function whole(text, otherwise, most) {
  return Math.min(/^\d+$/.test(text) ? Number(text) : otherwise, most);
}

/** A second copy of this file leaves the elements to the first. */
export function define(name, element) {
  const { customElements } = globalThis;
  if (customElements && !customElements.get(name)) customElements.define(name, element);
}
