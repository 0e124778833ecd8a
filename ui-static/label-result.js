// The result of a labelling session.

import { element } from "./dom.js";
import { wilson } from "./estimate.js";
import { percent, plural } from "./figures.js";

// The counts of a session as a heading and paragraphs. A review of suspected labels allows no estimate for the file.
export function resultOf(counts, isReview) {
  const words = isReview ? [[reviewWords(counts)]] : [[labelWords(counts)], estimateWords(counts)];
  const paragraphs = words.map((parts) => element("p", {}, ...parts));
  return [element("h3", { tabindex: "-1" }, "Your answers"), ...paragraphs];
}

function labelWords({ threat, harmless, skipped }) {
  const stored = `${plural(threat, "threat")} and ${harmless.toLocaleString()} harmless`;
  return `${stored}, stored for the next model; ${skipped.toLocaleString()} skipped.`;
}

function reviewWords({ threat, harmless, corrected, skipped }) {
  const seen = plural(threat + harmless, "label");
  const stored = `${corrected.toLocaleString()}; the corrections are stored`;
  return `Of ${seen}, you corrected ${stored}; ${skipped.toLocaleString()} skipped.`;
}

// Only comments drawn at random allow an estimate for the file: the others were chosen because they are uncertain.
function estimateWords({ drawn, drawnThreats, drawnSkipped }) {
  if (drawn === 0) return ["No comment drawn at random was answered: the share of threats cannot be estimated."];
  const [low, high] = wilson(drawnThreats, drawn).map((end) => percent(end, 1));
  const verb = drawnThreats === 1 ? "is a threat" : "are threats";
  const base = `Of ${plural(drawn, "comment")} drawn at random, ${drawnThreats.toLocaleString()} ${verb}.`;
  const hidden = `${drawnSkipped.toLocaleString()} more ${drawnSkipped === 1 ? "was" : "were"} skipped`;
  const skipped = drawnSkipped > 0 ? ` ${hidden}; there may be threats among them.` : "";
  const share = element("strong", {}, percent(drawnThreats / drawn, 1));
  const interval = ` (95% interval ${low} to ${high}). `;
  return ["Estimated share of threats in the whole file: ", share, interval, base, skipped];
}
