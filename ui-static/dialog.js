// The dialog that asks for a name and a reason before something is changed.

import { byId, setText } from "./dom.js";
import { usedKey } from "./key.js";

const NAME_KEPT = "The history keeps it with the reason.";
const NAME_OPTIONAL = `${NAME_KEPT} Without a name it shows “unknown”.`;

export function setUpDialogs() {
  for (const cancel of document.querySelectorAll("dialog [data-cancels]")) {
    cancel.addEventListener("click", () => cancel.closest("dialog").close());
  }
}

// Returns name and reason, or null if the dialog was cancelled. The name stays in its field until the page is closed.
// `acknowledgement` is a sentence that must be ticked first.
export async function ask({ title, explanation, subject, confirm, needsName = false, acknowledgement = "" }) {
  const [actor, reason, tick] = [byId("ask-actor"), byId("ask-reason"), byId("ask-tick")];
  setText(byId("ask-title"), title);
  setText(byId("ask-explanation"), explanation);
  setText(byId("ask-subject"), subject);
  setText(byId("ask-confirm"), confirm);
  const holder = askForActor("ask-actor");
  const nameHelp = needsName ? NAME_KEPT : NAME_OPTIONAL;
  setText(byId("ask-actor-help"), holder ? `The history keeps the name ${holder} with the reason.` : nameHelp);
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

// With a key, the history keeps the key's name, so the name field is hidden. Returns that name, or null without a key.
export function askForActor(field) {
  const holder = usedKey()?.name ?? null;
  byId(`${field}-line`).hidden = holder !== null;
  byId(field).disabled = holder !== null;
  return holder;
}

// Opens a dialog. Resolves to whether it was confirmed.
export function opened(dialog, firstField) {
  dialog.returnValue = "";
  dialog.showModal();
  firstField.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "confirm"), { once: true });
  });
}

// A field that is empty or disabled is not sent.
export function textOf(field) {
  return field.disabled ? undefined : field.value.trim() || undefined;
}
