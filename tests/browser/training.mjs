// Training: a run is started from the page, followed through its stages, and approved by somebody else.

import assert from "node:assert/strict";

import { ask, flow, stands, untilAnswer, untilText } from "./page.mjs";

const RUN_MS = 180_000;

await flow(async (open) => {
  const before = await ask(await open(), "/models/production");
  const page = await open("#training");
  await untilText(page, "#serving", /Serving/);
  await page.locator("#train-button").click();
  await page.locator("dialog#training").waitFor();
  assert.ok(await page.locator("#train-hours").isHidden(), "hours are asked for only where somebody has to approve");
  await page.getByRole("radio", { name: /waits for approval/ }).check();
  await page.locator("#train-hours").fill("1");
  await page.locator("#train-actor").fill("Rosa");
  await page.locator("#train-reason").fill("the weekly run <b>of</b> October");
  await stands(page, "Training, the dialog");
  const answered = page.waitForResponse((response) => response.url().endsWith("/train"));
  await page.locator("dialog#training").getByRole("button", { name: "Train", exact: true }).click();
  const body = (await answered).request().postDataJSON();
  const { workflow_id: id } = await (await answered).json();
  assert.deepEqual([body.auto_promote, body.approval_seconds, body.actor], ["after_approval", 3600, "Rosa"]);
  await untilText(page, "#runs-notice", /The training run has started/);

  const run = page.locator("#run-list > li", { hasText: id });
  const stages = new Set();
  const isWaiting = async () => {
    stages.add((await run.locator(".run-stage").innerText()).trim());
    return stages.has("Waiting for approval");
  };
  const deadline = Date.now() + RUN_MS;
  while (!(await isWaiting())) {
    assert.ok(Date.now() < deadline, `after ${[...stages]}: ${await run.innerText()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(stages.size > 1, `the run was followed: ${[...stages]}`);
  assert.match(await run.innerText(), /Versions: \d{8}T\d{6}Z-/);
  await stands(page, "Training, a run that waits");

  // Whoever approves opens a page of their own, and finds the run there.
  const other = await open("#training");
  const waiting = other.locator("#run-list > li", { hasText: id });
  await waiting.getByRole("button", { name: `Approve ${id}` }).click({ timeout: 60_000 });
  await other.locator("#ask").getByRole("button", { name: "Cancel" }).click();
  assert.equal((await ask(other, `/runs/status?workflow_id=${id}`)).stage, "approval", "nothing was said yet");
  await waiting.getByRole("button", { name: `Approve ${id}` }).click();
  await other.locator("#ask-actor").fill("Tom");
  await other.locator("#ask-reason").fill("better on <i>every</i> figure");
  await stands(other, "Training, the dialog of an approval");
  await other.locator("#ask-confirm").click();
  await untilText(other, "#runs-notice", /was approved/);
  await page.locator("#run-list > li[data-stage=done]", { hasText: id }).waitFor({ timeout: RUN_MS });
  const now = await untilAnswer(page, "/models/production", ({ generation }) => generation > before.generation);
  assert.deepEqual([now.generation, now.reason], [before.generation + 1, "better on <i>every</i> figure"]);
  await untilText(page, "#serving", new RegExp(`Serving ${now.version}, generation ${now.generation}$`));
  await stands(other, "Training, a run that was approved");
});
