/** A script of this name is where a gateway serves it. */
const SERVED = /\/presently(\.[0-9a-f]{16})?\.js$/;

/**
 * The base of a gateway: `url` as a page at the address `page` gives it. Otherwise it is the folder that `script`, the
 * client itself, was served from, which is not the root below a path prefix. The folder of a bundle says nothing: its
 * gateway is at the root of its origin.
 */
export function baseOf(url, page, script) {
  const base = url ? new URL(url, page) : new URL(SERVED.test(new URL(script).pathname) ? '.' : '/', script);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  if (!base.protocol.startsWith('http')) throw new TypeError('Room needs the url of a gateway');
  return base.href;
}
