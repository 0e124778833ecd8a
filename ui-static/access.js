// Access to a service that requires API keys: the dialog for the key, and the line with the name of the key in use.

import { asProblem, get, getWithKey, whenUnauthorized } from "./api.js";
import { opened } from "./dialog.js";
import { byId, setText } from "./dom.js";
import { setKey, usedKey } from "./key.js";
import { refresh } from "./registry.js";

const REFUSED = "The service refuses this key. It is wrong or was revoked.";

let areKeysRequired = false;
// After the dialog was cancelled, it opens again only when the person does something that needs a key.
let isDeclined = false;
let openDialog = null;
let newestCheck = 0;

export function setUpAccess() {
  whenUnauthorized(isWorthAnotherTry);
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    check(byId("key-secret").value.trim());
  });
  byId("key-enter").addEventListener("click", enter);
  byId("key-forget").addEventListener("click", forget);
  // If this fails, the first refused request opens the dialog.
  lookWhetherRequired().catch(asProblem);
}

async function lookWhetherRequired() {
  const { answer } = await get("whoami");
  areKeysRequired = answer.keys_required;
  showLine();
}

// `refused` is the key of the refused request, if any. `isAsked` is true if a person waits for the answer.
async function isWorthAnotherTry(refused, isAsked) {
  // Another refused request has already led to a new key.
  if (usedKey() && usedKey() !== refused) return true;
  setKey(null);
  areKeysRequired ||= !refused;
  showLine();
  if (!openDialog && isDeclined && !isAsked) return false;
  return askForKey(refused ? `The service refuses the key of ${refused.name} now. It may have been revoked.` : "");
}

// Returns whether there is a new key. Requests that are refused at the same time share the dialog.
function askForKey(trouble = "") {
  openDialog ??= showDialog(trouble).finally(() => (openDialog = null));
  return openDialog;
}

async function showDialog(trouble) {
  const secret = byId("key-secret");
  showTrouble("");
  showChecking(false);
  const closed = opened(byId("key"), secret);
  // Set after opening: screen readers announce only changes in an open dialog.
  showTrouble(trouble);
  const isConfirmed = await closed;
  // Ignore the answer of a check that is still running.
  newestCheck += 1;
  secret.value = "";
  isDeclined = !isConfirmed;
  return isConfirmed;
}

async function check(secret) {
  if (byId("key-confirm").getAttribute("aria-disabled") === "true") return;
  newestCheck += 1;
  const mine = newestCheck;
  showTrouble("");
  showChecking(true);
  try {
    const { answer } = await getWithKey("whoami", { secret });
    if (mine === newestCheck) accept(secret, answer);
  } catch (error) {
    if (mine === newestCheck) refuse(asProblem(error));
  }
}

function accept(secret, { keys_required: required, name, roles }) {
  areKeysRequired = required;
  setKey({ secret, name, roles });
  showLine();
  byId("key").close("confirm");
}

function refuse(problem) {
  const { title, detail } = problem;
  const unchecked = ["The key could not be checked", title, detail].filter(Boolean).join(". ");
  showChecking(false);
  showTrouble(problem.is("unauthorized") ? REFUSED : unchecked);
  byId("key-secret").select();
}

function showTrouble(text) {
  setText(byId("key-trouble"), text);
  byId("key-secret").setAttribute("aria-invalid", String(text === REFUSED));
}

function showChecking(checking) {
  const confirm = byId("key-confirm");
  // Not `disabled`, which would take the focus away.
  confirm.setAttribute("aria-disabled", String(checking));
  setText(confirm, checking ? "Checking…" : "Use this key");
}

// ---- The line ------------------------------------------------------------------------------------------------------

function showLine() {
  const key = usedKey();
  byId("key-line").hidden = !key && !areKeysRequired;
  byId("key-holder").hidden = !key;
  byId("key-forget").hidden = !key;
  byId("key-enter").hidden = Boolean(key);
  setText(byId("key-holder"), key ? holderWords(key) : "");
}

function holderWords({ name, roles }) {
  return roles?.length > 0 ? `Key of ${name} (${roles.join(", ")})` : `Key of ${name}`;
}

async function enter() {
  if (!(await askForKey())) return;
  // The focused button is hidden now.
  byId("key-holder").focus();
  refresh();
}

function forget() {
  setKey(null);
  // Otherwise the next poll of the models would open the dialog again at once.
  isDeclined = true;
  showLine();
  byId(areKeysRequired ? "key-enter" : "page-heading").focus();
  refresh();
}
