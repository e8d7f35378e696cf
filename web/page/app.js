import { Access } from './access.js';
import { Activity } from './activity.js';
import { base, signOut } from './api.js';
import { confirmed, dismissable } from './confirm.js';
import { Connect } from './connect.js';
import { Details } from './details.js';
import { Glance } from './gateway.js';
import { Line } from './line.js';
import { visible } from './names.js';
import { News } from './news.js';
import { Order } from './order.js';
import { throttled } from './pace.js';
import { Room } from './presently.js';
import { Rooms, roomAddress } from './rooms.js';
import { RosterView } from './roster-view.js';
import { put } from './row.js';
import { SignIn } from './sign-in.js';
import { asked, noun, number } from './words.js';
import { You } from './you.js';

const NEWS_MS = 4_000;
const TICK_MS = 30_000;
const AROUND_MS = 250;
/** The first change after a pause is drawn at once; of a flood, nobody sees more than so many a second. */
const DRAW_MS = 100;
/** After a longer look elsewhere the room's history is asked for what happened meanwhile. */
const AWAY_MS = 10_000;

/** Refusals after which this page may do something else than before. */
const CHANGED = ['token_missing', 'token_expired', 'token_invalid', 'revoked', 'wrong_user', 'not_allowed'];

const find = (id) => document.getElementById(id);
const page = find('room');

const access = new Access('keys' in page.dataset);
const signIn = new SignIn(access);
await signIn.begin();

const order = new Order(() => view.draw(Infinity));
const news = new News();
const view = new RosterView({
  list: find('users'),
  scroller: find('scroller'),
  blank: find('row'),
  order,
  own: access.sub,
  to: { lost: () => find('user').focus(), open: openDetails, closed: closeDetails },
});
const activity = new Activity(find('log'), find('log-empty'), find('chart'));
const connect = new Connect(find('snippets'), find('snippet'), find('copied'), access.keys);
const line = new Line(page);
const you = new You(access, {
  signedIn: (user) => view.light(user),
  follow: newRoom,
  moved: (home) => {
    if (rooms) rooms.live(home);
  },
  go,
});
const rooms = (!access.keys || access.grants.length > 0) && new Rooms({
  list: find('rooms'),
  note: find('rooms-note'),
  form: find('open-room'),
  field: find('room-field'),
  order: find('rooms-order'),
  more: find('rooms-more'),
  open: page.dataset.room,
  count: Number(page.dataset.count),
  go,
});
if (find('sparks') && access.admin) new Glance(find('sparks').closest('section'));

let room = null;
let details = null;
/** Ends what hears the room that was open before. */
let entered = new AbortController();
/** Changes since the list was last drawn; a new set is more than anyone could follow. */
let changes = 0;
let came = [];

/** Follows a room from `known` on, which the page may have come with, if that is allowed. */
function enter(name, known = {}) {
  entered.abort();
  entered = new AbortController();
  allow(name);
  signIn.enter(name);
  connect.show(name);
  activity.enter(name);
  if (access.may('watch', name)) return follow(name, known);
  room = null;
  you.enter(null);
  line.rest();
  return drawUnknown();
}

/** Style hides what is not allowed. */
function allow(name) {
  if (!access.keys) return;
  page.dataset.may = ['watch', 'join', 'sign_in', 'manage'].filter((verb) => access.may(verb, name)).join(' ');
  page.toggleAttribute('data-lists', Boolean(rooms));
  page.toggleAttribute('data-admin', access.admin);
}

/** Tabs share the connection only where it is known to be of the same user. */
function newRoom(name, known = {}) {
  const user = access.sub ?? undefined;
  const share = !access.keys || Boolean(user);
  return new Room(name, { ...known, url: base(), as: you.whoIn(name) || undefined, meta: you.wordIn(name), user, share });
}

function follow(name, known) {
  room = you.at(name) ?? newRoom(name, known);
  const on = (type, hear) => room.addEventListener(type, ({ detail }) => hear(detail), { signal: entered.signal });
  on('add', (member) => {
    order.put(member);
    news.came(member.user);
    activity.happened('add', member, room.cursor);
    came.push(member.user);
    changes += 1;
  });
  on('update', (member) => {
    order.put(member);
    activity.happened('update', member, room.cursor);
    if (details?.user === member.user) details.update();
    changes += 1;
  });
  on('del', (gone) => {
    order.remove(gone.user);
    news.left(gone.user);
    activity.happened('del', gone, room.cursor);
    changes += 1;
  });
  on('snapshot', () => {
    order.replace(room.members.values());
    changes = Infinity;
  });
  on('change', drawSoon);
  on('state', stand);
  // A room where this tab is has its members already.
  if (room.cursor && !known.members) {
    order.replace(room.members.values());
    changes = Infinity;
  }
  you.enter(room);
  stand();
}

let was = '';

/** How the connection stands. */
function stand() {
  const { state, refusal, holding, as } = room;
  if (state === 'refused' && access.keys && CHANGED.includes(refusal?.code)) signIn.check();
  line.follow(room);
  view.mark(holding ? as : '');
  const mark = `${room.name} ${state}`;
  if (mark === was) return;
  was = mark;
  drawEmpty();
  if (state !== 'live') return activity.lapse();
  activity.count(room.count);
  activity.recall();
  if (rooms) rooms.refresh();
}

/** Opens another room, without loading the page again. */
function go(name) {
  if (name !== page.dataset.room) history.pushState(null, '', roomAddress(name));
  show(name);
}

function show(name) {
  if (name === page.dataset.room) return;
  page.dataset.room = name;
  put(find('room-name'), visible(name));
  order.replace([]);
  view.clear();
  news.clear();
  put(find('news'), '');
  find('search').value = '';
  order.arrange({ search: '' });
  try {
    enter(name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return location.assign(roomAddress(name)); // that is no name: the gateway says so
  }
  changes = Infinity;
  came = [];
  draw();
}

function draw() {
  if (!room?.cursor) return drawUnknown();
  view.draw(changes, came);
  changes = 0;
  came = [];
  drawAround();
}

const drawSoon = throttled(draw, DRAW_MS);

/** All but the list, which alone has to keep up. */
const drawAround = throttled(() => {
  if (!room?.cursor) return;
  const { count } = room;
  activity.count(count);
  if (rooms) rooms.show(room.name, count);
  put(find('count'), number(count));
  put(find('noun'), noun(count));
  document.title = `${count} in ${visible(room.name)} · Presently`;
  drawEmpty();
  tell();
}, AROUND_MS);

/** The set is on its way. */
function drawUnknown() {
  view.draw(Infinity);
  put(find('count'), '…');
  put(find('noun'), 'members');
  document.title = `${visible(page.dataset.room)} · Presently`;
  find('empty').hidden = find('more').hidden = true;
  if (rooms) rooms.show(page.dataset.room, null);
}

/** What stands in the list's place or below it when it does not show everybody. */
function drawEmpty() {
  const { search, length, size } = order;
  // Who is refused does not know whether anybody is here.
  find('empty').hidden = length > 0 || (!search && room?.state === 'refused');
  put(find('empty-text'), search ? `Nobody matches “${find('search').value.trim()}”.` : 'Nobody is here yet.');
  put(find('empty-hint'), search ? `${number(size)} ${noun(size)} in the room.` : 'Whoever signs in shows up at once.');
  find('more').hidden = !search || length === 0;
  put(find('more'), `${number(length)} of ${number(size)}`);
}

let telling = null;

/** One announcement for all that happens within a few seconds: in a flood nobody could listen to each. */
function tell() {
  telling ??= setTimeout(() => {
    telling = null;
    if (room) put(find('news'), news.take(room.count));
  }, NEWS_MS);
}

function openDetails(user) {
  const { name } = room;
  const may = { change: access.mayChange(name, user), info: access.may('manage', name) };
  details = new Details(find('details'), { room: name, user, known: (it) => room?.members.get(it), may, out });
  return details.element;
}

function closeDetails() {
  details?.close();
  details = null;
}

/** Signs out or kicks; others only after a question, as fingers slip. */
async function out(user, reason = '', holds = '') {
  const { name } = room;
  if (user !== you.me && !(await confirmed(asked(visible(user), visible(name), reason, holds)))) return;
  put(find('wrong'), await signOut(name, user, reason));
}

find('sign-out').addEventListener('submit', (event) => {
  event.preventDefault();
  out(event.submitter.value);
});

find('how').addEventListener('click', () => find('connect').showModal());
[find('connect'), find('confirm')].forEach(dismissable);

find('search').addEventListener('input', ({ target }) => {
  order.arrange({ search: target.value });
  view.draw(Infinity);
  drawEmpty();
});

find('sort').addEventListener('change', ({ target }) => {
  order.arrange({ sort: target.value });
  view.draw(Infinity);
});

addEventListener('popstate', () => show(new URLSearchParams(location.search).get('room') || 'lobby'));

function tick() {
  if (!document.hidden && room) view.tick(Date.now());
}

let away = 0;

setInterval(tick, TICK_MS);
document.addEventListener('visibilitychange', () => {
  tick();
  if (document.hidden) away = Date.now();
  else if (room?.state === 'live' && Date.now() - away > AWAY_MS) activity.recall();
});

const members = view.members();
const whole = members.length === Number(page.dataset.count);
order.replace(members);
view.draw(Infinity);
enter(page.dataset.room, whole ? { since: page.dataset.cursor || undefined, members } : {});
if (whole) draw();
