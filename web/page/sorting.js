/** Members that are sorted at once, and that are merged at once: some milliseconds at most, in any language. */
const RUN = 512;
const MERGED = 2_048;

/** Sorts `list` by `compare`, stably, in small steps of work; returns it sorted. */
export function* merging(list, compare) {
  const runs = [];
  for (let at = 0; at < list.length; at += RUN) {
    runs.push(list.slice(at, at + RUN).sort(compare));
    yield;
  }
  let from = runs;
  while (from.length > 1) {
    const to = [];
    for (let at = 0; at < from.length; at += 2) {
      to.push(at + 1 < from.length ? yield* merged(from[at], from[at + 1], compare) : from[at]);
    }
    from = to;
  }
  return from[0] ?? [];
}

function* merged(one, other, compare) {
  const all = [];
  for (let i = 0, j = 0; i < one.length || j < other.length; ) {
    const isOne = j >= other.length || (i < one.length && compare(one[i], other[j]) <= 0);
    all.push(isOne ? one[i++] : other[j++]);
    if (all.length % MERGED === 0) yield;
  }
  return all;
}
