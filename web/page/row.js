import { visible } from './names.js';
import { ago, colour, initial, quoted, when } from './words.js';

/** One member's `<li>`. It is written anew only when its member is another. */
export class Row {
  member = null;
  index = -1;
  #placed = '';

  constructor(blank) {
    this.li = blank.content.firstElementChild.cloneNode(true);
    this.open = this.li.querySelector('.open');
    this.out = this.li.querySelector('.out');
    this.time = this.li.querySelector('time');
  }

  write(member) {
    if (this.member === member) return;
    this.member = member;
    this.li.dataset.user = member.user;
    paint(this.li.querySelector('.avatar'), member.user);
    const name = this.li.querySelector('.name');
    put(name, visible(member.user));
    name.title = member.user;
    const meta = this.li.querySelector('.meta');
    put(meta, said(member.meta));
    meta.classList.toggle('words', isWords(member.meta));
    this.out.value = member.user;
    this.out.setAttribute('aria-label', `Sign out ${quoted(member.user)}`);
    this.time.dateTime = member.joined;
    this.time.title = when(member.joined);
    this.age(Date.now());
  }

  /** Which of how many it is, and where. */
  place(index, count, top) {
    const placed = `${index} ${count} ${top}`;
    if (placed === this.#placed) return;
    this.#placed = placed;
    this.index = index;
    this.li.setAttribute('aria-posinset', index + 1);
    this.li.setAttribute('aria-setsize', count);
    this.li.style.transform = `translateY(${top}px)`;
  }

  /** Whether Tab stops here: at one row only, or 50,000 would lie between the list's two sides. */
  stop(here) {
    this.open.tabIndex = here ? 0 : -1;
    this.out.tabIndex = here ? 0 : -1;
  }

  age(now) {
    put(this.time, ago(this.time.dateTime, now));
  }

  /** Points it out. */
  light() {
    this.li.classList.remove('lit');
    void this.li.offsetWidth; // an animation starts again only after a layout without it
    this.li.classList.add('lit');
  }
}

/** Makes a circle a member's. */
export function paint(avatar, user) {
  avatar.className = `avatar ${colour(user)}`;
  put(avatar, initial(user));
}

/** What is said of a member, as a row shows it: a status alone in words, anything else as it is. */
export function said(meta) {
  if (isWords(meta)) return meta.status;
  return Object.keys(meta).length ? JSON.stringify(meta) : '';
}

const isWords = (meta) => typeof meta.status === 'string' && Object.keys(meta).length === 1;

/** Text that is already there is left alone: replacing it would drop the reader's selection. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
