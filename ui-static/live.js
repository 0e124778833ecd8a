// The current state of the service: requests, latencies, decisions, its parts. Polled only while the panel is visible.

import { asProblem, get } from "./api.js";
import { Chart } from "./chart.js";
import { byId, cell, element, mark, row, setText, table } from "./dom.js";
import { setUpDrift } from "./drift.js";
import { wilson } from "./estimate.js";
import { percent, plural } from "./figures.js";
import { parseMetrics, total } from "./openmetrics.js";
import { isShown, whenShown } from "./tabs.js";
import { between, lookAt } from "./traffic.js";

const LOOK_EVERY_MS = 5_000;
// Rates need two samples, so the second one follows soon after the first.
const FIRST_LOOK_MS = 1_500;
const KEPT_S = 600;

const PARTS = { object_store: "Object store", temporal: "Temporal (workflows)" };

let charts = [];
let drift = null;
let last = null;
let steps = [];
let nextLook = 0;
let isLooking = false;

export function setUpLive() {
  whenShown("live", look);
}

async function look() {
  if (isLooking) return;
  isLooking = true;
  clearTimeout(nextLook);
  charts = charts.length > 0 ? charts : setUpCharts();
  drift ??= setUpDrift();
  await Promise.all([lookAtMetrics(), drift.look()]);
  isLooking = false;
  nextLook = setTimeout(() => isShown("live") && look(), steps.length > 0 ? LOOK_EVERY_MS : FIRST_LOOK_MS);
}

async function lookAtMetrics() {
  try {
    const { answer } = await get("metrics");
    const metrics = parseMetrics(answer);
    addStep(lookAt(metrics, Date.now() / 1000));
    for (const { chart, columns, words } of charts) chart.update(data(columns), words());
    showFeedback(metrics);
    showParts(metrics);
    setText(byId("live-trouble"), "");
  } catch (error) {
    const { title, detail } = asProblem(error);
    setText(byId("live-trouble"), ["The figures may be out of date", title, detail].filter(Boolean).join(". "));
  }
}

function addStep(now) {
  const step = last && between(last, now);
  // The time without samples is a gap in the chart.
  const isGap = last && now.at - last.at > 3 * (LOOK_EVERY_MS / 1000);
  if (step) steps.push(isGap ? { at: now.at } : step);
  steps = steps.filter(({ at }) => at > now.at - KEPT_S);
  last = now;
}

function data(columns) {
  return [steps.map(({ at }) => at), ...columns.map((name) => steps.map((step) => step[name] ?? null))];
}

// ---- Charts --------------------------------------------------------------------------------------------------------

const clock = (at) => new Date(1000 * at).toLocaleTimeString(undefined, { timeStyle: "medium" });
const TIME = { label: "Time", format: clock, isTime: true };
const RATE = { format: rate };

function setUpCharts() {
  return [
    put(
      "live-requests",
      ["judging", "other"],
      new Chart("Requests per second", {
        x: TIME,
        y: { ...RATE, label: "Requests per second" },
        series: [
          { label: "Judging", colour: "--accent" },
          { label: "All others", colour: "--quiet", line: "dashed" },
        ],
      }),
    ),
    put(
      "live-latency",
      ["p50", "p99"],
      new Chart("Latency of judging requests", {
        x: TIME,
        y: { label: "Latency", format: duration },
        series: [
          { label: "Median (p50)", colour: "--accent" },
          { label: "99 of 100 within (p99)", colour: "--bad", line: "dashed" },
        ],
      }),
    ),
    put(
      "live-decisions",
      ["threat", "harmless"],
      new Chart("Comments judged per second", {
        x: TIME,
        y: { ...RATE, label: "Comments per second" },
        series: [
          { label: "Threats", colour: "--bad" },
          { label: "Harmless", colour: "--good", line: "dashed" },
        ],
      }),
    ),
  ];
}

function put(id, columns, chart) {
  byId(id).replaceChildren(chart.node);
  const words = () => {
    if (steps.length === 0) return "The first figures appear in a few seconds.";
    return `the last ${plural(Math.max(1, Math.round((steps.at(-1).at - steps[0].at) / 60)), "minute")}.`;
  };
  return { chart, columns, words };
}

function rate(value) {
  return value === 0 || value >= 100 ? Math.round(value).toLocaleString() : value.toFixed(value < 10 ? 2 : 1);
}

function duration(seconds) {
  if (seconds === 0) return "0";
  return seconds < 1 ? `${(1000 * seconds).toPrecision(3)} ms` : `${seconds.toFixed(2)} s`;
}

// ---- Feedback ------------------------------------------------------------------------------------------------------

function showFeedback(metrics) {
  const count = (label, agreed) =>
    total(metrics, "threatwatch_feedback_total", (labels) => labels.label === label && labels.agreed === agreed);
  const rows = ["threat", "harmless"].map((label) => {
    const [yes, no, unjudged] = ["yes", "no", "unjudged"].map((agreed) => count(label, agreed));
    const numbers = [
      ["Production agreed", yes],
      ["Production disagreed", no],
      ["No verdict", unjudged],
    ];
    const cells = numbers.map(([heading, number]) => cell(heading, number.toLocaleString(), "number"));
    return row(label, ...cells, cell("Agreement", agreementWords(yes, yes + no)));
  });
  const headings = ["Decision", "Production agreed", "Production disagreed", "No verdict", "Agreement"];
  byId("live-feedback").replaceChildren(table("Decisions of reviewers since the service started", headings, rows));
}

function agreementWords(yes, all) {
  if (all === 0) return "–";
  const [low, high] = wilson(yes, all).map((end) => percent(end));
  return `${percent(yes / all)} (95% interval ${low} to ${high})`;
}

// ---- Parts ---------------------------------------------------------------------------------------------------------

function showParts(metrics) {
  // The service lists the parts in no fixed order.
  const found = (metrics.get("threatwatch_part_up") ?? []).toSorted((a, b) => (a.labels.part < b.labels.part ? -1 : 1));
  const parts = found.map(({ labels: { part }, value }) => {
    const isUp = value === 1;
    return element("li", {}, `${PARTS[part] ?? part}: `, mark(isUp, isUp ? "answers" : "does not answer"));
  });
  byId("live-parts").replaceChildren(...parts);
}
