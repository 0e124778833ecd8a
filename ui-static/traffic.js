// What happened between two looks at the metrics: rates and latencies.

import { buckets, total } from "./openmetrics.js";

const JUDGING = /^\/(predict|v1\/moderations|v1alpha1\/comments:analyze|v2\/models\/.*infer$)/;
const DURATION = "http_request_duration_seconds";

const LABELS = ["threat", "harmless"];

const isJudging = ({ handler }) => JUDGING.test(handler);

// The counters that rates are made of, at a time in seconds.
export function lookAt(metrics, at) {
  const labelled = (label) => total(metrics, "threatwatch_predictions_total", ({ decision }) => decision === label);
  return {
    at,
    judging: total(metrics, "http_requests_total", isJudging),
    other: total(metrics, "http_requests_total", (labels) => !isJudging(labels)),
    durations: buckets(metrics, DURATION, isJudging),
    labelled: Object.fromEntries(LABELS.map((label) => [label, labelled(label)])),
  };
}

// Null if the service was started again in between: its counters are then at 0.
export function between(before, after) {
  const seconds = after.at - before.at;
  const counts = (look) => [look.judging, look.other, ...Object.values(look.labelled)];
  const start = counts(before);
  if (seconds <= 0 || counts(after).some((count, i) => count < start[i])) return null;
  const known = new Map(before.durations.map(({ bound, count }) => [bound, count]));
  const durations = after.durations.map(({ bound, count }) => ({ bound, count: count - (known.get(bound) ?? 0) }));
  const rate = (label) => (after.labelled[label] - before.labelled[label]) / seconds;
  return {
    at: after.at,
    judging: (after.judging - before.judging) / seconds,
    other: (after.other - before.other) / seconds,
    p50: quantile(durations, 0.5),
    p99: quantile(durations, 0.99),
    ...Object.fromEntries(LABELS.map((label) => [label, rate(label)])),
  };
}

// As Prometheus estimates it: evenly spread inside of a bucket. Null without requests.
export function quantile(durations, share) {
  const all = durations.at(-1)?.count ?? 0;
  if (all === 0) return null;
  const wanted = share * all;
  const at = durations.findIndex(({ count }) => count >= wanted);
  const { bound, count } = durations[at];
  const below = durations[at - 1] ?? { bound: 0, count: 0 };
  // Longer than the largest bound: nobody knows how much.
  if (bound === Infinity) return below.bound;
  return below.bound + ((bound - below.bound) * (wanted - below.count)) / (count - below.count);
}
