import { Face, dress, make, nameOf } from './face.js';
import { PresenceElement, define, whole } from './presence-element.js';

/** The most rows of a list: more cost frames, and nobody reads them. */
const MOST_ROWS = 1_000;

/** Up to so many members are in the order in which people sort; more by code units, which takes no longer than a frame. */
const MOST_COLLATED = 2_000;

const ROOM_STYLE = `
  :host { display: block; }
  ul { margin: 0; padding: 0; list-style: none; }
  li { display: flex; align-items: center; gap: .6em; padding-block: .25em; min-inline-size: 0; }
  p, slot[name=empty] { display: block; margin: 0; padding-block: .25em; }
  [part~=name] { overflow-wrap: anywhere; }
  [part~=me] [part~=name] { font-weight: 600; }
  [part~=status], [part~=more], [part~=state], slot[name=empty] { color: var(--presently-muted, inherit); opacity: var(--presently-muted-opacity, .75); }
  [part~=status] { font-size: .9em; overflow-wrap: anywhere; }
`;

const collator = new Intl.Collator();

/** `<presently-room>`: a list of who is in a room, see element.d.ts. */
export class PresentlyRoom extends PresenceElement {
  #rows = new Map();
  #list = make('ul', 'list');
  #more = make('p', 'more');
  #state = make('p', 'state');
  #empty = make('slot');
  #templates = make('slot');

  constructor() {
    super();
    dress(this, ROOM_STYLE).append(this.#list, this.#more, this.#empty, this.#state, this.#templates);
    this.#state.setAttribute('role', 'status');
    this.#list.setAttribute('role', 'list'); // without bullets, some screen readers take it for none
    this.#empty.name = 'empty';
    this.#empty.textContent = 'Nobody is here yet.';
    this.#empty.hidden = this.#templates.hidden = true;
    this.#templates.addEventListener('slotchange', () => {
      this.#keep(new Set());
      this.drawn(this.presence);
    });
  }

  drawn(presence) {
    const members = presence ? first(presence.members, whole(this.limit, 100, MOST_ROWS)) : [];
    this.#keep(new Set(members.map(({ user }) => user)));
    let at = this.#list.firstElementChild;
    for (const member of members) {
      const { li } = this.#row(member);
      if (li === at) at = at.nextElementSibling;
      else this.#list.insertBefore(li, at);
      const part = member.user === presence.as ? 'member me' : 'member';
      if (li.getAttribute('part') !== part) li.setAttribute('part', part);
    }
    const more = (presence?.count ?? 0) - members.length;
    this.#more.textContent = more > 0 ? `and ${more} more` : '';
  }

  told(state, text, count) {
    super.told(state);
    this.#state.textContent = text;
    this.#empty.hidden = count > 0 || state !== 'live';
  }

  #keep(users) {
    for (const [user, { li }] of this.#rows) {
      if (users.has(user)) continue;
      li.remove();
      this.#rows.delete(user);
    }
  }

  /** The row of a member, kept while they stay: only its texts change. */
  #row(member) {
    const row = this.#rows.get(member.user) ?? this.#make();
    this.#rows.set(member.user, row);
    if (row.member === member) return row;
    row.member = member;
    row.face?.show(member);
    for (const one of row.fields) one.textContent = field(member, one.dataset.field);
    return row;
  }

  /** A row as the `<template>` in this element has it. Frameworks put the content of a template beside it. */
  #make() {
    const li = make('li');
    const template = this.querySelector(':scope > template');
    if (!template) return plainRow(li);
    const from = template.content.hasChildNodes() ? template.content : template;
    li.append(...Array.from(from.childNodes, (node) => document.importNode(node, true)));
    return { li, fields: li.querySelectorAll('[data-field]') };
  }
}

function plainRow(li) {
  const face = new Face();
  const fields = [make('bdi', 'name'), make('span', 'meta status')];
  ['name', 'status'].forEach((name, i) => (fields[i].dataset.field = name));
  li.append(face.element, ...fields);
  return { li, face, fields };
}

/** A field of a member as text: `name`, `status`, or a path such as `meta.mood`; '' for what is no text or number. */
function field(member, path) {
  if (path === 'name') return nameOf(member);
  const steps = path === 'status' ? ['meta', 'status'] : path.split('.');
  const value = steps.reduce((of, step) => (of && Object.hasOwn(of, step) ? of[step] : undefined), member);
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : '';
}

/** The first of them by name. Sorting a crowd, of which few are shown, would take longer than a frame. */
function first(members, limit) {
  const crowd = members.size > MOST_COLLATED;
  const compare = crowd ? byUnits : (one, other) => collator.compare(one.text, other.text) || byUnits(one, other);
  const shown = [];
  for (const member of limit ? members.values() : []) {
    const one = { member, text: crowd ? '' : nameOf(member) };
    if (shown.length === limit && compare(one, shown[limit - 1]) > 0) continue;
    let at = shown.length;
    while (at > 0 && compare(shown[at - 1], one) > 0) at -= 1;
    shown.splice(at, 0, one);
    if (shown.length > limit) shown.pop();
  }
  return shown.map(({ member }) => member);
}

const byUnits = (one, other) => (one.member.user > other.member.user ? 1 : -1);

define('presently-room', PresentlyRoom);
