// A site of another origin than the gateway's, with a copy of the client: its pages load whatever becomes of the gateway.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { ends } from './ends.mjs';

const PAGE = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>A site</title>';

export class Site {
  /** Files by path: `{ type, text }`. */
  files = new Map([['/', { type: 'text/html', text: PAGE }]]);
  #server = createServer(({ url }, answer) => this.#answer(url, answer));

  static async start() {
    const site = new Site();
    ends.add(site);
    site.#server.listen(0, '127.0.0.1');
    await once(site.#server, 'listening');
    return site;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Copies the client that a gateway serves. */
  async copy(gateway, path = '/presently.js') {
    const answer = await gateway.api(path);
    this.files.set(path, { type: answer.headers.get('content-type'), text: await answer.text() });
  }

  end() {
    ends.delete(this);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(url, answer) {
    const file = this.files.get(url);
    answer.writeHead(file ? 200 : 404, { 'Content-Type': file?.type ?? 'text/plain' });
    answer.end(file?.text ?? 'There is no such file.');
  }
}
