// Compiled by `tsc --strict`, with and without the types of the DOM. Each `@ts-expect-error` is an error that must be one.
import { Counts, Room } from '../../../web/client/presently.js';
import type { Change, Gone, Member, Refusal, RoomOptions } from '../../../web/client/presently.js';

interface Status {
  status: 'here' | 'away';
  typing?: boolean;
}

interface Profile {
  name: string;
}

export const options: RoomOptions<Status, Profile> = { as: 'ann', meta: { status: 'here' }, every: 100 };
export const room = new Room<Status, Profile>('lobby', options);
export const plain: Room = new Room('lobby', { meta: { anything: [1, 2] }, url: 'https://presence.example/' });

room.update({ status: 'away' }, { rank: -1 });
// @ts-expect-error no such status
room.update({ status: 'gone' });
// @ts-expect-error a name is text
new Room(undefined);

export const all: readonly Member<Status, Profile>[] = room.list;
export const names: string[] = room.others.map(({ info }) => info.name);
export const mine: Status['status'] | undefined = room.self?.meta.status;
// @ts-expect-error members are for reading
room.list[0].meta.status = 'here';

room.addEventListener('add', ({ detail }) => detail.meta.typing satisfies boolean | undefined);
room.addEventListener('del', ({ detail }) => detail satisfies Gone);
room.addEventListener('error', ({ detail }) => detail satisfies Refusal);
room.addEventListener('state', function state() {
  this.ended?.reason satisfies string | undefined;
});

export async function follow(): Promise<void> {
  await room.ready;
  await room.join('bob', { status: 'here' });
  for await (const change of room) {
    if (change.type === 'add') change.detail.meta.status satisfies 'here' | 'away';
    else if (change.type === 'snapshot') change.detail.count satisfies number;
    change satisfies Change<Status, Profile>;
  }
  await room.leave();
}

export const counts = new Counts('game-', { user: 'ann', token: async () => 'token' });
counts.addEventListener('change', () => counts.rooms.get('game-1')?.toFixed());
export const number: Room = new Room('lobby', { only: 'count', idle: { after: 60_000, meta: { status: 'away' } } });
// @ts-expect-error nothing else can be only followed
new Room('lobby', { only: 'members' });
export const kinds: Promise<string[]> = room.holds().then((holds) => holds.map(({ kind }) => kind));
