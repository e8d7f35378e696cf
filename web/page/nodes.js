import { put } from './row.js';
import { number } from './words.js';

const STANDINGS = { live: 'live', suspect: 'silent', stopping: 'stopping', replaced: 'started anew' };

/** The nodes of a cluster, as the gateway that answers knows them: shown only where there is one. */
export class Nodes {
  #section;
  #rows = new Map();

  constructor(section) {
    this.#section = section;
  }

  /** Shows what `GET /api/gateway` has under `cluster`, if it has. */
  write(cluster) {
    this.#section.hidden = !cluster;
    if (!cluster) return;
    put(this.#section.querySelector('.note'), trouble(cluster));
    const body = this.#section.querySelector('tbody');
    const told = rows(cluster.nodes);
    const trs = told.map((row) => this.#row(row));
    const known = new Set(told.map(({ id }) => id));
    for (const id of this.#rows.keys()) if (!known.has(id)) this.#rows.delete(id);
    // In place already as a rule: rows that are moved lose the reader's selection.
    if (trs.length !== body.children.length || trs.some((tr, i) => tr !== body.children[i])) body.replaceChildren(...trs);
  }

  #row({ id, title, cells }) {
    const tr = this.#rows.get(id) ?? blank(cells.length);
    this.#rows.set(id, tr);
    tr.firstElementChild.title = title;
    cells.forEach((text, i) => put(tr.children[i], text));
    return tr;
  }
}

function blank(cells) {
  const tr = document.createElement('tr');
  for (let i = 0; i < cells; i++) tr.append(document.createElement(i ? 'td' : 'th'));
  tr.firstElementChild.scope = 'row';
  return tr;
}

/** One row for each node, the one that answers first: its name, how it stands, how far behind it is, and whom it holds. */
export function rows(nodes) {
  const sorted = nodes.toSorted((a, b) => b.self - a.self || (a.incarnation < b.incarnation ? -1 : 1));
  return sorted.map(({ incarnation, self, version, standing, full, behind, members }) => ({
    id: incarnation,
    title: `${incarnation}, version ${version}`,
    cells: [
      incarnation.slice(0, 8) + (self ? ' (this)' : ''),
      [STANDINGS[standing] ?? standing, full && 'short of memory'].filter(Boolean).join(', '),
      behind === null ? '–' : number(behind),
      number(members),
    ],
  }));
}

/** What is wrong with the shared log, for the one that answers; nothing as a rule. Said aloud, so no numbers that go on. */
export function trouble({ stale, behind, lag }) {
  if (stale && !behind) return 'The shared log does not answer. Changes wait.';
  if (lag > 1_000) return 'This gateway is behind the shared log.';
  return behind ? 'This gateway catches up with the shared log. Readers see the set of before.' : '';
}
