// The gate's report: its checks, the sentences that get worse, and the replicas that answer with the version.

import { cell, code, element, mark, numberCell, row, table } from "./dom.js";
import { measure, plural } from "./figures.js";
import { notice } from "./notice.js";

export function gateReport(gate) {
  if (!gate?.checks?.length) return [];
  const caption = gate.passed ? "Every check of the gate passed" : "Not every check of the gate passed";
  const headings = ["Check", "Result", "Value", "Bound", "Meaning"];
  return [table(caption, headings, gate.checks.map(checkRow)), ...flipLines(gate.flips)];
}

export function failedChecks(gate) {
  return (gate?.checks ?? []).filter(({ passed }) => !passed).map(({ check }) => check);
}

function checkRow({ check, passed, value, at_least: least, at_most: most, meaning }) {
  return row(
    code(check),
    cell("Result", mark(passed, passed ? "pass" : "fail")),
    numberCell("Value", measure(value)),
    cell("Bound", boundWords(least, most)),
    cell("Meaning", element("span", {}, meaning), "prose"),
  );
}

function boundWords(least, most) {
  const words = [];
  if (Number.isFinite(least)) words.push(`at least ${measure(least)}`);
  if (Number.isFinite(most)) words.push(`at most ${measure(most)}`);
  return words.join(", ") || "–";
}

function flipLines(flips) {
  if (!flips) return [];
  const { missed, missed_rows: missedRows, flagged, flagged_rows: flaggedRows } = flips;
  if (missed + flagged === 0) {
    return [element("p", { class: "help" }, "No held-out sentence gets a worse decision than from production.")];
  }
  return [
    element("h3", {}, "Held-out sentences with a worse decision than from production"),
    element(
      "ul",
      { class: "flips" },
      ...flipLine(plural(missed, "threat"), "newly missed", missed, missedRows),
      ...flipLine(plural(flagged, "harmless sentence"), "newly flagged", flagged, flaggedRows),
    ),
    element("p", { class: "help" }, "Rows are numbered from 0 in the dataset."),
  ];
}

function flipLine(what, how, count, rows) {
  if (count === 0) return [];
  const first = rows.length < count ? `the first ${rows.length} rows` : rows.length === 1 ? "row" : "rows";
  return [element("li", {}, element("strong", {}, `${what} ${how}`), `: ${first} ${rows.join(", ")}`)];
}

// ---- Replicas ------------------------------------------------------------------------------------------------------

export function replicaReport(replicas) {
  if (!replicas) return [];
  const { reported, missing } = replicas;
  const answering = reported.length === 1 ? "answers" : "answer";
  const line = element("p", {}, `${plural(reported.length, "replica")} ${answering} with it${named(reported)}.`);
  return [line, ...(missing.length > 0 ? [missingNotice(missing)] : [])];
}

function named(names) {
  return names.length > 0 ? `: ${names.join(", ")}` : "";
}

function missingNotice(missing) {
  const names = element("ul", {}, ...missing.map((name) => element("li", {}, code(name))));
  const advice = "They may still answer with the previous model. Check that they run and reach the object store.";
  const title = `${plural(missing.length, "replica")} did not report the new version in time`;
  return notice("warning", title, names, element("p", {}, advice));
}
