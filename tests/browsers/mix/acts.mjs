// The acts of the mix. Each says what it does, and does it; one that can't be done now answers null.

import { pause } from '../until.mjs';
import { ROOMS, USERS } from './world.mjs';

const MOST_TABS = 5;
const MOST_SEATS = 4;

const members = (room, user) => `/api/rooms/${room}/users/${user}`;

/* Tabs. */

async function openTab(world) {
  if (world.tabs.length >= MOST_TABS) return null;
  const { name, share, transport } = await world.openTab();
  return `${name} opens${share ? '' : ', shares nothing'}${transport !== 'sse' ? '' : `, by ${transport}`}`;
}

async function closeTab(world) {
  if (world.tabs.length < 2) return null;
  const tab = pick(world, world.awake);
  return tab && closing(world, tab);
}

async function closeLeader(world) {
  const leader = await leaderOf(world);
  return leader && world.tabs.length > 1 ? `the leader: ${await closing(world, leader.tab)}` : null;
}

async function closing(world, tab) {
  world.tabs = world.tabs.filter((one) => one !== tab);
  world.forget(tab);
  await tab.close();
  return `${tab.name} closes`;
}

async function reload(world) {
  const tab = pick(world, world.awake.filter(({ offline }) => !offline));
  if (!tab) return null;
  const mine = [...world.seats.values()].filter((seat) => seat.tab === tab);
  world.forget(tab);
  await tab.page.reload();
  await world.equip(tab);
  const again = world.random.chance(0.7) ? mine : [];
  for (const { room, as } of again) await sit(world, tab, room, as);
  return `${tab.name} reloads${again.length ? ' and is there again' : ''}`;
}

async function front(world) {
  const tab = pick(world, world.awake);
  await tab?.page.bringToFront();
  return tab && `${tab.name} comes to the front`;
}

/* Rooms in tabs. */

async function open(world) {
  const tab = pick(world, world.awake.filter((one) => seatsOf(world, one).length < MOST_SEATS));
  if (!tab) return null;
  const as = world.random.chance(0.75) ? world.random.one(USERS) : null;
  return sit(world, tab, world.random.one(ROOMS), as);
}

async function sit(world, tab, room, as) {
  const meta = world.meta();
  const seat = world.seat(tab, room, as, meta);
  await tab.run((...args) => the.open(...args), seat.id, room, world.options(tab, as, meta));
  return `${tab.name} opens ${room} (${seat.id})${as ? ` as ${as} ${seat.said ?? ''}` : ''}`;
}

async function close(world) {
  const seat = pick(world, world.free);
  if (!seat) return null;
  world.seats.delete(seat.id);
  await seat.tab.run((id) => the.close(id), seat.id);
  return `${named(seat)} closes`;
}

async function remount(world) {
  const seat = pick(world, world.free);
  if (!seat) return null;
  const { tab, room, as, id } = seat;
  const meta = world.meta();
  world.seats.delete(id);
  const next = world.seat(tab, room, as, meta);
  await tab.run((...args) => the.remount(...args), id, next.id, room, world.options(tab, as, meta));
  return `${named(seat)} closes and opens again as ${next.id} ${as ?? ''} ${next.said ?? ''}`;
}

async function join(world) {
  const seat = pick(world, world.free);
  if (!seat) return null;
  const user = world.random.one(USERS);
  const meta = world.meta();
  const before = await seat.tab.run((...args) => the.join(...args), seat.id, user, meta);
  if (before !== user || meta) seat.said = meta && JSON.stringify(meta);
  seat.as = user;
  return `${named(seat)} joins as ${user} ${meta ? seat.said : ''}`;
}

async function leave(world) {
  const seat = pick(world, world.free.filter(({ as }) => as));
  if (!seat) return null;
  Object.assign(seat, { as: null, said: undefined });
  await seat.tab.run((id) => the.leave(id), seat.id);
  return `${named(seat)} leaves`;
}

async function update(world) {
  const seat = pick(world, world.free.filter(({ as }) => as));
  if (!seat) return null;
  const meta = world.meta() ?? {};
  const rank = world.random.chance(0.2) ? world.random.between(-1, 1) : 0;
  const before = await seat.tab.run((...args) => the.update(...args), seat.id, meta, rank);
  if (before === seat.as) seat.said = JSON.stringify(meta);
  return `${named(seat)} says ${JSON.stringify(meta)} at ${rank}`;
}

async function retry(world) {
  const seat = pick(world, world.free);
  await seat?.tab.run((id) => the.retry(id), seat.id);
  return seat && `${named(seat)} retries`;
}

/* Others. */

const ending = (reason) => async (world) => {
  const [room, user] = [world.random.one(ROOMS), world.random.one(USERS)];
  await world.gateway.api(`${members(room, user)}${reason}`, { method: 'DELETE' });
  const key = `${room} ${user}`;
  world.signedIn.delete(key);
  world.ended.add(key);
  world.everEnded.add(key);
  return `${user} is ended in ${room} ${reason}`;
};

async function signIn(world) {
  const [room, user] = [world.random.one(ROOMS), world.random.one(USERS)];
  await world.gateway.api(members(room, user), { method: 'PUT' });
  world.signedIn.add(`${room} ${user}`);
  return `${user} is signed in to ${room}`;
}

async function restart(world) {
  const signal = world.random.one(['SIGTERM', 'SIGKILL']);
  world.signedIn.clear();
  await world.gateway.restart(signal);
  return `the gateway restarts after ${signal}`;
}

/* The network. */

const network = (what, work) => async (world) => {
  work(world.proxy);
  return `the network ${what}`;
};

async function offline(world) {
  const tab = pick(world, world.awake.filter((one) => !one.offline));
  if (!tab) return null;
  tab.offline = true;
  await tab.page.setOfflineMode(true);
  return `${tab.name} goes offline`;
}

export async function online(world, tab = pick(world, world.awake.filter((one) => one.offline))) {
  if (!tab?.offline) return null;
  tab.offline = false;
  await tab.page.setOfflineMode(false);
  return `${tab.name} is online`;
}

/* Tabs that the system suspends. */

async function freeze(world) {
  const tab = pick(world, world.awake);
  if (!tab) return null;
  tab.frozen = true;
  await tab.session.send('Page.setWebLifecycleState', { state: 'frozen' });
  return `${tab.name} freezes`;
}

export async function thaw(world, tab = pick(world, world.tabs.filter(({ frozen }) => frozen))) {
  if (!tab?.frozen) return null;
  await tab.session.send('Page.setWebLifecycleState', { state: 'active' });
  tab.frozen = false;
  return `${tab.name} thaws`;
}

async function stop(world) {
  const tab = pick(world, world.awake);
  if (!tab) return null;
  tab.stopped = tab.pid;
  process.kill(tab.pid, 'SIGSTOP');
  return `${tab.name}'s process stops`;
}

export async function resume(world, tab = pick(world, world.tabs.filter(({ stopped }) => stopped))) {
  if (!tab?.stopped) return null;
  process.kill(tab.stopped, 'SIGCONT');
  tab.stopped = 0;
  return `${tab.name}'s process goes on`;
}

/* The lead. */

async function leaderOf(world) {
  const tab = pick(world, world.awake.filter(({ share }) => share));
  for (const one of tab ? [tab, ...world.awake] : []) {
    const name = (await one.run(() => the.leads())).find(({ mine }) => mine)?.name;
    if (name) return { tab: one, name };
  }
  return null;
}

async function steal(world) {
  const leader = await leaderOf(world);
  const thief = leader && pick(world, world.awake);
  if (!thief) return null;
  await thief.run((name) => the.steal(name), leader.name);
  return `${thief.name} steals the lead of ${leader.tab.name}`;
}

async function time(world) {
  const ms = world.random.below(400);
  await pause(ms);
  return `${ms} ms pass`;
}

const pick = (world, list) => (list.length ? world.random.one(list) : null);
const seatsOf = (world, tab) => [...world.seats.values()].filter((seat) => seat.tab === tab);
const named = ({ tab, room, id }) => `${tab.name}: ${room} (${id})`;

/** `troubles` acts may end holds by the grace; `chromium` ones need Chromium's own protocol. */
export const ACTS = [
  { weight: 5, act: openTab },
  { weight: 2, act: closeTab },
  { weight: 1, act: closeLeader },
  { weight: 3, act: reload },
  { weight: 3, act: front },
  { weight: 12, act: open },
  { weight: 5, act: close },
  { weight: 4, act: remount },
  { weight: 6, act: join },
  { weight: 4, act: leave },
  { weight: 14, act: update },
  { weight: 1, act: retry },
  { weight: 2, act: ending('?reason=kicked') },
  { weight: 1, act: ending('') },
  { weight: 1, act: signIn },
  { weight: 1, act: restart },
  { weight: 3, act: network('is cut', (proxy) => proxy.cut()) },
  { weight: 1, act: network('is cut, unnoticed by the gateway', (proxy) => proxy.halfCut('client')) },
  { weight: 1, act: network('is cut, unnoticed by the tabs', (proxy) => proxy.halfCut('gateway')) },
  { weight: 1.5, act: network('is down', (proxy) => proxy.shut()) },
  { weight: 1.5, act: network('is mute', (proxy) => proxy.mute()) },
  { weight: 6, act: network('is up', (proxy) => proxy.open()) },
  { weight: 2, act: offline, chromium: true },
  { weight: 3, act: online, chromium: true },
  { weight: 2, act: freeze, chromium: true },
  { weight: 3, act: thaw, chromium: true },
  { weight: 2, act: stop, chromium: true },
  { weight: 3, act: resume, chromium: true },
  { weight: 2, act: steal },
  { weight: 8, act: time },
];
