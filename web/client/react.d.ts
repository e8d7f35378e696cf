/**
 * Hooks for React 18 and newer.
 *
 * ```tsx
 * import { useMembers, useRoom, useStatus } from 'presently/react';
 *
 * function Here({ me }: { me: string }) {
 *   const room = useRoom('lobby', { as: me, meta: { status: 'here' } });
 *   const names = useMembers(room, (members) => members.map(({ user }) => user));
 *   const { state } = useStatus(room);
 *   return state === 'live' ? <p>{names.join(', ')}</p> : <p>{state} …</p>;
 * }
 * ```
 *
 * On a server nothing is connected: there is no room, and nobody in it. A component that is drawn anew, under StrictMode or
 * at a change of route, holds on, and nobody sees an event.
 */

import type { PresentlyAvatars, PresentlyRoom } from './element.js';
import type { Member, Meta, Room, RoomOptions } from './presently.js';

/**
 * A room, followed and held from the component's first effect until its end; null before that, and while there is no `name`.
 *
 * Another `name`, `as`, `user` or `url`, and a `token` where there was none, make another room. Another `meta` or `rank` is
 * said by `update`. `token` may be another function each time. All other options are those of the start. What Room throws for
 * a name or a `meta` that cannot be, an error boundary gets.
 */
export function useRoom<M extends object = Meta, I extends object = Meta>(
  name: string | null | undefined,
  options?: RoomOptions<M, I>,
): Room<M, I> | null;

/** All members, as one frozen array, which is replaced by changes. */
export function useMembers<M extends object, I extends object>(room: Room<M, I> | null): readonly Member<M, I>[];

/**
 * What `selector` makes of the members. The component is drawn anew only when that changes: arrays are compared by what is in
 * them, so that `members.map(…)` may be a selector.
 */
export function useMembers<M extends object, I extends object, T>(
  room: Room<M, I> | null,
  selector: (members: readonly Member<M, I>[]) => T,
): T;

/** All members but `as`, and what `selector` makes of them. */
export function useOthers<M extends object, I extends object>(room: Room<M, I> | null): readonly Member<M, I>[];
export function useOthers<M extends object, I extends object, T>(
  room: Room<M, I> | null,
  selector: (others: readonly Member<M, I>[]) => T,
): T;

/** `as` as a member; null while the gateway does not have it. */
export function useSelf<M extends object, I extends object>(room: Room<M, I> | null): Member<M, I> | null;

/** How many members there are, also of a room with `only: 'count'`. */
export function useCount<M extends object, I extends object>(room: Room<M, I> | null): number;

/** How the room stands, as a frozen object, the same until something changes. */
export type Status = Pick<
  Room,
  'state' | 'fresh' | 'retryAt' | 'refusal' | 'transport' | 'holding' | 'ended'
>;

export function useStatus<M extends object, I extends object>(room: Room<M, I> | null): Status;

type ElementAttributes<E, P extends keyof E> = import('react').DetailedHTMLProps<import('react').HTMLAttributes<E>, E> & {
  [K in P]?: E[K] | (K extends 'meta' ? object : K extends 'limit' | 'max' ? number : never);
};

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements {
      'presently-room': ElementAttributes<PresentlyRoom, 'room' | 'as' | 'user' | 'url' | 'meta' | 'token' | 'limit'>;
      'presently-avatars': ElementAttributes<PresentlyAvatars, 'room' | 'as' | 'user' | 'url' | 'meta' | 'token' | 'max'>;
    }
  }
}
