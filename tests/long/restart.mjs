// Restarts a gateway with `--data` under thousands of members and watchers who look at them, with a listening socket that stays
// open or by a takeover, and counts what the watchers saw. A third of the members come by cookies and sessions, the others by
// WebSockets and tokens. With `--nodes 3`, several gateways share a log in one NATS server instead, requests are dealt out in turn, and
// each gateway is restarted after the other, with `--then PROGRAM` as another version.
import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    members: { type: 'string', default: '5000' },
    watchers: { type: 'string', default: '50' },
    drain: { type: 'string', default: '4s' },
    takeover: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '1' },
    then: { type: 'string' },
  },
});
const [members, watchers, nodes] = [values.members, values.watchers, values.nodes].map(Number);
let program = process.env.PRESENTLY ?? 'target/debug/presently';
const SECRET = 'a-secret-that-signs-tokens-in-this-run!!';
const API_KEY = "a-backend's-own-secret-of-40-bytes-or-so";
const ROOM = 'den';

const base64 = (data) => Buffer.from(data).toString('base64url');
const token = (sub) => {
  const now = Math.floor(Date.now() / 1000);
  const grants = [{ match: ROOM, can: ['join', 'watch'] }];
  const claims = { sub, aud: 'presently', iat: now, exp: now + 3600, presently: { rooms: grants } };
  const text = `${base64(JSON.stringify({ alg: 'HS256', typ: 'JWT' }))}.${base64(JSON.stringify(claims))}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where clients are sent, in turn. */
let ports = [];
let turn = 0;
const counts = { add: 0, del: 0, update: 0, snapshot: 0, resumed: 0, refused: 0, reset: 0 };
/** The reasons of the `del`s that were seen. */
const reasons = {};
let counting = false;

/** Sends a request, and gives the socket with whatever comes. */
function request(head, body = '') {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: ports[turn++ % ports.length], host: '127.0.0.1' });
    const failed = (error) => {
      counts[error.code === 'ECONNREFUSED' ? 'refused' : 'reset'] += 1;
      reject(error);
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      socket.write(`${head}\r\nHost: localhost\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
      resolve(socket);
    });
  });
}

async function answer(head, body) {
  const socket = await request(head, body);
  let text = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer: ${head}`)), 30_000);
    socket.on('error', reject);
    socket.on('data', (data) => {
      text += data;
      if (text.includes('\r\n\r\n')) {
        clearTimeout(timer);
        socket.destroy();
        resolve(text);
      }
    });
    socket.on('close', () => reject(new Error(`closed: ${text}`)));
  });
}

function masked(text) {
  const data = Buffer.from(text);
  const head = data.length < 126 ? Buffer.from([0x81, 0x80 | data.length, 0, 0, 0, 0]) : Buffer.alloc(8);
  if (data.length >= 126) {
    head[0] = 0x81;
    head[1] = 0x80 | 126;
    head.writeUInt16BE(data.length, 2);
  }
  return Buffer.concat([head, data]);
}

/** A stream of either kind that says what it is told, and comes back when told. */
class Client {
  cursor = '';
  back = Promise.resolve();

  constructor(user, transport, credential) {
    Object.assign(this, { user, transport, credential, id: randomUUID() });
  }

  /** Resolves when the stream stands. */
  async open() {
    for (;;) {
      try {
        await (this.transport === 'ws' ? this.websocket() : this.events());
        return;
      } catch {
        await sleep(200 + Math.random() * 300);
      }
    }
  }

  comesBack(ms) {
    this.back = sleep(ms).then(() => this.open());
  }

  heard(frame) {
    if (frame.cursor && (frame.last ?? true)) this.cursor = frame.cursor;
    if (counting && !this.user && frame.action in counts) counts[frame.action] += 1;
    if (counting && !this.user && frame.action === 'del') reasons[frame.reason] = (reasons[frame.reason] ?? 0) + 1;
  }

  async websocket() {
    const key = 'dGhlIHNhbXBsZSBub25jZQ==';
    const socket = await request(
      `GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`,
    );
    const wanted = this.user
      ? { action: 'join', room: ROOM, user: this.user, client: this.id, ref: 1 }
      : { action: 'subscribe', room: ROOM, ref: 1, ...(this.cursor && { since: this.cursor }) };
    let [input, upgraded, wait] = [Buffer.alloc(0), false, 500];
    return new Promise((resolve, reject) => {
      socket.on('error', () => {});
      socket.on('close', () => {
        reject(new Error('closed'));
        if (this.socket === socket) this.comesBack(wait);
      });
      socket.on('data', (data) => {
        input = Buffer.concat([input, data]);
        if (!upgraded) {
          const end = input.indexOf('\r\n\r\n');
          if (end < 0) return;
          input = input.subarray(end + 4);
          upgraded = true;
          socket.write(masked(JSON.stringify({ action: 'auth', token: this.credential, ref: 0 })));
          socket.write(masked(JSON.stringify(wanted)));
        }
        for (;;) {
          if (input.length < 2) return;
          let [length, at] = [input[1] & 0x7f, 2];
          if (length === 126) [length, at] = [input.length < 4 ? Infinity : input.readUInt16BE(2), 4];
          else if (length === 127) [length, at] = [input.length < 10 ? Infinity : Number(input.readBigUInt64BE(2)), 10];
          if (input.length < at + length) return;
          const [opcode, payload] = [input[0] & 0xf, input.subarray(at, at + length)];
          input = input.subarray(at + length);
          if (opcode === 8) {
            const [, ms] = /^stopping (\d+)$/.exec(payload.subarray(2).toString()) ?? [];
            wait = ms === undefined ? 500 : Number(ms);
          } else if (opcode === 9) {
            socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]));
          } else if (opcode === 1) {
            const frame = JSON.parse(payload);
            if (frame.action === 'refused') return socket.destroy();
            if (frame.ref === 1) {
              this.socket = socket;
              resolve();
            }
            this.heard(frame);
          }
        }
      });
    });
  }

  async events() {
    const join = JSON.stringify([{ action: 'join', room: ROOM, user: this.user, client: this.id, ref: 1 }]);
    const head = this.user
      ? `POST /api/stream HTTP/1.1\r\nContent-Type: application/json\r\nSec-Fetch-Site: same-origin\r\nCookie: ${this.credential}`
      : `GET /api/rooms/${ROOM}/stream HTTP/1.1\r\nAuthorization: Bearer ${this.credential}\r\nLast-Event-ID: ${this.cursor}`;
    const socket = await request(head, this.user ? join : '');
    let [text, wait] = ['', 1500];
    return new Promise((resolve, reject) => {
      socket.on('error', () => {});
      socket.on('close', () => {
        reject(new Error('closed'));
        if (this.socket === socket) this.comesBack(wait);
      });
      socket.on('data', (data) => {
        text += data;
        const lines = text.split('\n');
        text = lines.pop();
        for (const line of lines) {
          if (line.startsWith('retry: ')) wait = Number(line.slice(7));
          if (!line.startsWith('data: ')) continue;
          const frame = JSON.parse(line.slice(6));
          if (frame.action === 'refused') continue;
          if (!this.user || frame.ref === 1) {
            this.socket = socket;
            resolve();
          }
          this.heard(frame);
        }
      });
    });
  }
}

const folder = mkdtempSync(join(tmpdir(), 'restart-'));
writeFileSync(join(folder, 'token.key'), SECRET);
writeFileSync(join(folder, 'api.key'), API_KEY);

/** Holds a listening socket like a service manager, and starts a program on it for each line of arguments. */
const MANAGER = `
import json, os, socket, subprocess, sys, threading
listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
port = listener.getsockname()[1]
os.dup2(listener.fileno(), 3)
listener.close() if listener.fileno() != 3 else None
print(port, flush=True)
def run(args):
    child = subprocess.Popen(args, pass_fds=[3], env={**os.environ, 'LISTEN_FDS': '1'})
    print('started', child.pid, flush=True)
    print('ended', child.pid, child.wait(), flush=True)
for line in sys.stdin:
    threading.Thread(target=run, args=[json.loads(line)], daemon=True).start()
`;

const manager = values.takeover || nodes > 1 ? null : spawn('python3', ['-c', MANAGER], { stdio: ['pipe', 'pipe', 'pipe'] });
const told = manager && createInterface({ input: manager.stdout });
const line = (matches) =>
  new Promise((resolve) => told.on('line', (text) => matches.test(text) && resolve(matches.exec(text))));

/** A port that was free a moment ago. */
async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Where the gateways keep what lasts. */
async function place() {
  if (nodes === 1) return { args: ['--data', join(folder, 'data')] };
  const port = await freePort();
  const args = ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', join(folder, 'log')];
  const server = spawn(process.env.NATS ?? 'target/tmp/nats/bin/nats-server', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  await new Promise((resolve) => server.stderr.on('data', (data) => `${data}`.includes('Server is ready') && resolve()));
  return { server, args: ['--cluster', `nats://127.0.0.1:${port}`, '--cluster-replicas', '1'] };
}
const log = await place();

/** Starts the gateway; resolves when it listens. */
async function start(more) {
  const args = [...log.args, '--drain', values.drain, '--key', join(folder, 'token.key'), ...more];
  args.push('--api-key', join(folder, 'api.key'), '--rate-connections', 'off');
  const listens = (stream) =>
    new Promise((resolve) => {
      let log = '';
      stream.on('data', (data) => {
        log += data;
        if (process.env.LOG) process.stderr.write(data);
        if (log.includes('listening on')) resolve();
      });
    });
  if (!manager) {
    const gateway = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const ended = new Promise((resolve) => gateway.on('exit', resolve));
    await listens(gateway.stderr);
    return { pid: gateway.pid, ended };
  }
  const [started, listening] = [line(/^started (\d+)$/), listens(manager.stderr)];
  manager.stdin.write(`${JSON.stringify([program, ...args])}\n`);
  const pid = Number((await started)[1]);
  const ended = line(new RegExp(`^ended ${pid} `));
  await listening;
  return { pid, ended };
}

const own = (port) => (manager ? [] : ['--listen', `127.0.0.1:${port}`]);
ports = manager ? [Number((await line(/^\d+$/))[0])] : await Promise.all(Array.from({ length: nodes }, freePort));
const gateways = [];
for (const port of ports) gateways.push(await start(own(port)));

const clients = [];
for (let n = 0; n < members; n += 1) {
  const user = `u${n}`;
  if (n % 3 === 0) {
    const set = await answer(`POST /api/cookie HTTP/1.1\r\nAuthorization: Bearer ${token(user)}`);
    const [, cookie] = /set-cookie: ([^;]+)/i.exec(set) ?? [];
    if (!cookie) throw new Error(set);
    clients.push(new Client(user, 'session', cookie));
  } else {
    clients.push(new Client(user, 'ws', token(user)));
  }
}
for (let at = 0; at < clients.length; at += 200) {
  await Promise.all(clients.slice(at, at + 200).map((client) => client.open()));
}
const looking = Array.from({ length: watchers }, (_, n) => new Client(null, n % 2 ? 'ws' : 'sse', n % 2 ? token(`w${n}`) : API_KEY));
await Promise.all(looking.map((client) => client.open()));
const how = values.takeover ? 'by a takeover' : nodes > 1 ? `${nodes} gateways, one after the other` : 'on an inherited socket';
console.log(`${members} members and ${watchers} watchers are here; restarting ${how}`);

counting = true;
program = values.then ?? program;
const stopped = Date.now();
let left = gateways.length;
gateways.forEach((gateway) => gateway.ended.then(() => (left -= 1)));
for (const [at, first] of [...gateways].entries()) {
  const port = ports[0];
  if (values.takeover) {
    gateways[at] = await start([...own(port), '--takeover']);
    continue;
  }
  // A balancer sends nobody to a gateway that is about to stop.
  if (nodes > 1) ports.shift();
  process.kill(first.pid, 'SIGTERM');
  await first.ended;
  gateways[at] = await start(own(port));
  if (nodes > 1) ports.push(port);
}
const listens = Date.now();
const all = [...clients, ...looking];
const isBack = (client) => client.socket && !client.socket.destroyed;
let back = 0;
while (Date.now() < listens + 60_000) {
  await sleep(100);
  back = all.filter(isBack).length;
  if (back === all.length && left === 0) break;
}
const took = Date.now() - listens;
// Longer than any hold lasts that nobody took up.
await sleep(12_000);
console.log(`the new process listens after ${listens - stopped} ms; ${back} of ${all.length} are back ${took} ms later`);
console.log(`watchers saw ${JSON.stringify(counts)} ${JSON.stringify(reasons)} (refused and reset: connections of all)`);
for (const { pid, ended } of gateways) {
  process.kill(pid, 'SIGINT');
  await ended;
}
log.server?.kill();
manager?.kill();
rmSync(folder, { recursive: true });
process.exit(back === all.length && counts.add === 0 && counts.del === 0 && counts.refused === 0 ? 0 : 1);
