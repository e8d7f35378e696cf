/** The order the server lists names in: that of their UTF-8 bytes, which is that of code points. */
export function byBytes(a, b) {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** UTF-16 puts surrogates, the code points past U+FFFF, before U+E000; bytes put them last. */
function rank(unit) {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}

/** RFC 3339 in UTC with whole seconds: earlier is smaller as text, too. */
function byJoined(a, b) {
  if (a.joined === b.joined) return byBytes(a.user, b.user);
  return a.joined < b.joined ? -1 : 1;
}

const SORTS = {
  name: (a, b) => byBytes(a.user, b.user),
  longest: byJoined,
  newest: (a, b) => (a.joined === b.joined ? byBytes(a.user, b.user) : -byJoined(a, b)),
};

/**
 * The members to show, in the order to show them in. Members are replaced, never changed.
 *
 * One that comes or goes is put in or taken out where it belongs; sorting and searching anew is for
 * another order or another search.
 */
export class Order {
  #members = new Map();
  #shown = [];
  #compare = SORTS.name;
  #search = '';

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
    if (!member) return -1;
    const at = this.#place(member);
    return this.#shown[at] === member ? at : -1;
  }

  /** `sort` is one of name, newest, longest; `search` is looked for in names and in what is said of members. */
  arrange({ sort, search = this.#search }) {
    if (sort) this.#compare = SORTS[sort];
    this.#search = search.trim().toLowerCase();
    this.#arrange();
  }

  /** These members and no others. */
  replace(members) {
    this.#members = new Map();
    for (const member of members) this.#members.set(member.user, member);
    this.#arrange();
  }

  put(member) {
    this.remove(member.user);
    this.#members.set(member.user, member);
    if (this.#matches(member)) this.#shown.splice(this.#place(member), 0, member);
  }

  remove(user) {
    const at = this.indexOf(user);
    if (at >= 0) this.#shown.splice(at, 1);
    return this.#members.delete(user);
  }

  #arrange() {
    const all = [...this.#members.values()];
    this.#shown = (this.#search ? all.filter((member) => this.#matches(member)) : all).sort(this.#compare);
  }

  #matches({ user, meta }) {
    if (!this.#search || user.toLowerCase().includes(this.#search)) return true;
    return Object.values(meta).some((said) => text(said).toLowerCase().includes(this.#search));
  }

  /** Where `member` stands among those shown, or would. */
  #place(member) {
    let low = 0;
    let high = this.#shown.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(this.#shown[middle], member) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
