/** What is refused because its room was closed, or left, before the gateway answered. */
export const CLOSED = { code: 'closed', message: 'The room was closed, or left.' };

/** The error of promises. */
export const refusedError = ({ code, message }) => Object.assign(new Error(message), { name: 'RefusedError', code });

/** A promise that may be ignored, with its `settle(refusal)`. */
export function awaited() {
  let settle;
  const promise = new Promise((resolve, reject) => {
    settle = (refusal) => (refusal ? reject(refusedError(refusal)) : resolve());
  });
  promise.catch(() => {});
  return { promise, settle };
}

/** Runs `work` once for many calls, with the next frame; a hidden tab has none, so a timer stands in. */
export function batched(work) {
  const { requestAnimationFrame: ask, cancelAnimationFrame: cancel } = globalThis;
  let frame = null;
  let timer = null;
  const run = () => {
    cancel?.(frame);
    clearTimeout(timer);
    timer = null;
    work();
  };
  return () => {
    if (timer !== null) return;
    frame = ask?.(run);
    timer = setTimeout(run, ask ? 250 : 16);
  };
}
