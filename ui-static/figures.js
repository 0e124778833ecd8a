// Numbers and times in words.

import { element } from "./dom.js";

export const FIGURES = {
  precision: "Precision",
  recall: "Recall",
  f1: "F1",
  roc_auc: "ROC-AUC",
  pr_auc: "PR-AUC",
  recall_at_fpr_5: "Recall at 5% false alarms",
  brier: "Brier score",
  ece: "Calibration error",
};

const LOWER_IS_BETTER = new Set(["brier", "ece"]);

export const isErrorFigure = (name) => LOWER_IS_BETTER.has(name);

// A share that would round to 0% or 100% is shown as below or above the last step, since nothing is certain.
export function percent(share, digits = 0) {
  if (!Number.isFinite(share)) return "–";
  const step = 10 ** -(digits + 2);
  const format = (value) => `${(100 * value).toFixed(digits)}%`;
  if (share > 0 && share < step) return `<${format(step)}`;
  if (share < 1 && share > 1 - step) return `>${format(1 - step)}`;
  return format(share);
}

export function figure(value) {
  return Number.isFinite(value) ? value.toFixed(3) : "–";
}

// A number of any size. Large ones have no decimals.
export function measure(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 100 ? Math.round(size).toLocaleString() : size.toFixed(3);
  return value < 0 ? `\u2212${digits}` : digits;
}

// A number with its sign, also above 0. A number that rounds to 0 has no sign.
export function signed(value, digits = 2) {
  const size = Math.abs(value).toFixed(digits);
  if (Number(size) === 0) return size;
  return `${value < 0 ? "\u2212" : "+"}${size}`;
}

// A figure, and below it its 95% interval over resampled commenters, if known.
export function withInterval(text, interval, format) {
  if (!Array.isArray(interval) || interval.length < 2) return element("span", {}, text);
  const [low, high] = [interval[0], interval.at(-1)].map(format);
  const range = element("span", { class: "interval", title: "95% interval" }, `${low} to ${high}`);
  return element("span", { class: "with-interval" }, text, " ", range);
}

export function localTime(iso, timeStyle = "short") {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return element("span", {}, String(iso));
  const day = element("span", {}, time.toLocaleDateString(undefined, { dateStyle: "medium" }));
  const hour = element("span", {}, time.toLocaleTimeString(undefined, { timeStyle }));
  return element("time", { datetime: iso }, day, " ", hour);
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}
