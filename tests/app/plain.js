// For bundlers without React: the room and the elements, in one script.
import { Room } from 'presently';
import 'presently/element';

const url = new URLSearchParams(location.search).get('gateway') ?? undefined;
globalThis.room = new Room('lobby', { as: 'plain', url });
const element = document.createElement('presently-room');
Object.assign(element, { room: 'lobby', url });
document.body.append(element);
