const held = new Map();

/** What this tab keeps for a reload. Where the browser denies storage, it is kept until then. */
export const kept = {
  get(key) {
    try {
      return sessionStorage.getItem(key) ?? '';
    } catch {
      return held.get(key) ?? '';
    }
  },

  /** Keeps `text`; '' forgets. */
  set(key, text) {
    held.set(key, text);
    try {
      if (text) sessionStorage.setItem(key, text);
      else sessionStorage.removeItem(key);
    } catch {
      // It is kept until a reload.
    }
  },
};
