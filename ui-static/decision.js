// The decision at a probability, the part that judged, and the scale with the range for review.

import { element, svgElement } from "./dom.js";
import { percent } from "./figures.js";

const DECISIONS = {
  flag: { sign: "!", word: "Flag", advice: "likely a threat; a person decides" },
  review: { sign: "?", word: "Review", advice: "a person should look at it" },
  pass: { sign: "✓", word: "Pass", advice: "nobody needs to look" },
};

const UNKNOWN = { sign: "?", word: "Unknown decision", advice: "look at it yourself" };

export function wordsFor({ decision }) {
  return DECISIONS[decision] ?? UNKNOWN;
}

export function isThreat({ label }) {
  return label === "threat";
}

export function isLeftAlone({ decision }) {
  return decision === "pass";
}

// The decision and the probability of a sentence, e.g. "flag 99%".
export function decisionTag(sentence) {
  const { decision, probability } = sentence;
  const text = `${wordsFor(sentence).word.toLowerCase()}\u00a0${percent(probability)}`;
  const tag = isLeftAlone(sentence) ? "small" : "strong";
  return element(tag, { class: "decision-tag", "data-decision": decision, dir: "ltr" }, text);
}

// ---- Who judged ----------------------------------------------------------------------------------------------------

const WITH_ENCODER = ["encoder", "stacked_encoder"];

const JUDGES = { fast: "fast model", encoder: "encoder" };

export function hasEncoder({ trainer }) {
  return WITH_ENCODER.includes(trainer);
}

export function isByEncoder({ judged_by: judge }) {
  return judge === "encoder";
}

// The part that judged the comment or a sentence. Empty for a model without an encoder, which has one part only.
export function judgeTag(verdict, { judged_by: judge }) {
  if (!hasEncoder(verdict) || !JUDGES[judge]) return [];
  return [element("small", { class: "judge-tag", "data-judge": judge, dir: "ltr" }, JUDGES[judge])];
}

// ---- The decisions in one sentence ---------------------------------------------------------------------------------

export function bandSentence({ review_from: review, flag_from: flag }) {
  const [from, to] = [review, flag].map((bound) => percent(bound, 1));
  const clauses = [];
  if (review > 0) clauses.push(`below ${from} nobody needs to look`);
  if (flag >= 1) clauses.push(`from ${from} on a person should look; no probability is high enough for a flag`);
  else if (review < flag) {
    clauses.push(`from ${from} to ${to} a person should look`);
    clauses.push(`from ${to} on it is flagged, and a person decides: four of five flags are threats`);
  } else clauses.push(`from ${to} on it is flagged, and a person decides; there is no range for review`);
  const sentence = clauses.join("; ");
  return `${sentence[0].toUpperCase()}${sentence.slice(1)}.`;
}

// ---- The scale -----------------------------------------------------------------------------------------------------

const TRACK = { y: 30, height: 14 };
const FIRST_LABEL = 66;
const LABEL_STEP = 19;

export function probabilityScale(verdict) {
  const { probability } = verdict;
  const bounds = labelledBounds(verdict);
  const height = FIRST_LABEL + LABEL_STEP * (bounds.length - 1) + 6;
  const told = bounds.map(({ share, names }) => `${names} ${percent(share, 1)}`).join(", ");
  const name = `Scale from 0% to 100%: probability ${percent(probability, 1)}, ${told}`;
  return svgElement(
    "svg",
    { class: "scale", role: "img", "aria-label": name, width: "100%", height: String(height) },
    ...zones(verdict),
    ...bounds.flatMap(bound),
    ...pointer(probability),
  );
}

function zones({ review_from: review, flag_from: flag }) {
  const zone = (decision, from, to) => {
    if (to <= from) return [];
    const place = { x: at(from), width: at(to - from), y: String(TRACK.y), height: String(TRACK.height) };
    return [svgElement("rect", { class: "scale-zone", "data-decision": decision, ...place })];
  };
  return [...zone("pass", 0, review), ...zone("review", review, flag), ...zone("flag", flag, 1)];
}

// Bounds with the same displayed figure share a mark.
function labelledBounds({ review_from: review, threshold, flag_from: flag }) {
  const bounds = [
    { share: review, names: "review from" },
    { share: threshold, names: "threshold" },
    { share: flag, names: "flag from" },
  ];
  const merged = new Map();
  for (const { share, names } of bounds.filter(({ share }) => Number.isFinite(share))) {
    const same = merged.get(percent(share, 1));
    merged.set(percent(share, 1), { share, names: same ? `${same.names}, ${names}` : names });
  }
  return [...merged.values()];
}

function bound({ share, names }, i) {
  const y = FIRST_LABEL + LABEL_STEP * i;
  const line = { x1: at(share), x2: at(share), y1: String(TRACK.y - 4), y2: String(y - 13) };
  return [
    svgElement("line", { class: "scale-bound", ...line }),
    svgElement("text", { x: at(share), y: String(y), "text-anchor": anchor(share) }, `${names} ${percent(share, 1)}`),
  ];
}

function pointer(probability) {
  const text = { class: "scale-probability", x: at(probability), y: "14", "text-anchor": anchor(probability) };
  const line = { x1: at(probability), x2: at(probability), y1: "19", y2: String(TRACK.y + TRACK.height + 2) };
  return [
    svgElement("line", { class: "scale-pointer", ...line }),
    svgElement("text", text, percent(probability, 1)),
  ];
}

function at(share) {
  return `${100 * Math.min(1, Math.max(0, share))}%`;
}

// Centred text would be cut off near an end of the scale.
function anchor(share) {
  if (share < 0.2) return "start";
  return share > 0.8 ? "end" : "middle";
}
