import { ask, endHold, lease, memberPath, setSaid } from './api.js';
import { readExactly } from './exactly.js';
import { Holds, summary } from './holds.js';
import { put } from './row.js';
import { Table } from './table.js';
import { TERMS, when } from './words.js';

/** Holds come and go without events. */
const ASK_MS = 5_000;
const TICK_MS = 1_000;

/**
 * What an open row shows of its member: since when, what holds them, all that is said of them; and what may be done
 * about it.
 */
export class Details {
  #room;
  #user;
  #known;
  #element;
  #holds;
  #tables = {};
  #asked = 0;
  #timers;

  /**
   * `known(user)` is the member as they are now. `may` says what this page may: `change` them, and set `info`.
   * `out(user, reason, holds)` signs out.
   */
  constructor(blank, { room, user, known, may, out }) {
    this.#room = room;
    this.#user = user;
    this.#known = known;
    this.#element = blank.content.firstElementChild.cloneNode(true);
    const end = (name) => this.#do(endHold(room, user, name), 'Ended.');
    this.#holds = new Holds(this.#find('.holds'), may.info ? end : null);
    for (const [of, mayIt] of [['meta', may.change], ['info', may.info]]) {
      const save = mayIt && ((json) => this.#save(of, json));
      this.#tables[of] = new Table(this.#find(`[data-of=${of}]`), { save, say: (text, wrong) => this.#say(text, wrong) });
    }
    this.#acts(may, out);
    this.#timers = [
      setInterval(() => document.hidden || this.#ask(), ASK_MS),
      setInterval(() => document.hidden || this.#holds.tick(Date.now()), TICK_MS),
    ];
    this.update();
  }

  get element() {
    return this.#element;
  }

  get user() {
    return this.#user;
  }

  close() {
    this.#timers.forEach(clearInterval);
    this.#asked = Infinity;
  }

  /** Shows what is known now, and asks what is not. */
  update() {
    const member = this.#known(this.#user);
    if (!member) return;
    put(this.#find('.since'), `Here since ${when(member.joined)}`);
    this.#ask();
  }

  #acts(may, out) {
    const form = this.#find('.lease');
    form.hidden = !may.change;
    const terms = form.querySelector('select');
    for (const [text, seconds] of TERMS.slice(1)) terms.add(new Option(text, seconds));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#do(lease(this.#room, this.#user, Number(terms.value)), 'Set.');
    });
    const kick = this.#find('[data-act=kick]');
    kick.hidden = !may.info;
    kick.addEventListener('click', () => out(this.#user, 'kicked', summary(this.#holds.all)));
    this.#find('[data-act=out]').addEventListener('click', () => out(this.#user, '', summary(this.#holds.all)));
  }

  /** The latest answer counts, in whatever order they come. */
  async #ask() {
    const asked = ++this.#asked;
    const { ok, text, wrong } = await ask('GET', memberPath(this.#room, this.#user));
    if (asked !== this.#asked) return;
    if (!ok) return this.#say(wrong, true);
    const { holds, patch, meta, info } = readExactly(text);
    // Only who manages the room is told of the holds.
    this.#find('.holds').hidden = this.#find('h3').hidden = !holds;
    this.#holds.show(holds ?? [], patch);
    this.#tables.meta.show(meta);
    this.#tables.info.show(info ?? {});
  }

  async #save(of, json) {
    const wrong = await setSaid(this.#room, this.#user, of, json);
    if (!wrong) this.#ask();
    return wrong;
  }

  async #do(doing, done) {
    const wrong = await doing;
    this.#say(wrong || done, Boolean(wrong));
    this.#ask();
  }

  #say(text, wrong = false) {
    const note = this.#find('.said');
    note.classList.toggle('wrong', wrong);
    put(note, text);
  }

  #find(css) {
    return this.#element.querySelector(css);
  }
}
