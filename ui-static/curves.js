// The curves of a version on held-out commenters: how well it ranks, and how well its probabilities are calibrated.

import { asProblem, getAsked } from "./api.js";
import { Chart } from "./chart.js";
import { button, byId, code, setText } from "./dom.js";
import { percent, plural } from "./figures.js";
import { problemNotice } from "./notice.js";

const WHOLE = [0, 1];

const share = (value) => percent(value);
let charts = [];
let wanted = "";

export function setUpCurves() {
  byId("curves-close").addEventListener("click", () => {
    byId("curves").hidden = true;
    document.querySelector(`[data-curves="${CSS.escape(wanted)}"]`)?.focus();
    wanted = "";
  });
}

export function curvesButton(version) {
  const attributes = { class: "quiet", "data-curves": version, "aria-label": `Curves of ${version}` };
  return button("Curves", attributes, () => open(version));
}

async function open(version) {
  wanted = version;
  byId("curves-heading").replaceChildren("Curves of ", code(version));
  setText(byId("curves-words"), "Loading the curves…");
  clear();
  byId("curves").hidden = false;
  byId("curves-heading").focus();
  try {
    const { answer } = await getAsked(`models/${version}/curves`);
    if (wanted === version) show(answer);
  } catch (error) {
    if (wanted !== version) return;
    setText(byId("curves-words"), "");
    byId("curves-problem").replaceChildren(problemNotice("The curves cannot be shown", asProblem(error)));
  }
}

function clear() {
  for (const chart of charts) chart.end();
  charts = [];
  for (const id of ["curve-pr", "curve-calibration", "curve-probability", "curves-problem"]) byId(id).replaceChildren();
}

function show({ sentences, threats, precision_recall: ranked, calibration, probability }) {
  const base = `${plural(sentences, "sentence")} of held-out commenters, including ${plural(threats, "threat")}`;
  setText(byId("curves-words"), `On ${base}.`);
  const baseline = threats / sentences;
  draw(
    "curve-pr",
    precisionRecall(),
    [ranked.map(({ recall }) => recall), ranked.map(({ precision }) => precision), ranked.map(() => baseline)],
    `precision by recall; guessing has a precision of ${percent(baseline, 1)}.`,
  );
  const said = calibration.map(({ said }) => said);
  draw(
    "curve-calibration",
    calibrated(),
    [
      [0, ...said, 1],
      [null, ...calibration.map(({ seen }) => seen), null],
      [0, ...said, 1],
    ],
    "actual share of threats by predicted probability; on the dashed line both are equal.",
  );
  if (probability) {
    draw(
      "curve-probability",
      histogram("Probabilities of held-out sentences", ["Threats", "Harmless"]),
      stepped(probability.edges, [probability.threats, probability.harmless].map(shares)),
      "the distribution of the probabilities of threats and of harmless sentences.",
    );
  }
}

function draw(id, chart, data, words) {
  charts.push(chart);
  byId(id).replaceChildren(chart.node);
  chart.update(data, words);
}

function precisionRecall() {
  return new Chart("Precision and recall", {
    x: { label: "Recall", format: share, range: WHOLE },
    y: { label: "Precision", format: share, range: WHOLE },
    series: [
      { label: "This version", colour: "--accent" },
      { label: "Guessing", colour: "--quiet", line: "dotted" },
    ],
  });
}

function calibrated() {
  return new Chart("Calibration", {
    x: { label: "Predicted probability", format: share, range: WHOLE },
    y: { label: "Actual share of threats", format: share, range: WHOLE },
    series: [
      { label: "This version", colour: "--accent", points: true },
      { label: "Perfect", colour: "--quiet", line: "dashed" },
    ],
  });
}

// Two distributions over the same bins.
export function histogram(title, [first, second], label = "Probability", format = share, range = WHOLE) {
  return new Chart(title, {
    x: { label, format, range },
    y: { label: "Share", format: share },
    series: [
      { label: first, colour: "--accent", steps: true },
      { label: second, colour: "--busy", line: "dashed", steps: true },
    ],
  });
}

// The columns of a histogram with inner edges: each share is drawn from the start to the end of its bin.
export function stepped(edges, columns, [from, to] = WHOLE) {
  return [[from, ...edges, to], ...columns.map((column) => [...column, column.at(-1)])];
}

function shares(counts) {
  const all = counts.reduce((sum, count) => sum + count, 0) || 1;
  return counts.map((count) => count / all);
}
