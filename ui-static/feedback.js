// What people decide about comments. Only what is sent from here is kept by the service.

import { post, remove } from "./api.js";

export const LABELS = { threat: "a threat", harmless: "harmless" };

const CREATED = 201;

// The stored decision, and whether it is new.
export async function sendFeedback(text, label, more = {}) {
  const { status, answer } = await post("feedback", { text, label, ...more });
  return { ...answer, isNew: status === CREATED };
}

// Deletes the decision, and the comment with it, for good.
export async function withdrawFeedback(id) {
  await remove(`feedback/${encodeURIComponent(id)}`);
}

export function storedWords({ label, reviewer, revision, isNew }) {
  if (!isNew) return `Stored before: ${reviewer} says it is ${LABELS[label]}.`;
  const again = revision > 1 ? " It takes the place of what you said before." : "";
  return `Stored: ${reviewer} says it is ${LABELS[label]}.${again}`;
}
