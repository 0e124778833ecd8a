// Asks who and why before something is changed.

import { byId, setText } from "./dom.js";
import { usedKey } from "./key.js";

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
  const holder = askForActor("ask-actor");
  const nameHelp = needsName ? NAME_KEPT : NAME_OPTIONAL;
  setText(byId("ask-actor-help"), holder ? `Kept in the history as ${holder}, with the reason.` : nameHelp);
  actor.required = needsName;
  byId("ask-actor-needed").hidden = !needsName;
  setText(byId("ask-tick-text"), acknowledgement);
  byId("ask-tick-line").hidden = acknowledgement === "";
  tick.required = acknowledgement !== "";
  tick.checked = false;
  reason.value = "";
  const isConfirmed = await opened(byId("ask"), holder || actor.value ? reason : actor);
  return isConfirmed ? { actor: textOf(actor), reason: textOf(reason) } : null;
}

// The history keeps the name of the key, whatever else is said: its holder, who is not asked, or null without a key.
export function askForActor(field) {
  const holder = usedKey()?.name ?? null;
  byId(`${field}-line`).hidden = holder !== null;
  byId(field).disabled = holder !== null;
  return holder;
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

// What is empty, or was not asked for, is not sent at all.
export function textOf(field) {
  return field.disabled ? undefined : field.value.trim() || undefined;
}
