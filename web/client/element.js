export { PresentlyAvatars } from './avatars-element.js';
export { PresentlyRoom } from './room-element.js';
