/** How long the gateway takes tokens past their end, and connections without one. */
const LEEWAY_MS = 30_000;
const WITHIN_MS = 5_000;

/** A gateway's keys: which tokens it takes, and what it says on a connection about them. */
export class Keys {
  /** Rooms that are not allowed. */
  denied = new Set();
  /** Whether it says that a token ends soon. */
  warns = true;
  /** All tokens that were shown. */
  shown = [];
  #tokens = new Map();
  #of = new WeakMap();

  issue(sub, seconds = 3_600) {
    const token = `${sub} ${this.#tokens.size + 1}`;
    this.#tokens.set(token, { sub, end: Date.now() + seconds * 1_000 });
    return token;
  }

  /** Tokens that `Room` asks for, and how often it did. */
  giver(sub, seconds) {
    const give = async () => {
      give.asked += 1;
      return this.issue(sub, seconds);
    };
    return Object.assign(give, { asked: 0 });
  }

  /** A connection begins: without a token it ends soon. */
  begin(socket) {
    this.#of.set(socket, { timers: [setTimeout(() => socket.cut(4401, 'token_missing'), WITHIN_MS)] });
    return { auth: true };
  }

  /** Null for what may be done. */
  refuse(socket, { action, room, token, ref }) {
    const pass = this.#of.get(socket);
    if (action === 'auth') {
      this.shown.push(token);
      return this.#judge(socket, pass, token, ref);
    }
    if (action === 'close') return null;
    if (!pass.sub) return refusal(ref, 'token_missing');
    return this.denied.has(room) ? refusal(ref, 'not_allowed') : null;
  }

  #judge(socket, pass, token, ref) {
    const { sub, end } = this.#tokens.get(token) ?? {};
    const code = !sub ? 'token_invalid' : end + LEEWAY_MS <= Date.now() ? 'token_expired' : '';
    if (code) {
      if (!pass.sub) queueMicrotask(() => socket.cut(code === 'revoked' ? 4403 : 4401, code));
      return refusal(ref, code, code === 'token_expired');
    }
    if (pass.sub && pass.sub !== sub) return refusal(ref, 'wrong_user');
    pass.timers.forEach(clearTimeout);
    pass.sub = sub;
    const left = end - Date.now();
    const ahead = left < 90_000 ? left / 3 : 30_000;
    pass.timers = [
      setTimeout(() => this.warns && socket.tell({ action: 'auth_expires', in: ahead / 1_000 }), left - ahead),
      setTimeout(() => socket.cut(4401, 'token_expired'), left + LEEWAY_MS),
    ];
    return { action: 'ok', ref, sub, expires_in: Math.max(0, Math.floor(left / 1_000)) };
  }
}

const refusal = (ref, code, retry = false) => ({ action: 'refused', ref, code, message: code, retry });
