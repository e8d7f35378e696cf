import { uuid } from './uuid.js';
import { Watch } from './watch.js';

/** A leader that is not heard for this long is asked whether it is there. */
const QUIET_MS = 1_500;
/** A tab that has stolen the lead so often, and heard nobody since, hears nobody: it shares nothing. */
const STEALS = 2;

const { locks } = globalThis.navigator ?? {};

/** Whether tabs can share a connection here, as far as known: Web Locks need HTTPS or localhost, and both need that a site may store. */
let sharing = Boolean(locks && globalThis.BroadcastChannel && globalThis.location);
export const canShare = () => sharing;

/**
 * The election of the tab that leads, and what tabs say to each other. The leader is the tab with the Web Lock `name`.
 *
 * Tabs ask the leader (`{ ask, tab, … }`). The leader tells one tab (`to`) or all. Its messages say who they are `by`: a
 * leader that was suspended does not know yet that another tab took its place, and is not heard any more.
 *
 * A tab that hears no leader takes the lead from it, and the lock as well. Where locks or channels do not work, a tab has
 * a line of its own and says nothing to others.
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
  #watch = null;
  #steals = 0;

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
    if (this.#shared && sharing && !signal.aborted && this.#listen()) {
      // The end of this lock will tell the leader that this tab is gone, so it comes before any question.
      await this.#lock(`${this.#name} ${this.id}`, signal);
      if (signal.aborted) return;
      this.#ready = true;
      this.#watch.heard();
      this.#watch.ask();
      this.#to.ready();
      await this.#lock(this.#name, signal, steal);
    }
    if (signal.aborted) return;
    this.#watch?.end();
    this.#leader = this.id;
    this.#leading = true;
    this.#to.lead();
  }

  stop() {
    this.#watch?.end();
    this.#watch = null;
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
    if (!message.to || message.to === this.id) this.#to.told(message);
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

  /** Looks whether the leader is there. */
  look() {
    if (!this.#leading) this.#watch?.ask();
  }

  /** Whether there is a channel. */
  #listen() {
    try {
      this.#channel = new BroadcastChannel(this.#name);
    } catch {
      sharing = false;
      return false;
    }
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#watch = new Watch(QUIET_MS, { ask: () => this.#isSeen() && this.ask({ ask: 'hail' }), lost: () => this.#missed() });
    this.#watch.ask();
    return true;
  }

  /** Whoever is hidden does not mind a leader that hangs, once there was one. */
  #isSeen() {
    return !this.#leader || !globalThis.document?.hidden;
  }

  #missed() {
    if (!this.#isSeen()) this.#watch.heard();
    else if (!this.#ready || this.#steals >= STEALS) this.#secede();
    else {
      this.#steals += 1;
      this.#to.restart(true);
    }
  }

  #secede() {
    sharing = false;
    this.#to.restart(false);
  }

  #hear(message) {
    this.#steals = 0;
    if (this.#leading && message.ask) this.#to.asked(message);
    if (this.#leading || message.ask || !this.#ready) return;
    if (message.leader || !this.#leader) this.#leader = message.by;
    if (message.by !== this.#leader) return;
    this.#watch.heard();
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
      const lost = () => {
        if (signal.aborted) resolve();
        else if (had) this.#to.restart(false);
        else this.#secede(); // the site may have no locks
      };
      locks.request(name, steal ? { steal } : { signal }, granted).catch(lost);
    });
  }
}
