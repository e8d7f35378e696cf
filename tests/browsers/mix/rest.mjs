// What must be true once all is well again and quiet.

import { isDeepStrictEqual } from 'node:util';
import { pause } from '../until.mjs';
import { online, resume, thaw } from './acts.mjs';
import { ROOMS } from './world.mjs';

/** Time until all is right: longer than the longest wait before another try, for which Firefox puts off WebSockets by up to 60 s. */
const PATIENCE_MS = { chromium: 45_000, firefox: 100_000 };
const LOOK_MS = 40;
/** What is right has to stay so. */
const STAYS_MS = 200;

export class Fault extends Error {}

/** Mends all that is broken. Connections that only one side knows to be dead end for both, unless `patient`. */
async function mend(world, patient) {
  for (const tab of [...world.tabs]) {
    await resume(world, tab);
    await thaw(world, tab);
    await online(world, tab);
  }
  world.proxy.open();
  if (!patient) world.proxy.cutStranded();
}

/** Mends everything, waits until all that must be true is, and takes what the tabs want by then for what they want. */
export async function rest(world, patient) {
  await mend(world, patient);
  const begun = Date.now();
  for (let right = 0; ; ) {
    const seen = await look(world);
    const problems = judge(world, seen);
    if (!problems.length && right && Date.now() - right > STAYS_MS) break;
    right = problems.length ? 0 : right || Date.now();
    if (Date.now() - begun > PATIENCE_MS[world.browser.kind]) throw new Fault([...report(seen), ...problems].join('\n'));
    await pause(LOOK_MS);
  }
  settle(world, await look(world));
  return Date.now() - begun;
}

function report({ views, rooms }) {
  return [...Object.entries(rooms), ...views.map((view) => [`seat ${view.id}`, view])].map((one) => JSON.stringify(one));
}

async function look(world) {
  const views = new Map();
  for (const tab of world.tabs) {
    for (const view of JSON.parse(await tab.run(() => the.look()))) views.set(view.id, view);
  }
  const rooms = new Map();
  for (const room of ROOMS) {
    const members = await world.gateway.members(room);
    const metas = Object.fromEntries([...members].map(([user, { meta }]) => [user, meta]));
    const { cursor } = await (await world.gateway.api(`/api/rooms/${room}`)).json();
    rooms.set(room, { metas, cursor });
  }
  never(world, views);
  return { views: [...views.values()], rooms: Object.fromEntries(rooms) };
}

/** What must never happen, at rest or not. */
function never(world, views) {
  const faults = world.watchers.flatMap((watcher) => watcher.faults);
  for (const view of views.values()) faults.push(...view.faults.map((fault) => `seat ${view.id}: ${fault}`));
  for (const { name, errors, complaints } of world.tabs) {
    faults.push(...errors.map((error) => `${name}: ${error}`));
    faults.push(...complaints.filter((text) => /starting over/.test(text)).map((text) => `${name}: ${text}`));
  }
  if (faults.length) throw new Fault(faults.join('\n'));
}

function judge(world, { views, rooms }) {
  const problems = [];
  const right = (what, is) => is || problems.push(what);
  for (const view of views) {
    const seat = world.seats.get(view.id);
    if (seat) judgeSeat(world, seat, view, rooms[view.name], right);
  }
  right('each seat has a room', views.length === world.seats.size);
  for (const room of ROOMS) judgeRoom(world, room, rooms[room], views, right);
  return problems;
}

function judgeSeat(world, seat, view, { metas, cursor }, right) {
  const name = `${seat.tab.name}, ${view.name} (${view.id})`;
  right(`${name} is ${view.state}, and not live: ${JSON.stringify(view.refusal)}`, view.state === 'live');
  right(`${name} holds ${view.as}`, !view.as || view.holding);
  right(`${name} wants ${view.as || 'nobody'} instead of ${seat.as}`, wants(world, seat, view));
  right(`${name} sees ${JSON.stringify(view.members)} instead of ${JSON.stringify(metas)}`,
    isDeepStrictEqual(view.members, metas));
  right(`${name}'s events give ${view.shadow}`, sameNames(view.shadow, Object.keys(metas)));
  right(`${name} stands at ${view.cursor} instead of ${cursor}`, view.cursor === cursor);
}

/** A tab wants what it was told, or nobody where others ended it. */
function wants({ ended, everEnded }, { as, room }, view) {
  const key = `${room} ${as}`;
  const mayWatch = everEnded.has(key) && ['kicked', 'signed_out'].includes(view.refusal?.code);
  return view.as === (as ?? '') || (view.as === '' && (ended.has(key) || mayWatch));
}

function judgeRoom(world, room, { metas }, views, right) {
  const held = views.filter(({ name, as }) => name === room && as).map(({ as }) => as);
  const signedIn = [...world.signedIn].map((key) => key.split(' ')).filter(([name]) => name === room);
  const wanted = new Set([...held, ...signedIn.map(([, user]) => user)]);
  right(`${room} has ${Object.keys(metas)} instead of ${[...wanted]}`, sameNames(Object.keys(metas), [...wanted]));
  for (const [user, meta] of Object.entries(metas)) judgeMeta(world, room, user, meta, views, right);
  const watcher = world.watchers[ROOMS.indexOf(room)];
  right(`a reader of ${room} has the gateway's set`, isDeepStrictEqual(Object.fromEntries(watcher.members ?? []), metas));
}

/** Readers see what one of the holders said last. */
function judgeMeta(world, room, user, meta, views, right) {
  const holding = views.filter(({ name, as }) => name === room && as === user);
  const said = holding.map(({ id }) => world.seats.get(id)?.said ?? '{}');
  const others = said.filter((one) => one !== '{}');
  const may = others.length === said.length ? others : [...others, '{}'];
  if (holding.length) right(`${user} in ${room} says ${JSON.stringify(meta)}, and not of ${may}`, may.includes(JSON.stringify(meta)));
}

function settle(world, { views }) {
  for (const { id, as } of views) {
    const seat = world.seats.get(id);
    if (!as) Object.assign(seat, { as: null, said: undefined });
  }
  world.ended.clear();
}

const sameNames = (one, other) => isDeepStrictEqual([...one].sort(), [...other].sort());
