// Judges a comment and shows the verdict.

import { asProblem, post } from "./api.js";
import {
  bandSentence,
  decisionTag,
  hasEncoder,
  isByEncoder,
  isLeftAlone,
  isThreat,
  judgeTag,
  probabilityScale,
  wordsFor,
} from "./decision.js";
import { byId, element, setText } from "./dom.js";
import { judgedWords, reasons, textOf, underlineKey } from "./explanation.js";
import { percent, plural } from "./figures.js";
import { notice, problemNotice } from "./notice.js";
import { review } from "./review.js";

const MOSTLY_UNKNOWN = 0.5;

const NO_TIME = { queue_full: "queue full", deadline: "deadline passed" };

let isJudging = false;

export function setUpJudging() {
  const form = byId("judge-form");
  const comment = byId("comment");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    judge(comment.value);
  });
  comment.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  // Otherwise a pasted text would be cut silently, and a threat may be at its end.
  comment.addEventListener("input", () => {
    const isFull = comment.value.length >= comment.maxLength;
    setText(byId("comment-full"), isFull ? "The limit is reached. Any text beyond it was cut off." : "");
  });
}

async function judge(entered) {
  if (isJudging) return;
  // Half a surrogate pair cannot be sent and would shift the offsets in the answer.
  const text = entered.toWellFormed();
  setJudging(true);
  try {
    const { answer } = await post("predict", { text, explain: true });
    showVerdict(text, answer);
  } catch (error) {
    byId("verdict").replaceChildren(problemNotice("The comment was not judged", asProblem(error)));
    byId("verdict-details").replaceChildren();
  } finally {
    setJudging(false);
  }
}

function setJudging(judging) {
  isJudging = judging;
  const button = byId("judge-button");
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", String(judging));
  setText(button, judging ? "Judging…" : "Judge");
}

function showVerdict(text, verdict) {
  // Offsets count code points; a JavaScript string has UTF-16 units.
  const points = Array.from(text);
  byId("verdict").replaceChildren(...verdictSummary(verdict));
  byId("verdict-details").replaceChildren(
    ...verdictReasons(points, verdict),
    review(text, points, verdict),
    judgingModel(verdict),
  );
}

export function verdictSummary(verdict) {
  return [verdictWords(verdict), ...fallbackNote(verdict)];
}

// `points` are the comment's code points.
export function verdictReasons(points, verdict) {
  return [
    probabilityScale(verdict),
    element("p", { class: "help" }, bandSentence(verdict)),
    ...unknownWordsHint(verdict),
    element("h3", {}, "Sentence by sentence"),
    judgedComment(points, verdict),
    ...underlineKey(verdict.sentences),
    ...judgesKey(verdict),
    element("p", { class: "help" }, "A comment gets the probability and decision of its most threatening sentence."),
    ...reasons(points, verdict),
  ];
}

function verdictWords(verdict) {
  const { decision, probability, threshold } = verdict;
  const { sign, word, advice } = wordsFor(verdict);
  const [label, side] = isThreat(verdict) ? ["a threat", "at or above"] : ["harmless", "below"];
  const reason = `Labelled ${label}: the probability is ${side} the threshold of ${percent(threshold, 1)}.`;
  const heading = element("p", { class: "verdict-label" }, `${word}: `, element("span", {}, advice));
  const why = element("p", { class: "verdict-reason" }, reason);
  const lines = element("div", {}, heading, why, ...judgeLine(verdict));
  return element(
    "div",
    { class: "verdict", "data-decision": decision },
    element("span", { class: "verdict-sign", "aria-hidden": "true" }, sign),
    lines,
    element("p", { class: "verdict-chance" }, percent(probability, 1), element("span", {}, " probability of a threat")),
  );
}

// The comment counts as judged by the encoder if one of its sentences is.
function judgeLine(verdict) {
  const tag = judgeTag(verdict, verdict);
  if (tag.length === 0) return [];
  const { sentences } = verdict;
  const its = sentences.filter(isByEncoder).length;
  const share = its > 0 && its < sentences.length ? ` (${its} of ${plural(sentences.length, "sentence")})` : "";
  return [element("p", { class: "verdict-judge" }, "Judged by: ", ...tag, share)];
}

// In the live region, so that a screen reader announces it.
function fallbackNote({ fallback }) {
  if (!fallback) return [];
  const title = `The encoder had no time (${NO_TIME[fallback] ?? fallback}): this is the fast model's verdict`;
  const advice = "The thresholds are the fast model's too. Judge the comment again in a moment for the encoder's.";
  return [notice("warning", title, element("p", {}, advice))];
}

function judgesKey(verdict) {
  if (!hasEncoder(verdict)) return [];
  const key =
    "The fast model reads every sentence. The encoder is slower and more accurate: it judges the sentences that the " +
    "fast model passes to it. Each sentence shows which of them judged it.";
  return [element("p", { class: "help" }, key)];
}

function unknownWordsHint({ unknown_share: unknown }) {
  if (unknown <= MOSTLY_UNKNOWN) return [];
  const hint =
    `The model does not know most of the words of this comment (${percent(unknown)} are unknown). ` +
    "It may be in another language or have many rare spellings. Do not rely on the verdict.";
  return [element("p", { class: "hint" }, hint)];
}

function judgedComment(points, verdict) {
  const block = element("blockquote", { class: "comment", dir: "auto" });
  let shown = 0;
  for (const sentence of verdict.sentences) {
    block.append(textOf(points, shown, sentence.start), ...judgedSentence(points, verdict, sentence));
    shown = sentence.end;
  }
  block.append(textOf(points, shown));
  return block;
}

function judgedSentence(points, verdict, sentence) {
  const words = judgedWords(points, sentence, sentence.tokens);
  const marked = isLeftAlone(sentence) ? words : [element("mark", { "data-decision": sentence.decision }, ...words)];
  // A no-break space keeps the decision on the same line as the last word.
  const judge = judgeTag(verdict, sentence).flatMap((tag) => ["\u00a0", tag]);
  return [...marked, "\u00a0", decisionTag(sentence), ...judge];
}

export function judgingModel({ model_version: version, generation, trainer }) {
  const origin = `, generation ${generation}, trained with ${trainer}.`;
  return element("p", { class: "help" }, "Judged by model ", element("code", {}, version), origin);
}
