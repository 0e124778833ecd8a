// Actions that change something: one at a time, announced, disabled where they would be refused.

import { asProblem } from "./api.js";
import { byId } from "./dom.js";
import { notice, problemNotice } from "./notice.js";
import { refresh } from "./registry.js";

// The values of `data-acts`: PROMOTION for buttons that need a store with the guarantees for promotions.
export const PROMOTION = "promotion";
export const OTHER = "other";

let isActing = false;
let isRefused = false;

export function isBusy() {
  return isActing;
}

export function refusePromotions(refused) {
  isRefused = refused;
  showAvailability();
}

// Call this after adding buttons.
export function showAvailability() {
  for (const button of document.querySelectorAll("button[data-acts]")) {
    const isOff = isRefused && button.dataset.acts === PROMOTION;
    const isDisabled = String(isActing || isOff);
    const { ariaDisabled } = button;
    // There may be a thousand buttons, so unchanged ones are skipped.
    if (ariaDisabled === isDisabled && button.hasAttribute("aria-describedby") === isOff) continue;
    button.setAttribute("aria-disabled", isDisabled);
    if (isOff) button.setAttribute("aria-describedby", "refusal");
    else button.removeAttribute("aria-describedby");
  }
}

// `report` turns the answer into `{ message, details }`. The message is announced; the details are only shown.
export async function act({ where, doing, failed, send, report }) {
  if (isActing) return;
  setActing(true);
  announce(where, { message: notice("busy", doing) });
  try {
    announce(where, report(await send()));
  } catch (error) {
    announce(where, { message: problemNotice(failed, asProblem(error)) });
  } finally {
    setActing(false);
  }
  refresh();
}

function announce(where, { message, details = [] }) {
  byId(where).replaceChildren(message);
  byId(`${where}-details`).replaceChildren(...details);
}

function setActing(acting) {
  isActing = acting;
  showAvailability();
}
