// Decisions about comments. The service stores only comments that are sent from here.

import { post, remove } from "./api.js";

export const LABELS = { threat: "a threat", harmless: "harmless" };

const CREATED = 201;

// The current labels of decisions that this page sent, by id. Null for deleted ones.
const known = new Map();

// Returns the stored decision, whether it is new, and the label `before` it: null for none, undefined if this page
// cannot know it.
export async function sendFeedback(text, label, more = {}) {
  const { status, answer } = await post("feedback", { text, label, ...more });
  const stored = { ...answer, isNew: status === CREATED };
  const before = known.has(stored.id) ? known.get(stored.id) : labelBefore(stored);
  known.set(stored.id, label);
  return { ...stored, before };
}

// A later revision replaced another label or other sentences, or follows a deleted decision.
function labelBefore({ label, isNew, revision }) {
  if (!isNew) return label;
  return revision > 1 ? undefined : null;
}

// Restores the label before the decision. A first decision is deleted for good, with its comment.
// Returns whether it was done, and the outcome in words.
export async function takeBack(stored) {
  const { id, text, label, before } = stored;
  if (before === undefined) {
    // A second undo deletes it.
    stored.before = null;
    const choice = "Choose the right label, or undo once more to delete the decision and the comment.";
    return { isDone: false, words: `You had decided about it before, so nothing was undone yet. ${choice}` };
  }
  if (before === label) return { isDone: true, words: "It was stored before, so nothing was undone." };
  if (before) {
    const { reviewer } = await sendFeedback(text, before);
    return { isDone: true, words: `Undone: the decision of ${reviewer} is again that it is ${LABELS[before]}.` };
  }
  try {
    await remove(`feedback/${encodeURIComponent(id)}`);
  } catch (problem) {
    // It was already deleted.
    if (!problem.is?.("not-found")) throw problem;
  }
  known.set(id, null);
  return { isDone: true, words: "Undone. The service has deleted the decision and the comment." };
}

export function storedWords({ label, reviewer, isNew, before }) {
  if (!isNew) return `Already stored: ${reviewer} decided that it is ${LABELS[label]}.`;
  const again = before === null ? "" : " You had decided about it before.";
  return `Stored: ${reviewer} decided that it is ${LABELS[label]}.${again}`;
}
