import { base, roomPath } from './api.js';

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** How to follow `room` of the `gateway` with this base, by way of the tools people have at hand. */
export function snippets(gateway, room, keys = false) {
  const curl = keys ? 'curl -H "Authorization: Bearer $TOKEN"' : 'curl';
  const token = keys ? ', token: () => fetchToken()' : '';
  const auth = keys ? ['socket.onopen = () => socket.send(JSON.stringify({ action: "auth", token }));'] : [];
  const address = `${gateway}${roomPath(room)}`;
  const name = JSON.stringify(room);
  const socket = `${gateway.replace('http', 'ws')}ws?room=${encodeURIComponent(room)}`;
  return [
    {
      title: 'Sign in and out with curl',
      text: `${curl} -X PUT ${quoted(`${address}/users/yay`)}\n${curl} -X DELETE ${quoted(`${address}/users/yay`)}`,
    },
    { title: 'Follow with curl', text: `${curl} -N ${quoted(`${address}/stream`)}` },
    {
      title: 'JavaScript, with reconnecting and the whole set kept for you',
      text: [
        `import { Room } from ${JSON.stringify(`${gateway}presently.js`)};`,
        '',
        `const room = new Room(${name}, { as: "yay"${token} });`,
        'room.addEventListener("change", () => {',
        '  console.log([...room.members.keys()]);',
        '});',
      ].join('\n'),
    },
    {
      title: 'WebSocket',
      text: [
        `const socket = new WebSocket(${JSON.stringify(socket)});`,
        ...auth,
        'socket.onmessage = ({ data }) => console.log(JSON.parse(data));',
        `// ${JSON.stringify({ action: 'join', room, user: 'yay', ref: 1 })} makes you a member.`,
      ].join('\n'),
    },
  ];
}

/** The snippets of a room, each with a button that copies it. */
export class Connect {
  #parts;
  #told;
  #keys;

  /** `keys` is whether the gateway wants a token. */
  constructor(place, blank, told, keys) {
    this.#told = told;
    this.#keys = keys;
    this.#parts = snippets('', '').map(() => {
      const part = blank.content.firstElementChild.cloneNode(true);
      const copy = part.querySelector('button');
      copy.addEventListener('click', () => this.#copy(copy, part.querySelector('code')));
      place.append(part);
      return part;
    });
  }

  show(room) {
    snippets(base(), room, this.#keys).forEach(({ title, text }, i) => {
      const part = this.#parts[i];
      part.querySelector('figcaption').textContent = title;
      part.querySelector('code').textContent = text;
      part.querySelector('button').setAttribute('aria-label', `Copy: ${title}`);
    });
  }

  async #copy(button, code) {
    const copied = await copy(code);
    this.#told.textContent = copied ? 'Copied.' : 'Press Ctrl+C to copy what is selected.';
    button.textContent = copied ? 'Copied' : 'Selected';
    setTimeout(() => {
      button.textContent = 'Copy';
      this.#told.textContent = '';
    }, 2_000);
  }
}

/** The clipboard is there on HTTPS and localhost; elsewhere the older command, and at last a selection to copy by hand. */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return document.execCommand('copy');
  }
}
