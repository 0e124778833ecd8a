// Live: what the service does now is shown, and moves with it; what nobody looks at is not asked for.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { ask, flow, picture, stands, texts, until, untilText } from "./page.mjs";

const SAMPLE = new URL("../../model/data/sample.txt", import.meta.url);
const MOVES_MS = 30_000;

await flow(async (open) => {
  const page = await open("#live");
  await untilText(page, "#serving", /Serving/);
  await untilText(page, "#live-parts", /Object store: answers[^]*Temporal \(workflows\): answers/);
  for (const part of ["requests", "latency", "decisions", "drift", "feedback"])
    await untilText(page, `#live-${part}`, /\S/);
  await stands(page, "Live, at first");

  // So many that drift is measured.
  const comments = samples();
  await ask(page, "/predict/batch", { method: "POST", data: { comments } });
  const before = await agreement(page);
  let isOver = false;
  const traffic = (async () => {
    for (let i = 0; !isOver; i += 1) {
      await ask(page, "/predict", { method: "POST", data: comments[i % comments.length] });
      if (i % 20 === 0)
        await ask(page, "/feedback", { method: "POST", data: { text: `See you at ${i}`, label: "harmless" } });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    await moves(page, "requests", "Judging ([\\d.,]+)");
    await moves(page, "latency", "Median \\(p50\\) ([\\d.]+) m?s");
    await moves(page, "decisions", "Threats ([\\d.,]+)");
    await moves(page, "decisions", "Harmless ([\\d.,]+)");
    await until(
      page,
      "feedback is counted",
      ([before]) => {
        const cells = document.querySelectorAll("#live-feedback tbody tr:nth-child(2) td");
        return [...cells].slice(0, 3).reduce((sum, cell) => sum + Number.parseInt(cell.textContent, 10), 0) > before;
      },
      [before],
      MOVES_MS,
    );
    await untilText(page, "#live-drift", /comments? of the last 24 hours[^]*Probabilities[^]*Length/, MOVES_MS);
    await untilText(page, "#live-probability", /Held-out commenters/);
    // A line needs some looks at the service.
    await looks(page, 4, "/metrics");
  } finally {
    isOver = true;
    await traffic;
  }
  const shown = (await texts(page, "#panel-live")).join();
  assert.ok(!/NaN|undefined|Infinity/.test(shown), `half a value in ${shown}`);
  const { measures } = await ask(page, "/drift");
  assert.equal(await page.locator("#live-drift tbody tr").count(), measures.length);
  await page.locator("#live-requests summary").click();
  await until(
    page,
    "the same figures in a table",
    () => document.querySelectorAll("#live-requests tbody tr").length > 2,
  );
  await stands(page, "Live, with traffic");
  await page.locator("#live-requests summary").click();
  await picture(page, "live", { height: 1060 });

  await page.locator("#tab-check").click();
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  // The header asks on: by the second time the figures would have been asked for.
  await looks(page, 2, "/models");
  assert.ok(!asked.some((path) => path === "/metrics" || path === "/drift"), `asked while nobody looks: ${asked}`);
});

// Waits until the page has asked for a path so many times.
async function looks(page, times, path) {
  for (let i = 0; i < times; i += 1) {
    await page.waitForResponse((response) => new URL(response.url()).pathname === path);
  }
}

// The comments of the sample, whole.
function samples() {
  const blocks = readFileSync(SAMPLE, "utf8").split("\n\n");
  const sentences = blocks.map((block) => block.split("\n").flatMap((line) => /^[01]\t(.*)$/.exec(line)?.[1] ?? []));
  return sentences.filter(({ length }) => length > 0).map((parts) => ({ text: parts.join(" ") }));
}

// Decisions about harmless comments that the page counts.
async function agreement(page) {
  const cells = await texts(page, "#live-feedback tbody tr:nth-child(2) td");
  return cells.slice(0, 3).reduce((sum, text) => sum + Number.parseInt(text, 10), 0);
}

function moves(page, part, pattern) {
  const look = ([part, pattern]) =>
    Number.parseFloat(new RegExp(pattern).exec(document.getElementById(`live-${part}`).innerText)?.[1]) > 0;
  return until(page, `live-${part}: ${pattern}`, look, [part, pattern], MOVES_MS);
}
