// A TCP proxy between clients and a gateway, as the network that breaks.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { ends } from './ends.mjs';

export class Proxy {
  /** The gateway's port. */
  target;
  /** `open`; `shut` refuses who comes; `mute` takes who comes, and passes nothing on. */
  #mode = 'open';
  #tunnels = new Set();
  #server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));

  static async start(target) {
    const proxy = new Proxy();
    proxy.target = target;
    ends.add(proxy);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** How many connections pass through. */
  get connections() {
    return this.#tunnels.size;
  }

  /** Ends all connections for both sides. Who comes back may. */
  cut() {
    this.#tunnels.forEach((tunnel) => tunnel.end());
  }

  /** Ends all connections for one side, `client` or `gateway`. The other one hears nothing until the next cut. */
  halfCut(side) {
    this.#tunnels.forEach((tunnel) => tunnel.strand(side));
  }

  /** Ends what `halfCut` left. */
  cutStranded() {
    this.#tunnels.forEach((tunnel) => tunnel.stranded && tunnel.end());
  }

  /** Ends all connections and refuses who comes, until `open`. */
  shut() {
    this.#mode = 'shut';
    this.cut();
  }

  /** Passes nothing on, and no end of a connection either, until `open`. */
  mute() {
    this.#mode = 'mute';
    this.#tunnels.forEach((tunnel) => tunnel.mute());
  }

  /** Passes on again, also what came meanwhile. */
  open() {
    this.#mode = 'open';
    this.#tunnels.forEach((tunnel) => tunnel.open());
  }

  end() {
    ends.delete(this);
    this.cut();
    this.#server.close();
  }

  #accept(socket) {
    if (this.#mode === 'shut') {
      socket.on('error', () => {});
      reset(socket);
      return;
    }
    const tunnel = new Tunnel(socket, this.target, () => this.#tunnels.delete(tunnel));
    this.#tunnels.add(tunnel);
    if (this.#mode === 'open') tunnel.open();
  }
}

/** Ends a socket by a reset. One that is ending already can't be reset: node would keep it for ever. */
function reset(socket) {
  if (socket.writableEnded || socket.connecting) socket.destroy();
  else if (!socket.destroyed) socket.resetAndDestroy();
}

/** A client's connection, and with the first opening one to the gateway. */
class Tunnel {
  client;
  gateway = null;
  #target;
  #open = false;
  stranded = false;
  #over;

  constructor(client, target, over) {
    this.client = client;
    this.#target = target;
    this.#over = over;
    this.#watch(client);
  }

  get #sockets() {
    return [this.client, this.gateway].filter(Boolean);
  }

  open() {
    if (this.#open || this.stranded) return;
    this.#open = true;
    if (!this.gateway) {
      this.gateway = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true });
      this.#watch(this.gateway);
    }
    this.client.pipe(this.gateway).pipe(this.client);
    // What ended meanwhile is known only now.
    if (this.#sockets.some(({ destroyed }) => destroyed)) this.end();
  }

  mute() {
    this.#open = false;
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  strand(side) {
    this.mute();
    this.stranded = true;
    if (this[side]) reset(this[side]);
  }

  end() {
    this.#over();
    this.#sockets.forEach(reset);
  }

  #watch(socket) {
    socket.setNoDelay();
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#open || this.#sockets.every(({ destroyed }) => destroyed)) this.end();
    });
  }
}
