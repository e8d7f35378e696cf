import { CHANCE_MS, LOOK_MS, SILENCE_MS } from './line.js';
import { uuid } from './uuid.js';

const { locks } = globalThis.navigator ?? {};

/** Whether tabs can share a connection here: Web Locks need HTTPS or localhost. */
export const canShare = () => Boolean(locks && globalThis.BroadcastChannel && globalThis.location);

/**
 * The election of the tab that leads, and what tabs say to each other. The leader is the tab with the Web Lock `name`.
 *
 * Tabs ask the leader (`{ ask, tab, … }`). The leader tells one tab (`to`) or all. Its messages say who they are `by`: a
 * leader that was suspended does not know yet that another tab took its place, and is not heard any more.
 */
export class Election {
  /** The id of this tab: another at each start, since the leader may still wait for the end of the one before. */
  id = '';
  #name;
  #shared;
  #to;
  #stopping = null;
  #channel = null;
  #ready = false;
  #leading = false;
  #leader = null;
  #heard;
  #looking;

  /**
   * `to` hears `ready()` once there may be a leader to ask, `lead()` once this tab leads, `told(message)` from the leader,
   * `asked(ask)` from tabs, and `restart(steal)` when this tab has to stand again.
   */
  constructor(name, shared, to) {
    this.#name = name;
    this.#shared = shared;
    this.#to = to;
  }

  get running() {
    return Boolean(this.#stopping);
  }

  /** Stands for election; resolves when this tab leads or stopped. */
  async start(steal = false) {
    if (this.#stopping) return;
    this.id = uuid();
    this.#leader = null;
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    const { document } = globalThis;
    // A page that is not shown yet stands for nobody.
    if (document?.prerendering) await new Promise((shown) => document.addEventListener('prerenderingchange', shown));
    if (this.#shared && !signal.aborted) {
      this.#listen();
      // The end of this lock will tell the leader that this tab is gone, so it comes before any question.
      await this.#lock(`${this.#name} ${this.id}`, signal);
      if (signal.aborted) return;
      this.#ready = true;
      this.#to.ready();
      await this.#lock(this.#name, signal, steal);
    }
    if (signal.aborted) return;
    this.#leader = this.id;
    this.#leading = true;
    this.#to.lead();
  }

  stop() {
    clearInterval(this.#looking);
    this.#ready = this.#leading = false;
    this.#stopping.abort();
    this.#stopping = null;
    this.#channel?.close();
    this.#channel = null;
  }

  /** Asks the leader, which may be this tab. */
  ask(message) {
    const ask = { tab: this.id, ...message };
    if (this.#leading) this.#to.asked(ask);
    else if (this.#ready) this.#channel.postMessage(ask);
  }

  /** Tells one tab (`to`) or all of them, this one too. */
  tell(message) {
    if (message.to !== this.id) this.post(message);
    this.#hear({ ...message, by: this.id });
  }

  /** Tells all other tabs. */
  post(message) {
    this.#channel?.postMessage({ ...message, by: this.id });
  }

  /** Runs `work` when another tab has ended. */
  whenGone(tab, work) {
    const { signal } = this.#stopping;
    locks.request(`${this.#name} ${tab}`, { signal }, () => signal.aborted || work()).catch(() => {});
  }

  /** Asks for an answer. A leader that gives none, say because the system suspended its tab, loses to a visible tab. */
  look(ask) {
    if (!this.#stopping) return;
    const [heard, { signal }] = [this.#heard, this.#stopping];
    const missed = () => this.#ready && !this.#leading && this.#heard === heard && !globalThis.document?.hidden;
    this.ask({ ask });
    setTimeout(() => !signal.aborted && missed() && this.#to.restart(true), CHANCE_MS);
  }

  #listen() {
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#heard = { at: Date.now() };
    const silent = () => !this.#leading && Date.now() - this.#heard.at > SILENCE_MS;
    this.#looking = setInterval(() => silent() && this.look('hail'), LOOK_MS);
  }

  #hear(message) {
    if (message.ask) {
      if (this.#leading) this.#to.asked(message);
      return;
    }
    if (message.leader || !this.#leader) this.#leader = message.by;
    if (message.by !== this.#leader) return;
    this.#heard = { at: Date.now() };
    if (!message.to || message.to === this.id) this.#to.told(message);
  }

  /** Resolves once this tab has the lock, which it keeps until it stops or another tab steals it. */
  #lock(name, signal, steal = false) {
    return new Promise((resolve) => {
      let had = false;
      const granted = () => {
        had = true;
        resolve();
        return signal.aborted ? null : new Promise((release) => signal.addEventListener('abort', release));
      };
      const lost = () => (had && !signal.aborted ? this.#to.restart(false) : resolve());
      locks.request(name, steal ? { steal } : { signal }, granted).catch(lost);
    });
  }
}
