// What a moderator says of a verdict. Only what is sent from here is kept by the service.

import { asProblem, post } from "./api.js";
import { button, element } from "./dom.js";
import { textOf } from "./explanation.js";
import { problemNotice } from "./notice.js";

const CREATED = 201;
const LONGEST_SENTENCE = 60;
const LABELS = { threat: "a threat", harmless: "harmless" };

// The part of the page where a judged comment is labelled.
export function review(text, points, verdict) {
  const told = element("div", { role: "status" });
  const choice = sentenceChoice(points, verdict);
  const say = async (label) => {
    setBusy(section, true);
    try {
      const sentence = label === "threat" && choice ? { sentence: Number(choice.value) } : {};
      const { status, answer } = await post("feedback", { text, label, ...sentence });
      told.replaceChildren(element("p", { class: "help" }, storedWords(answer, status === CREATED)));
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
    ...(choice ? [element("label", { for: choice.id }, "If it is a threat, the threat is in"), choice] : []),
    element("div", { class: "row" }, labelled("threat"), labelled("harmless")),
    element("p", { class: "help" }, "Your decision is stored together with the comment: the next model learns from it."),
    told,
  );
  return section;
}

// Which sentence is the threat, where there are several: the most probable one, unless the moderator says otherwise.
function sentenceChoice(points, { sentences }) {
  if (sentences.length < 2) return null;
  const worst = sentences.reduce((worst, { probability }, i) => (probability > sentences[worst].probability ? i : worst), 0);
  const options = sentences.map(({ start, end }, i) => {
    const words = textOf(points, start, Math.min(end, start + LONGEST_SENTENCE));
    const option = element("option", { value: i, dir: "auto" }, end - start > LONGEST_SENTENCE ? `${words}…` : words);
    option.selected = i === worst;
    return option;
  });
  return element("select", { id: "review-sentence" }, ...options);
}

function storedWords({ label, reviewer, revision }, isNew) {
  if (!isNew) return `Stored before: ${reviewer} says it is ${LABELS[label]}.`;
  const again = revision > 1 ? " It takes the place of what you said before." : "";
  return `Stored: ${reviewer} says it is ${LABELS[label]}.${again}`;
}

function setBusy(section, busy) {
  for (const one of section.querySelectorAll("button")) one.setAttribute("aria-disabled", String(busy));
}
