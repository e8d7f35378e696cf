import { ask } from './api.js';
import { regularly, throttled } from './pace.js';
import { visible } from './names.js';
import { put } from './row.js';
import { number, roomsNote } from './words.js';

const POLL_MS = 2_000;
/** Between two questions while somebody types. */
const TYPING_MS = 300;
/** Rooms in the list at first, and with each "Show more": the others are found by the beginning of their name. */
const LISTED = 200;
/** More rows than this nobody scrolls through. */
const MOST = 2_000;

export const roomAddress = (room) => `users?room=${encodeURIComponent(room)}`;

/** The rooms there are, with their counts; the open one is kept in the list, whether it is there or not. */
export class Rooms {
  #list;
  #note;
  #field;
  #order;
  #more;
  #open;
  /** The room where this tab is, whichever is looked at. */
  #home = '';
  #rooms;
  #listed = LISTED;
  /** Of all rooms that the list is of; null is not known yet. */
  #total = null;
  /** What the list begins with. With few rooms, the page has them all, and finds a text anywhere in their names. */
  #prefix = '';
  #many = false;
  #poll;

  /** The page came with the room `open` and its `count`; `go(room)` opens another. */
  constructor({ list, note, form, field, order, more, open, count, go }) {
    this.#list = list;
    this.#note = note;
    this.#field = field;
    this.#order = order;
    this.#more = more;
    this.#open = { room: open, count };
    this.#rooms = Array.from(list.querySelectorAll('a'), served);
    list.addEventListener('click', (event) => this.#clicked(event, go));
    const look = throttled(() => this.#poll?.(), TYPING_MS);
    field.addEventListener('input', () => {
      this.#listed = LISTED;
      this.#draw();
      if (this.#many) look();
    });
    order.addEventListener('click', () => {
      order.setAttribute('aria-pressed', String(!this.#isByCount));
      list.scrollTo(0, 0);
      this.#poll();
    });
    more.addEventListener('click', () => {
      this.#listed += LISTED;
      this.#poll();
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const room = field.value;
      field.value = '';
      if (this.#prefix) look();
      go(room);
    });
    this.#poll = regularly(() => this.#fetch(), POLL_MS);
  }

  get #isByCount() {
    return this.#order.getAttribute('aria-pressed') === 'true';
  }

  /** Which room is open, and how many are in it; null is not known yet. */
  show(room, count) {
    const other = room !== this.#open.room;
    this.#open = { room, count };
    this.#draw();
    if (!other) return;
    this.#reveal();
    this.#poll();
  }

  /** Asks now: after a restart there are other rooms. */
  refresh() {
    this.#poll();
  }

  /** Where this tab is; '' is nowhere. */
  live(room) {
    if (room === this.#home) return;
    this.#home = room;
    this.#draw();
  }

  #reveal() {
    const { offsetLeft, offsetTop } = this.#list.querySelector('[aria-current]')?.parentElement ?? this.#list;
    this.#list.scrollTo(offsetLeft - 24, offsetTop - 24);
  }

  async #fetch() {
    const prefix = this.#many ? this.#field.value : '';
    const byCount = this.#isByCount;
    const order = byCount ? 'count' : 'name';
    const listed = this.#listed;
    const query = new URLSearchParams({ limit: listed, total: 1, order, prefix });
    const { ok, body } = await ask('GET', `api/rooms?${query}`);
    // An answer to an older question is of no use: the newer one's is on its way.
    if (byCount !== this.#isByCount || listed !== this.#listed || (this.#many && prefix !== this.#field.value)) return;
    this.#list.classList.toggle('stale', !ok);
    if (!ok) return;
    const first = !this.#total;
    this.#rooms = body.rooms;
    this.#total = body.total;
    this.#prefix = prefix;
    if (!prefix) this.#many = body.total.rooms > LISTED;
    this.#draw();
    if (first) this.#reveal();
    if (this.#many && prefix !== this.#field.value) this.#poll();
  }

  #draw() {
    const wanted = this.#field.value;
    const matches = ({ room }) =>
      this.#many ? room.startsWith(wanted) : room.toLowerCase().includes(wanted.toLowerCase());
    const shown = this.#all().filter(matches);
    const rows = new Map(Array.from(this.#list.children, (li) => [li.firstElementChild.dataset.room, li]));
    const written = ({ room, count }) =>
      write(rows.get(room) ?? line(), { room, count }, room === this.#open.room, room === this.#home);
    const lines = shown.map(written);
    this.#arrange(lines);
    const absent = wanted && !shown.some(({ room }) => room === wanted);
    put(this.#note, this.#total ? this.#about(absent) : '');
    this.#more.hidden = !this.#total || this.#total.rooms <= this.#listed || this.#listed >= MOST;
  }

  #about(absent) {
    return roomsNote({ total: this.#total, listed: this.#listed, largest: this.#isByCount, wanted: this.#prefix, absent });
  }

  /** Lines that stay are not touched, and so keep the focus. */
  #arrange(lines) {
    const staying = new Set(lines);
    const focused = this.#list.contains(document.activeElement);
    for (const li of [...this.#list.children]) if (!staying.has(li)) li.remove();
    lines.forEach((li, i) => this.#list.children[i] === li || this.#list.insertBefore(li, this.#list.children[i] ?? null));
    if (focused && !this.#list.contains(document.activeElement)) this.#field.focus();
  }

  /** The gateway's list, with what this page knows better of the open room. */
  #all() {
    const others = this.#rooms.filter(({ room }) => room !== this.#open.room);
    const at = this.#rooms.findIndex(({ room }) => room === this.#open.room);
    return others.toSpliced(at < 0 ? 0 : at, 0, this.#open);
  }

  #clicked(event, go) {
    const link = event.target.closest('a');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.dataset.room);
  }
}

function line() {
  const li = document.createElement('li');
  const link = document.createElement('a');
  link.append(document.createElement('bdi'), ' ', document.createElement('span'));
  link.lastElementChild.className = 'number';
  li.append(link);
  return li;
}

/** A room as the page came with it. */
const served = (link) => ({ room: link.dataset.room, count: Number(link.querySelector('.number').textContent) });

function write(li, { room, count }, open, home) {
  const link = li.firstElementChild;
  if (link.dataset.room !== room) {
    link.dataset.room = room;
    link.href = roomAddress(room);
    link.title = room;
  }
  link.classList.toggle('home', home);
  put(link.firstElementChild, visible(room));
  put(link.lastElementChild, count === null ? '…' : number(count));
  if (open) link.setAttribute('aria-current', 'page');
  else link.removeAttribute('aria-current');
  return li;
}
