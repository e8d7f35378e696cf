/** What a browser's tab has for itself: the globals of its copy of the client, and whether the system lets it run. */
let next = null;

/** The globals of the tab that is being made. */
export const globals = () => next;

/** What comes before the client's own lines, so that each copy sees the globals of its tab. */
export const PREAMBLE = `import { globals } from ${JSON.stringify(import.meta.url)};
const globalThis = globals();
const { setTimeout, setInterval, WebSocket, BroadcastChannel, fetch } = globalThis;
`;

/** Loads a copy of the client in a tab. `act` says that the tab does what comes next; `own` is what it has instead of others. */
export function load(tab, url, act, own) {
  const { globalThis: real } = globalThis;
  // A tab that is suspended runs no timers. When it runs again, those that are due do, an interval once.
  const timer = (set) => (work, ms) => {
    let waits = false;
    const run = () => {
      if (!tab.suspended) return work();
      if (!waits) tab.running.then(() => ((waits = false), work()));
      waits = true;
    };
    return real[set](run, ms);
  };
  const made = (name) =>
    function make(...given) {
      act();
      return new real[name](...given);
    };
  next = Object.assign(Object.create(real), {
    setTimeout: timer('setTimeout'),
    setInterval: timer('setInterval'),
    WebSocket: made('WebSocket'),
    BroadcastChannel: made('BroadcastChannel'),
    fetch: (...given) => {
      act();
      return real.fetch(...given);
    },
    ...own,
  });
  return import(url);
}
