import { encode } from './wire.js';

/** A WebSocket as a link: what it hears goes `to` somebody, until it is closed. */
export function websocket(base, to) {
  const url = new URL('ws?alive=1', base);
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url);
  socket.onopen = () => to.open();
  socket.onmessage = ({ data }) => {
    try {
      to.frame(JSON.parse(data));
    } catch (error) {
      to.distrust(error);
    }
  };
  socket.onclose = ({ code, reason }) => to.lost(code, reason);
  return {
    send: (message) => socket.send(encode(message)),
    close: (code) => socket.close(code),
  };
}
