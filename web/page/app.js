import { Access } from './access.js';
import { Activity } from './activity.js';
import { base, signOut } from './api.js';
import { Connect } from './connect.js';
import { Details } from './details.js';
import { Glance } from './gateway.js';
import { Line } from './line.js';
import { News } from './news.js';
import { Order } from './order.js';
import { throttled } from './pace.js';
import { Room } from './presently.js';
import { Rooms, roomAddress } from './rooms.js';
import { RosterView } from './roster-view.js';
import { put } from './row.js';
import { SignIn } from './sign-in.js';
import { noun, number } from './words.js';
import { You, remembered } from './you.js';

const NEWS_MS = 4_000;
const TICK_MS = 30_000;
const AROUND_MS = 250;

/** Refusals after which this page may do something else than before. */
const CHANGED = ['token_missing', 'token_expired', 'token_invalid', 'revoked', 'wrong_user', 'not_allowed'];

const find = (id) => document.getElementById(id);
const page = find('room');

const access = new Access('keys' in page.dataset);
const signIn = new SignIn(access);
await signIn.begin();

const order = new Order();
const news = new News();
const view = new RosterView({
  list: find('users'),
  scroller: find('scroller'),
  blank: find('row'),
  order,
  to: { lost: () => find('user').focus(), open: openDetails, closed: () => { details = null; } },
});
const activity = new Activity(find('log'), find('log-empty'), find('chart'));
const connect = new Connect(find('snippets'), find('snippet'), find('copied'), access.keys);
const line = new Line(page);
const you = new You(access, { signedIn: (user) => view.light(user), member: (user) => room.members.get(user) });
const rooms = (!access.keys || access.grants.length > 0) && new Rooms({
  list: find('rooms'),
  note: find('rooms-note'),
  form: find('open-room'),
  field: find('room-field'),
  order: find('rooms-order'),
  open: page.dataset.room,
  count: Number(page.dataset.count),
  go,
});
if (find('gateway') && access.admin) new Glance(find('gateway'));

let room = null;
let details = null;
/** Changes since the list was last drawn; a new set is more than anyone could follow. */
let changes = 0;
let came = [];

/** Follows a room from `known` on, which the page may have come with, if that is allowed. */
function enter(name, known = {}) {
  room?.close();
  room = null;
  allow(name);
  signIn.enter(name);
  connect.show(name);
  if (access.may('watch', name)) return follow(name, known);
  line.rest();
  return drawUnknown();
}

/** Style hides what is not allowed. */
function allow(name) {
  if (!access.keys) return;
  page.dataset.may = ['watch', 'join', 'manage'].filter((verb) => access.may(verb, name)).join(' ');
  page.toggleAttribute('data-lists', Boolean(rooms));
  page.toggleAttribute('data-admin', access.admin);
}

/** Tabs share the connection only where it is known to be of the same user. */
function follow(name, known) {
  const as = access.mayBe(name, remembered()) ? remembered() : '';
  const user = access.sub ?? undefined;
  room = new Room(name, { ...known, url: base(), as: as || undefined, user, share: !access.keys || Boolean(user) });
  const entered = room;
  const on = (type, hear) => room.addEventListener(type, (event) => entered === room && hear(event.detail));
  on('add', (member) => {
    order.put(member);
    news.came(member.user);
    activity.came(member);
    came.push(member.user);
    changes += 1;
  });
  on('update', (member) => {
    order.put(member);
    activity.changed(member);
    if (details?.user === member.user) details.update();
    changes += 1;
  });
  on('del', (gone) => {
    order.remove(gone.user);
    news.left(gone.user);
    activity.left(gone);
    changes += 1;
  });
  on('snapshot', () => {
    order.replace(room.members.values());
    changes = Infinity;
  });
  on('change', draw);
  on('state', () => {
    if (room.state === 'refused' && access.keys && CHANGED.includes(room.refusal?.code)) signIn.check();
    line.follow(room);
    you.draw();
    view.mark(room.holding ? room.as : '');
  });
  line.follow(room);
  you.enter(room);
  view.mark('');
}

/** Opens another room, without loading the page again. */
function go(name) {
  if (name !== page.dataset.room) history.pushState(null, '', roomAddress(name));
  show(name);
}

function show(name) {
  if (name === page.dataset.room) return;
  page.dataset.room = name;
  put(find('room-name'), name);
  order.replace([]);
  view.clear();
  news.clear();
  activity.clear();
  put(find('news'), '');
  find('search').value = '';
  order.arrange({ search: '' });
  enter(name);
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

/** All but the list, which alone has to keep up with every frame. */
const drawAround = throttled(() => {
  if (!room?.cursor) return;
  const { count } = room;
  activity.count(count);
  if (rooms) rooms.show(room.name, count);
  put(find('count'), number(count));
  put(find('noun'), noun(count));
  document.title = `${count} in ${room.name} · Presently`;
  drawEmpty();
  tell();
}, AROUND_MS);

/** The set is on its way. */
function drawUnknown() {
  view.draw(Infinity);
  put(find('count'), '…');
  put(find('noun'), 'members');
  document.title = `${page.dataset.room} · Presently`;
  find('empty').hidden = find('more').hidden = true;
  if (rooms) rooms.show(page.dataset.room, null);
}

/** What stands in the list's place or below it when it does not show everybody. */
function drawEmpty() {
  const { search, length, size } = order;
  find('empty').hidden = length > 0;
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
  details = new Details(find('details'), room.name, user, (name) => room.members.get(name));
  return details.element;
}

find('sign-out').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { value } = event.submitter;
  put(find('wrong'), await signOut(room.name, value));
});

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
  if (document.hidden || !room) return;
  view.tick(Date.now());
  details?.update(); // holds come and go without events
}

setInterval(tick, TICK_MS);
document.addEventListener('visibilitychange', tick);

const members = view.members();
const whole = members.length === Number(page.dataset.count);
order.replace(members);
view.draw(Infinity);
enter(page.dataset.room, whole ? { since: page.dataset.cursor || undefined, members } : {});
if (whole) draw();
