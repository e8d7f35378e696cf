import { OpenRow } from './open-row.js';
import { Row } from './row.js';
import { Span } from './span.js';

/** Up to so many members all have a row, which finding in the page and screen readers like best. */
const WHOLE = 500;
/** Rows that appear or move together and more than this many were not seen coming: they neither light up nor glide. */
const CALM = 12;
/** More rows than this do not glide: it would cost frames. */
const GLIDING = 120;

/**
 * The rows of `#users`, in the order of an `Order`: of a large room only those in view, and the one
 * with the focus. Each row stays the same element for as long as it is shown.
 */
export class RosterView {
  #list;
  #scroller;
  #blank;
  #order;
  #to;
  #rows = new Map();
  #span = new Span({ count: 0, row: 1 });
  #me = '';
  #own;
  /** Where Tab stops, and where that one last stood. */
  #active = '';
  #at = 0;
  #opened;
  /** Asked once for each size and not for each frame, which would have the browser lay out the page anew. */
  #view = 0;
  #row = 1;
  #resized = new ResizeObserver(() => this.#measure());

  /**
   * `own` is the user whom this page may sign out whatever else it may. `to.lost()` takes the focus when no row can;
   * `to.open(user)` makes what an open row shows, `to.closed()` ends it.
   */
  constructor({ list, scroller, blank, order, own, to }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#blank = blank;
    this.#order = order;
    this.#to = to;
    this.#own = own;
    this.#opened = new OpenRow(to, this.#resized);
    scroller.addEventListener('scroll', () => this.draw(), { passive: true });
    list.addEventListener('click', (event) => this.#clicked(event.target));
    list.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('focusin', (event) => this.#focused(event.target));
    this.#measureView();
    this.#resized.observe(scroller);
  }

  /** The members as the page came with them. */
  members() {
    return Array.from(this.#list.children, (li) => ({
      user: li.dataset.user,
      meta: JSON.parse(li.querySelector('.meta').textContent || '{}'),
      info: JSON.parse(li.dataset.info || '{}'),
      joined: li.querySelector('time').dateTime,
    }));
  }

  /** Brings the rows in line with the order, after `changes` changes, by which these `came`. */
  draw(changes = 0, came = []) {
    if (!this.#list.classList.contains('live')) {
      this.#list.replaceChildren();
      this.#list.classList.add('live');
    }
    const before = this.#scroller.scrollTop;
    const held = this.#anchor(before);
    const focus = this.#focus();
    this.#settle();
    this.#stretch();
    const y = this.#keep(held, before);
    const calm = changes <= CALM && y === before && this.#rows.size <= GLIDING;
    this.#list.classList.toggle('glide', calm);
    this.#lay(y);
    if (changes <= CALM) came.forEach((user) => this.#rows.get(user)?.li.classList.add('lit'));
    if (focus && !focus.isConnected) this.#refocus();
  }

  /** Another room's members: from the top, and nothing of the old ones. */
  clear() {
    this.#opened.close();
    this.#active = '';
    this.#rows.forEach((row) => row.li.remove());
    this.#rows.clear();
    this.#scroller.scrollTop = 0;
  }

  /** Points out a member who was asked for, whether new here or not. */
  light(user) {
    this.draw();
    const index = this.#order.indexOf(user);
    if (index < 0) return;
    this.#reveal(index);
    this.#rows.get(user)?.light();
  }

  /** Whose row is one's own. */
  mark(user) {
    this.#me = user;
    for (const [name, { li }] of this.#rows) li.classList.toggle('me', name === user);
  }

  /** Brings "2 min ago" up to date. */
  tick(now) {
    for (const row of this.#rows.values()) row.age(now);
  }

  /* Where rows are */

  /** What is in view and where, so that what comes or goes above does not move it. */
  #anchor(y) {
    if (y <= 0 || !this.#span.count) return [];
    const from = this.#span.at(y);
    const inView = [...this.#rows.values()].filter(({ index }) => index >= from).sort((a, b) => a.index - b.index);
    return inView.map(({ member, index }) => ({ user: member.user, off: this.#span.top(index) - y }));
  }

  /** Scrolls so that the first of `held` that is still there stays where it was; where the view is then. */
  #keep(held, before) {
    const bound = Math.max(0, this.#span.height - this.#view);
    const there = held.find(({ user }) => this.#order.indexOf(user) >= 0);
    const y = Math.min(there ? this.#span.top(this.#order.indexOf(there.user)) - there.off : before, bound);
    if (Math.abs(y - before) < 1) return before;
    this.#scroller.scrollTop = y;
    return y;
  }

  #stretch() {
    const { user, height } = this.#opened;
    this.#span = new Span({ count: this.#order.length, row: this.#row, open: user ? this.#order.indexOf(user) : -1, extra: height });
    this.#list.style.height = `${this.#span.height}px`;
  }

  /** Makes the rows those to have for a view at `y`. */
  #lay(y) {
    const { count } = this.#span;
    const [from, to] = count <= WHOLE ? [0, count] : this.#span.around(y, this.#view);
    const wanted = new Map(this.#order.slice(from, to).map((member, i) => [member.user, from + i]));
    this.#rest(wanted, from, to, y);
    for (const [user, row] of this.#rows) if (!wanted.has(user)) this.#drop(user, row);
    let next = this.#list.firstElementChild;
    for (const [user, index] of [...wanted].sort(([, a], [, b]) => a - b)) {
      const row = this.#rows.get(user) ?? this.#make(user);
      row.write(this.#order.at(index));
      row.place(index, count, this.#span.top(index));
      row.stop(user === this.#active);
      if (row.li === next) next = next.nextElementSibling;
      else this.#list.insertBefore(row.li, next);
    }
  }

  /** The row where Tab stops is there wherever the list is scrolled to, while it has the focus; else it is one in view. */
  #rest(wanted, from, to, y) {
    const index = this.#order.indexOf(this.#active);
    if (this.#list.contains(document.activeElement) && index >= 0) wanted.set(this.#active, index);
    else if (index < from || index >= to) this.#active = this.#order.at(this.#span.at(y))?.user ?? '';
    const { user } = this.#opened;
    if (user) wanted.set(user, this.#order.indexOf(user));
    this.#at = this.#order.indexOf(this.#active);
  }

  #make(user) {
    const row = new Row(this.#blank);
    row.li.classList.toggle('me', user === this.#me);
    row.li.classList.toggle('own', user === this.#own);
    this.#rows.set(user, row);
    return row;
  }

  #drop(user, row) {
    row.li.remove();
    this.#rows.delete(user);
  }

  /* The focus */

  #focus() {
    const focus = document.activeElement;
    return this.#list.contains(focus) ? focus : null;
  }

  /** Who is gone from the order is neither open nor where Tab stops: that is who stands there now. */
  #settle() {
    if (this.#opened.user && this.#order.indexOf(this.#opened.user) < 0) this.#opened.close();
    if (this.#active && this.#order.indexOf(this.#active) < 0) {
      this.#active = this.#order.at(Math.min(this.#at, this.#order.length - 1))?.user ?? '';
    }
  }

  /** To what opens the row, not to its Sign out: a key that is held down must not sign everybody out. */
  #refocus() {
    const index = this.#order.indexOf(this.#active);
    if (index < 0) return this.#to.lost();
    this.#reveal(index);
    return this.#rows.get(this.#active).open.focus({ preventScroll: true });
  }

  #focused(element) {
    const user = element.closest('li').dataset.user;
    if (user === this.#active) return;
    this.#rows.get(this.#active)?.stop(false);
    this.#rows.get(user)?.stop(true);
    this.#active = user;
    this.#at = this.#order.indexOf(user);
  }

  #key(event) {
    if (!event.target.matches('.open, .out') || event.altKey || event.ctrlKey || event.metaKey) return;
    this.draw(); // what has changed since may be where the key leads
    if (!this.#span.count) return;
    const page = Math.max(1, Math.floor(this.#view / this.#span.row) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(this.#span.count - 1, this.#at + step));
    this.#active = this.#order.at(index).user;
    this.#reveal(index);
    this.#rows.get(this.#active).open.focus({ preventScroll: true });
  }

  #reveal(index) {
    const y = this.#span.reveal(index, this.#scroller.scrollTop, this.#view);
    this.#scroller.scrollTop = y;
    this.#lay(y);
  }

  /* The open row */

  #clicked(element) {
    const button = element.closest('.open');
    if (!button) return;
    this.#opened.toggle(this.#rows.get(button.closest('li').dataset.user));
    this.draw();
    if (this.#opened.user) this.#reveal(this.#order.indexOf(this.#opened.user));
  }

  /** The view, its letters or what is open have another size. */
  #measure() {
    this.#measureView();
    this.#opened.measure();
    if (this.#list.classList.contains('live')) this.draw();
  }

  /** Letters may be larger than the page asks for: rows are as high as a row is then. */
  #measureView() {
    const probe = new Row(this.#blank);
    probe.write({ user: 'Ag', meta: { status: 'Ag' }, info: {}, joined: '' });
    probe.li.classList.add('probe');
    this.#list.append(probe.li);
    const row = Math.max(1, Math.ceil(probe.li.offsetHeight));
    probe.li.remove();
    if (row !== this.#row) this.#list.style.setProperty('--high', `${row}px`);
    this.#row = row;
    this.#view = this.#scroller.clientHeight;
  }
}
