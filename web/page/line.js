import { put } from './row.js';
import { banner, status } from './words.js';

const find = (id) => document.getElementById(id);

/** Shows how the connection is: live, on its way, lost and when it is tried again, or refused. */
export class Line {
  #page;
  #room = null;
  #lost = 0;
  #was = '';

  constructor(page) {
    this.#page = page;
    find('retry').addEventListener('click', () => this.#room.retry());
    setInterval(() => this.#room && this.#tick(), 1_000);
  }

  /** There is no room to follow. */
  rest() {
    this.#room = null;
    this.#page.dataset.state = document.body.dataset.state = '';
    for (const id of ['state', 'countdown', 'banner']) put(find(id), '');
    find('retry').hidden = true;
  }

  follow(room) {
    if (room !== this.#room) {
      this.#lost = 0;
      this.#was = '';
    }
    this.#room = room;
    const { state } = room;
    if (state === 'live') this.#lost = 0;
    else if (this.#was === 'live' || state === 'waiting') this.#lost ||= Date.now();
    this.#was = state;
    // On the way again after it was lost: to people that is one and the same.
    const shown = state === 'connecting' && this.#lost ? 'waiting' : state;
    this.#page.dataset.state = document.body.dataset.state = shown;
    put(find('state'), status(shown));
    find('retry').hidden = !['waiting', 'refused'].includes(state);
    this.#tick();
  }

  #tick() {
    const { state, retryAt, refusal, cursor, fresh } = this.#room;
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    put(find('countdown'), state === 'waiting' && seconds > 1 ? `in ${seconds} s` : '');
    put(find('banner'), banner({ state, refusal, lost: this.#lost, now: Date.now(), known: Boolean(cursor), fresh }));
  }
}
