/** The row that is open, if one is: what it shows of its member, and how much taller it is for that. */
export class OpenRow {
  user = '';
  height = 0;
  #row = null;
  #element = null;
  #to;
  #resized;

  /** `to.open(user)` makes what it shows, `to.closed()` ends it; `resized` watches its size. */
  constructor(to, resized) {
    this.#to = to;
    this.#resized = resized;
  }

  /** Opens `row`, or closes it when it is the one that is open. */
  toggle(row) {
    const { user } = row.member;
    const was = this.user;
    this.close();
    if (user === was) return;
    this.user = user;
    this.#row = row;
    this.#element = this.#to.open(user);
    row.li.append(this.#element);
    row.open.setAttribute('aria-expanded', 'true');
    this.#resized.observe(this.#element);
    this.measure();
  }

  close() {
    if (!this.user) return;
    this.#resized.unobserve(this.#element);
    this.#element.remove();
    this.#row.open.setAttribute('aria-expanded', 'false');
    this.user = '';
    this.height = 0;
    this.#to.closed();
  }

  measure() {
    if (this.user) this.height = this.#element.offsetHeight;
  }
}
