// The verdict and explanation of the selected comment of a list, as in Check.

import { asProblem, post } from "./api.js";
import { button, element } from "./dom.js";
import { problemNotice } from "./notice.js";
import { judgingModel, verdictReasons, verdictSummary } from "./verdict.js";

// Delay before an explanation is requested: rows that are only passed need none.
const REST_MS = 150;

export class Explained {
  #node;
  #closed;
  #shown = null;
  #timer = 0;

  // `closed()` is called when the person closes it.
  constructor(node, closed) {
    this.#node = node;
    this.#closed = closed;
    node.addEventListener("keydown", ({ key }) => key === "Escape" && this.#leave());
  }

  get isOpen() {
    return !this.#node.hidden;
  }

  close() {
    this.#shown = null;
    clearTimeout(this.#timer);
    this.#node.hidden = true;
    this.#node.replaceChildren();
  }

  #leave() {
    this.close();
    this.#closed();
  }

  open(comment) {
    this.#shown = comment;
    const isNew = !this.isOpen;
    this.#node.hidden = false;
    this.#node.scrollTop = 0;
    if (isNew) this.#node.scrollIntoView({ block: "nearest" });
    this.#node.replaceChildren(...this.#head(comment), element("p", { class: "help" }, "Loading the explanation…"));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#explain(comment), REST_MS);
  }

  async #explain(comment) {
    const { text, problem } = comment;
    const parts = problem ? [element("p", { class: "trouble" }, problem), ...quoted(text)] : await explained(text);
    if (this.#shown === comment) this.#node.replaceChildren(...this.#head(comment), ...parts);
  }

  #head({ id }) {
    const close = button("Close", { class: "quiet", "aria-label": "Close the explanation" }, () => this.#leave());
    return [element("div", { class: "section-head" }, element("h3", {}, "Comment ", element("bdi", {}, id)), close)];
  }
}

async function explained(text) {
  try {
    const { answer } = await post("predict", { text, explain: true });
    return [...verdictSummary(answer), ...verdictReasons(Array.from(text), answer), judgingModel(answer)];
  } catch (error) {
    return [problemNotice("The comment was not explained", asProblem(error)), ...quoted(text)];
  }
}

function quoted(text) {
  return text === "" ? [] : [element("blockquote", { class: "comment", dir: "auto" }, text)];
}
