// Promotion, dry run, promotion by force, and rollback.

import { PROMOTION, act, isBusy } from "./action.js";
import { postAction } from "./api.js";
import { backtestReport } from "./backtests.js";
import { ask } from "./dialog.js";
import { button, byId, element } from "./dom.js";
import { failedChecks, gateReport, replicaReport } from "./gate.js";
import { notice } from "./notice.js";
import { inProduction } from "./registry.js";
import { follow } from "./runs.js";

const WHERE = "notice";

export function setUpPromotion() {
  const rollback = byId("rollback-button");
  rollback.addEventListener("click", () => rollback.getAttribute("aria-disabled") === "true" || rollBack());
}

export async function promote(version) {
  if (isBusy()) return;
  const live = inProduction();
  const consequence = live ? `It replaces ${live.version}.` : "It is the first model in production.";
  const answers = await ask({
    title: "Promote this model?",
    explanation: `If it passes the checks, it judges all comments from then on. ${consequence}`,
    subject: version,
    confirm: "Promote",
  });
  if (!answers) return;
  await act({
    where: WHERE,
    doing: `Promoting ${version}: the checks are running…`,
    failed: `${version} was not promoted`,
    send: () => promoteOrExplain({ version, ...answers }),
    report: (sent) => promotionReport(sent),
  });
}

export async function dryRun(version) {
  await act({
    where: WHERE,
    doing: `Checking whether ${version} would pass…`,
    failed: "The checks could not be run",
    send: async () => ({ ...(await checksOf(version)), backtest: await backtestReport(version) }),
    report: (sent) => promotionReport(sent),
  });
}

async function force({ version, generation, gate }) {
  if (isBusy()) return;
  const failed = failedChecks(gate).join(", ");
  const answers = await ask({
    title: "Promote against the gate?",
    explanation:
      `The gate refuses this model: ${failed} failed. If you promote it by force, it judges all comments anyway. ` +
      "The history marks the promotion as forced and keeps your reason.",
    subject: version,
    confirm: "Promote by force",
    acknowledgement: "I have read which checks failed and want this model anyway.",
  });
  if (!answers) return;
  await act({
    where: WHERE,
    doing: `Promoting ${version} by force…`,
    failed: `${version} was not promoted`,
    // Production must not have changed since the report.
    send: () => postAction("promote", { version, force: true, expected_generation: generation, ...answers }),
    report: (sent) => promotionReport(sent),
  });
}

async function rollBack() {
  if (isBusy()) return;
  const answers = await ask({
    title: "Roll back?",
    explanation: "The previous model judges all comments again. It replaces:",
    subject: inProduction().version,
    confirm: "Roll back",
  });
  if (!answers) return;
  await act({
    where: WHERE,
    doing: "Rolling back…",
    failed: "Nothing was rolled back",
    send: () => postAction("rollback", answers),
    report: rollbackReport,
  });
}

// ---- Requests ------------------------------------------------------------------------------------------------------

function checksOf(version) {
  return postAction("promote", { version, dry_run: true });
}

// A refusal names only the failed checks. A dry run gives the full report.
async function promoteOrExplain(body) {
  try {
    return await postAction("promote", body);
  } catch (problem) {
    if (!problem.is?.("gate-failed")) throw problem;
    const { status, answer } = await checksOf(body.version).catch(() => ({}));
    if (status !== 200) throw problem;
    return { status, answer: { ...answer, outcome: "refused" } };
  }
}

// ---- Reports -------------------------------------------------------------------------------------------------------

function promotionReport({ status, answer, backtest = [] }) {
  if (status === 202) return stillRunning("The promotion", answer);
  const { outcome, gate } = answer;
  const isWritten = outcome === "promoted" || outcome === "already_live";
  const lines = isWritten ? generationLine(answer) : [];
  const offer = !isWritten && gate && !gate.passed ? [forceOffer(answer)] : [];
  return {
    message: notice(...headline(answer), ...lines),
    details: [...replicaReport(answer.replicas), ...gateReport(gate), ...backtest, ...offer],
  };
}

function headline({ outcome, version, gate }) {
  const passes = gate?.passed ?? true;
  switch (outcome) {
    case "promoted":
      return passes
        ? ["good", `${version} is in production`]
        : ["warning", `${version} is in production by force: not every check passed`];
    case "already_live":
      return ["good", `${version} was already in production`];
    case "dry_run":
      return passes
        ? ["good", `${version} would pass the checks. Nothing was changed`]
        : ["bad", `${version} would not pass the checks. Nothing was changed`, failedLine(gate)];
    case "refused":
      return ["bad", `${version} was not promoted: the gate refuses it`, failedLine(gate)];
    default:
      return ["good", `${version}: ${outcome}`];
  }
}

function failedLine(gate) {
  return element("p", {}, `Failed: ${failedChecks(gate).join(", ")}.`);
}

// A separate step after the first dialog, so that the person sees the report before.
function forceOffer(answer) {
  const note =
    "The gate protects the people whose comments are judged. If you know that it is wrong here, you can overrule it.";
  const open = button("Promote by force…", { class: "danger", "data-acts": PROMOTION }, () => force(answer));
  return element("div", { class: "force" }, element("p", {}, note), open);
}

function rollbackReport({ status, answer }) {
  if (status === 202) return stillRunning("The rollback", answer);
  const { outcome, version } = answer;
  const title = outcome === "already_live" ? `${version} was already in production` : `Rolled back to ${version}`;
  return { message: notice("good", title, ...generationLine(answer)), details: replicaReport(answer.replicas) };
}

function generationLine({ generation, previous, live }) {
  const parts = [
    generation && `Generation ${generation}.`,
    previous && `In production before: ${previous}.`,
    live === false && "This replica does not answer with it yet.",
  ];
  const line = parts.filter(Boolean).join(" ");
  return line ? [element("p", {}, line)] : [];
}

function stillRunning(what, run) {
  follow(run);
  const where = element("a", { href: "#training" }, "Training");
  const hint = element("p", {}, "Its state is shown under ", where, ". The list of models shows the outcome.");
  return { message: notice("busy", `${what} is still running`, hint) };
}
