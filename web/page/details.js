import { ask, memberPath, setStatus } from './api.js';
import { put } from './row.js';
import { held, when } from './words.js';

/** What an open row shows of its member: since when, over what they are held, all that is said of them, their status. */
export class Details {
  #room;
  #user;
  #known;
  #element;
  #asked = 0;

  /** `known(user)` is the member as they are now. */
  constructor(blank, room, user, known) {
    this.#room = room;
    this.#user = user;
    this.#known = known;
    this.#element = blank.content.firstElementChild.cloneNode(true);
    const form = this.#element.querySelector('form');
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#set(form.querySelector('input').value.trim());
    });
    form.querySelector('input').value = known(user)?.meta.status ?? '';
    this.update();
  }

  get element() {
    return this.#element;
  }

  get user() {
    return this.#user;
  }

  /** Shows what is known now, and asks what is not. */
  update() {
    const member = this.#known(this.#user);
    if (!member) return;
    put(this.#find('.since'), when(member.joined));
    put(this.#find('.said code'), JSON.stringify(member.meta));
    this.#find('.said').hidden = Object.keys(member.meta).length === 0;
    put(this.#find('.info code'), JSON.stringify(member.info));
    this.#find('.info').hidden = Object.keys(member.info).length === 0;
    this.#ask();
  }

  /** The latest answer counts, in whatever order they come. */
  async #ask() {
    const asked = ++this.#asked;
    const { ok, body, wrong } = await ask('GET', memberPath(this.#room, this.#user));
    if (asked !== this.#asked) return;
    // Only who manages the room is told.
    this.#find('.holds').parentElement.hidden = ok && !body.holds;
    put(this.#find('.holds'), ok ? held(body.holds ?? []) || 'nothing that this page knows' : wrong);
  }

  async #set(status) {
    const member = this.#known(this.#user);
    const wrong = member ? await setStatus(this.#room, member, status) : `${this.#user} has left.`;
    const note = this.#element.querySelector('.note');
    note.classList.toggle('wrong', Boolean(wrong));
    put(note, wrong || 'Set.');
  }

  #find(css) {
    return this.#element.querySelector(css);
  }
}
