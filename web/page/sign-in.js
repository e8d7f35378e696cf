import { kept } from './kept.js';
import { put } from './row.js';
import { allowed, briefly } from './words.js';

/** Why this page was loaded again, for the page that comes then. */
const NOTICE = 'presently.notice';

const find = (id) => document.getElementById(id);

/** The token in the page's address, which is taken out of it at once: it belongs into no history and no log. */
function handedOver() {
  const [, token] = /^#(?:.*&)?token=([^&]*)/.exec(location.hash) ?? [];
  if (token === undefined) return '';
  history.replaceState(null, '', location.pathname + location.search);
  try {
    return decodeURIComponent(token);
  } catch {
    return token;
  }
}

/** The panel where people sign in with a token or API key, see what they may do, and sign out. */
export class SignIn {
  #access;
  #panel = find('access');
  #who = find('who');
  #field = find('credential');
  #notice = '';
  /** Whether the panel is all that there is of the room, so that it stays. */
  #stays = false;

  constructor(access) {
    this.#access = access;
    if (!this.#panel) return void handedOver();
    this.#who.addEventListener('click', () => this.#toggle());
    this.#panel.addEventListener('keydown', ({ key }) => key === 'Escape' && !this.#stays && this.#toggle(false));
    find('access-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#signIn(this.#field.value.trim());
    });
    this.#field.addEventListener('input', () => this.#say(''));
    find('end').addEventListener('click', () => this.#signOut());
    addEventListener('hashchange', () => this.#take());
    document.addEventListener('visibilitychange', () => document.hidden || this.check());
  }

  /** Takes a token that is handed over, and asks what may be done. */
  async begin() {
    const token = handedOver();
    if (!this.#panel) return;
    this.#notice = kept.get(NOTICE);
    kept.set(NOTICE, '');
    const wrong = token ? await this.#access.signIn(token) : await this.#access.load();
    if (token && wrong) await this.#access.load();
    if (token) this.#say(wrong);
    else this.#notice ||= wrong;
    this.#draw();
  }

  /** Shows what fits the room: without any right to it, how to get one. */
  enter(room) {
    if (!this.#panel) return;
    const { isKnown, sub } = this.#access;
    this.#stays = !this.#access.may('watch', room);
    const why = isKnown ? `${sub ?? 'This key'} may not see who is here.` : 'To see who is here, sign in.';
    put(find('access-note'), [this.#notice, this.#stays && why].filter(Boolean).join(' '));
    this.#who.hidden = this.#stays;
    this.#toggle(this.#stays || Boolean(this.#notice || find('access-wrong').textContent), false);
    this.#notice = '';
  }

  /** Asks anew what may be done. Where that is something else, the page begins anew. */
  async check() {
    const { mark } = this.#access;
    const wrong = await this.#access.load();
    if (mark !== this.#access.mark) this.#again(wrong);
  }

  async #take() {
    const token = handedOver();
    if (token) await this.#signIn(token);
  }

  async #signIn(credential) {
    const wrong = await this.#access.signIn(credential);
    this.#field.value = '';
    if (!wrong) return this.#again();
    this.#say(wrong);
    this.#toggle(true);
    return this.#field.focus();
  }

  async #signOut() {
    const wrong = await this.#access.signOut();
    if (wrong) this.#say(wrong);
    else this.#again('You are signed out.');
  }

  #again(notice = '') {
    if (notice) kept.set(NOTICE, notice);
    location.reload();
  }

  #toggle(open = this.#panel.hidden, moves = true) {
    this.#panel.hidden = !open;
    this.#who.setAttribute('aria-expanded', String(open));
    if (!moves) return;
    if (!open) this.#who.focus();
    else if (!this.#access.isKnown) this.#field.focus();
  }

  #draw() {
    const { isKnown, sub, until, grants, admin } = this.#access;
    put(this.#who, isKnown ? (sub ?? 'API key') : 'Sign in');
    this.#who.setAttribute('aria-label', isKnown ? `Signed in: ${sub ?? 'API key'}` : 'Sign in');
    find('access-form').hidden = isKnown;
    find('granted').hidden = !isKnown;
    put(find('access-title'), isKnown ? (sub ? `Signed in as ${sub}` : 'Signed in with an API key') : 'Sign in');
    put(find('until'), until ? `Until ${briefly(until, Date.now())}.` : '');
    find('grants').replaceChildren(...allowed(grants, admin).map(([name, can]) => grant(name, can)));
  }

  #say(wrong) {
    put(find('access-wrong'), wrong);
    if (wrong) this.#field.setAttribute('aria-invalid', 'true');
    else this.#field.removeAttribute('aria-invalid');
  }
}

function grant(name, can) {
  const [row, term, text] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
  const bdi = document.createElement('bdi');
  bdi.textContent = name;
  term.append(bdi);
  text.textContent = can;
  row.append(term, text);
  return row;
}
