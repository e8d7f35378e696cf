/**
 * Elements that show who is in a room, for pages without a script of their own.
 *
 * ```html
 * <script type="module" src="https://GATEWAY/presently-room.js"></script>
 *
 * <presently-room room="lobby" as="ann" meta='{"status":"here"}' limit="100"></presently-room>
 * <presently-avatars room="lobby" max="5"></presently-avatars>
 * ```
 *
 * In a bundle: `import 'presently/element'`, and `url`. On a server the import does nothing.
 *
 * A member is called by `info.name`, `meta.name` or the user's name, and `meta.status` stands beside it. The face is
 * `info.avatar` (an https address, or one of the page's origin), `meta.avatar` (an https address of another origin: a member
 * says it, and every reader's browser asks there), or the initials. A strict page lists the hosts of pictures in `img-src`.
 */

import type { Meta, Room, RoomOptions } from './presently.js';

/** What the elements have in common. The properties but `presence` and `token` are attributes, too. */
export interface PresenceElement extends HTMLElement {
  /** The room. Set later, it opens then; without it nothing is shown. */
  get room(): string;
  set room(value: string | null | undefined);
  /** Whom it holds in the room, as `as` of Room. Without it the element only watches. */
  get as(): string;
  set as(value: string | null | undefined);
  /** Whose `token` it is, as `user` of Room. An element with `user` waits for `token`. */
  get user(): string;
  set user(value: string | null | undefined);
  /** The gateway's base, as `url` of Room. */
  get url(): string;
  set url(value: string | null | undefined);
  /**
   * What is said of `as`: a JSON object as the attribute, or an object as the property, null to take it back. A text that is
   * no JSON, half-typed perhaps, changes nothing, and the console says so once.
   */
  get meta(): Meta | null;
  set meta(meta: object | string | null);
  /** As `token` of Room. It is no attribute: documents are no place for secrets. */
  token: RoomOptions['token'];
  /** The Room that is shown; null outside of a document, and without `room`. */
  readonly presence: Room | null;

  /** Something changed in what is shown. */
  addEventListener(
    type: 'change',
    listener: (this: this, event: CustomEvent<null>) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<K extends keyof HTMLElementEventMap>(
    type: K,
    listener: (this: this, event: HTMLElementEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/**
 * `<presently-room>`: a list of members by name, at most `limit` of them (100 by default, at most 1,000), and how many more
 * there are.
 *
 * What stands in its slot `empty` shows while nobody is there. A `<template>` in it is the row of a member: whatever has
 * `data-field="name"`, `"status"`, `"user"`, `"joined"`, or a path such as `"meta.mood"` or `"info.team"`, gets that as
 * text.
 *
 * Parts: `list`, `member`, `me`, `avatar`, `initials`, `picture`, `name`, `status` (also `meta`), `more`, `state`, and those
 * that a template gives. Its attribute `state` is `connecting`, `live`, `waiting` or `refused`. Custom properties:
 * `--presently-avatar-size`, `--presently-avatar-radius`, `--presently-muted`, `--presently-muted-opacity`.
 */
export interface PresentlyRoom extends PresenceElement {
  get limit(): string;
  set limit(limit: string | number | null);
}

/**
 * `<presently-avatars>`: a stack of the faces of who came first, at most `max` of them (5 by default, at most 20), and how
 * many others there are: "+12". To a screen reader it is one picture: "ann, bob and 12 others are here".
 *
 * Parts: `stack`, `avatar`, `initials`, `picture`, `more`. Its attribute `state` is that of `<presently-room>`. Custom
 * properties: those of `<presently-room>` for faces, `--presently-overlap`, `--presently-ring` (the page's background),
 * `--presently-more-color`, `--presently-more-background`.
 */
export interface PresentlyAvatars extends PresenceElement {
  get max(): string;
  set max(max: string | number | null);
}

export declare const PresentlyRoom: { new (): PresentlyRoom; prototype: PresentlyRoom };
export declare const PresentlyAvatars: { new (): PresentlyAvatars; prototype: PresentlyAvatars };

declare global {
  interface HTMLElementTagNameMap {
    'presently-room': PresentlyRoom;
    'presently-avatars': PresentlyAvatars;
  }
}
