import { Socket } from './fake-socket.js';

/** The sessions of a gateway behind a proxy that breaks upgrades, as `fetch` sees them. */
export class Sessions {
  /** What was asked: the path with its query, and for messages the number and the actions. */
  asked = [];
  /** The bytes of each request. */
  sizes = [];
  open = [];
  /** A function of the request: what is answered in the gateway's place, once a session has heard the request or before. */
  before = null;
  after = null;
  #world;

  constructor(world) {
    this.#world = world;
    world.upgrades = false;
    world.answer = (request) => this.#answer(request);
  }

  async #answer(request) {
    const { url, method, headers, body } = request;
    const number = Number(headers?.['Presently-Seq'] ?? 0);
    const messages = body ? JSON.parse(body) : [];
    this.sizes.push(new TextEncoder().encode(body).length);
    const actions = messages.map(({ action, user }) => (user ? `${action} ${user}` : action));
    this.asked.push([`${method} ${url.pathname}${url.search}`, number, ...actions].join(' '));
    const instead = await this.before?.({ ...request, number });
    if (instead) return instead;
    const answer = url.pathname.endsWith('/messages') ? this.#post(headers, number, messages) : this.#open(request, messages);
    return (await this.after?.({ ...request, number })) ?? answer;
  }

  #open({ signal, tab }, messages) {
    const socket = new Socket(this.#world, tab);
    const session = { secret: `secret ${this.open.length + 1}`, last: 0, socket, raw: null };
    this.open.push(session);
    const stream = new ReadableStream({
      start: (to) => {
        const encoder = new TextEncoder();
        session.raw = (text) => to.enqueue(encoder.encode(text));
        const end = (error) => {
          session.ended = true;
          if (error) to.error(error);
          else to.close();
        };
        socket.onmessage = ({ data }) => session.ended || session.raw(`data: ${data}\n\n`);
        socket.onclose = ({ code, reason }) => {
          if (code >= 4400 && !session.ended) session.raw(`event: refused\ndata: ${JSON.stringify({ action: 'refused', code: reason, message: reason, retry: reason === 'token_expired' })}\n\n`);
          if (!session.ended) end(code === 1006 && new TypeError('network error'));
        };
        signal.addEventListener('abort', () => {
          socket.close(4001);
          if (!session.ended) end(signal.reason);
        });
      },
    });
    socket.tell({ action: 'session', session: session.secret });
    socket.tell({ action: 'hello', grace: 5_000, keep_alive: 10_000, silence: 25_000, ...socket.hello });
    for (const message of messages) this.#hear(session, message);
    return new Response(stream, { headers: { 'Content-Type': 'text/event-stream' } });
  }

  #post(headers, number, messages) {
    const session = this.open.find(({ secret, ended }) => secret === headers['Presently-Session'] && !ended);
    if (!session) return refusal(404, 'no_session');
    if (number !== session.last && number !== session.last + 1) return refusal(409, 'out_of_order');
    if (number !== session.last) for (const message of messages) this.#hear(session, message);
    session.last = number;
    return new Response(null, { status: 204 });
  }

  #hear({ socket }, message) {
    this.#world.heard.push(message);
    socket.hear(message);
  }
}

export function refusal(status, code, retry = false) {
  const type = { 'Content-Type': 'application/problem+json' };
  return new Response(JSON.stringify({ status, code, detail: code, retry }), { status, headers: type });
}
