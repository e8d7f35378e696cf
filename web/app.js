import { send } from './forms.js';
import { News } from './news.js';
import { RosterView } from './roster-view.js';
import { Roster } from './roster.js';
import { Stream } from './stream.js';
import { noun, quoted, status } from './words.js';

/** Rows in the page, as many as the server puts there; the count tells of the rest. */
const SHOWN = 500;
const NEWS_MS = 4_000;
const TICK_MS = 30_000;

const find = (id) => document.getElementById(id);
const page = find('room');
const signIn = find('sign-in');
const nameField = find('user');

const view = new RosterView(find('users'), find('row'), nameField);
const news = new News();
const roster = known();
const stream = new Stream(page.dataset.stream, {
  cursor: () => roster.cursor,
  lost: () => roster.forget(),
  state: showState,
  frame(frame) {
    news.add(roster.apply(frame));
    draw();
    tell();
  },
});

/** What the page came with; nothing when it holds only the first of many, so that a snapshot brings all. */
function known() {
  const members = view.members();
  const whole = members.length === Number(page.dataset.count);
  return whole ? new Roster(members, page.dataset.cursor) : new Roster();
}

const draw = batched(() => {
  if (!roster.cursor) return; // not known yet: what the page came with says more
  const { count } = roster;
  view.show(roster.first(SHOWN));
  find('count').textContent = count;
  find('noun').textContent = noun(count);
  find('empty').hidden = count > 0;
  find('more').hidden = count <= SHOWN;
  find('more').querySelector('span').textContent = count - SHOWN;
  document.title = `${count} in ${page.dataset.room} · Presently`;
});

/** Runs `work` once for many calls, with the next frame; a hidden tab has none, so a timer stands in. */
function batched(work) {
  let frame = null;
  let timer = null;
  const run = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    timer = null;
    work();
  };
  return () => {
    if (timer !== null) return;
    frame = requestAnimationFrame(run);
    timer = setTimeout(run, 250);
  };
}

let telling = null;

/** One announcement for all that happens within a few seconds: in a flood nobody could listen to each. */
function tell() {
  telling ??= setTimeout(() => {
    telling = null;
    find('news').textContent = news.take(roster.count);
  }, NEWS_MS);
}

function showState(state, message) {
  page.dataset.state = state;
  const pill = find('state');
  const text = status(state, message);
  if (pill.textContent === text) return; // said once is enough
  pill.dataset.state = state;
  pill.textContent = text;
}

signIn.addEventListener('submit', async (event) => {
  event.preventDefault();
  const user = nameField.value;
  const wrong = await send(signIn);
  say(find('sign-in-note'), wrong || `${quoted(user)} is signed in.`, wrong);
  nameField.setAttribute('aria-invalid', Boolean(wrong));
  if (signIn.contains(document.activeElement)) nameField.focus();
  if (wrong) return;
  if (nameField.value === user) nameField.value = ''; // the next name may be half typed
  view.light(user);
});

nameField.addEventListener('input', () => {
  say(find('sign-in-note'), '');
  nameField.removeAttribute('aria-invalid');
});

find('users').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const wrong = await send(form);
  if (wrong) say(note(form), wrong, true);
  else form.parentElement.querySelector('.note')?.remove();
});

/** Where a row says what went wrong; it goes with the row. */
function note(form) {
  const there = form.parentElement.querySelector('.note');
  if (there) return there;
  const made = document.createElement('p');
  made.className = 'note';
  made.setAttribute('role', 'status');
  form.after(made);
  return made;
}

function say(element, text, wrong) {
  element.classList.toggle('wrong', Boolean(wrong));
  element.textContent = text;
}

function tick() {
  if (!document.hidden) view.tick(Date.now());
}

for (const host of document.querySelectorAll('.host')) {
  host.textContent = location.protocol === 'https:' ? location.origin : location.host;
}
view.tick(Date.now());
setInterval(tick, TICK_MS);
document.addEventListener('visibilitychange', () => {
  tick();
  if (!document.hidden) stream.hurry();
});

// A stream left open would bar the page from the back-forward cache.
addEventListener('pagehide', () => stream.close());
addEventListener('pageshow', (event) => event.persisted && stream.open());
// The network that comes back may be another one, on which the old connection hangs unnoticed.
addEventListener('online', () => stream.open('waiting'));
stream.open();
