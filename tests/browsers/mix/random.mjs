/** Random numbers that a seed repeats: mulberry32. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0, below `end`. */
  below(end) {
    return Math.floor(this.next() * end);
  }

  between(first, last) {
    return first + this.below(last - first + 1);
  }

  chance(probability) {
    return this.next() < probability;
  }

  one(list) {
    return list[this.below(list.length)];
  }

  /** One of `{ weight }`, as often as its weight says. */
  weighted(list) {
    const total = list.reduce((sum, { weight }) => sum + weight, 0);
    let left = this.next() * total;
    return list.find(({ weight }) => (left -= weight) < 0) ?? list.at(-1);
  }
}
