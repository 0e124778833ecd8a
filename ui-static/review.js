// A moderator's decision about a judged comment.

import { asProblem } from "./api.js";
import { button, element } from "./dom.js";
import { textOf } from "./explanation.js";
import { LABELS, sendFeedback, storedWords } from "./feedback.js";
import { problemNotice } from "./notice.js";

const LONGEST_SENTENCE = 60;

// The part of the page where a judged comment is labelled.
export function review(text, points, verdict) {
  const told = element("div", { role: "status" });
  const choice = sentenceChoice(points, verdict);
  const say = async (label) => {
    const named = label === "threat" && choice ? { sentences: chosenIn(choice) } : {};
    if (named.sentences?.length === 0) {
      told.replaceChildren(element("p", { class: "help" }, "Nothing was stored. Tick at least one sentence."));
      return;
    }
    setBusy(section, true);
    try {
      const stored = await sendFeedback(text, label, named);
      told.replaceChildren(element("p", { class: "help" }, storedWords(stored)));
    } catch (error) {
      told.replaceChildren(problemNotice("The decision was not stored", asProblem(error)));
    } finally {
      setBusy(section, false);
    }
  };
  const labelled = (label) => button(`It is ${LABELS[label]}`, { class: "quiet" }, () => say(label));
  const section = element(
    "div",
    { class: "review", role: "group", "aria-labelledby": "review-heading" },
    element("h3", { id: "review-heading" }, "What is it really?"),
    ...(choice ? [choice] : []),
    element("div", { class: "row" }, labelled("threat"), labelled("harmless")),
    element("p", { class: "help" }, "Your decision and the comment are stored, to train the next model."),
    told,
  );
  return section;
}

// Checkboxes for the sentences, if there are several. Those that the model labels a threat are ticked.
function sentenceChoice(points, { sentences, threshold, probability }) {
  if (sentences.length < 2) return null;
  const from = Math.min(threshold, probability);
  const choices = sentences.map((sentence, i) => {
    const { start, end } = sentence;
    const words = textOf(points, start, Math.min(end, start + LONGEST_SENTENCE));
    const box = element("input", { type: "checkbox", value: i });
    box.checked = sentence.probability >= from;
    const shown = element("bdi", {}, end - start > LONGEST_SENTENCE ? `${words}…` : words);
    return element("label", { class: "choice" }, box, " ", shown);
  });
  const legend = element("legend", {}, "If it is a threat, which sentences are threats?");
  return element("fieldset", { class: "review-sentences" }, legend, ...choices);
}

function chosenIn(choice) {
  return [...choice.querySelectorAll("input:checked")].map(({ value }) => Number(value));
}

function setBusy(section, busy) {
  for (const one of section.querySelectorAll("button")) one.setAttribute("aria-disabled", String(busy));
}
