// An application's server, and a gateway beside it that allows its pages.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';

/** Below a path prefix, as many applications are. */
const PREFIX = '/apps/here/';
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Serves a folder below the prefix; it ends with the test `t`. */
export async function serve(t, folder) {
  const server = createServer(({ url }, answer) => {
    const name = new URL(url, 'http://localhost').pathname.slice(PREFIX.length) || 'index.html';
    try {
      const content = readFileSync(join(folder, name));
      answer.setHeader('Content-Type', TYPES[extname(name)] ?? 'text/plain');
      answer.end(content);
    } catch {
      answer.writeHead(404, { 'Content-Type': 'text/html' }).end('none'); // a browser would put a page of its own in an empty one's place
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const origin = `http://127.0.0.1:${server.address().port}`;
  /** The address of a page that is told of the gateway. */
  const page = (gateway, as, pass = '', file = '') => {
    const query = new URLSearchParams({ gateway: gateway.url, as, token: pass });
    return `${origin}${PREFIX}${file}?${query}`;
  };
  return { origin, page };
}

/** Puts a script of the folder into a page, as one that is bundled into `plain.js`, and waits until its room holds. */
export async function runs(tab, type = '') {
  await tab.run((kind) => {
    document.body.append(Object.assign(document.createElement('script'), { src: 'plain.js', type: kind }));
  }, type);
  await tab.until('held', () => globalThis.room?.holding && document.querySelector('presently-room[state=live]'));
}
