import { Room } from './presently.js';

/**
 * `<presently-room room="lobby" as="ann" user="ann" meta='{"status":"here"}' limit="100" url="…">`: who is in a room, for
 * pages without a script of their own.
 *
 * Its property `token` is that option of Room, and no attribute: documents are no place for secrets. An element with `user`
 * waits for it.
 *
 * Style it by `::part(list)`, `member`, `me`, `name`, `meta`, `more`, `state`, and by its attribute
 * `state="connecting|live|waiting|refused"`. What stands in its slot `empty` shows while nobody is there. Its
 * `presence` is the Room behind it, and it tells `change`.
 */
class PresentlyRoom extends HTMLElement {
  static observedAttributes = ['room', 'as', 'user', 'meta', 'limit', 'url'];

  /** The Room that is shown; null outside of a document. */
  presence = null;
  #token = undefined;
  #rows = new Map();
  #list = make('ul', 'list');
  #more = make('p', 'more');
  #state = make('p', 'state');
  #empty = document.createElement('slot');

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [sheet];
    this.#state.setAttribute('role', 'status');
    this.#empty.name = 'empty';
    this.#empty.textContent = 'Nobody is here yet.';
    root.append(this.#list, this.#more, this.#empty, this.#state);
  }

  get token() {
    return this.#token;
  }

  set token(token) {
    if (token === this.#token) return;
    this.#token = token;
    if (this.presence) this.#reopen();
    else if (this.isConnected) this.#open();
  }

  connectedCallback() {
    this.#upgrade();
    this.#open();
  }

  /** Moved within the document it is still there: leaving would be seen by everybody. */
  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.#close());
  }

  attributeChangedCallback(name, before, now) {
    if (!this.presence || before === now) return;
    if (name === 'limit') this.#draw();
    else if (name === 'meta' && this.presence.as) this.presence.update(this.#meta() ?? {});
    else if (name !== 'meta') this.#reopen();
  }

  /** What was set before this class was there hides what belongs to the class. */
  #upgrade() {
    if (!Object.hasOwn(this, 'token')) return;
    const { token } = this;
    delete this.token;
    this.token = token;
  }

  #open() {
    if (this.presence || !this.hasAttribute('room')) return;
    const option = (name) => this.getAttribute(name) || undefined;
    const { token } = this;
    if (option('user') && token === undefined) return;
    const options = { as: option('as'), user: option('user'), token, url: option('url'), meta: this.#meta() };
    this.presence = new Room(this.getAttribute('room'), options);
    this.presence.addEventListener('change', () => this.#draw());
    this.presence.addEventListener('state', () => this.#show());
    for (const row of this.#rows.values()) row.member = null; // another may be `me`
    this.#draw();
    this.#show();
  }

  #close() {
    this.presence?.close();
    this.presence = null;
  }

  /** The new hold is there before the old one leaves, so that nobody sees one who stays flicker. */
  #reopen() {
    const before = this.presence;
    this.presence = null;
    if (this.isConnected) this.#open();
    before.close();
  }

  #meta() {
    const text = this.getAttribute('meta');
    try {
      return text ? JSON.parse(text) : undefined;
    } catch {
      console.error('presently-room: meta is not JSON:', text);
      return undefined;
    }
  }

  #draw() {
    const { presence } = this;
    if (!presence) return;
    const limit = Number(this.getAttribute('limit') ?? 100);
    const members = first(presence.members.values(), limit);
    const shown = new Set(members.map(({ user }) => user));
    for (const [user, { li }] of this.#rows) {
      if (shown.has(user)) continue;
      li.remove();
      this.#rows.delete(user);
    }
    let at = this.#list.firstElementChild;
    for (const member of members) {
      const { li } = this.#row(member);
      if (li === at) at = at.nextElementSibling;
      else this.#list.insertBefore(li, at);
    }
    const more = presence.count - members.length;
    this.#more.textContent = more > 0 ? `and ${more} more` : '';
    this.#empty.hidden = presence.count > 0 || presence.state !== 'live';
    this.dispatchEvent(new CustomEvent('change'));
  }

  /** The row of a member, kept while they stay. */
  #row(member) {
    const row = this.#rows.get(member.user) ?? { li: document.createElement('li') };
    this.#rows.set(member.user, row);
    if (row.member === member) return row;
    row.member = member;
    const meta = JSON.stringify(member.meta);
    row.li.part = member.user === this.presence.as ? 'member me' : 'member';
    row.li.replaceChildren(make('bdi', 'name', member.user), make('span', 'meta', meta === '{}' ? '' : meta));
    return row;
  }

  #show() {
    const { state, refusal } = this.presence;
    const refused = refusal?.message ?? 'Refused';
    const texts = { connecting: 'Connecting …', live: '', waiting: 'Offline, trying again …', refused };
    this.setAttribute('state', state);
    this.#state.textContent = texts[state];
    this.#empty.hidden = this.presence.count > 0 || state !== 'live';
  }
}

/** The first of them by name. Sorting a crowd, of which few are shown, would take longer than a frame. */
function first(members, limit) {
  const shown = [];
  for (const member of members) {
    if (shown.length === limit && member.user > shown[limit - 1]?.user) continue;
    let at = shown.length;
    while (at > 0 && shown[at - 1].user > member.user) at -= 1;
    shown.splice(at, 0, member);
    if (shown.length > limit) shown.pop();
  }
  return shown;
}

function make(tag, part, text = '') {
  const element = document.createElement(tag);
  element.part = part;
  element.textContent = text;
  return element;
}

// A sheet of this kind is no inline style, which strict pages forbid.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: block; }
  :host([hidden]), [hidden], p:empty, span:empty { display: none; }
  ul { margin: 0; padding: 0; list-style: none; }
  p { margin: 0; }
  span { margin-inline-start: .5em; opacity: .7; }
`);

customElements.define('presently-room', PresentlyRoom);
