import { memo, useState } from 'react';
import { useCount, useMembers, useOthers, useRoom, useSelf, useStatus } from 'presently/react';

/** An interface is a `meta`, too. */
interface Word {
  status: string;
}

/** How often each part was drawn: a selector that made React draw for ever would be seen here. */
const drawn = { here: 0, names: 0 };
const rooms = new Set<object>();
Object.assign(globalThis, { drawn, rooms });

const options = new URLSearchParams(globalThis.location?.search ?? '');
const url = options.get('gateway') ?? 'http://127.0.0.1:9/';
const user = options.get('as') ?? 'ann';
const pass = options.get('token');
/** Another function each time something is drawn. */
const passes = () => (pass ? { user, token: () => pass } : {});

export function App() {
  const [shown, show] = useState(true);
  const [round, renew] = useState(0);
  const [status, say] = useState('here');
  const [name, go] = useState<string | null>('lobby');
  return (
    <main>
      <button id="toggle" onClick={() => show(!shown)}>show or hide</button>
      <button id="renew" onClick={() => renew(round + 1)}>make anew</button>
      <button id="hall" onClick={() => go('hall')}>to the hall</button>
      <button id="nowhere" onClick={() => go(null)}>nowhere</button>
      <button id="away" onClick={() => say('away')}>away</button>
      <presently-avatars room="lobby" url={url} max={3} {...passes()} />
      {shown && <Here key={round} name={name} status={status} />}
    </main>
  );
}

function Here({ name, status }: { name: string | null; status: string }) {
  const room = useRoom<Word>(name, { as: user, url, meta: { status }, ...passes() });
  if (room) rooms.add(room);
  const others = useOthers(room, (members) => members.map((member) => member.user));
  const self = useSelf(room);
  const { state, holding } = useStatus(room);
  drawn.here += 1;
  return (
    <section>
      <p id="state">{`${state} ${holding}`}</p>
      <p id="self">{self?.meta.status ?? ''}</p>
      <p id="others">{others.join()}</p>
      <p id="name">{room?.name ?? 'nowhere'}</p>
      <p id="count">{useCount(room)}</p>
      <Names room={room} />
      <Words room={room} />
      <button id="say" onClick={() => void room?.update({ status: 'said' })}>say</button>
    </section>
  );
}

type Shown = { room: ReturnType<typeof useRoom<Word>> };

/** Drawn with others' names, and not with what they say. */
const Names = memo(function Names({ room }: Shown) {
  const names = useMembers(room, (members) => members.map(({ user }) => user));
  drawn.names += 1;
  return <p id="names">{names.join()}</p>;
});

const Words = memo(function Words({ room }: Shown) {
  return <p id="words">{useMembers(room, (members) => members.map(({ meta }) => meta.status)).join()}</p>;
});
