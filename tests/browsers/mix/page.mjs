// What runs in the pages of the mix.

/** Puts into a page what the mix does and sees there. */
export function install() {
  const rooms = new Map();
  const MOST_TOLD = 12;

  /** A set made of the room's events alone. An event that does not fit it is a fault. */
  const follow = (room, seat) => {
    const { shadow, faults, told } = seat;
    const note = (what) => told.push(`${what} ${room.cursor}${room.fresh ? ' fresh' : ''}`) > MOST_TOLD && told.shift();
    for (const type of ['add', 'update', 'del', 'snapshot', 'state']) {
      room.addEventListener(type, ({ detail }) => note(`${type} ${detail.user ?? detail.count ?? detail.state}`));
    }
    const wrong = (what, user) => faults.push(`${what} of ${user} in ${room.name} at ${room.cursor}`);
    room.addEventListener('add', ({ detail: { user } }) => {
      if (shadow.has(user)) wrong('a second add', user);
      shadow.add(user);
    });
    room.addEventListener('update', ({ detail: { user } }) => shadow.has(user) || wrong('an update without add', user));
    room.addEventListener('del', ({ detail: { user } }) => shadow.delete(user) || wrong('a del without add', user));
    room.addEventListener('snapshot', () => {
      shadow.clear();
      for (const user of room.members.keys()) shadow.add(user);
    });
  };

  const open = (id, name, options) => {
    const room = new Room(name, options);
    const seat = { room, shadow: new Set(room.members.keys()), faults: [], told: [] };
    follow(room, seat);
    rooms.set(id, seat);
  };

  /** Whom the room held or wanted to hold before. */
  const doing = (work) => (id, ...args) => {
    const { room } = rooms.get(id);
    const before = room.as;
    Promise.resolve(work(room, ...args)).catch(() => {});
    return before;
  };

  const close = (id) => {
    rooms.get(id).room.close();
    rooms.delete(id);
  };

  /** As text: Firefox sends an object that is there twice only once. */
  const look = () =>
    JSON.stringify([...rooms].map(([id, { room, shadow, faults, told }]) => ({
      id,
      name: room.name,
      as: room.as,
      state: room.state,
      holding: room.holding,
      refusal: room.refusal,
      transport: room.transport,
      cursor: room.cursor,
      members: Object.fromEntries([...room.members].map(([user, { meta }]) => [user, meta])),
      shadow: [...shadow],
      faults,
      fresh: room.fresh,
      told,
    })));

  /** The names of the locks by which tabs lead, and whether this tab has each. */
  const leads = async () => {
    const own = `probe ${Math.random()}`;
    return navigator.locks.request(own, async () => {
      const { held } = await navigator.locks.query();
      const { clientId } = held.find(({ name }) => name === own);
      const leading = held.filter(({ name }) => name.startsWith('presently') && !/ [0-9a-f-]{36}$/.test(name));
      return leading.map(({ name, clientId: by }) => ({ name, mine: by === clientId }));
    });
  };

  globalThis.the = {
    open,
    close,
    look,
    leads,
    remount: (id, next, name, options) => {
      close(id);
      open(next, name, options);
    },
    update: doing((room, meta, rank) => room.update(meta, { rank })),
    join: doing((room, user, meta, rank) => room.join(user, meta, { rank })),
    leave: doing((room) => room.leave()),
    retry: doing((room) => room.retry()),
    steal: (name) => navigator.locks.request(name, { steal: true }, () => {}).catch(() => {}),
  };
}
