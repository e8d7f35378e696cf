import { diagnose } from './explain.js';
import { CLEAN, RESTART, encode } from './wire.js';

/** The gateway's bound on the messages of one request, and less than that on its bytes (64 KiB). */
const MOST = 100;
const MOST_BYTES = 60_000;
/** Requests larger than this would take up the page's quota of what may outlive the page (64 KiB). */
const OUTLIVES = 16_000;
/** A proxy that keeps the stream back to its end gives no frame at all. */
const LATE_MS = 5_000;
/** A request without an answer for this long has none. */
const ANSWER_MS = 15_000;
/** The wait after `busy`, and the first after another refusal that may be retried. */
const BUSY_MS = 100;
const LATER_MS = 1_000;
/** How long a good-bye may take. */
const CLOSE_MS = 5_000;

/**
 * A session as a link that takes the same messages as a WebSocket: an event stream, and requests one after the other, each
 * with its number. By fetch, since an EventSource neither posts nor says why it was refused.
 */
export class Session {
  #base;
  #to;
  #secret = '';
  #number = 1;
  #waiting = [];
  #posting = false;
  #stream = new AbortController();
  #closing;
  /** Whether the stream ends once all is said. */
  #isOver = false;
  /** Why the gateway ended the stream, and when to return, if it said so. */
  #reason = null;
  #retry = '';

  constructor(base, to) {
    this.#base = base;
    this.#to = to;
    queueMicrotask(() => {
      to.open();
      this.#open();
    });
  }

  send(message) {
    this.#waiting.push(message);
    this.#postSoon();
  }

  /** A good-bye, and the end of the tab (`isLast`), follow all that was said before. Who only goes away is lost, and may come back. */
  close(code, isLast) {
    if (this.#stream.signal.aborted) return;
    if (code === CLEAN) this.send({ action: 'close' });
    this.#isOver = isLast && code !== CLEAN;
    if (code !== CLEAN && !(isLast && this.#posting)) this.#end();
    else this.#closing = setTimeout(() => this.#end(), CLOSE_MS);
  }

  async #open() {
    const { signal } = this.#stream;
    if (signal.aborted) return;
    const said = 'Presently: the event stream brought nothing for 5 s; does a proxy keep it back?';
    const late = setTimeout(() => console.warn(said), LATE_MS);
    const take = (frame, event) => {
      clearTimeout(late);
      if (!signal.aborted) this.#take(frame, event);
    };
    try {
      const answer = await this.#request(`api/stream${new URL(this.#base).search}`, this.#next(), {}, signal).catch(async (error) => {
        this.#reason = await diagnose(this.#base);
        throw error;
      });
      const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream');
      if (answer.ok && isStream) await follow(answer.body, take, this.#to.alive, (ms) => (this.#retry = ms));
      else this.#reason = await problem(answer);
      if (!this.#reason?.code && !isStream) this.#reason = await diagnose(this.#base, answer.status);
    } catch {
      // It broke off, or what it said can't be read: both are the end of it.
    }
    clearTimeout(late);
    if (!signal.aborted) this.#lost();
  }

  #take(frame, event) {
    if (event === 'refused') {
      this.#reason = frame;
      return;
    }
    if (frame.action === 'session') {
      this.#secret = frame.session;
      this.#postSoon();
    }
    this.#to.frame(frame);
  }

  /** What is said in one go is one request, and what is said meanwhile is the next. */
  async #postSoon() {
    if (this.#posting || !this.#secret) return;
    this.#posting = true;
    await null;
    while (this.#waiting.length && !this.#stream.signal.aborted) await this.#post(this.#next());
    this.#posting = false;
    if (this.#isOver) this.#end();
  }

  #next() {
    const messages = [];
    let bytes = 0;
    while (this.#waiting.length && messages.length < MOST) {
      bytes += new TextEncoder().encode(encode(this.#waiting[0])).length + 1;
      if (messages.length && bytes > MOST_BYTES) break;
      messages.push(this.#waiting.shift());
    }
    return messages;
  }

  /** Asks until there is an answer to this number. */
  async #post(messages) {
    const headers = { 'Presently-Session': this.#secret, 'Presently-Seq': String(this.#number) };
    let silences = 0;
    let wait = LATER_MS;
    while (!this.#stream.signal.aborted) {
      const answer = await this.#answer(messages, headers);
      if (answer?.status === 204) {
        this.#number += 1;
        return;
      }
      const refusal = answer && (await problem(answer));
      silences += answer ? 0 : 1;
      if (refusal?.code === 'busy') await sleep(BUSY_MS);
      else if (refusal?.retry) {
        await sleep(refusal.after || wait);
        wait = Math.min(2 * wait, 30 * LATER_MS);
      } else if (refusal?.code && !['no_session', 'out_of_order'].includes(refusal.code)) {
        // Refused as a whole, so that the number is not used up.
        for (const { ref } of messages) this.#to.frame({ ...refusal, action: 'refused', ref });
        return;
      } else if (refusal || silences > 1) {
        this.#lost();
      }
    }
  }

  /** Null without an answer. */
  async #answer(messages, headers) {
    const impatience = new AbortController();
    const timer = setTimeout(() => impatience.abort(), ANSWER_MS);
    try {
      return await this.#request('api/stream/messages', messages, headers, impatience.signal);
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  #request(path, messages, headers, signal) {
    const body = `[${messages.map(encode)}]`;
    const all = { 'Content-Type': 'application/json', ...headers };
    // Also while the page goes away; the stream itself ends with the page.
    const keepalive = Boolean(headers['Presently-Seq']) && body.length < OUTLIVES;
    return fetch(new URL(path, this.#base), { method: 'POST', headers: all, body, keepalive, signal });
  }

  #end() {
    clearTimeout(this.#closing);
    this.#stream.abort();
  }

  #lost() {
    this.#end();
    const { code, message, retry, status = 400 } = this.#reason ?? {};
    // After `token_expired` it is for the line to know whether there is another token.
    if (this.#retry) this.#to.lost(RESTART, `stopping ${this.#retry}`);
    else if (code && (!retry || code === 'token_expired')) this.#to.lost(4000 + status, code, message);
    else this.#to.lost(1006, code, message);
  }
}

const sleep = (ms) => new Promise((over) => setTimeout(over, ms));

/** A request's refusal; without `code` it is not the gateway's, as proxies and service workers answer in other forms. */
async function problem(answer) {
  const isOurs = answer.headers.get('content-type')?.startsWith('application/problem+json');
  const { code, detail: message, retry, status } = isOurs ? await answer.json().catch(() => ({})) : {};
  const after = Number(answer.headers.get('retry-after')) * 1_000;
  return { code, message, retry, status, after };
}

/** Reads the events of a stream (WHATWG HTML, 9.2) as far as Presently uses them: a type, `data:` of one line, and `retry:`. */
async function follow(body, take, alive, retry) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  reader.closed.catch(() => {}); // WebKit rejects this as well as the read
  let [rest, event] = ['', ''];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') event = '';
      else if (line.startsWith('event:')) event = line.slice(6).trim();
      else if (line.startsWith('retry:')) retry(line.slice(6).trim());
      else if (line.startsWith('data:')) take(JSON.parse(line.slice(5)), event);
    }
  }
}
