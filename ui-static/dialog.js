// Asks who and why before something is changed.

import { byId, setText } from "./dom.js";

const NAME_KEPT = "Kept in the history, with the reason.";
const NAME_OPTIONAL = `${NAME_KEPT} Without a name it says “unknown”.`;

export function setUpDialogs() {
  for (const cancel of document.querySelectorAll("dialog [data-cancels]")) {
    cancel.addEventListener("click", () => cancel.closest("dialog").close());
  }
}

// Who and why, or null if the dialog was left. The name stays in its field for as long as the page lives.
// `acknowledgement` is a sentence that has to be ticked first.
export async function ask({ title, explanation, subject, confirm, needsName = false, acknowledgement = "" }) {
  const [actor, reason, tick] = [byId("ask-actor"), byId("ask-reason"), byId("ask-tick")];
  setText(byId("ask-title"), title);
  setText(byId("ask-explanation"), explanation);
  setText(byId("ask-subject"), subject);
  setText(byId("ask-confirm"), confirm);
  setText(byId("ask-actor-help"), needsName ? NAME_KEPT : NAME_OPTIONAL);
  actor.required = needsName;
  byId("ask-actor-needed").hidden = !needsName;
  setText(byId("ask-tick-text"), acknowledgement);
  byId("ask-tick-line").hidden = acknowledgement === "";
  tick.required = acknowledgement !== "";
  tick.checked = false;
  reason.value = "";
  const isConfirmed = await opened(byId("ask"), actor.value ? reason : actor);
  return isConfirmed ? { actor: textOf(actor), reason: textOf(reason) } : null;
}

// Whether the dialog was confirmed.
export function opened(dialog, firstField) {
  dialog.returnValue = "";
  dialog.showModal();
  firstField.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "confirm"), { once: true });
  });
}

// An empty field is not sent at all.
export function textOf(field) {
  return field.value.trim() || undefined;
}
