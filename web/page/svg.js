const SPACE = 'http://www.w3.org/2000/svg';

/** An SVG element that is stretched to its place: lines keep their width by style. */
export function svg(width, height) {
  const element = document.createElementNS(SPACE, 'svg');
  element.setAttribute('viewBox', `0 0 ${width} ${height}`);
  element.setAttribute('preserveAspectRatio', 'none');
  element.setAttribute('aria-hidden', 'true');
  return element;
}

/** A path of this class within `parent`. */
export function path(parent, name) {
  const element = document.createElementNS(SPACE, 'path');
  element.setAttribute('class', name);
  parent.append(element);
  return (d) => element.setAttribute('d', d);
}

/** The end of an axis to `value`, which has whole numbers at its middle and end. */
export function ceiling(value) {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, value / 2))));
  return Math.max(2, 2 * unit * Math.ceil(value / (2 * unit)));
}

/** The parts of `values` without a null: each as `[index of the first, values]`. */
export function stretches(values) {
  const all = [];
  values.forEach((value, i) => {
    if (value === null) return;
    const last = all.at(-1);
    if (last && last[0] + last[1].length === i) last[1].push(value);
    else all.push([i, [value]]);
  });
  return all;
}
