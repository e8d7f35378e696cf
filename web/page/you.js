import { setSaid, signIn, withStatus } from './api.js';
import { kept } from './kept.js';
import { visible } from './names.js';
import { roomAddress } from './rooms.js';
import { paint, put } from './row.js';
import { TERMS, ended, quoted } from './words.js';

/** Who this tab is, where, and what it says: kept for a reload, and each tab's own. */
const NAME = 'presently.me';
const PLACE = 'presently.in';
const SAID = 'presently.said';

const find = (id) => document.getElementById(id);

/**
 * The card where people sign somebody in, are here themselves, and say how they are. Where one is stays the room that one
 * chose, whichever rooms one looks at: `home` is it, followed by a `Room` of its own while another one is open.
 */
export class You {
  /** The room that is looked at, and the room where this tab is, if it is somewhere. */
  #shown = null;
  #home = null;
  #access;
  #to;
  #form = find('sign-in');
  #field = find('user');

  /**
   * `to.signedIn(user)` hears who was signed in; `to.follow(name)` makes a room; `to.moved(room)` hears of another home;
   * `to.go(room)` opens one.
   */
  constructor(access, to) {
    this.#access = access;
    this.#to = to;
    for (const [text, seconds] of TERMS) find('term').add(new Option(text, seconds));
    this.#form.addEventListener('submit', (event) => this.#submit(event));
    this.#field.addEventListener('input', () => this.#say(''));
    find('join').addEventListener('click', () => this.#form.reportValidity() && this.#join(this.#field.value));
    find('join-self').addEventListener('click', () => this.#join(access.sub));
    find('move').addEventListener('click', () => this.#join(this.me));
    find('leave').addEventListener('click', () => this.#leave());
    find('home').addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.#to.go(this.home);
    });
    find('status').addEventListener('submit', (event) => this.#status(event));
    find('status-field').addEventListener('input', () => put(find('status-note'), ''));
  }

  /** Who this tab is, if it is anybody; and the name of the room where it is. */
  get me() {
    return this.home ? kept.get(NAME) : '';
  }

  get home() {
    return kept.get(PLACE);
  }

  /** Whether this tab holds somebody. */
  get holds() {
    return Boolean(this.#home?.holding);
  }

  /** The `Room` of `name`, if this tab is there. */
  at(name) {
    return this.#home?.name === name ? this.#home : null;
  }

  /** Whom a room of this name is to hold from its beginning. */
  whoIn(name) {
    return name === this.home && this.#access.mayBe(name, this.me) ? this.me : '';
  }

  /** What is to be said of them there: a reload takes nothing back. */
  wordIn(name) {
    return this.whoIn(name) && kept.get(SAID) ? JSON.parse(kept.get(SAID)) : undefined;
  }

  /** Another room is looked at; whoever this tab holds stays where they are. */
  enter(room) {
    const before = this.#shown;
    this.#shown = room;
    if (before && before !== room && before !== this.#home) before.close();
    if (room && room.name === this.home) this.#settle(room);
    else if (this.home && !this.#home && this.whoIn(this.home)) this.#settle(this.#to.follow(this.home));
    this.draw();
  }

  #settle(room) {
    if (this.#home === room) return;
    this.#home = room;
    room.addEventListener('state', () => this.#home === room && this.draw());
  }

  /** Shows whether, where and how this tab holds somebody. */
  draw() {
    const { sub } = this.#access;
    const me = this.#home ? this.me : '';
    const isHere = Boolean(me) && this.#home === this.#shown;
    find('me').hidden = find('status').hidden = !me;
    find('elsewhere').hidden = !me || isHere;
    find('move').hidden = !this.#shown || !this.#access.mayBe(this.#shown.name, me);
    find('join').hidden = find('sign-in-hint').hidden = Boolean(me || sub);
    find('as-self').hidden = !sub || Boolean(me);
    put(find('join-self'), `Join as ${sub}`);
    put(find('user-label'), me ? 'Sign somebody else in' : 'Name');
    this.#to.moved(me ? this.home : '');
    if (me) this.#draw(me, isHere);
  }

  #draw(me, isHere) {
    const { as, holding, refusal, state, ended: end } = this.#home;
    paint(find('me').querySelector('.avatar'), me);
    put(find('me').querySelector('.name'), visible(me));
    const where = isHere ? 'Here' : `In ${quoted(visible(this.home))}`;
    const over = end || !refusal ? ended(end?.reason) : refusal.message;
    put(find('me-note'), holding ? `${where} while this tab is open` : as ? joining(state) : over);
    put(find('leave'), as ? 'Leave' : 'Forget me');
    put(find('home'), `To ${visible(this.home)}`);
    find('home').href = roomAddress(this.home);
  }

  async #submit(event) {
    event.preventDefault();
    const user = this.#field.value;
    const wrong = await signIn(this.#shown.name, user, Number(find('term').value));
    this.#say(wrong || `${quoted(user)} is signed in.`, wrong);
    if (this.#form.contains(document.activeElement)) this.#field.focus();
    if (wrong) return;
    if (this.#field.value === user) this.#field.value = ''; // the next name may be half typed
    this.#to.signedIn(user);
  }

  /** Is `user` in the room that is looked at, and nowhere else. */
  #join(user) {
    const left = this.#home;
    try {
      this.#shown.join(user).catch(() => {}); // the card says what came of it
    } catch (error) {
      return this.#say(error.message, true); // that is no name
    }
    this.#field.value = '';
    this.#say('');
    if (left !== this.#shown) this.#quit(left);
    kept.set(NAME, user);
    kept.set(PLACE, this.#shown.name);
    this.#settle(this.#shown);
    this.draw();
    find('leave').focus();
  }

  #leave() {
    this.#quit(this.#home);
    this.draw();
    find(this.#access.sub ? 'join-self' : 'user').focus();
  }

  #quit(left) {
    this.#home = null;
    kept.set(NAME, '');
    kept.set(PLACE, '');
    kept.set(SAID, '');
    left?.leave();
    if (left !== this.#shown) left?.close();
  }

  async #status(event) {
    event.preventDefault();
    const status = find('status-field').value.trim();
    const wrong = this.#home ? await this.#set(status) : 'You are not here.';
    const note = find('status-note');
    note.classList.toggle('wrong', Boolean(wrong));
    put(note, wrong || 'Set.');
  }

  /** The tab says it by its own hold, so that it ends with the tab. */
  async #set(status) {
    const member = this.#home.members.get(this.me);
    if (!member) return 'You are not here.';
    const meta = withStatus(member.meta, status);
    if (!this.holds) return setSaid(this.home, this.me, 'meta', JSON.stringify(meta));
    try {
      await this.#home.update(meta);
      kept.set(SAID, JSON.stringify(meta));
      return '';
    } catch (error) {
      return error.message;
    }
  }

  #say(text, wrong = '') {
    const note = find('sign-in-note');
    note.classList.toggle('wrong', Boolean(wrong));
    put(note, text);
    if (wrong) this.#field.setAttribute('aria-invalid', 'true');
    else this.#field.removeAttribute('aria-invalid');
  }
}

const joining = (state) => (state === 'live' ? 'Joining…' : 'Joins as soon as the gateway is there');
