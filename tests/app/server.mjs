// The package on a server: it renders, connects to nothing by itself, and holds where it is told to.
import assert from 'node:assert/strict';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { Room } from 'presently';
import 'presently/element';
import { useCount, useMembers, useRoom, useSelf, useStatus } from 'presently/react';

const url = process.argv[2];

function Here() {
  const room = useRoom('lobby', { as: 'rendered', url });
  const names = useMembers(room, (members) => members.map(({ user }) => user));
  return createElement('p', null, JSON.stringify([room, names, useSelf(room), useCount(room), useStatus(room).state]));
}

const html = renderToString(createElement(Here)).replaceAll('&quot;', '"');
assert.equal(html, '<p>[null,[],null,0,"connecting"]</p>');
assert.throws(() => new Room('lobby'), TypeError, 'there is no page whose gateway it could be');

for (const transport of ['auto', 'sse']) {
  const room = new Room('lobby', { as: transport, url, transport });
  await room.ready;
  await room.join(transport);
  assert.deepEqual([...room.members.keys()], [transport], 'who was rendered was not held');
  const seen = new Promise((resolve) => room.addEventListener('update', resolve, { once: true }));
  await room.update({ status: 'said' });
  await seen;
  assert.equal(room.self.meta.status, 'said');
  console.log(`${transport} is ${room.transport}`);
  await room.leave();
  room.close(); // and nothing keeps the process from its end
}
