// Two versions side by side: the inputs of their training, and their figures.

import { asProblem, getAsked, withQuery } from "./api.js";
import { byId, cell, code, element, mark, numberCell, row, table } from "./dom.js";
import { FIGURES, figure, isErrorFigure, signed, withInterval } from "./figures.js";
import { flipsOffer } from "./flips.js";
import { problemNotice } from "./notice.js";
import { listen } from "./registry.js";

const ROWS = { held_out: "Held-out commenters", cross_validation: "Cross-validation" };
const DIGEST = /^[0-9a-f]{64}$/;
const UNITS = { sentence: "by sentence", comment: "by comment" };

let offered = "";
let newestRequest = 0;

export function setUpComparison() {
  listen({ arrived: offer });
  byId("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare(byId("compare-a").value, byId("compare-b").value);
  });
  for (const choice of [byId("compare-a"), byId("compare-b")]) choice.addEventListener("change", checkChoice);
}

// Compares production with the newest other version, until the person chooses others.
function offer({ models: listed, production }) {
  // The version in production may be on a later page.
  const isListed = !production || listed.some(({ version }) => version === production.version);
  const models = isListed ? listed : [...listed, { version: production.version, in_production: true }];
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
  const words = [version, trainer, isLive && "in production"].filter(Boolean);
  return element("option", { value: version }, words.join(", "));
}

function checkChoice() {
  const isSame = byId("compare-a").value === byId("compare-b").value;
  byId("compare-b").setCustomValidity(isSame ? "Choose two different versions." : "");
}

async function compare(a, b) {
  newestRequest += 1;
  const mine = newestRequest;
  try {
    const { answer } = await getAsked(withQuery("models/compare", { a, b }));
    if (mine !== newestRequest) return;
    byId("compared").replaceChildren("A is ", code(answer.a.version), ", B is ", code(answer.b.version), ".");
    byId("comparison").replaceChildren(...comparison(answer), flipsOffer(a, b));
  } catch (error) {
    if (mine !== newestRequest) return;
    byId("compared").replaceChildren(problemNotice("The versions were not compared", asProblem(error)));
    byId("comparison").replaceChildren();
  }
}

function comparison({ a, b, differences, figures }) {
  return [
    ...facts(differences),
    ...groups(figures, { a, b }),
    element(
      "p",
      { class: "help" },
      "If the 95% intervals overlap, the difference may be chance. For the Brier score and the calibration error " +
        "lower is better, for all other figures higher. The checks before a promotion compare both versions on the " +
        "same sentences, which shows smaller differences.",
    ),
  ];
}

function facts(differences) {
  if (differences.length === 0) return [element("p", {}, "Both were trained with the same data and parameters.")];
  const rows = differences.map(({ fact, a, b }) => row(code(fact), cell("A", factValue(a)), cell("B", factValue(b))));
  return [table("Differences in data and parameters", ["Input", "A", "B"], rows)];
}

function factValue(value) {
  return DIGEST.test(value) ? element("code", { title: value }, `${value.slice(0, 12)}…`) : code(value);
}

// The held-out sentences count for promotions, so they are expanded. The others are collapsed.
function groups(figures, versions) {
  const pairs = Object.keys(ROWS).flatMap((rows) => Object.keys(UNITS).map((unit) => [rows, unit]));
  return pairs.flatMap(([rows, unit], i) => {
    const group = figures.filter((found) => found.rows === rows && found.unit === unit);
    if (group.length === 0) return [];
    const title = `${ROWS[rows]}, ${UNITS[unit]}`;
    const headings = ["Figure", "A", "B", "B minus A", "95% intervals"];
    const summary = element("summary", {}, element("strong", {}, title));
    const attributes = i === 0 ? { class: "why", open: "" } : { class: "why" };
    const figureRows = group.map((found) => figureRow(found, versions));
    return [element("details", attributes, summary, table(title, headings, figureRows))];
  });
}

function figureRow({ rows, unit, figure: name, a, b, difference, intervals_overlap: overlap }, versions) {
  const shown = (value, version) => withInterval(figure(value), version[rows]?.[unit]?.intervals?.[name], figure);
  return row(
    FIGURES[name] ?? name,
    numberCell("A", shown(a, versions.a)),
    numberCell("B", shown(b, versions.b)),
    numberCell("B minus A", signed(difference, 3)),
    cell("95% intervals", overlapWords(name, difference, overlap)),
  );
}

function overlapWords(name, difference, overlap) {
  if (overlap === undefined || overlap === null) return "not known";
  if (overlap) return "overlap: may be chance";
  const isBetter = difference > 0 !== isErrorFigure(name);
  return element("span", {}, "do not overlap: B is ", mark(isBetter, isBetter ? "better" : "worse"));
}
