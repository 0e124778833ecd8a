// Models: two compared, curves, flips, the card by its link, the checks, a promotion and the way back.

import assert from "node:assert/strict";

import { ask, flow, picture, stands, strangers, texts, until, untilAnswer, untilText } from "./page.mjs";

const ACTION_MS = 120_000;

await flow(
  async (open) => {
    const page = await open("#models");
    await untilText(page, "#serving", /Serving/);
    const { models, production } = await ask(page, "/models");
    const other = models.find(
      ({ dataset, version }) => dataset === models[0].dataset && version !== production.version,
    );
    await compared(page, production.version, other.version);
    await curves(page, production.version);
    await flips(page, production.version, other.version);
    await stands(page, "Models, compared");
    await picture(page, "models", { height: 1300 });
    await card(open, production.version);
    await promotion(page, production, other.version);
  },
  { refused: [[422, "/promote"]] },
);

async function compared(page, a, b) {
  await page.locator("#compare-a").selectOption(a);
  await page.locator("#compare-b").selectOption(b);
  await page.locator("#compare-form").getByRole("button", { name: "Compare" }).click();
  await untilText(page, "#compared", new RegExp(`A is ${a}, B is ${b}`));
  const { figures } = await ask(page, `/models/compare?a=${a}&b=${b}`);
  assert.equal(await page.locator("#comparison details tbody tr").count(), figures.length);
}

async function curves(page, version) {
  await page.locator(`[data-curves="${version}"]`).click();
  const { sentences, threats } = await ask(page, `/models/${version}/curves`);
  await untilText(
    page,
    "#curves-words",
    new RegExp(`${sentences.toLocaleString("en")} sentences[^]* ${threats} threats`),
  );
  for (const id of ["curve-pr", "curve-calibration"]) {
    const curve = page.locator(`#${id}`);
    await curve.scrollIntoViewIfNeeded();
    await untilInked(page, id);
    await curve.locator("summary").click();
    await until(page, `${id} as a table`, (id) => document.querySelectorAll(`#${id} tbody tr`).length > 2, id);
    await curve.locator("summary").click();
  }
}

// Whether something is drawn: a canvas with more than one colour, or an SVG with shapes of some size.
async function untilInked(page, id) {
  await until(
    page,
    `${id} is drawn`,
    (id) => {
      const canvas = document.querySelector(`#${id} canvas, canvas#${id}`);
      if (!canvas)
        return [...document.querySelectorAll(`#${id} path, #${id} polyline, #${id} circle`)].some(
          (shape) => shape.getBBox().width > 10,
        );
      if (canvas.width === 0) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set();
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 0) colours.add(data[i] * 65_536 + data[i + 1] * 256 + data[i + 2]);
      return colours.size > 1;
    },
    id,
  );
}

async function flips(page, a, b) {
  const expected = await ask(page, `/models/flips?a=${a}&b=${b}&limit=100`);
  assert.ok(expected.flips > 0, "two trainers differ about some sentence");
  await page.locator("#flips-button").click();
  await untilText(page, "#flips", new RegExp(`\\b${expected.flips}\\b`));
  const shown = (await texts(page, "#flips")).join();
  for (const { text } of expected.items.slice(0, 3))
    assert.ok(shown.includes(text), `${text} is missing in ${shown.slice(0, 500)}`);
}

// A link that was passed on opens the card; what it says is markup of its own only.
async function card(open, version) {
  const page = await open(`#card=${version}`);
  await page.locator("dialog#card").waitFor();
  await page.locator("#card-body h3", { hasText: "What it is not for" }).waitFor();
  await page.locator("#panel-models").waitFor();
  assert.equal(await strangers(page), 0);
  await stands(page, "Models, a card");
  const download = page.waitForEvent("download");
  await page.locator("#card-save").click();
  assert.equal((await download).suggestedFilename(), `${version}.md`);
  await page.keyboard.press("Escape");
  await page.locator("dialog#card").waitFor({ state: "hidden" });
  await until(page, "the address names no card", () => !location.hash.includes("card="));
  await page.locator("#panel-models").waitFor();
}

async function promotion(page, production, version) {
  const row = page.locator("#model-rows tr", { hasText: version });
  await row.getByRole("button", { name: /Would.*pass/ }).click();
  const answer = await untilText(page, "#notice", /would (not )?pass the checks\. Nothing was changed/, ACTION_MS);
  assert.deepEqual((await ask(page, "/models/production")).generation, production.generation);
  await stands(page, "Models, the checks");

  await row.getByRole("button", { name: `Promote ${version}` }).click();
  await page.locator("#ask-actor").fill("Rosa");
  await page.locator("#ask-reason").fill(`to compare <img src=x onerror="alert(1)">`);
  await stands(page, "Models, the dialog of a promotion");
  await page.locator("#ask-confirm").click();
  if (answer?.includes("not")) {
    await untilText(page, "#notice", /the gate refuses it/, ACTION_MS);
    await page.getByRole("button", { name: "Promote by force…" }).click();
    await page.locator("#ask-reason").fill(`to compare <img src=x onerror="alert(1)">`);
    await page.locator("#ask-confirm").click();
    assert.ok(await page.locator("dialog#ask").isVisible(), "it has to be ticked that the checks failed");
    await page.locator("#ask-tick").check();
    await page.locator("#ask-confirm").click();
  }
  await untilText(page, "#notice", /is in production/, ACTION_MS);
  const now = await untilAnswer(page, "/models/production", (found) => found.version === version);
  await untilText(page, "#serving", new RegExp(`Serving ${version}, generation ${now.generation}`));
  await untilText(page, "#history-rows", /to compare <img src=x/);
  assert.equal(await strangers(page), 0);

  await page.locator("#rollback-button").click();
  await page.locator("#ask-reason").fill("back");
  await page.locator("#ask-confirm").click();
  await untilText(page, "#notice", new RegExp(`Rolled back to ${production.version}`), ACTION_MS);
  await untilText(page, "#serving", new RegExp(`Serving ${production.version}, generation ${now.generation + 1}`));
  await stands(page, "Models, rolled back");
}
