// Why a sentence has its score: the words that contribute to it.

import { decisionTag, isLeftAlone } from "./decision.js";
import { element } from "./dom.js";
import { percent, signed } from "./figures.js";

// Shares of a sentence's largest contribution from which a word is underlined, and underlined more strongly.
const STRENGTHS = [0.25, 0.5, 0.75];
const LISTED_FOR = 5;
const LISTED_AGAINST = 3;
const EXCERPT_LENGTH = 60;

export function textOf(points, start, end) {
  return points.slice(start, end).join("");
}

// The text of a sentence, with the words that contribute most underlined.
export function judgedWords(points, sentence) {
  const parts = [];
  let shown = sentence.start;
  for (const token of telling(sentence)) {
    const { start, end, contribution, strength } = token;
    if (strength === 0) continue;
    parts.push(textOf(points, shown, start), word("span", textOf(points, start, end), contribution, strength));
    shown = end;
  }
  return [...parts, textOf(points, shown, sentence.end)];
}

export function underlineKey(sentences) {
  if (!sentences.some((sentence) => telling(sentence).length > 0)) return [];
  const solid = word("span", "solid line", 1, 2);
  const dotted = word("span", "dotted line", -1, 2);
  const rest = " against. The thicker the line, the more, next to the other words of the sentence.";
  return [element("p", { class: "help" }, "A ", solid, " speaks for a threat, a ", dotted, rest)];
}

export function reasons(points, sentences) {
  const explained = sentences.filter(({ tokens }) => tokens?.length > 0);
  const noticed = explained.filter((sentence) => !isLeftAlone(sentence));
  const subjects = noticed.length > 0 ? noticed : mostProbable(explained);
  return subjects.map((sentence) => reason(points, sentence));
}

function word(tag, text, contribution, strength) {
  const side = contribution > 0 ? "for" : "against";
  return element(tag, { class: "word", "data-side": side, "data-strength": String(strength) }, text);
}

// The words whose contribution does not round to 0, each with its strength: 0 for little, 3 for much of the sentence.
function telling({ tokens }) {
  const counted = (tokens ?? []).filter(({ contribution }) => Number(contribution.toFixed(2)) !== 0);
  const largest = counted.reduce((most, { contribution }) => Math.max(most, Math.abs(contribution)), 0);
  const strengthOf = (contribution) => STRENGTHS.filter((from) => Math.abs(contribution) >= from * largest).length;
  return counted.map((token) => ({ ...token, strength: strengthOf(token.contribution) }));
}

function mostProbable(sentences) {
  return sentences.toSorted((a, b) => b.probability - a.probability).slice(0, 1);
}

function reason(points, sentence) {
  const { start, end, probability } = sentence;
  const quote = element("q", { dir: "auto" }, excerpt(points, start, end));
  const chance = isLeftAlone(sentence) ? `${percent(probability)}, the most probable sentence` : decisionTag(sentence);
  const words = telling(sentence).toSorted((a, b) => b.contribution - a.contribution);
  const speakFor = words.filter(({ contribution }) => contribution > 0).slice(0, LISTED_FOR);
  const speakAgainst = words.filter(({ contribution }) => contribution < 0).reverse().slice(0, LISTED_AGAINST);
  const lists = element(
    "div",
    { class: "why-lists" },
    wordList(points, "Most for a threat", speakFor, "No word speaks for a threat."),
    wordList(points, "Most against a threat", speakAgainst, "No word speaks against a threat."),
  );
  const summary = element("summary", {}, element("strong", {}, "Why?"), " ", quote, " ", chance);
  return element("details", { class: "why" }, summary, lists, element("p", { class: "help" }, logOddsLegend(sentence)));
}

// A single word may be as long as the comment.
function excerpt(points, start, end) {
  if (end - start <= EXCERPT_LENGTH) return textOf(points, start, end);
  return `${textOf(points, start, start + EXCERPT_LENGTH).trimEnd()}…`;
}

function wordList(points, title, words, none) {
  const items = words.map(({ start, end, contribution, strength }) => {
    const amount = element("span", { class: "contribution" }, signed(contribution));
    return element("li", {}, amount, " ", word("bdi", excerpt(points, start, end), contribution, strength));
  });
  const body = items.length > 0 ? element("ol", {}, ...items) : element("p", { class: "help" }, none);
  return element("div", {}, element("h4", {}, title), body);
}

function logOddsLegend({ bias, logit }) {
  return (
    "Log-odds before the neighbouring sentences and calibration are counted; they add up: " +
    `${signed(bias)} without a word, ${signed(logit)} with all.`
  );
}
