// Why a sentence has its score: the words that contribute to it. The fast model's figures are exact and add up; the
// encoder's are approximations that do not. They are never shown in one list.

import { decisionTag, isLeftAlone, judgeTag } from "./decision.js";
import { element } from "./dom.js";
import { percent, signed } from "./figures.js";

// Shares of a sentence's largest contribution from which on a word is underlined: thin, medium, thick.
const STRENGTHS = [0.25, 0.5, 0.75];
const LISTED_FOR = 5;
const LISTED_AGAINST = 3;
const EXCERPT_LENGTH = 60;

const asExact = (contribution) => signed(contribution);
const asApproximate = (contribution) => `≈\u00a0${signed(contribution)}`;

export function textOf(points, start, end) {
  return points.slice(start, end).join("");
}

// The text of a sentence, with the words that contribute most underlined.
export function judgedWords(points, sentence, tokens) {
  const parts = [];
  let shown = sentence.start;
  for (const token of telling(tokens)) {
    const { start, end, contribution, strength } = token;
    if (strength === 0) continue;
    parts.push(textOf(points, shown, start), word("span", textOf(points, start, end), contribution, strength));
    shown = end;
  }
  return [...parts, textOf(points, shown, sentence.end)];
}

export function underlineKey(sentences) {
  if (!sentences.some(({ tokens }) => telling(tokens).length > 0)) return [];
  const solid = word("span", "solid line", 1, 2);
  const dotted = word("span", "dotted line", -1, 2);
  const rest = " against. A thicker line means more, compared with the other words of the sentence.";
  const whose = sentences.some(isExplainedTwice) ? " These lines show the fast model's contributions." : "";
  return [element("p", { class: "help" }, "A ", solid, " speaks for a threat, a ", dotted, rest, whose)];
}

export function reasons(points, verdict) {
  const explained = verdict.sentences.filter(({ tokens }) => tokens?.length > 0);
  const noticed = explained.filter((sentence) => !isLeftAlone(sentence));
  const subjects = noticed.length > 0 ? noticed : mostProbable(explained);
  return subjects.map((sentence) => reason(points, verdict, sentence));
}

function word(tag, text, contribution, strength) {
  const side = contribution > 0 ? "for" : "against";
  return element(tag, { class: "word", "data-side": side, "data-strength": String(strength) }, text);
}

// The words whose contribution does not round to 0, each with its strength from 0 (little) to 3 (much).
function telling(tokens = []) {
  const counted = tokens.filter(({ contribution }) => Number(contribution.toFixed(2)) !== 0);
  const largest = counted.reduce((most, { contribution }) => Math.max(most, Math.abs(contribution)), 0);
  const strengthOf = (contribution) => STRENGTHS.filter((from) => Math.abs(contribution) >= from * largest).length;
  return counted.map((token) => ({ ...token, strength: strengthOf(token.contribution) }));
}

function mostProbable(sentences) {
  return sentences.toSorted((a, b) => b.probability - a.probability).slice(0, 1);
}

function reason(points, verdict, sentence) {
  const { start, end, probability } = sentence;
  const quote = element("q", { dir: "auto" }, excerpt(points, start, end));
  const chance = isLeftAlone(sentence) ? `${percent(probability)}, the most probable sentence` : decisionTag(sentence);
  const judge = judgeTag(verdict, sentence).flatMap((tag) => [" ", tag]);
  const summary = element("summary", {}, element("strong", {}, "Why?"), " ", quote, " ", chance, ...judge);
  const views = isExplainedTwice(sentence) ? bothViews(points, sentence) : fastView(points, sentence, "h4");
  return element("details", { class: "why" }, summary, ...views);
}

// A word may be as long as the comment.
function excerpt(points, start, end) {
  if (end - start <= EXCERPT_LENGTH) return textOf(points, start, end);
  return `${textOf(points, start, start + EXCERPT_LENGTH).trimEnd()}…`;
}

// ---- The fast model's view, and the encoder's ----------------------------------------------------------------------

function isExplainedTwice({ encoder_logit: logit }) {
  return Number.isFinite(logit);
}

function bothViews(points, sentence) {
  const view = (title, ...content) => element("div", { class: "why-view" }, element("h4", {}, title), ...content);
  return [
    view("Fast model: what each word adds (exact)", ...fastView(points, sentence, "h5")),
    view("Encoder: the change if a word is left out (approximate)", ...encoderView(points, sentence)),
  ];
}

function fastView(points, { tokens, bias, logit }, heading) {
  const legend =
    "Log-odds before context and calibration. They add up: " +
    `${signed(bias)} without any word, ${signed(logit)} with all words.`;
  return [wordLists(points, tokens, heading, asExact), element("p", { class: "help" }, legend)];
}

function encoderView(points, sentence) {
  const { encoder_tokens: tokens, encoder_logit: logit } = sentence;
  const all = `The encoder's log-odds are ${signed(logit)} with all words.`;
  if (!tokens) return [element("p", { class: "help" }, `${all} It had no time to try each word.`)];
  const each = "A figure is how much they fall if this one word is left out. The figures do not add up.";
  return [
    element("blockquote", { class: "comment", dir: "auto" }, ...judgedWords(points, sentence, tokens)),
    wordLists(points, tokens, "h5", asApproximate),
    element("p", { class: "help" }, `${all} ${each}`),
  ];
}

function wordLists(points, tokens, heading, written) {
  const words = telling(tokens).toSorted((a, b) => b.contribution - a.contribution);
  const speakFor = words.filter(({ contribution }) => contribution > 0).slice(0, LISTED_FOR);
  const speakAgainst = words.filter(({ contribution }) => contribution < 0).reverse().slice(0, LISTED_AGAINST);
  const list = (title, some, none) => {
    const items = some.map((token) => wordItem(points, token, written));
    const body = items.length > 0 ? element("ol", {}, ...items) : element("p", { class: "help" }, none);
    return element("div", {}, element(heading, {}, title), body);
  };
  return element(
    "div",
    { class: "why-lists" },
    list("Most for a threat", speakFor, "No word speaks for a threat."),
    list("Most against a threat", speakAgainst, "No word speaks against a threat."),
  );
}

function wordItem(points, { start, end, contribution, strength }, written) {
  const amount = element("span", { class: "contribution" }, written(contribution));
  return element("li", {}, amount, " ", word("bdi", excerpt(points, start, end), contribution, strength));
}
