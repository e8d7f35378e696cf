/** Calls `work` now and then while the page is seen, and at once when it is seen again. */
export function regularly(work, ms) {
  let timer = null;
  const run = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    await work();
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };
  document.addEventListener('visibilitychange', run);
  run();
  return run;
}

/** Runs `work` at once, and for all calls within the next `ms` once more after them: a flood costs no more than that. */
export function throttled(work, ms) {
  let timer = null;
  let again = false;
  const run = () => {
    again = false;
    work();
    timer = setTimeout(() => {
      timer = null;
      if (again) run();
    }, ms);
  };
  return () => {
    if (timer === null) run();
    else again = true;
  };
}
