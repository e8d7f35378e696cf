import { noun, quoted } from './words.js';

/** More names than this are told as a number: nobody wants a hundred read out. */
const NAMED = 3;

/** Who came and went since it was last told, netted, for those who hear the page. */
export class News {
  #came = new Set();
  #left = new Set();

  came(user) {
    note(user, this.#came, this.#left);
  }

  left(user) {
    note(user, this.#left, this.#came);
  }

  clear() {
    this.#came.clear();
    this.#left.clear();
  }

  /** One sentence about all of it, or '' when it came to nothing. */
  take(count) {
    const said = [told(this.#came, 'came'), told(this.#left, 'left')].filter(Boolean);
    this.clear();
    return said.length ? `${said.join('; ')}. ${count} ${noun(count)} here.` : '';
  }
}

function note(user, to, other) {
  if (!other.delete(user)) to.add(user);
}

function told(users, did) {
  if (users.size > NAMED) return `${users.size} ${did}`;
  return users.size ? `${[...users].map(quoted).join(', ')} ${did}` : '';
}
