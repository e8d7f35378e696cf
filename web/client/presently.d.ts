/**
 * Who is in a room right now, live.
 *
 * ```js
 * import { Room } from '/presently.js';
 *
 * const room = new Room('lobby', { as: 'ann', meta: { status: 'here' } });
 * room.addEventListener('change', () => render([...room.members.values()]));
 * room.addEventListener('state', () => show(room.state, room.retryAt));
 *
 * for await (const { type, detail } of room) {
 *   if (type === 'add') greet(detail.user);
 * }
 * ```
 *
 * The set follows the gateway's over a WebSocket, or over a session (one event stream, and requests) where a proxy breaks
 * WebSockets. It comes back by itself
 * after whatever cut it off, from where it stood, within the gateway's grace period where the way is free again by then. All
 * tabs of an origin share one connection for each gateway and user, where the browser has Web Locks and BroadcastChannel (on
 * HTTPS and localhost) and both of them work (not where a site may store nothing); elsewhere all rooms of a page share one.
 * A tab that hangs with the connection of all holds up the others for about 5 s, while somebody looks at them.
 *
 * A tab that is closed or that the browser freezes is gone a few seconds later. One in the back-forward cache is gone,
 * too, and live again when somebody comes back to it.
 *
 * It runs in browsers, in workers, and in Node 20, Deno and Bun, there with `url`.
 */

/** What the application says of a member: a JSON object of at most 1 KiB. */
export type Meta = Record<string, unknown>;

/**
 * A user as present in a room. Members are replaced by events and never changed: compare them by identity.
 *
 * `M` is the type of `meta` and `I` that of `info`, an interface or a type: `new Room<Status, Profile>('lobby')`. Nobody checks
 * them: what other clients say may be anything.
 */
export interface Member<M extends object = Meta, I extends object = Meta> {
  readonly user: string;
  readonly meta: Readonly<M>;
  /** What a backend says of the member, `{}` if nothing. No client can set it. */
  readonly info: Readonly<I>;
  /** When they came: RFC 3339, UTC. */
  readonly joined: string;
  /** Whether they are only held through a gateway of a cluster that is silent, and may soon go: with the option `suspects`. */
  readonly suspect?: true;
}

/** Why a member went. Others than these may come. */
export type Reason = 'signed_out' | 'closed' | 'timeout' | 'expired' | 'kicked' | 'node_lost' | (string & {});

/** Who went, and why. */
export interface Gone {
  readonly user: string;
  readonly reason: Reason;
  /**
   * When they went, by the gateway's clock: RFC 3339, UTC, milliseconds. In `ended` it is '' as long as the gateway has not
   * said when, of an end while the connection was lost.
   */
  readonly at: string;
}

/**
 * - `connecting`: on the way, from the start or after waiting
 * - `live`: the set is the gateway's
 * - `waiting`: lost; the next try is at `retryAt`
 * - `refused`: `refusal` says why. It doesn't try again by itself, unless the refusal was of the kind that passes
 */
export type State = 'connecting' | 'live' | 'waiting' | 'refused';

/**
 * Why the gateway said no: `code` is one of PROTOCOL's, `message` is for people. The console says what to do. Of tokens:
 *
 * - `token_missing`: the gateway wants a token, and there is no option `token`, or nothing came of it
 * - `token_expired`: the token is over, and `token()` gave the same again
 * - `token_invalid`, `revoked`: the gateway does not take the token
 * - `wrong_user`: the token is another user's than `user`
 * - `not_allowed`: the token does not allow this room, or this hold; the other rooms go on
 */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** One of the reasons why a user is a member: a sign-in, a lease that `expires`, or a connection, perhaps `lost` for now. */
export interface Hold {
  readonly kind: 'sign_in' | 'lease' | 'connection' | (string & {});
  /** The name of a named sign-in or lease. */
  readonly hold?: string;
  /** What is said through it, if anything, and how much it counts. */
  readonly meta?: Readonly<Meta>;
  readonly rank?: number;
  readonly expires?: string | null;
  readonly connection?: string;
  readonly transport?: 'websocket' | 'sse';
  readonly lost?: boolean;
}

/** The error of a promise: what was asked for was refused, or the room was closed before (`code` is then `closed`). */
export interface RefusedError extends Error {
  readonly name: 'RefusedError';
  readonly code: string;
}

/** A `CustomEvent` where the types of the DOM are known, and as much as is used here where they are not. */
type AnyEvent = typeof globalThis extends { CustomEvent: { prototype: infer E } } ? Omit<E, 'detail'> : { readonly type: string };
export type RoomEvent<T> = AnyEvent & { readonly detail: T };

export interface RoomEventMap<M extends object = Meta, I extends object = Meta> {
  /** Somebody came. */
  add: RoomEvent<Member<M, I>>;
  /** A member's `meta` or `info` changed. */
  update: RoomEvent<Member<M, I>>;
  /** Somebody went. */
  del: RoomEvent<Gone>;
  /** The set was replaced as a whole: whoever keeps something beside it starts over from `members`. */
  snapshot: RoomEvent<{ readonly count: number }>;
  /** Something changed in `members`: at most once a frame, for drawing. */
  change: RoomEvent<null>;
  /** Something changed in `state`, `fresh`, `retryAt`, `refusal`, `transport`, `holding` or `ended`. It follows what happened in the set. */
  state: RoomEvent<{ readonly state: State }>;
  /** Something was refused: the connection, the room, the hold or an update. `refusal` says the same, and the console what to do. */
  error: RoomEvent<Refusal>;
  /** `close()` was called. */
  close: RoomEvent<null>;
}

/** An `AbortSignal`, as far as it is used. */
export interface Signal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** Wrong names, a wrong `meta` or `rank` are a `TypeError` at once, here and in calls, as far as they can be judged here. */
export interface RoomOptions<M extends object = Meta, I extends object = Meta> {
  /** Holds this user in the room while this page is there. Without it the room is only watched. */
  as?: string;
  /**
   * Says to the gateway who this is: a token, or a function that gives one, so that it can be asked again. With it nothing is
   * said to the gateway before it has taken a token.
   *
   * `token()` is asked ahead of the first connection, 30 s before the token ends (of a life shorter than 90 s in its last
   * third) and after it was refused as over. By one of the tabs that share the connection: any of them may be the one, so
   * each gives the option. An answer has 10 s. One that rejects is asked again later. Nothing, or the same token after its
   * end, is the state `refused`; `retry()` asks once more.
   *
   * A string is shown each time, and `refused` once it is over.
   */
  token?: string | (() => string | Promise<string>);
  /**
   * Whose `token` it is; by default `as`. Tabs and rooms with the same user share a connection. Without either, only the rooms
   * of this page with the same `token` do. Without `token` it says whose cookie of the gateway the connection may use.
   */
  user?: string;
  /** What is said of `as`. Left out, nothing is said, and readers see what others say. */
  meta?: M;
  /** How much `meta` counts beside what the user's other tabs and devices say: -9 to 9, 0 by default. */
  rank?: number;
  /**
   * The gateway's base, absolute or relative to the page. By default the folder from which the gateway served this module,
   * `presently.js`, also below a path prefix of a proxy. A copy of `presently.js` at another address needs `url`; a bundle
   * takes the root of the page's origin, and without a page `url` is needed. Where the base is not of the page's own origin, the gateway has to
   * allow the page's (`--allow-origin`).
   */
  url?: string | { readonly href: string };
  /** Names who holds, a UUID: who comes back with the same takes the older hold's place. By default each hold has one of its own. */
  client?: string;
  /**
   * A cursor to go on from, with the `members` at it: what a page was served with need not be sent again. With `suspects` the
   * members are shown until the whole set is there, since no cursor from elsewhere tells who is in doubt already.
   */
  since?: string;
  members?: Iterable<Member<M, I>>;
  /** `auto` is a WebSocket, and `sse`, a session, where WebSockets fail while HTTP works. */
  transport?: 'auto' | 'websocket' | 'sse';
  /**
   * Shows whose connection is in doubt, by an `update` and `suspect` of members. Rooms with and without it share no connection.
   * All gateways have to be of version 0.2 or later: earlier ones refuse the connection with `bad_parameter`, and while one is in
   * the cluster, and for two minutes after, nobody is shown as in doubt.
   */
  suspects?: boolean;
  /**
   * `count` follows only the number of members, at most two changes a second: `count` and the event `change` say it, and
   * `members`, `list` and `others` stay empty. It needs no right to watch; with keys, `count` in all rooms whose names begin with
   * this one's. A connection counts 16 such rooms and prefixes of `Counts`.
   */
  only?: 'count';
  /**
   * Whether tabs share a connection. Rooms of one page then share one, too. A connection has place for as many rooms and as many
   * holds as the gateway says (100 each). Where they are more, there are further connections, up to 10 WebSockets or 3
   * sessions; past those a room is `refused` until there is place.
   */
  share?: boolean;
  /** The least time between two updates in milliseconds, 50 by default; 0 sends each. What is said meanwhile waits, and the last word counts. */
  every?: number;
  /**
   * What is said while nobody touches any tab of this browser for `after` milliseconds: `meta`, at rank -1, so that it is seen
   * only while no other device says anything at 0. At the first touch this room says its own word again. With this option each
   * tab says its word from the start, `{}` without `meta`; `update` while idle is said at the next touch.
   *
   * A touch is a move, press or turn of a pointer, finger, key or wheel, and a tab that comes to the front, in a tab with a
   * room of the same gateway and user. Without a document there is none.
   */
  idle?: { after: number; meta: M };
  /** Closes the room when it aborts. */
  signal?: Signal;
}

/** The events that iterating gives: those that lead from one set to the next. */
export type Change<M extends object = Meta, I extends object = Meta> = {
  [K in 'add' | 'update' | 'del' | 'snapshot']: RoomEventMap<M, I>[K] & { readonly type: K };
}['add' | 'update' | 'del' | 'snapshot'];

type Listener = ((event: any) => unknown) | { handleEvent(event: any): unknown };
type ListenerOptions = boolean | { capture?: boolean; once?: boolean; passive?: boolean; signal?: any };

/**
 * A room, followed from when it is made until `close()`. It is an `EventTarget`.
 *
 * Iterating starts with a `snapshot` if the set is known already, and ends with `close()`. Who falls 10,000 events behind
 * gets one `snapshot` in their place.
 */
export class Room<M extends object = Meta, I extends object = Meta> implements AsyncIterable<Change<M, I>> {
  constructor(name: string, options?: RoomOptions<M, I>);

  readonly name: string;
  /** Whom this room holds, or wants to; '' when it only watches, and from when others ended the hold. */
  readonly as: string;
  /** The set, always whole: large snapshots and changes are applied at once. It is for reading, and stays the same Map. */
  readonly members: ReadonlyMap<string, Member<M, I>>;
  /** All members: a frozen array, the same one until something changes in the set. */
  readonly list: readonly Member<M, I>[];
  /** The member `as`, or null while it is not in the set. */
  readonly self: Member<M, I> | null;
  /** All members but `as`: a frozen array, the same one until something changes in the set. */
  readonly others: readonly Member<M, I>[];
  readonly count: number;
  /** Where the set stands in the room's order of events; '' while nothing is known. */
  readonly cursor: string;
  readonly state: State;
  /** Resolves when the room is first `live`. Rejects when it is refused, or closed, before. */
  readonly ready: Promise<void>;
  /** Whether the gateway has just started without memory: members of before may not be back yet, and stay in the set for now. */
  readonly fresh: boolean;
  /** When `waiting`: the time of the next try, as `Date.now()` tells it. Otherwise 0. */
  readonly retryAt: number;
  /**
   * Why the room, the hold of `as` or its last update was refused. A room whose hold was refused may well be `live`. A hold
   * that is refused for now is asked for again, and until then the reason is here.
   */
  readonly refusal: Refusal | null;
  /** What the connection speaks, whichever tab has it; '' when there is none. */
  readonly transport: 'websocket' | 'sse' | '';
  /** Whether the gateway holds `as` for this page. False from when others sign `as` out or kick them. */
  readonly holding: boolean;
  /** Why others ended the hold (`signed_out`, `kicked`), of whom, and when; null from the next `join` on. */
  readonly ended: Gone | null;

  /**
   * Says something of `as`. Readers see what was said last among all tabs and devices, at the highest `rank`: say `away` of
   * an idle tab at -1, and it is seen only while no other says anything at 0. It counts until this room is closed or says
   * something else, and for a vanished tab until the grace is over. What was said last is said again after a cut, to the letter.
   *
   * The promise resolves when the gateway has taken it, or a later one in its place within `every`, and rejects with a
   * `RefusedError` when it is refused: what was said before then counts again. Where the gateway refuses it for now
   * (`too_fast`), it is said again later. Promises of this class may be ignored: none is an unhandled rejection.
   */
  update(meta: M, options?: { rank?: number }): Promise<void>;
  /**
   * Holds a user, also after being signed out. Whoever was held before leaves; the same user stays. Resolves when the gateway
   * holds the user, and rejects with a `RefusedError`.
   */
  join(user: string, meta?: M, options?: { rank?: number }): Promise<void>;
  /** Ends the hold at once and goes on watching. Resolves when the gateway has ended it; at once where there was none. */
  leave(): Promise<void>;
  /**
   * What holds a user in this room, by default `as`: their number is how often the user is here. Asks the gateway, with the
   * `token` where there is one. Rejects with a `RefusedError` where it shows no holds: with keys, that needs `manage`.
   */
  holds(user?: string): Promise<Hold[]>;
  /** Tries again now, also after a refusal, and asks `token()` anew. */
  retry(): void;
  /**
   * Stops watching, and leaves 100 ms later, unless another room of this browser holds the same user there by then: a
   * component that is unmounted and mounted again is seen by nobody. Promises that wait reject with the code `closed`. A page
   * that goes away needs no call, and shouldn't make one: it is held for a few seconds longer, so that a reload is seen by
   * nobody.
   */
  close(): void;

  [Symbol.asyncIterator](): AsyncIterator<Change<M, I>>;

  addEventListener<K extends keyof RoomEventMap>(
    type: K,
    listener: (this: Room<M, I>, event: RoomEventMap<M, I>[K]) => unknown,
    options?: ListenerOptions,
  ): void;
  addEventListener(type: string, listener: Listener | null, options?: ListenerOptions): void;
  removeEventListener<K extends keyof RoomEventMap>(
    type: K,
    listener: (this: Room<M, I>, event: RoomEventMap<M, I>[K]) => unknown,
    options?: ListenerOptions,
  ): void;
  removeEventListener(type: string, listener: Listener | null, options?: ListenerOptions): void;
  dispatchEvent(event: any): boolean;
}

/** The events of `Counts`. */
export type CountsEventMap = Pick<RoomEventMap, 'change' | 'state' | 'error' | 'close'>;

/**
 * The numbers of members of all rooms whose names begin with `prefix`, live: for a lobby, or a list of games. All tabs share
 * them, and the connection with the rooms. With keys it needs `count` in all of these rooms, a pattern with `*`.
 */
export class Counts {
  constructor(prefix?: string, options?: Pick<RoomOptions, 'url' | 'token' | 'user' | 'transport' | 'share' | 'signal'>);

  /** By name of the room. A room without members is there with 0 for some minutes. The same Map all the time, for reading. */
  readonly rooms: ReadonlyMap<string, number>;
  /** The sum of all. */
  readonly total: number;
  readonly state: State;
  readonly refusal: Refusal | null;
  readonly ready: Promise<void>;

  retry(): void;
  close(): void;

  addEventListener<K extends keyof CountsEventMap>(
    type: K,
    listener: (this: Counts, event: CountsEventMap[K]) => unknown,
    options?: ListenerOptions,
  ): void;
  addEventListener(type: string, listener: Listener | null, options?: ListenerOptions): void;
  removeEventListener<K extends keyof CountsEventMap>(
    type: K,
    listener: (this: Counts, event: CountsEventMap[K]) => unknown,
    options?: ListenerOptions,
  ): void;
  removeEventListener(type: string, listener: Listener | null, options?: ListenerOptions): void;
  dispatchEvent(event: any): boolean;
}
