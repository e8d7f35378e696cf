/** A script of this name is where a gateway serves it. */
const SERVED = /^https?:[^?#]*\/presently(\.[0-9a-f]{16})?\.js([?#]|$)/;

/** The address of this script, where it is the gateway's: `served.js` tells it, and is no part of a bundle. */
export const served = { by: '' };

/**
 * The base of a gateway: `url` as a page at the address `page` gives it. Otherwise it is the folder that `script`, the
 * client itself, was served from, which is not the root below a path prefix. The folder of a bundle says nothing: its
 * gateway is at the root of the page's origin.
 */
export function baseOf(url, page, script = served.by) {
  let base;
  try {
    if (url) base = new URL(url, page);
    else base = SERVED.test(script) ? new URL('.', script) : new URL(new URL(page).origin);
  } catch {
    // Judged below: a URL's own error does not say whose it is.
  }
  if (!base?.protocol.startsWith('http')) throw new TypeError('Room needs the url of a gateway: { url: "https://…/" }');
  base.search = base.hash = ''; // the query of a request is the client's own
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return base.href;
}
