// @ts-self-types="./presently.d.ts"
// Presently for browsers, workers and other runtimes: who is in a room, live. One file without dependencies.
// In reading order: the gateway's base, the wire's words, what the console says, the members of a room, what all tabs want,
// the two transports (a WebSocket, or a session), the token, the line that keeps a transport open, the election of the tab
// that has the line, what this tab leads, the tab, and Room for the user.
