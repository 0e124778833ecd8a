// The backtests of a version: where it would have decided differently about comments that were judged before.

import { get } from "./api.js";
import { element, row, table } from "./dom.js";
import { localTime, percent, plural, signed } from "./figures.js";

const SOURCES = { feedback: "decisions of reviewers", dataset: "a dataset", file: "a file" };

// The newest backtest, collapsed, for a promotion's report. Empty if there is none, or the service has no such route.
export async function backtestReport(version) {
  try {
    const { answer } = await get(`models/${version}/backtests`);
    return answer.items.slice(0, 1).map((newest) => report(newest, answer.items.length - 1));
  } catch {
    return [];
  }
}

function report(newest, older) {
  const { comments, changed, changed_share: share, changed_interval: interval, source } = newest;
  const what = `${changed.toLocaleString()} of ${plural(comments, "comment")} got another label (${percent(share, 1)})`;
  const summary = element("summary", {}, element("strong", {}, "Backtest:"), ` ${what}`);
  const rows = [
    row("Made at", element("td", {}, localTime(newest.at))),
    row("Comments", element("td", {}, `${comments.toLocaleString()} of ${SOURCES[source] ?? source}`)),
    row("Compared with", element("td", {}, newest.incumbent)),
    row("Labelled differently", element("td", {}, `${percent(share, 1)}${range(interval, (end) => percent(end, 1))}`)),
    row("Harmless before, now a threat", element("td", {}, newest.to_threat.toLocaleString())),
    row("A threat before, now harmless", element("td", {}, newest.to_harmless.toLocaleString())),
    ...accuracyRow(newest),
  ];
  const more = older > 0 ? [element("p", { class: "help" }, `And ${plural(older, "older backtest")}.`)] : [];
  return element(
    "details",
    { class: "why" },
    summary,
    table("The newest backtest", ["Figure", "Value"], rows),
    ...more,
  );
}

function accuracyRow({ labelled, accuracy_difference: difference, accuracy_interval: interval }) {
  if (!Number.isFinite(difference)) return [];
  const points = (value) => `${signed(100 * value, 1)} points`;
  const words = `${points(difference)}${range(interval, points)} on ${plural(labelled, "labelled comment")}`;
  return [row("Gain in accuracy", element("td", {}, words))];
}

function range(interval, format) {
  return interval ? `, 95% interval ${format(interval[0])} to ${format(interval[1])}` : "";
}
