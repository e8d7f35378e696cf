import { ago, colour, initial, quoted } from './words.js';

/** Rows that appear together and more than this many were not seen coming: they don't light up. */
const LIT = 12;

/** The rows of `#users`: one `<li>` per member shown, kept while the member stays. */
export class RosterView {
  #list;
  #blank;
  #elsewhere;
  #rows = new Map();

  /** Takes over the rows that the page came with. `elsewhere` gets the focus when no row can. */
  constructor(list, blank, elsewhere) {
    this.#list = list;
    this.#blank = blank;
    this.#elsewhere = elsewhere;
    for (const li of list.children) this.#rows.set(li.dataset.user, { li, member: null });
  }

  /** The members as the page came with them. */
  members() {
    return [...this.#list.children].map((li) => ({
      user: li.dataset.user,
      meta: JSON.parse(li.querySelector('.meta').textContent || '{}'),
      joined: li.querySelector('time').dateTime,
    }));
  }

  /** Makes the rows be these members, in this order. Rows that stay are not touched. */
  show(members) {
    this.#drop(new Set(members.map(({ user }) => user)));
    const fresh = [];
    let at = this.#list.firstElementChild;
    for (const member of members) {
      const row = this.#rows.get(member.user) ?? this.#make(member.user, fresh);
      if (row.member !== member) write(row, member);
      if (row.li === at) at = at.nextElementSibling;
      else this.#list.insertBefore(row.li, at);
    }
    if (fresh.length <= LIT) fresh.forEach((li) => li.classList.add('lit'));
  }

  /** Points out a member who was asked for, whether new here or not. */
  light(user) {
    const li = this.#rows.get(user)?.li;
    if (!li) return;
    li.classList.remove('lit');
    void li.offsetWidth; // an animation starts again only after a layout without it
    li.classList.add('lit');
  }

  /** Brings "2 min ago" up to date. */
  tick(now) {
    for (const { li } of this.#rows.values()) age(li.querySelector('time'), now);
  }

  #make(user, fresh) {
    const li = this.#blank.content.firstElementChild.cloneNode(true);
    const row = { li, member: null };
    this.#rows.set(user, row);
    fresh.push(li);
    return row;
  }

  #drop(staying) {
    const focused = document.activeElement?.closest('#users > li');
    const heir = focused && !staying.has(focused.dataset.user) ? neighbour(focused, staying) : null;
    for (const [user, { li }] of this.#rows) {
      if (staying.has(user)) continue;
      li.remove();
      this.#rows.delete(user);
    }
    if (focused && !focused.isConnected) this.#focus(heir);
  }

  /** To the row, not to its button: a key that is held down must not sign everybody out. */
  #focus(li) {
    if (li) li.tabIndex = -1;
    (li ?? this.#elsewhere).focus();
  }
}

function neighbour(li, staying) {
  return seek(li, 'nextElementSibling', staying) ?? seek(li, 'previousElementSibling', staying);
}

function seek(li, way, staying) {
  let at = li[way];
  while (at && !staying.has(at.dataset.user)) at = at[way];
  return at;
}

function write(row, member) {
  const { li } = row;
  row.member = member;
  li.dataset.user = member.user;
  const avatar = li.querySelector('.avatar');
  avatar.className = `avatar ${colour(member.user)}`;
  put(avatar, initial(member.user));
  const name = li.querySelector('.name');
  put(name, member.user);
  name.title = member.user;
  const meta = JSON.stringify(member.meta);
  put(li.querySelector('.meta'), meta === '{}' ? '' : meta);
  li.querySelector('input').value = member.user;
  li.querySelector('button').setAttribute('aria-label', `Sign out ${quoted(member.user)}`);
  const time = li.querySelector('time');
  time.dateTime = member.joined;
  time.title = new Date(member.joined).toLocaleString();
  age(time, Date.now());
}

function age(time, now) {
  put(time, ago(time.dateTime, now));
}

/** Text that is already there is left alone: replacing it would drop the reader's selection. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
