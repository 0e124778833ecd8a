// Sentences on which two versions decide differently.

import { asProblem, getAsked, withQuery } from "./api.js";
import { button, byId, cell, element, mark, numberCell, row, table } from "./dom.js";
import { percent, plural } from "./figures.js";
import { problemNotice } from "./notice.js";

const SHOWN = 100;

// The button that loads them. Their texts are personal data, so they are loaded only on request.
export function flipsOffer(a, b) {
  const place = element("div", { id: "flips", role: "status" });
  const ask = button("Show sentences with different decisions", { id: "flips-button" }, () => load(a, b, place));
  return element("div", { class: "after-table" }, element("div", { class: "row" }, ask), place);
}

async function load(a, b, place) {
  const ask = byId("flips-button");
  ask.setAttribute("aria-disabled", "true");
  place.replaceChildren(element("p", { class: "help" }, "Loading the sentences…"));
  try {
    const { answer } = await getAsked(withQuery("models/flips", { a, b, limit: SHOWN }));
    place.replaceChildren(element("p", {}, summary(answer)), ...flipsTable(answer));
  } catch (error) {
    place.replaceChildren(problemNotice("The sentences cannot be shown", asProblem(error)));
  } finally {
    ask.setAttribute("aria-disabled", "false");
  }
}

function summary({ sentences, flips, better, worse }) {
  const of = `${flips.toLocaleString()} of ${plural(sentences, "held-out sentence")} have a different decision by B`;
  if (flips === 0) return `${of}.`;
  return `${of}: ${better.toLocaleString()} better, ${worse.toLocaleString()} worse.`;
}

function flipsTable({ items, flips }) {
  if (items.length === 0) return [];
  const headings = ["Row", "Sentence", "Label", "A", "B", "B is"];
  const caption = items.length < flips ? `The ${items.length} largest differences` : "Largest differences first";
  return [table(caption, headings, items.map(flipRow))];
}

function flipRow({ row: number, text, is_threat: isThreat, a, b }) {
  const isBetter = b > a === isThreat;
  return row(
    String(number),
    cell("Sentence", element("span", { class: "row-whole", dir: "auto" }, text), "prose"),
    cell("Label", isThreat ? "a threat" : "harmless"),
    numberCell("A", percent(a, 1)),
    numberCell("B", percent(b, 1)),
    cell("B is", mark(isBetter, isBetter ? "better" : "worse")),
  );
}
