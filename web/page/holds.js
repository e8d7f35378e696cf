import { put } from './row.js';
import { lasting, quoted } from './words.js';

const KINDS = { sign_in: 'Sign-in', lease: 'Lease' };
const TRANSPORTS = { websocket: 'WebSocket', sse: 'Event stream' };

/** What one hold is, how it stands with it, and what it says: `{ what, how, says }`. */
export function told(hold, now) {
  const named = hold.hold ? ` ${quoted(hold.hold)}` : '';
  const what = KINDS[hold.kind] ?? TRANSPORTS[hold.transport] ?? hold.transport ?? hold.kind;
  const left = hold.expires ? lasting((Date.parse(hold.expires) - now) / 1000) : '';
  const how = hold.lost ? `lost, ends in ${left}` : left && `${left} left`;
  return { what: `${what}${named}`, how, says: hold.meta ? says(hold) : '' };
}

/** A number that keeps its text is an object that JSON can write. */
function says({ meta, rank = 0 }) {
  const at = JSON.stringify(rank);
  return `says ${JSON.stringify(meta)}${at === '0' ? '' : ` at rank ${at}`}`;
}

/** All holds of a member as one phrase. */
export function summary(holds) {
  const counts = new Map();
  for (const hold of holds) {
    const { what } = told(hold, 0);
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].map(([what, count]) => (count > 1 ? `${count} × ${what}` : what)).join(', ');
}

/** The list of what holds a member. */
export class Holds {
  #list;
  #ended;
  #holds = [];
  #patch = null;

  /** `ended(name)` ends a named hold; null where one may not. */
  constructor(list, ended) {
    this.#list = list;
    this.#ended = ended;
  }

  get all() {
    return this.#holds;
  }

  show(holds, patch) {
    this.#holds = holds;
    this.#patch = patch;
    const spoken = patch ? [{ kind: 'patch', ...patch }] : [];
    this.#list.replaceChildren(...[...holds, ...spoken].map((hold) => this.#line(hold)));
    this.tick(Date.now());
  }

  /** Brings the terms that are left up to date. */
  tick(now) {
    this.#holds.forEach((hold, i) => put(this.#list.children[i].querySelector('.how'), told(hold, now).how));
  }

  #line(hold) {
    const li = document.createElement('li');
    const { what, says: said } = hold.kind === 'patch' ? { what: 'Said for them', says: says(hold) } : told(hold, 0);
    li.append(part('b', '', what), part('span', 'how', ''), part('code', 'says', said));
    if (hold.hold && this.#ended) li.append(this.#button(hold.hold));
    return li;
  }

  #button(name) {
    const button = part('button', 'quiet', 'End');
    button.type = 'button';
    button.setAttribute('aria-label', `End the hold ${quoted(name)}`);
    button.addEventListener('click', () => this.#ended(name));
    return button;
  }
}

function part(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}
