import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Access } from '../../web/page/access.js';
import { snippets } from '../../web/page/connect.js';
import { allowed, briefly } from '../../web/page/words.js';

const OVER = { status: 401, detail: 'the cookie is over' };
const KNOWN = { keys: true, sub: 'ann', expires_in: 60, api_key: false, admin: false, rooms: [] };

/** A gateway that gives these answers, and what it was asked. */
function gateway(t, ...answers) {
  const asked = [];
  t.mock.method(globalThis, 'fetch', async (path, { method, headers }) => {
    asked.push([method, path, headers.Authorization].filter(Boolean).join(' '));
    const { status = 200, ...body } = answers.shift() ?? { status: 204 };
    return new Response(status === 204 ? null : JSON.stringify(body), { status });
  });
  return asked;
}

test('rights are of the rooms that a pattern names', async (t) => {
  const access = new Access(true);
  assert.equal(access.may('watch', 'lobby'), false, 'until it is known');
  const can = ['count', 'watch', 'join'];
  gateway(t, { ...KNOWN, rooms: [{ match: 'team-*', can }, { match: 'hall', can: ['count', 'watch'] }] });
  assert.equal(await access.load(), '');
  const may = (verb) => ['team-', 'team-7', 'tea', 'hall', 'hall-2'].filter((room) => access.may(verb, room));
  assert.deepEqual([may('watch'), may('join'), may('manage')], [['team-', 'team-7', 'hall'], ['team-', 'team-7'], []]);
  assert.deepEqual(['ann', 'bob'].map((user) => access.mayBe('team-7', user)), [true, false]);
  assert.ok(access.isKnown && access.until > Date.now());
});

test('without keys nothing is asked, and everybody may do all', (t) => {
  const asked = gateway(t);
  const access = new Access(false);
  assert.deepEqual([access.may('manage', 'any'), access.mayBe('any', 'ann'), access.admin, access.isKnown], [true, true, true, false]);
  assert.deepEqual(asked, []);
});

test('a cookie that is over is given up, and the stranger sees what strangers may', async (t) => {
  const asked = gateway(t, OVER, { status: 204 }, { ...KNOWN, sub: null, expires_in: null });
  const access = new Access(true);
  assert.equal(await access.load(), 'the cookie is over');
  assert.deepEqual(asked, ['GET api/access', 'DELETE api/cookie', 'GET api/access']);
  assert.deepEqual([access.isKnown, access.until], [false, 0]);
});

test('a token becomes a cookie, unless it is refused, none, or the browser keeps no cookies', async (t) => {
  const access = new Access(true);
  const asked = gateway(t, { status: 204 }, KNOWN, OVER, { status: 204 }, { ...KNOWN, sub: null });
  assert.equal(await access.signIn('a.b.c'), '');
  assert.deepEqual([asked[0], access.sub], ['POST api/cookie Bearer a.b.c', 'ann']);
  assert.equal(await access.signIn('a.b.c'), 'the cookie is over');
  assert.match(await access.signIn('zwölf'), /neither a token/);
  assert.match(await access.signIn('a.b.c'), /did not keep/);
});

test('what somebody may do is told in words', () => {
  const all = ['count', 'watch', 'join', 'sign_in', 'manage'];
  assert.deepEqual(allowed([{ match: '*', can: all }, { match: 'hall', can: ['count', 'sign_in'] }], true), [
    ['All rooms', 'everything'],
    ['hall', 'count, sign in'],
    ['The gateway', 'its numbers'],
  ]);
  const noon = new Date(2026, 10, 28, 12).getTime();
  assert.equal(briefly(noon + 60_000, noon), '12:01');
  assert.match(briefly(noon + 86_400_000, noon), /29.*12:00/);
});

test('snippets for a gateway with keys have a place for the token', () => {
  const has = (keys) => snippets('http://gateway/', 'hall', keys).map(({ text }) => /\$TOKEN|token/.test(text));
  assert.deepEqual([has(true), has(false)], [Array(4).fill(true), Array(4).fill(false)]);
});
