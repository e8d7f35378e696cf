// Compiled by `tsc --strict` with the types of the DOM: a room is an EventTarget, and its events are those of the DOM.
import type { Member } from '../../../web/client/presently.js';
import { plain, room } from './room.js';

export const target: EventTarget = room;

function came(event: CustomEvent<Member>) {
  event.preventDefault();
}

const { signal } = new AbortController();
room.addEventListener('change', (event) => event.timeStamp satisfies number, { once: true, signal });
plain.addEventListener('add', came);
