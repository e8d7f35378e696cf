import { byName } from './names.js';
import { merging } from './sorting.js';

/** More members than this are brought into another order bit by bit: at once it would cost frames. */
export const AT_ONCE = 2_000;
/** For so long at a time. */
const SLICE_MS = 6;

/** RFC 3339 in UTC with whole seconds: earlier is smaller as text, too. */
function byJoined(a, b) {
  if (a.joined === b.joined) return byName(a.user, b.user);
  return a.joined < b.joined ? -1 : 1;
}

const SORTS = {
  name: (a, b) => byName(a.user, b.user),
  longest: byJoined,
  newest: (a, b) => (a.joined === b.joined ? byName(a.user, b.user) : -byJoined(a, b)),
};

/** Costs next to nothing, as engines know how to sort text: for the time until a large set has its order. */
const coarse = (a, b) => (a.user < b.user ? -1 : Number(a.user > b.user));

/** Lets the browser do what else it has to, without the 4 ms that timers wait. */
const pause = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(null);
});

/**
 * The members to show, in the order to show them in. Members are replaced, never changed.
 *
 * One that comes or goes is put in or taken out where it belongs; sorting anew is for another order or another set, and
 * of many members it goes on beside everything else: until then they stand in the order of before.
 */
export class Order {
  #members = new Map();
  /** All members by `#compare`. */
  #sorted = [];
  /** Those that match; without a search the same list. */
  #shown = this.#sorted;
  #compare = SORTS.name;
  #wanted = SORTS.name;
  #search = '';
  /** Who changed while another order is made; null while none is. */
  #touched = null;
  #settled;

  /** `settled()` hears when another order is made. */
  constructor(settled = () => {}) {
    this.#settled = settled;
  }

  /** Members in all, whether they match the search or not. */
  get size() {
    return this.#members.size;
  }

  /** Members that match. */
  get length() {
    return this.#shown.length;
  }

  get search() {
    return this.#search;
  }

  at(index) {
    return this.#shown[index];
  }

  get(user) {
    return this.#members.get(user);
  }

  slice(from, to) {
    return this.#shown.slice(from, to);
  }

  /** Where `user` stands, or -1. */
  indexOf(user) {
    const member = this.#members.get(user);
    return member ? this.#find(this.#shown, member) : -1;
  }

  /** `sort` is one of name, newest, longest; `search` is looked for in names and in what is said of members. */
  arrange({ sort, search = this.#search }) {
    this.#search = search.trim().toLowerCase();
    if (sort && SORTS[sort] !== this.#wanted) {
      this.#wanted = SORTS[sort];
      this.#sort();
    }
    this.#filter();
  }

  /** These members and no others. */
  replace(members) {
    this.#members = new Map();
    for (const member of members) this.#members.set(member.user, member);
    this.#compare = coarse;
    this.#sorted = Array.from([...this.#members.keys()].sort(), (user) => this.#members.get(user));
    this.#sort();
    this.#filter();
  }

  put(member) {
    if (this.#replaced(member)) return;
    this.remove(member.user);
    this.#members.set(member.user, member);
    this.#touched?.add(member.user);
    this.#insert(this.#sorted, member);
    if (this.#shown !== this.#sorted && this.#matches(member)) this.#insert(this.#shown, member);
  }

  /** Who says something else mostly stays where they are: nobody else has to move. */
  #replaced(member) {
    const old = this.#members.get(member.user);
    if (!old || this.#search || this.#compare(old, member) !== 0) return false;
    this.#sorted[this.#find(this.#sorted, old)] = member;
    this.#members.set(member.user, member);
    this.#touched?.add(member.user);
    return true;
  }

  remove(user) {
    const member = this.#members.get(user);
    if (!member) return false;
    this.#touched?.add(user);
    for (const list of new Set([this.#sorted, this.#shown])) {
      const at = this.#find(list, member);
      if (at >= 0) list.splice(at, 1);
    }
    return this.#members.delete(user);
  }

  #insert(list, member) {
    list.splice(this.#place(list, member), 0, member);
  }

  #filter() {
    this.#shown = this.#search ? this.#sorted.filter((member) => this.#matches(member)) : this.#sorted;
  }

  /** Begins to bring all into the order that is wanted. */
  #sort() {
    this.#touched = null;
    if (this.#compare === this.#wanted) return;
    if (this.#sorted.length > AT_ONCE) return void this.#later((this.#touched = new Set()));
    this.#compare = this.#wanted;
    this.#sorted.sort(this.#compare);
  }

  async #later(touched) {
    const compare = this.#wanted;
    const work = merging([...this.#sorted], compare);
    for (let step = work.next(); ; ) {
      const until = performance.now() + SLICE_MS;
      while (!step.done && performance.now() < until) step = work.next();
      if (this.#touched !== touched) return;
      if (step.done) return this.#take(step.value, compare);
      await pause();
    }
  }

  /** Those who changed meanwhile are put where they belong. */
  #take(sorted, compare) {
    const touched = this.#touched;
    this.#touched = null;
    this.#compare = compare;
    this.#sorted = touched.size ? sorted.filter(({ user }) => !touched.has(user)) : sorted;
    for (const user of touched) if (this.#members.has(user)) this.#insert(this.#sorted, this.#members.get(user));
    this.#filter();
    this.#settled();
  }

  #matches({ user, meta }) {
    if (!this.#search || user.toLowerCase().includes(this.#search)) return true;
    return Object.values(meta).some((said) => text(said).toLowerCase().includes(this.#search));
  }

  #find(list, member) {
    const at = this.#place(list, member);
    return list[at] === member ? at : -1;
  }

  /** Where `member` stands in `list`, or would. */
  #place(list, member) {
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(list[middle], member) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
