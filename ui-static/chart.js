// Line charts, drawn by uPlot in the colours of the page. A table has the same figures, for people who see no chart.

import { element, numberCell, row, setText, table } from "./dom.js";
import uPlot from "./vendor/uPlot.esm.js";

const HEIGHT_PX = 220;
const NARROWEST_PX = 120;
const FONT = "12px system-ui, sans-serif";
const DASHES = { solid: [], dashed: [8, 5], dotted: [2, 4] };

const drawn = new Set();

// A canvas does not follow the page's style, so the charts are redrawn.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of drawn) plot.redraw(false);
});

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// `x` and `y` are axes: `{ label, format, range?, isTime? }`. A series is `{ label, colour, line?, points?, steps? }`
// with the name of a colour in style.css and a kind of line, so that it can be recognised without its colour.
export class Chart {
  #x;
  #y;
  #series;
  #plot = null;
  #data = [[]];
  #frame = element("div", { class: "plot", role: "img" });
  #values;
  #table;
  #details;

  constructor(title, { x, y, series }) {
    [this.#x, this.#y, this.#series] = [x, y, series];
    this.#values = series.map(() => element("span", { class: "legend-value" }));
    const legend = series.map((one, i) => element("li", {}, sample(one), ` ${one.label} `, this.#values[i]));
    const scrolled = { class: "chart-table", role: "region", tabindex: "0", "aria-label": `${title}, as a table` };
    this.#table = element("div", scrolled);
    this.#details = element("details", {}, element("summary", {}, "As a table"), this.#table);
    this.#details.addEventListener("toggle", () => this.#fillTable());
    this.title = title;
    this.node = element(
      "figure",
      { class: "chart" },
      element("figcaption", {}, title),
      element("ul", { class: "chart-legend" }, ...legend),
      this.#frame,
      this.#details,
    );
    new ResizeObserver(() => this.#fit()).observe(this.#frame);
  }

  // Columns: positions on the x axis, ascending, then the values of each series, null for no value. `words` describes
  // the chart in a sentence.
  update(data, words) {
    this.#data = data;
    this.#frame.dataset.words = words;
    this.#frame.setAttribute("aria-label", `${this.title}: ${words}`);
    if (this.#plot) this.#plot.setData(data);
    else this.#fit();
    this.#showValues(null);
    this.#fillTable();
  }

  end() {
    drawn.delete(this.#plot);
    this.#plot?.destroy();
    this.#plot = null;
  }

  // A hidden panel has no width yet.
  #fit() {
    const width = this.#frame.clientWidth;
    if (width < NARROWEST_PX || this.#data[0].length === 0) return;
    if (this.#plot) {
      if (this.#plot.width !== width) this.#plot.setSize({ width, height: HEIGHT_PX });
      return;
    }
    this.#plot = new uPlot(this.#options(width), this.#data, this.#frame);
    drawn.add(this.#plot);
  }

  #options(width) {
    const axis = ({ label, format }, size, space) => ({
      label,
      size,
      space,
      labelFont: FONT,
      labelSize: 20,
      font: FONT,
      stroke: () => colour("--quiet"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1 },
      values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))),
    });
    return {
      width,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: this.#x.isTime ?? false, range: this.#x.range }, y: { range: this.#y.range ?? fromZero } },
      axes: [axis(this.#x, 30, this.#x.isTime ? 95 : 50), axis(this.#y, 64, 30)],
      series: [{}, ...this.#series.map(seriesOptions)],
      hooks: { setCursor: [({ cursor }) => this.#showValues(cursor.idx)] },
    };
  }

  // The values at the pointer, else the last ones.
  #showValues(pointed) {
    const at = pointed ?? this.#data[0].length - 1;
    const place = !isKnown(pointed) ? "" : ` at ${this.#x.format(this.#data[0][at])}`;
    this.#values.forEach((node, i) => {
      const value = this.#data[i + 1]?.[at];
      setText(node, isKnown(value) && (place || this.#x.isTime) ? `${this.#y.format(value)}${place}` : "");
    });
  }

  #fillTable() {
    if (!this.#details.open) return;
    const headings = [this.#x.label, ...this.#series.map(({ label }) => label)];
    const rows = this.#data[0].map((place, at) => {
      const values = this.#series.map(({ label }, i) => {
        const value = this.#data[i + 1][at];
        return numberCell(label, isKnown(value) ? this.#y.format(value) : "–");
      });
      return row(this.#x.format(place), ...values);
    });
    this.#table.replaceChildren(table(this.title, headings, rows));
  }
}

function isKnown(value) {
  return value !== null && value !== undefined;
}

function fromZero(_, __, most) {
  return [0, most > 0 ? most * 1.1 : 1];
}

function seriesOptions({ label, colour: name, line = "solid", points = false, steps = false }) {
  return {
    label,
    stroke: () => colour(name),
    width: 2,
    dash: DASHES[line],
    spanGaps: false,
    points: { show: points, size: 7, fill: () => colour(name) },
    ...(steps && { paths: uPlot.paths.stepped({ align: 1 }) }),
  };
}

// A sample of a series' line, for the legend.
function sample({ colour: name, line = "solid" }) {
  const look = { "data-colour": name.slice(2), "data-line": line };
  return element("span", { class: "chart-sample", "aria-hidden": "true", ...look });
}
