/** Rows kept ready above and below those in view, so that scrolling finds them there. */
const SPARE = 8;

/** Browsers lay out nothing much taller than this; the rows beyond are found by searching. */
export const TALLEST = 15_000_000;

/** Where rows of one height stand, of which one may be open and is taller by `extra`. */
export class Span {
  constructor({ count, row, open = -1, extra = 0 }) {
    this.count = Math.min(count, Math.floor(TALLEST / row));
    this.row = row;
    this.open = open;
    this.extra = open < 0 ? 0 : extra;
  }

  get height() {
    return this.count * this.row + this.extra;
  }

  /** How far down row `index` begins. */
  top(index) {
    return index * this.row + (this.open >= 0 && index > this.open ? this.extra : 0);
  }

  /** The row at `y`. */
  at(y) {
    const beyond = this.open >= 0 && y >= this.top(this.open) + this.row;
    const index = Math.floor((beyond ? Math.max(y - this.extra, this.top(this.open)) : y) / this.row);
    return Math.max(0, Math.min(this.count - 1, index));
  }

  /** The rows to have, from and up to but not including, for a view of `height` at `y`. */
  around(y, height) {
    if (this.count === 0) return [0, 0];
    return [Math.max(0, this.at(y) - SPARE), Math.min(this.count, this.at(y + height) + 1 + SPARE)];
  }

  /** How to scroll a view of `height` at `y` so that row `index` is wholly in it. */
  reveal(index, y, height) {
    const top = this.top(index);
    const bottom = top + this.row + (index === this.open ? this.extra : 0);
    if (top < y) return top;
    return bottom > y + height ? Math.min(top, bottom - height) : y;
  }
}
