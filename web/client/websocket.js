import { encode } from './wire.js';

/**
 * A WebSocket as a link: what it hears goes `to` somebody, until it is closed. It may ask first whether anybody answers at all:
 * Firefox puts WebSockets off ever longer after some that failed, and requests not.
 */
export function websocket(base, to, asks) {
  const url = new URL(`ws?alive=1${new URL(base).search.replace('?', '&')}`, base);
  url.protocol = url.protocol.replace('http', 'ws');
  const gone = new AbortController();
  let socket;
  const open = ({ status } = {}) => {
    if (status >= 500) throw new Error('only a proxy is there');
    if (gone.signal.aborted) return;
    socket = new WebSocket(url);
    socket.onopen = () => to.open();
    socket.onmessage = ({ data }) => {
      try {
        to.frame(JSON.parse(data));
      } catch (error) {
        to.distrust(error);
      }
    };
    socket.onclose = ({ code, reason }) => to.lost(code, reason);
  };
  if (!asks) open();
  else {
    const asked = fetch(new URL('healthz', base), { mode: 'no-cors', cache: 'no-store', signal: gone.signal });
    asked.then(open).catch(() => to.lost(1006, ''));
  }
  return {
    // One that is closing would complain.
    send: (message) => socket.readyState > 1 || socket.send(encode(message)),
    close(code) {
      gone.abort();
      socket?.close(code);
    },
  };
}
