// The Temporal Web UI: the page of a run that is over, of one that waits for somebody, and of one that failed.

import assert from "node:assert/strict";

import { flow, picture } from "./page.mjs";

const { PAGE, TEMPORAL_UI, DONE, WAITS, FAILED } = process.env;

await flow(
  async (open) => {
    const done = await metadata(open, DONE);
    await shows(done, [
      /train multinomial_nb, stacked/,
      /asked by: rosa/,
      /reason: the weekly run/,
      /may be promoted/,
      /The gate passed/,
    ]);
    const rows = await tables(done);
    assert.match(row(rows, "sentences"), /1735, of these 163 threats/);
    assert.match(row(rows, "duplicates"), /\d+ sentences/);
    assert.match(row(rows, "stacked, by cross-validation"), /0\.\d{3} \(0\.\d{3}–0\.\d{3}\)/);
    assert.match(row(rows, "golden_examples"), /passed.*≥/);
    await fits(done);
    const card = await details(done);
    assert.ok((await card.locator(`a[href^="${PAGE}#card="]`).count()) > 0, "a link to a model card");
    await picture(done, "temporal-run", { height: 1350 });

    const waits = await metadata(open, WAITS);
    await shows(waits, [/train multinomial_nb/, /Somebody has to decide, until/, /threatwatch approve/]);
    await fits(waits);

    // The cause is on the first page that an operator sees, and on this one.
    const why = /ingest: there is no dataset/;
    const failed = await open(`${TEMPORAL_UI}/namespaces/default/workflows/${FAILED}`);
    await failed.getByText(why).first().waitFor();
    assert.ok(!/Activity task failed/.test(await failed.locator("body").innerText()), "the outermost failure is the cause");
    const told = await metadata(open, FAILED);
    await shows(told, [/failed in the stage ingest/, why]);
    await fits(told);
  },
  { watched: false },
);

// The tab with the summary and the details of a run.
async function metadata(open, id) {
  const page = await open(`${TEMPORAL_UI}/namespaces/default/workflows/${encodeURIComponent(id)}`);
  // It goes on to the run by itself.
  await page.waitForURL(/\/timeline/);
  await page.goto(page.url().replace(/\/timeline.*/, "/user-metadata"));
  await page.getByText("Current Details").first().waitFor();
  await page.locator("iframe").last().waitFor();
  return page;
}

// Markdown is shown in frames of their own; the current details are the last.
async function details(page) {
  const frame = await (await page.locator("iframe").last().elementHandle()).contentFrame();
  await frame.locator("p").first().waitFor();
  return frame;
}

async function shows(page, patterns) {
  for (const pattern of patterns) {
    const isShown = async () => {
      const texts = await Promise.all(page.frames().map((frame) => frame.locator("body").innerText().catch(() => "")));
      return texts.some((text) => pattern.test(text));
    };
    for (let tries = 0; !(await isShown()); tries += 1) {
      assert.ok(tries < 100, `${pattern} is not shown: ${await (await details(page)).locator("body").innerText()}`);
      await page.waitForTimeout(100);
    }
  }
}

async function tables(page) {
  const rows = (await details(page)).locator("tr");
  return rows.evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));
}

function row(rows, name) {
  const found = rows.find(([first]) => first === name);
  assert.ok(found, `no row ${name}: ${JSON.stringify(rows)}`);
  return found.slice(1).join(" ");
}

// The UI gives the details half of the window: what is wider than that is cut off.
async function fits(page) {
  const frame = await details(page);
  const over = await frame.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `the details are ${over} px wider than their place`);
}
