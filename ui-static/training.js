// Starting a training run, and saying what is to happen with its best version.

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
  "Both may be left empty. The history keeps them if the version goes into production without an approval.";

export function setUpTraining() {
  byId("train-button").addEventListener("click", train);
  byId("train-form").addEventListener("change", showHours);
}

function autoPromote() {
  return byId("train-form").elements["auto_promote"].value;
}

// Hours that nobody asks for must not keep the form from being sent.
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
    doing: "Starting a training…",
    failed: "No training was started",
    send: () => postAction("train", trainBody()),
    report: ({ answer }) => trainingReport(answer),
  });
}

function keptAs(holder) {
  return (
    `Kept in the history as ${holder}, with the reason, if the version goes into production without an approval. ` +
    "The reason may be left empty."
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
  const hint = element("p", {}, "See below where it stands. The new versions appear under Models in the end.");
  return { message: notice("good", "The training has started", hint) };
}
