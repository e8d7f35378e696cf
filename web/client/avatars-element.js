import { Face, dress, make, nameOf } from './face.js';
import { PresenceElement, define, whole } from './presence-element.js';

/** The most faces of a stack: it is for a glance. */
const MOST_FACES = 20;

const AVATARS_STYLE = `
  :host { display: inline-block; vertical-align: middle; }
  div {
    --overlap: var(--presently-overlap, .35em); --size: var(--presently-avatar-size, 2em);
    display: inline-flex; align-items: center; padding-inline-start: var(--overlap);
  }
  div > * { margin-inline-start: calc(-1 * var(--overlap)); box-shadow: 0 0 0 2px var(--presently-ring, Canvas); }
  [part~=more] {
    display: inline-grid; place-items: center; box-sizing: border-box; padding-inline: .4em; border-radius: 100vmax;
    min-inline-size: var(--size); block-size: var(--size);
    color: var(--presently-more-color, CanvasText);
    background: var(--presently-more-background, color-mix(in srgb, CanvasText 12%, Canvas));
  }
  [part~=more] span { font: 600 calc(var(--size) * .36) / 1 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
  :host([state=waiting]) div { opacity: .6; }
  @media (forced-colors: active) { [part~=more] { border: 1px solid CanvasText; } }
  @media (prefers-reduced-motion: no-preference) {
    [part~=avatar] { animation: come .2s; }
    div { transition: opacity .2s; }
    @keyframes come { from { opacity: 0; transform: scale(.6); } }
  }
`;

/** `<presently-avatars>`: a stack of faces of who is in a room, see element.d.ts. */
export class PresentlyAvatars extends PresenceElement {
  #faces = new Map();
  #stack = make('div', 'stack');
  #more = make('span', 'more');
  #number = make('span');
  #names = [];

  constructor() {
    super();
    // One picture with one name: a list of faces would be read letter by letter.
    this.#stack.setAttribute('role', 'img');
    this.#stack.append(this.#more);
    this.#more.append(this.#number);
    dress(this, AVATARS_STYLE).append(this.#stack);
  }

  /** Who came first stays first: a newcomer moves nobody. */
  drawn(presence) {
    const members = presence ? earliest(presence.members.values(), whole(this.max, 5, MOST_FACES)) : [];
    const users = new Set(members.map(({ user }) => user));
    for (const [user, face] of this.#faces) {
      if (users.has(user)) continue;
      face.element.remove();
      this.#faces.delete(user);
    }
    let at = this.#stack.firstElementChild;
    for (const member of members) {
      const { element } = this.#face(member);
      if (element === at) at = at.nextElementSibling;
      else this.#stack.insertBefore(element, at);
    }
    const more = (presence?.count ?? 0) - members.length;
    this.#number.textContent = `+${more}`;
    this.#more.hidden = more <= 0;
    this.#names = members.map(nameOf);
  }

  told(state, text, count) {
    super.told(state);
    const others = count - this.#names.length;
    const all = [...this.#names, ...(others > 0 ? [others === 1 ? '1 other' : `${others} others`] : [])];
    const names = all.length > 1 ? `${all.slice(0, -1).join(', ')} and ${all.at(-1)}` : (all[0] ?? 'Nobody');
    const here = `${names} ${count > 1 ? 'are' : 'is'} here`;
    this.#stack.setAttribute('aria-label', state === 'live' ? here : [count ? here : '', text].filter(Boolean).join('. '));
  }

  #face(member) {
    const face = this.#faces.get(member.user) ?? new Face();
    this.#faces.set(member.user, face);
    if (face.member === member) return face;
    face.member = member;
    face.show(member);
    face.element.title = nameOf(member);
    return face;
  }
}

/** The first who came, in order; of the same second, as they are known. */
function earliest(members, most) {
  const before = (one, other) => one.joined < other.joined;
  const shown = [];
  for (const member of most ? members : []) {
    if (shown.length === most && !before(member, shown.at(-1))) continue;
    let at = shown.length;
    while (at > 0 && before(member, shown[at - 1])) at -= 1;
    shown.splice(at, 0, member);
    if (shown.length > most) shown.pop();
  }
  return shown;
}

define('presently-avatars', PresentlyAvatars);
