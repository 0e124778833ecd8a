// Runs of workflows: their state, and the approval or rejection of those that wait for it.

import { OTHER, PROMOTION, act, isBusy, showAvailability } from "./action.js";
import { asProblem, get, post, withQuery } from "./api.js";
import { ask } from "./dialog.js";
import { button, byId, code, element, outsideLink, setText, webAddress } from "./dom.js";
import { notice } from "./notice.js";
import { listen, refresh } from "./registry.js";
import { isShown, whenShown } from "./tabs.js";

const POLL_EVERY_MS = 3_000;
const WHERE = "runs-notice";
const APPROVAL = "approval";
const DONE = "done";
// The runs of this many of the newest versions are polled: they may wait for approval.
const NEWEST_RUNS = 3;
// The number of polls of each run.
const LOOKS = 24;

const STAGES = {
  ingest: "Finding the dataset",
  train: "Training",
  evaluate: "Evaluating on the held-out commenters",
  register: "Registering",
  gate: "Running the checks",
  [APPROVAL]: "Waiting for approval",
  promote: "Promoting",
  verify: "Waiting for the replicas",
  [DONE]: "Done",
};

const followed = new Map();
const looked = new Map();
let nextPoll = 0;
let isSearching = false;

export function setUpRuns() {
  byId("follow-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = byId("follow-id").value.trim();
    if (id) follow({ workflow_id: id });
  });
  whenShown("training", poll);
  whenShown("training", refresh);
  listen({ arrived: ({ models }) => isShown("training") && findWaiting(models) });
}

export function follow({ workflow_id: id, temporal_url: url }) {
  // The same id again, e.g. of a promotion, is a new run.
  unfollow(id);
  const run = runEntry(id, webAddress(url));
  followed.set(id, run);
  byId("runs-none").hidden = true;
  byId("run-list").prepend(run.node);
  showAvailability();
  poll();
}

function unfollow(id) {
  followed.get(id)?.node.remove();
  followed.delete(id);
  byId("runs-none").hidden = followed.size > 0;
}

// ---- Polling -------------------------------------------------------------------------------------------------------

async function poll() {
  clearTimeout(nextPoll);
  if (!isShown("training")) return;
  const open = [...followed.values()].filter(({ isOver }) => !isOver);
  await Promise.all(open.map(look));
  clearTimeout(nextPoll);
  if (open.length > 0) nextPoll = setTimeout(poll, POLL_EVERY_MS);
}

async function look(run) {
  try {
    show(run, await statusOf(run.id));
  } catch (error) {
    const problem = asProblem(error);
    run.isOver = problem.is("not-found");
    setText(run.stageLine, problem.title);
    setText(run.message, problem.detail);
  }
}

async function statusOf(id) {
  const { answer } = await get(withQuery("runs/status", { workflow_id: id }));
  return answer;
}

// Another person may have started the run, so a waiting run is found by its versions.
async function findWaiting(models) {
  if (isSearching) return;
  isSearching = true;
  const newest = [...new Set(models.map(({ workflow_id: id }) => id))].slice(0, NEWEST_RUNS);
  for (const id of newest.filter((id) => (looked.get(id) ?? 0) < LOOKS && !followed.has(id))) await lookOnce(id);
  isSearching = false;
}

async function lookOnce(id) {
  try {
    const { stage, running } = await statusOf(id);
    looked.set(id, running ? (looked.get(id) ?? 0) + 1 : LOOKS);
    if (running && stage === APPROVAL && !followed.has(id)) follow({ workflow_id: id });
  } catch (error) {
    // Not requested by a person, so no error is shown. A failed run is tried again, except if it does not exist.
    if (asProblem(error).is("not-found")) looked.set(id, LOOKS);
  }
}

// ---- One run -------------------------------------------------------------------------------------------------------

function runEntry(id, url) {
  const run = { id, stage: "", versions: 0, isOver: false };
  run.heading = element("h3", { tabindex: "-1" }, code(id));
  run.stageLine = element("p", { class: "run-stage", role: "status" }, "Loading…");
  run.progress = element("progress", { max: "1", value: "0", "aria-label": `Steps done of ${id}` });
  run.message = element("p", { class: "run-message" });
  run.versionLine = element("p", { class: "help" });
  run.approval = approvalButtons(run);
  const stop = button("Stop following", { class: "quiet", "aria-label": `Stop following ${id}` }, () => leave(run));
  const links = url ? [outsideLink(url, "Follow it in Temporal")] : [];
  const foot = element("div", { class: "row" }, ...links, stop);
  const { heading, stageLine, progress, message, versionLine, approval } = run;
  run.node = element("li", { class: "run" }, heading, stageLine, progress, message, versionLine, approval, foot);
  return run;
}

function leave(run) {
  unfollow(run.id);
  byId("runs-heading").focus();
}

function show(run, { stage, done, total, message, versions, running }) {
  const isNews = stage !== run.stage || versions.length !== run.versions;
  const isFirst = run.stage === "";
  run.stage = stage;
  run.versions = versions.length;
  run.isOver = !running;
  run.node.dataset.stage = stage;
  const isBroken = !running && stage !== DONE;
  setText(run.stageLine, isBroken ? `Ended without a result at: ${STAGES[stage] ?? stage}` : (STAGES[stage] ?? stage));
  setText(run.message, message);
  run.progress.max = Math.max(1, total);
  run.progress.value = done;
  setText(run.versionLine, versions.length > 0 ? `Versions: ${versions.join(", ")}` : "");
  showApproval(run, running && stage === APPROVAL);
  // There may be a new version or a new model in production.
  if (isNews && !isFirst) refresh();
}

function showApproval({ approval, heading }, isWaiting) {
  if (!isWaiting && approval.contains(document.activeElement)) heading.focus();
  approval.hidden = !isWaiting;
}

function approvalButtons(run) {
  const attributes = (acts, label) => ({ "data-acts": acts, "aria-label": `${label} ${run.id}` });
  const approve = button("Approve", { class: "primary", ...attributes(PROMOTION, "Approve") }, () => say(run, APPROVE));
  const reject = button("Reject", attributes(OTHER, "Reject"), () => say(run, REJECT));
  return element("div", { class: "row approval", hidden: "" }, approve, reject);
}

// ---- Approving and rejecting ---------------------------------------------------------------------------------------

const APPROVE = {
  path: "runs/approve",
  title: "Approve this run?",
  explanation: "Its best version is promoted, if it still passes the checks.",
  confirm: "Approve",
  doing: "Approving…",
  failed: "The run was not approved",
  said: "approved",
};

const REJECT = {
  path: "runs/reject",
  title: "Reject this run?",
  explanation: "It ends without a promotion. Its versions stay in the list.",
  confirm: "Reject",
  doing: "Rejecting…",
  failed: "The run was not rejected",
  said: "rejected",
};

async function say(run, { path, title, explanation, confirm, doing, failed, said }) {
  if (isBusy()) return;
  const answers = await ask({ title, explanation, subject: run.id, confirm, needsName: true });
  if (!answers) return;
  await act({
    where: WHERE,
    doing,
    failed,
    send: () => post(path, { workflow_id: run.id, ...answers }),
    report: ({ answer }) => saidReport(run, answer.outcome ?? said),
  });
  poll();
}

function saidReport({ id }, outcome) {
  const hint = element("p", {}, outcome === "approved" ? "The promotion is shown below." : "Nothing was promoted.");
  return { message: notice("good", `${id} was ${outcome}`, hint) };
}
