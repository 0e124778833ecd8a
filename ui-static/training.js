// Starts a training run. The form says what happens with its best version.

import { act, isBusy } from "./action.js";
import { postAction } from "./api.js";
import { askForActor, opened, textOf } from "./dialog.js";
import { byId, element, setText } from "./dom.js";
import { notice } from "./notice.js";
import { follow } from "./runs.js";

const WHERE = "runs-notice";
const AFTER_APPROVAL = "after_approval";
const SECONDS_AN_HOUR = 3600;
const BOTH_KEPT =
  "Both are optional. The history keeps them if the version is promoted without an approval.";

export function setUpTraining() {
  byId("train-button").addEventListener("click", train);
  byId("train-form").addEventListener("change", showHours);
}

function autoPromote() {
  return byId("train-form").elements["auto_promote"].value;
}

// A hidden field must not block the form.
function showHours() {
  const isAsked = autoPromote() === AFTER_APPROVAL;
  byId("train-hours-line").hidden = !isAsked;
  byId("train-hours").disabled = !isAsked;
}

async function train() {
  if (isBusy()) return;
  showHours();
  const holder = askForActor("train-actor");
  setText(byId("train-note"), holder ? keptAs(holder) : BOTH_KEPT);
  const form = byId("train-form");
  if (!(await opened(byId("training"), form.querySelector("input:checked")))) return;
  await act({
    where: WHERE,
    doing: "Starting a training run…",
    failed: "No training run was started",
    send: () => postAction("train", trainBody()),
    report: ({ answer }) => trainingReport(answer),
  });
}

function keptAs(holder) {
  return (
    `The history keeps the name ${holder} with the reason if the version is promoted without an approval. ` +
    "The reason is optional."
  );
}

function trainBody() {
  const [actor, reason] = ["train-actor", "train-reason"].map((id) => textOf(byId(id)));
  const body = { auto_promote: autoPromote(), actor, reason };
  const hours = byId("train-hours").valueAsNumber;
  return body.auto_promote === AFTER_APPROVAL ? { ...body, approval_seconds: hours * SECONDS_AN_HOUR } : body;
}

function trainingReport(run) {
  follow(run);
  const hint = element("p", {}, "Its state is shown below. New versions appear under Models once they are registered.");
  return { message: notice("good", "The training run has started", hint) };
}
