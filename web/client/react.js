import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { Room } from './presently.js';

/** What there is without a room: on a server, and until a page is drawn. Always the same, or React would draw for ever. */
const NOBODY = Object.freeze([]);
const NOWHERE = Object.freeze({
  state: 'connecting',
  fresh: false,
  retryAt: 0,
  refusal: null,
  transport: '',
  holding: false,
  ended: null,
});

/** A Room for as long as the component is there; null before that, and without a name. See react.d.ts. */
export function useRoom(name, options = {}) {
  const latest = useRef(options);
  const [made, setMade] = useState({});
  const { as, user, url, token, meta, rank } = options;
  // What another room is needed for. All else is asked for when it is needed, or is for the start.
  const key = JSON.stringify([name, as, user, url, token !== undefined]);
  const said = JSON.stringify([meta, rank]);
  useEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    if (!name) return undefined;
    const room = new Room(name, { ...latest.current, token: asked(latest) });
    setMade({ key, room, said });
    // It waits before it leaves: another effect of the same user takes its place without an event.
    return () => room.close();
  }, [key]);
  const room = made.key === key && name ? made.room : null;
  useEffect(() => {
    if (!room || made.said === said) return;
    made.said = said;
    room.update(meta ?? {}, { rank });
  }, [room, said]);
  return room;
}

/** The newest token, since a component makes its functions anew. Where nobody is named, rooms share by the token itself. */
function asked(latest) {
  const { as, user, token } = latest.current;
  if (token === undefined || !(as || user)) return token;
  return () => [latest.current.token].map((now) => (typeof now === 'function' ? now() : now))[0];
}

export const useMembers = (room, selector) => useSelected(room, membersOf, NOBODY, selector);

export const useOthers = (room, selector) => useSelected(room, othersOf, NOBODY, selector);

export const useSelf = (room) => useSelected(room, selfOf, null);

export const useCount = (room) => useSelected(room, countOf, 0);

export const useStatus = (room) => useSelected(room, statusOf, NOWHERE);

const membersOf = (room) => room.list;
const othersOf = (room) => room.others;
const selfOf = (room) => room.self;
const countOf = (room) => room.count;

const statuses = new WeakMap();

/** The status as one object, the same until something in it changes. */
function statusOf(room) {
  const before = statuses.get(room);
  const now = {};
  for (const name of Object.keys(NOWHERE)) now[name] = room[name];
  if (before && same(Object.values(before), Object.values(now))) return before;
  statuses.set(room, Object.freeze(now));
  return now;
}

const itself = (snapshot) => snapshot;

/**
 * What a selector makes of a snapshot of the room: kept while snapshot and selector stay, and where it makes the same again.
 * A new array with the same in it is the same, and draws nothing.
 */
function useSelected(room, read, none, selector = itself) {
  const drawn = useRef(none);
  const select = useMemo(() => memoised(selector, drawn), [selector]);
  const subscribe = useCallback((work) => listen(room, work), [room]);
  const now = () => select(room ? read(room) : none);
  const value = useSyncExternalStore(subscribe, now, () => select(none));
  useEffect(() => {
    drawn.current = value;
  });
  return value;
}

/** A selector that runs once for each snapshot. `drawn` has what another selector made before. */
function memoised(selector, drawn) {
  let [from, value] = [memoised, null];
  return (snapshot) => {
    if (snapshot === from) return value;
    const next = selector(snapshot);
    const before = from === memoised ? drawn.current : value;
    [from, value] = [snapshot, same(before, next) ? before : next];
    return value;
  };
}

const same = (one, other) =>
  Object.is(one, other) ||
  (Array.isArray(one) &&
    Array.isArray(other) &&
    one.length === other.length &&
    one.every((value, i) => Object.is(value, other[i])));

function listen(room, work) {
  const types = room ? ['change', 'state'] : [];
  for (const type of types) room.addEventListener(type, work);
  return () => types.forEach((type) => room.removeEventListener(type, work));
}
