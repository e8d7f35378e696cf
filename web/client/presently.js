// What the package `presently` exports. A gateway serves a file of this name too: the same sources joined, see files.json.
export { Room, Counts } from './room.js';
