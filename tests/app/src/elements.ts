// Compiled only: what the types of the elements promise. Each `@ts-expect-error` is an error that must be one.
import type { PresentlyAvatars } from 'presently/element';

const list = document.createElement('presently-room');
list.room = 'lobby';
list.meta = { status: 'here' };
list.limit = 10;
list.token = async () => 'a token';
list.presence?.members.size satisfies number | undefined;
list.addEventListener('change', (event) => event.detail satisfies null);
list.addEventListener('click', (event) => event.clientX satisfies number);
// @ts-expect-error the element makes it
list.presence = null;

export const stack: PresentlyAvatars | null = document.querySelector('presently-avatars');
// @ts-expect-error only the list has a limit
stack?.limit;
