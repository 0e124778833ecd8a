// A list of any length with a constant number of elements: only rows in view, and a few more, have one. Rows are
// fetched when they come into view, and identified by their position in the list.

import { element } from "./dom.js";

// Browsers limit the height of a box. For a taller list, one pixel of the scroll bar stands for several pixels of rows.
const TALLEST_PX = 8_000_000;
const SPARE = 8;
const BLOCK = 100;
const MOST_KNOWN = 5_000;

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 };

export class VirtualList {
  #node;
  #space = element("div", { class: "virtual-space", role: "presentation" });
  #source;
  #nodes = [];
  #rowHeight = 0;
  #count = 0;
  // `{ at, isKnown, row }`: the position of the chosen row, and a promise of it.
  #choice = null;
  #known = new Map();
  #asked = new Set();
  // Answers for an earlier arrangement are ignored.
  #arrangement = 0;

  // `fetchRows(from, to)` returns rows. `fill(element, row)` shows a row, or that it is loading. `selected(row)` is
  // called for a chosen row.
  constructor(node, source) {
    this.#node = node;
    this.#source = source;
    node.append(this.#space);
    node.addEventListener("scroll", () => this.#draw(), { passive: true });
    node.addEventListener("keydown", (event) => this.#moveByKey(event));
    node.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.select(Number(option.dataset.index));
    });
    new ResizeObserver(() => this.#lay()).observe(node);
  }

  get count() {
    return this.#count;
  }

  // The position of the chosen row, -1 without one.
  get selected() {
    return this.#choice?.at ?? -1;
  }

  // A promise of the chosen row, or of null. Actions wait for it, so that they act on the highlighted row.
  get chosen() {
    return this.selected < 0 ? Promise.resolve(null) : this.#choice.row;
  }

  // Sets a new order or other rows. The chosen row is now at `position` (-1 if it is gone) and stays where it is on
  // screen.
  async arrange(count, position = -1) {
    this.#arrangement += 1;
    const mine = this.#arrangement;
    const shift = position >= 0 && this.#isInView(this.selected) ? position - this.selected : 0;
    const scrolled = this.#offset() + shift * this.#rowHeight;
    const first = this.#firstAt(scrolled);
    // The old rows stay until the new ones are loaded.
    const rows = count > 0 ? await this.#source.fetchRows(first, first + BLOCK) : [];
    if (mine !== this.#arrangement) return;
    this.#count = count;
    // For a row that is still loading, only its position was chosen.
    if (this.#choice) this.#choice.at = this.#choice.isKnown ? position : Math.min(count - 1, this.#choice.at);
    this.#replaceKnown(first, rows);
    this.#lay();
    this.#scrollTo(scrolled);
    this.#draw();
  }

  // Reloads rows that changed but did not move. The choice stays.
  async refresh() {
    const mine = this.#arrangement;
    const first = this.#firstAt(this.#offset());
    const rows = await this.#source.fetchRows(first, first + BLOCK);
    if (mine !== this.#arrangement) return;
    this.#replaceKnown(first, rows);
    this.#draw();
  }

  select(position) {
    if (this.#count === 0) return;
    const choice = { at: Math.min(this.#count - 1, Math.max(0, position)), isKnown: false };
    this.#choice = choice;
    this.#bringIntoView();
    choice.row = this.#rowOf(choice);
  }

  deselect() {
    this.#choice = null;
  }

  async #rowOf(choice) {
    let arrangement;
    let row;
    do {
      arrangement = this.#arrangement;
      row = this.#known.get(choice.at) ?? (await this.#source.fetchRows(choice.at, choice.at + 1))[0];
      // If the order changed meanwhile, another row is at this position.
    } while (arrangement !== this.#arrangement);
    choice.isKnown = true;
    if (row && choice === this.#choice) this.#source.selected(row);
    return row ?? null;
  }

  #firstAt(offset) {
    return Math.max(0, Math.floor(offset / (this.#rowHeight || 1)) - SPARE);
  }

  #replaceKnown(first, rows) {
    this.#known = new Map(rows.map((row, i) => [first + i, row]));
    this.#asked.clear();
  }

  // ---- Keyboard ----------------------------------------------------------------------------------------------------

  #moveByKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#node.clientHeight / (this.#rowHeight || 1)) - 1);
    const places = { Home: 0, End: this.#count - 1, PageDown: this.selected + page, PageUp: this.selected - page };
    const to = places[event.key] ?? (STEPS[event.key] && this.selected + STEPS[event.key]);
    if (to === undefined) return;
    event.preventDefault();
    this.select(to);
  }

  // ---- Geometry ----------------------------------------------------------------------------------------------------

  #lay() {
    this.#makeNodes();
    const height = Math.min(TALLEST_PX, this.#count * this.#rowHeight);
    this.#space.style.height = `${height}px`;
    this.#draw();
  }

  // Enough elements to fill the view, for any number of rows.
  #makeNodes() {
    if (this.#node.clientHeight === 0) return;
    if (this.#nodes.length === 0) this.#nodes.push(this.#makeNode());
    this.#nodes[0].hidden = false;
    this.#rowHeight = this.#nodes[0].offsetHeight;
    const wanted = Math.ceil(this.#node.clientHeight / this.#rowHeight) + 2 * SPARE;
    while (this.#nodes.length < wanted) this.#nodes.push(this.#makeNode());
  }

  #makeNode() {
    const id = `${this.#node.id}-${this.#nodes.length}`;
    const node = element("div", { id, class: "virtual-row", role: "option", "aria-selected": "false", hidden: "" });
    this.#space.append(node);
    return node;
  }

  // Pixels of rows per pixel of the scroll bar.
  #scale() {
    const view = this.#node.clientHeight;
    const full = this.#count * this.#rowHeight;
    const tall = Math.min(TALLEST_PX, full);
    return tall > view ? (full - view) / (tall - view) : 1;
  }

  #offset() {
    return this.#node.scrollTop * this.#scale();
  }

  #scrollTo(offset) {
    this.#node.scrollTop = offset / this.#scale();
  }

  #isInView(position) {
    const top = position * this.#rowHeight - this.#offset();
    return position >= 0 && top > -this.#rowHeight && top < this.#node.clientHeight;
  }

  #bringIntoView() {
    const top = this.selected * this.#rowHeight;
    const bottom = top + this.#rowHeight - this.#node.clientHeight;
    if (top < this.#offset()) this.#scrollTo(top);
    else if (bottom > this.#offset()) this.#scrollTo(bottom);
    this.#draw();
  }

  // ---- Elements ----------------------------------------------------------------------------------------------------

  #draw() {
    if (this.#rowHeight === 0) return;
    const offset = this.#offset();
    const pool = this.#nodes.length;
    const last = Math.max(0, this.#count - pool);
    const first = Math.min(last, Math.max(0, Math.floor(offset / this.#rowHeight) - SPARE));
    let active = null;
    for (let position = first; position < first + pool; position += 1) {
      const node = this.#nodes[position % pool];
      node.hidden = position >= this.#count;
      if (node.hidden) continue;
      node.style.transform = `translateY(${this.#node.scrollTop + position * this.#rowHeight - offset}px)`;
      this.#show(node, position);
      if (position === this.selected) active = node.id;
    }
    if (active) this.#node.setAttribute("aria-activedescendant", active);
    else this.#node.removeAttribute("aria-activedescendant");
    this.#fetch(first, Math.min(this.#count, first + pool));
  }

  #show(node, position) {
    const row = this.#known.get(position);
    node.dataset.index = String(position);
    node.setAttribute("aria-setsize", String(this.#count));
    node.setAttribute("aria-posinset", String(position + 1));
    node.setAttribute("aria-selected", String(position === this.selected));
    if (node.shownRow === row && row) return;
    node.shownRow = row;
    this.#source.fill(node, row);
  }

  async #fetch(first, end) {
    for (let from = first - (first % BLOCK); from < end; from += BLOCK) {
      const isKnown = this.#areKnown(Math.max(first, from), Math.min(end, from + BLOCK));
      if (!isKnown && !this.#asked.has(from)) this.#fetchBlock(from);
    }
  }

  #areKnown(from, to) {
    for (let position = from; position < to; position += 1) if (!this.#known.has(position)) return false;
    return true;
  }

  async #fetchBlock(from) {
    const mine = this.#arrangement;
    this.#asked.add(from);
    const rows = await this.#source.fetchRows(from, from + BLOCK);
    if (mine !== this.#arrangement) return;
    this.#asked.delete(from);
    if (this.#known.size > MOST_KNOWN) this.#known.clear();
    rows.forEach((row, i) => this.#known.set(from + i, row));
    this.#draw();
  }
}
