// Two versions side by side: what was given to their training, and their figures.

import { asProblem, get, withQuery } from "./api.js";
import { byId, cell, code, element, numberCell, row, table } from "./dom.js";
import { FIGURES, figure, isErrorFigure, signed } from "./figures.js";
import { problemNotice } from "./notice.js";
import { listen } from "./registry.js";

const ROWS = { held_out: "Held-out commenters", cross_validation: "Cross-validation" };
const UNITS = { sentence: "by sentence", comment: "by comment" };

let offered = "";

export function setUpComparison() {
  listen({ arrived: offer });
  byId("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare(byId("compare-a").value, byId("compare-b").value);
  });
  for (const choice of [byId("compare-a"), byId("compare-b")]) choice.addEventListener("change", checkChoice);
}

// Production against the newest other, until somebody chooses otherwise.
function offer({ models }) {
  byId("compare").hidden = models.length < 2;
  const fingerprint = JSON.stringify(models.map(({ version, in_production: live }) => [version, live]));
  if (fingerprint === offered || models.length < 2) return;
  const isFirst = offered === "";
  offered = fingerprint;
  for (const choice of [byId("compare-a"), byId("compare-b")]) {
    const chosen = choice.value;
    choice.replaceChildren(...models.map(option));
    if (models.some(({ version }) => version === chosen)) choice.value = chosen;
  }
  if (!isFirst) return;
  const live = models.find(({ in_production: isLive }) => isLive) ?? models[1];
  byId("compare-a").value = live.version;
  byId("compare-b").value = models.find(({ version }) => version !== live.version).version;
}

function option({ version, trainer, in_production: isLive }) {
  return element("option", { value: version }, `${version}, ${trainer}${isLive ? ", in production" : ""}`);
}

function checkChoice() {
  const isSame = byId("compare-a").value === byId("compare-b").value;
  byId("compare-b").setCustomValidity(isSame ? "Choose two different versions." : "");
}

async function compare(a, b) {
  try {
    const { answer } = await get(withQuery("models/compare", { a, b }));
    byId("comparison").replaceChildren(...comparison(answer));
  } catch (error) {
    byId("comparison").replaceChildren(problemNotice("The versions were not compared", asProblem(error)));
  }
}

function comparison({ a, b, differences, figures }) {
  return [
    element("p", {}, "A is ", code(a.version), ", B is ", code(b.version), "."),
    ...facts(differences),
    ...groups(figures),
    element(
      "p",
      { class: "help" },
      "Where the 95% intervals overlap, the difference may be chance. Of the Brier score and the calibration error less " +
        "is better, of all others more.",
    ),
  ];
}

function facts(differences) {
  if (differences.length === 0) return [element("p", {}, "They were given the same data and parameters.")];
  const rows = differences.map(({ fact, a, b }) => row(code(fact), cell("A", code(a)), cell("B", code(b))));
  return [table("What differs in data and parameters", ["Fact", "A", "B"], rows)];
}

// The held-out sentences decide about promotions: they stand open, the others can be opened.
function groups(figures) {
  const pairs = Object.keys(ROWS).flatMap((rows) => Object.keys(UNITS).map((unit) => [rows, unit]));
  return pairs.flatMap(([rows, unit], i) => {
    const group = figures.filter((found) => found.rows === rows && found.unit === unit);
    if (group.length === 0) return [];
    const title = `${ROWS[rows]}, ${UNITS[unit]}`;
    const headings = ["Figure", "A", "B", "B less A", "95% intervals"];
    const summary = element("summary", {}, element("strong", {}, title));
    const attributes = i === 0 ? { class: "why", open: "" } : { class: "why" };
    return [element("details", attributes, summary, table(title, headings, group.map(figureRow)))];
  });
}

function figureRow({ figure: name, a, b, difference, intervals_overlap: overlap }) {
  return row(
    FIGURES[name] ?? name,
    numberCell("A", figure(a)),
    numberCell("B", figure(b)),
    numberCell("B less A", signed(difference, 3)),
    cell("95% intervals", overlapWords(name, difference, overlap)),
  );
}

function overlapWords(name, difference, overlap) {
  if (overlap === undefined || overlap === null) return "not known";
  if (overlap) return "overlap: may be chance";
  const isBetter = difference > 0 !== isErrorFigure(name);
  const verdict = element("strong", { class: "check-result", "data-passed": String(isBetter) }, isBetter ? "better" : "worse");
  return element("span", {}, "do not overlap: B is ", verdict);
}
