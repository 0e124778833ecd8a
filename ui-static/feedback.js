// What people decide about comments. Only what is sent from here is kept by the service.

import { post, remove } from "./api.js";

export const LABELS = { threat: "a threat", harmless: "harmless" };

const CREATED = 201;

// What the decisions that went through this page say now, by their id: a label, or null where they are deleted.
const known = new Map();

// The stored decision, whether it is new, and the label `before` it: null where there was none, undefined where only
// the reviewer can know.
export async function sendFeedback(text, label, more = {}) {
  const { status, answer } = await post("feedback", { text, label, ...more });
  const stored = { ...answer, isNew: status === CREATED };
  const before = known.has(stored.id) ? known.get(stored.id) : labelBefore(stored);
  known.set(stored.id, label);
  return { ...stored, before };
}

// A later revision takes the place of the other label, of other sentences, or of nothing, where that was deleted.
function labelBefore({ label, isNew, revision }) {
  if (!isNew) return label;
  return revision > 1 ? undefined : null;
}

// The service says again what it said before the decision; a first one is deleted, and the comment with it, for good.
// Answers whether that is done, and how it went in words.
export async function takeBack(stored) {
  const { id, text, label, before } = stored;
  if (before === undefined) {
    // Asked again, it is meant so.
    stored.before = null;
    const choice = "Give it the label that is right, or undo once more to delete the decision and the comment.";
    return { isDone: false, words: `You had decided about it before; nothing is taken back yet. ${choice}` };
  }
  if (before === label) return { isDone: true, words: "It was stored before; nothing was taken back." };
  if (before) {
    const { reviewer } = await sendFeedback(text, before);
    return { isDone: true, words: `Taken back: ${reviewer} says again that it is ${LABELS[before]}.` };
  }
  try {
    await remove(`feedback/${encodeURIComponent(id)}`);
  } catch (problem) {
    // Somebody else deleted it.
    if (!problem.is?.("not-found")) throw problem;
  }
  known.set(id, null);
  return { isDone: true, words: "Taken back. The service has deleted the decision and the comment." };
}

export function storedWords({ label, reviewer, isNew, before }) {
  if (!isNew) return `Stored before: ${reviewer} says it is ${LABELS[label]}.`;
  const again = before === null ? "" : " You had decided about it before.";
  return `Stored: ${reviewer} says it is ${LABELS[label]}.${again}`;
}
