import { setStatus, signIn, withStatus } from './api.js';
import { paint, put } from './row.js';
import { quoted } from './words.js';

const KEY = 'presently.me';

/** Who this tab joins as: kept for a reload, and each tab's own. */
export const remembered = () => sessionStorage.getItem(KEY) ?? '';

const find = (id) => document.getElementById(id);

/** The card where people sign somebody in, join as themselves, and say how they are. */
export class You {
  #room = null;
  #access;
  #to;
  #form = find('sign-in');
  #field = find('user');

  /** `to.signedIn(user)` hears who was signed in; `to.member(user)` knows a member. */
  constructor(access, to) {
    this.#access = access;
    this.#to = to;
    this.#form.addEventListener('submit', (event) => this.#submit(event));
    this.#field.addEventListener('input', () => this.#say(''));
    find('join').addEventListener('click', () => this.#form.reportValidity() && this.#join(this.#field.value));
    find('join-self').addEventListener('click', () => this.#join(access.sub));
    find('leave').addEventListener('click', () => this.#leave());
    find('status').addEventListener('submit', (event) => this.#status(event));
    find('status-field').addEventListener('input', () => put(find('status-note'), ''));
  }

  /** Another room, which this tab moves to with whoever it holds. */
  enter(room) {
    this.#room = room;
    this.draw();
  }

  /** Shows whether and how this tab holds somebody. */
  draw() {
    const { as, holding, refusal, state } = this.#room;
    const { sub } = this.#access;
    const me = this.#me();
    find('me').hidden = find('status').hidden = !me;
    find('join').hidden = find('sign-in-hint').hidden = Boolean(me || sub);
    find('as-self').hidden = !sub || Boolean(me);
    put(find('join-self'), `Join as ${sub}`);
    put(find('user-label'), me ? 'Sign somebody else in' : 'Name');
    if (!me) return;
    paint(find('me').querySelector('.avatar'), me);
    put(find('me').querySelector('.name'), me);
    const note = holding ? 'Here while this tab is open' : as ? joining(state) : refusal?.message ?? 'Signed out by somebody';
    put(find('me-note'), note);
    put(find('leave'), as ? 'Leave' : 'Forget me');
  }

  /** Who this tab joins as, if it may. */
  #me() {
    const me = remembered();
    return this.#access.mayBe(this.#room.name, me) ? me : '';
  }

  async #submit(event) {
    event.preventDefault();
    const user = this.#field.value;
    const wrong = await signIn(this.#room.name, user);
    this.#say(wrong || `${quoted(user)} is signed in.`, wrong);
    if (this.#form.contains(document.activeElement)) this.#field.focus();
    if (wrong) return;
    if (this.#field.value === user) this.#field.value = ''; // the next name may be half typed
    this.#to.signedIn(user);
  }

  #join(user) {
    this.#field.value = '';
    this.#say('');
    sessionStorage.setItem(KEY, user);
    this.#room.join(user);
    this.draw();
    find('leave').focus();
  }

  #leave() {
    sessionStorage.removeItem(KEY);
    this.#room.leave();
    this.draw();
    find(this.#access.sub ? 'join-self' : 'user').focus();
  }

  async #status(event) {
    event.preventDefault();
    const member = this.#to.member(remembered());
    const wrong = member ? await this.#set(member, find('status-field').value.trim()) : 'You are not here.';
    const note = find('status-note');
    note.classList.toggle('wrong', Boolean(wrong));
    put(note, wrong || 'Set.');
  }

  /** Who may join says it by the connection, which needs no other right. */
  #set(member, status) {
    if (!this.#access.sub) return setStatus(this.#room.name, member, status);
    this.#room.update(withStatus(member.meta, status));
    return '';
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
