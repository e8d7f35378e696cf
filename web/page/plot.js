/** uPlot is a classic script: it comes when the first plot is made, and the page needs no chart to work. */
let library;
const uPlot = () =>
  (library ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = new URL('vendor/uPlot.iife.min.js', import.meta.url);
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = reject;
    document.head.append(script);
  }));

/** What changes the page's colours, which a canvas does not follow by itself. */
const LOOKS = ['(prefers-color-scheme: dark)', '(forced-colors: active)'];

/** A plot that fills its place, in the page's colours. */
export class Plot {
  #place;
  #options;
  #plot = null;
  #data = null;

  /** `options(Library, colour)` gives uPlot's options, without a size; `colour(name)` is a custom property of the place. */
  constructor(place, options) {
    this.#place = place;
    this.#options = options;
    this.#start().catch(() => {});
  }

  /** Columns as uPlot takes them: the first has the places on the x axis; null is a gap. */
  show(data) {
    this.#data = data;
    this.#plot?.setData(data);
  }

  async #start() {
    const Library = await uPlot();
    this.#make(Library);
    for (const look of LOOKS) matchMedia(look).addEventListener('change', () => this.#make(Library));
    new ResizeObserver(() => this.#plot.setSize(this.#size)).observe(this.#place);
  }

  #make(Library) {
    this.#plot?.destroy();
    const style = getComputedStyle(this.#place);
    const colour = (name) => style.getPropertyValue(name).trim();
    const common = { ...this.#size, cursor: { show: false }, legend: { show: false } };
    this.#plot = new Library({ ...common, ...this.#options(Library, colour) }, this.#data ?? [[]], this.#place);
  }

  get #size() {
    const { clientWidth: width, clientHeight: height } = this.#place;
    return { width, height };
  }
}

/** The end of an axis to `value`, which has whole numbers at its middle and end. */
export function ceiling(value) {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, value / 2))));
  return Math.max(2, 2 * unit * Math.ceil(value / (2 * unit)));
}
