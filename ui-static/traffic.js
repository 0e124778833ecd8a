// Rates and latencies between two samples of the metrics.

import { buckets, total } from "./openmetrics.js";

const JUDGING = /^\/(predict|v1\/moderations|v1alpha1\/comments:analyze|v2\/models\/.*infer$)/;
const DURATION = "http_request_duration_seconds";

const LABELS = ["threat", "harmless"];

const isJudging = ({ handler }) => JUDGING.test(handler);

// The counters for rates, at a time in seconds.
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

// Null if the service restarted in between, which resets its counters.
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

// Estimated like in Prometheus: evenly spread inside a bucket. Null without requests.
export function quantile(durations, share) {
  const all = durations.at(-1)?.count ?? 0;
  if (all === 0) return null;
  const wanted = share * all;
  const at = durations.findIndex(({ count }) => count >= wanted);
  const { bound, count } = durations[at];
  const below = durations[at - 1] ?? { bound: 0, count: 0 };
  // Longer than the largest bound, by an unknown amount.
  if (bound === Infinity) return below.bound;
  return below.bound + ((bound - below.bound) * (wanted - below.count)) / (count - below.count);
}
