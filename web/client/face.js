/** What a member is called: what the backend says comes first, since members can't set it. */
export function nameOf({ user, meta, info }) {
  return [info?.name, meta?.name].find((name) => typeof name === 'string' && name.trim()) ?? user;
}

export function make(tag, part) {
  const element = document.createElement(tag);
  if (part) element.setAttribute('part', part);
  return element;
}

/** The first letters of the first and the last word; of a name without letters, what it begins with. */
function initials(name) {
  const words = name.normalize().match(/(?<![\p{L}\p{M}\p{N}'’])\p{L}\p{M}*/gu) ?? [name.trim()];
  const shown = words.length > 1 ? [words[0], words.at(-1)] : words;
  return shown.map((word) => [...word][0]).join('').toLocaleUpperCase();
}

/** A colour for a user, everywhere the same. */
const hue = (user) => [...user].reduce((hash, letter) => (hash * 31 + letter.codePointAt(0)) % 3_600, 7) % 360;

/**
 * The address of a member's picture, or ''. A member's own word may not name the page's origin: each reader's browser would ask
 * there with the reader's rights, and not every address there is a picture.
 */
function pictureOf({ meta, info }) {
  const { baseURI } = document;
  const address = (text) => typeof text === 'string' && URL.canParse(text, baseURI) && new URL(text, baseURI);
  const own = ({ origin, protocol }) => origin === location.origin && protocol.startsWith('http');
  const [given, said] = [address(info?.avatar), address(meta?.avatar)];
  if (given && (own(given) || given.protocol === 'https:')) return given.href;
  return said && !own(said) && said.protocol === 'https:' ? said.href : '';
}

/** A member's face: a picture, and initials on a colour where there is none. */
export class Face {
  element = make('span', 'avatar');
  #letters = make('span', 'initials');
  #address = '';

  constructor() {
    this.element.setAttribute('aria-hidden', 'true');
    this.element.append(this.#letters);
  }

  show(member) {
    this.#letters.textContent = initials(nameOf(member));
    // By script, which strict pages allow, and not as an attribute.
    this.element.style.setProperty('--hue', hue(member.user));
    const address = pictureOf(member);
    if (address === this.#address) return;
    this.#address = address;
    this.element.querySelector('img')?.remove();
    if (address) this.element.append(picture(address));
  }
}

/** It covers the initials, which stay where it cannot be loaded. */
function picture(address) {
  const image = Object.assign(make('img', 'picture'), { alt: '', decoding: 'async', referrerPolicy: 'no-referrer' });
  image.addEventListener('error', () => image.remove());
  image.src = address;
  return image;
}

/** What every element wears. A sheet of this kind is no inline style, which strict pages forbid. */
const FACE_STYLE = `
  :host([hidden]), [hidden], p:empty, span:empty { display: none !important; }
  [part~=avatar] {
    --size: var(--presently-avatar-size, 2em);
    position: relative; display: inline-grid; place-items: center; flex: none; box-sizing: border-box; overflow: hidden;
    inline-size: var(--size); block-size: var(--size); border-radius: var(--presently-avatar-radius, 50%);
    color: #fff; background: hsl(var(--hue, 220) 50% 30%); user-select: none;
  }
  [part~=initials] { font: 600 calc(var(--size) * .38) / 1 system-ui, sans-serif; }
  [part~=picture] { position: absolute; inset: 0; inline-size: 100%; block-size: 100%; object-fit: cover; }
  @media (forced-colors: active) { [part~=avatar] { border: 1px solid CanvasText; } }
`;

/** Gives an element its shadow, and a style that pages change by its parts and custom properties. */
export function dress(element, style) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(FACE_STYLE + style);
  const root = element.attachShadow({ mode: 'open' });
  root.adoptedStyleSheets = [sheet];
  return root;
}
