// Label: of a file the most informative comments and some at random, answered by keys; at the end an estimate.

import assert from "node:assert/strict";

import { HOSTILE, ask, flow, stands, strangers, until, untilAnswer, untilText } from "./page.mjs";

const TAKE = 12;
const SHARE = 50;
const THREATS = 40;
const COMMENTS = 120;
const LONG_RUN = 40_000;

await flow(async (open) => {
  const page = await open("#label");
  await untilText(page, "#serving", /Serving/);
  const before = await ask(page, "/feedback?limit=1");
  await start(page);
  await stands(page, "Label, the first comment");
  const answered = await answer(page, before.total);
  await undone(page, before.total, answered);
  await estimate(page);
  await backAtTheLast(page, before.total + answered + 1);
  await leftWhileJudging(page);
  await hostile(page);
});

// What a comment is stands at its front.
function comment(_, i) {
  const words = i < THREATS ? "I will find you and kill you" : "Thanks for the song, see you soon";
  return { id: String(i), text: `${i < THREATS ? "T" : "H"}${i} labelled: ${words}` };
}

async function choose(page, comments) {
  const buffer = Buffer.from(comments.map((comment) => JSON.stringify(comment)).join("\n"));
  await page.locator("#label-file").setInputFiles({ name: "comments.jsonl", mimeType: "text/plain", buffer });
}

async function start(page) {
  await choose(page, Array.from({ length: COMMENTS }, comment));
  await page.locator("#label-take").fill(String(TAKE));
  await page.locator("#label-random").fill(String(SHARE));
  const chosen = page.waitForResponse((response) => response.url().endsWith("/label"));
  await page.locator("#label-start").click();
  const body = (await chosen).request().postDataJSON();
  assert.equal((await chosen).status(), 200, await (await chosen).text());
  assert.equal(body.take, TAKE - (TAKE * SHARE) / 100, "the random share is drawn out of all comments");
  await page.locator("#label-card").waitFor();
  await untilText(page, "#label-left", new RegExp(`0 answered, ${TAKE} left`));
}

function current(page) {
  return page.locator("#label-comment").innerText();
}

// All but one, each by its key; one is skipped.
async function answer(page, before) {
  let stored = 0;
  for (let done = 0; done < TAKE - 1; done += 1) {
    const text = await current(page);
    const key = done === 3 ? "s" : { T: "t", H: "h" }[text[0]];
    await page.keyboard.press(key);
    await untilText(page, "#label-left", new RegExp(`${done + 1} answered, ${TAKE - done - 1} left`));
    if (key === "s") continue;
    stored += 1;
    const label = key === "t" ? "threat" : "harmless";
    await untilAnswer(page, "/feedback?limit=1000", ({ items }) =>
      items.some((item) => item.text === text && item.label === label),
    );
  }
  assert.equal((await ask(page, "/feedback?limit=1")).total, before + stored);
  return stored;
}

async function undone(page, before, stored) {
  const next = await current(page);
  await page.keyboard.press("u");
  await untilText(page, "#label-left", new RegExp(`${TAKE - 2} answered, 2 left`));
  assert.notEqual(await current(page), next, "the one before is asked about again");
  await untilAnswer(page, "/feedback?limit=1", ({ total }) => total === before + stored - 1);
  for (const _ of [1, 2]) {
    const text = await current(page);
    await page.locator({ T: "#label-threat", H: "#label-harmless" }[text[0]]).click();
    await until(
      page,
      "the next",
      (text) =>
        document.getElementById("label-card").hidden || document.getElementById("label-comment").innerText !== text,
      text,
    );
  }
}

async function estimate(page) {
  const result = await untilText(page, "#label-result", /Estimated share of threats[^]*/);
  // "<0.1%" is a share below that, as small as 0.
  const number = (text) => (text.startsWith("<") ? 0 : Number(text.replace(">", "")));
  const [share, low, high] = [.../([<>]?[\d.]+)% \(95% interval ([<>]?[\d.]+)% to ([<>]?[\d.]+)%\)/.exec(result)]
    .slice(1)
    .map(number);
  assert.ok(low <= share && share <= high && low < high, result);
  const [, drawn, threats] = /Of (\d+) comments? drawn at random, (\d+)/.exec(result);
  assert.ok(Math.abs(share - (100 * threats) / drawn) < 0.06, result);
  assert.ok(drawn <= (TAKE * SHARE) / 100, result);
  await stands(page, "Label, the estimate");
}

// The last comment is asked about again; what was said of it stays until something else is.
async function backAtTheLast(page, stored) {
  const again = page.getByRole("button", { name: "Back to the comments" });
  await again.click();
  await untilText(page, "#label-left", new RegExp(`${TAKE - 1} answered, 1 left`));
  const text = await current(page);
  const isStored = async (label) => {
    const { items, total } = await ask(page, "/feedback?limit=1000");
    return total === stored && items.find((item) => item.text === text)?.label === label;
  };
  const [said, other] = text[0] === "T" ? ["threat", "harmless"] : ["harmless", "threat"];
  assert.ok(await isStored(said), "nothing is taken back by looking");
  for (const label of [other, said]) {
    await page.locator(`#label-${label}`).click();
    await again.waitFor();
    assert.ok(await isStored(label), `${label} took its place`);
    if (label === other) await again.click();
  }
}

// Another file takes the place of one that is being judged.
async function leftWhileJudging(page) {
  const words = "of the garden opens in the morning";
  await choose(
    page,
    Array.from({ length: LONG_RUN }, (_, i) => ({ id: String(i), text: `Number ${i} ${words}` })),
  );
  await page.locator("#label-start").click();
  await untilText(page, "#label-rate", /\d of 40,000 comments/);
}

async function hostile(page) {
  await choose(
    page,
    Object.entries(HOSTILE).map(([id, text]) => ({ id, text })),
  );
  await page.locator("#label-start").click();
  await page.locator("#label-card").waitFor();
  for (let left = Object.keys(HOSTILE).length; left > 0; left -= 1) {
    await untilText(page, "#label-left", new RegExp(`${left} left`));
    const shown = await page.locator("#label-comment").evaluate((node) => node.textContent);
    assert.ok(
      Object.values(HOSTILE).some((text) => text.toWellFormed() === shown),
      shown,
    );
    assert.equal(await strangers(page), 0);
    await page.keyboard.press("s");
  }
  await untilText(page, "#label-result", /skipped/);
}
