// API keys: the page asks for one, and with it does what its role allows; what it does not allow is said, and not done.

import assert from "node:assert/strict";

import { ask, flow, stands, texts, until, untilText } from "./page.mjs";

const { RITA, MONA, OLGA } = process.env;
const RUN_MS = 180_000;
const THREAT = "I will find you and kill you.";

// Without a key everything is refused, and each role something.
const REFUSED = [
  [401, "/"],
  [403, "/"],
];

await flow(
  async (open) => {
    const page = await open("#queue");
    await enterKey(page);
    await judgesOnly(page);
    await page.close();

    const moderator = await open("#queue");
    await enter(moderator, MONA, /Key of mona \(predict, review\)/);
    await decides(moderator);
    await labels(moderator);
    await looksAtFlips(moderator);

    const operator = await open("#training");
    await enter(operator, OLGA, /Key of olga \(operate\)/);
    await operates(operator);
    await approves(moderator, operator);
    await forgets(operator);
  },
  { refused: REFUSED },
);

// ---- Entering ------------------------------------------------------------------------------------------------------

// A wrong key, no key, and the key that a file asks for: its worker gets it from the page.
async function enterKey(page) {
  await page.locator("dialog#key").waitFor();
  await stands(page, "a key is asked for");
  assert.deepEqual(await texts(page, "#model-rows code"), [], "nothing is shown without a key");
  await page.locator("#key-secret").fill(`${RITA.slice(0, -1)}${RITA.endsWith("0") ? "1" : "0"}`);
  await page.keyboard.press("Enter");
  await untilText(page, "#key-trouble", /refuses this key/);
  await page.keyboard.press("Escape");
  await page.locator("dialog#key").waitFor({ state: "hidden" });
  await chooseFile(page);
  await enter(page, RITA, /Key of rita \(predict\)/);
  await untilJudged(page);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!kept.includes(RITA), "the key is kept in memory only");
}

async function enter(page, key, holder) {
  await page.locator("dialog#key").waitFor();
  await page.locator("#key-secret").fill(key);
  await page.locator("#key-confirm").click();
  await page.locator("dialog#key").waitFor({ state: "hidden" });
  await untilText(page, "#key-holder", holder);
  await untilText(page, "#serving", /Serving/);
}

async function forgets(page) {
  await page.locator("#key-forget").click();
  await page.locator("#key-enter").waitFor();
  assert.ok(await page.locator("#key-holder").isHidden());
}

// ---- Roles ---------------------------------------------------------------------------------------------------------

async function judgesOnly(page) {
  await page.locator("#tab-check").click();
  await page.locator("#comment").fill(THREAT);
  await page.locator("#judge-button").click();
  await untilText(page, "#verdict", /threat/);
  const answered = page.waitForResponse((response) => new URL(response.url()).pathname === "/feedback");
  await page
    .locator("#verdict-details .review")
    .getByRole("button", { name: /threat/ })
    .click();
  assert.equal((await answered).status(), 403);
  await untilText(page, "#verdict-details .review", /not stored[^]*role `?review/);
  await stands(page, "a refusal");
  await page.locator("#tab-queue").click();
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("t");
  await untilText(page, "#queue-notice", /not stored[^]*role `?review/);
  await page.locator("#tab-label").click();
  await chooseLines(page);
  await page.locator("#label-start").click();
  await untilText(page, "#label-notice", /lacks the role “review”/);
  await page.locator("#tab-live").click();
  await untilText(page, "#live-parts", /Object store: answers/);
  assert.equal((await texts(page, "#live-trouble")).join(), "");
}

async function chooseFile(page) {
  const buffer = Buffer.from(`id,text\r\na,${THREAT}\r\nb,Nice song.\r\n`);
  await page.locator("#queue-file").setInputFiles({ name: "two.csv", mimeType: "text/csv", buffer });
}

function untilJudged(page) {
  return until(
    page,
    "two rows are judged",
    () => document.querySelectorAll("#queue-rows [data-index]:not([hidden]) .row-text").length === 2,
  );
}

async function decides(page) {
  await chooseFile(page);
  await untilJudged(page);
  await page.locator("#queue-rows").focus();
  const decide = async (key, method) => {
    const isDecision = (response) =>
      response.request().method() === method && new URL(response.url()).pathname.startsWith("/feedback");
    const answered = page.waitForResponse(isDecision);
    await page.keyboard.press(key);
    return answered;
  };
  assert.equal((await (await decide("t", "POST")).json()).reviewer, "mona");
  // What is one's own can be taken back.
  assert.equal((await decide("u", "DELETE")).status(), 204);
  assert.equal((await decide("t", "POST")).status(), 201);
  const { items } = await ask(page, "/feedback?limit=5", { key: MONA });
  assert.deepEqual([items[0].reviewer, items[0].text, items[0].label], ["mona", THREAT, "threat"]);
}

async function chooseLines(page) {
  const buffer = Buffer.from(["One song.", "Two songs.", "Three songs.", "Four songs."].join("\n"));
  await page.locator("#label-file").setInputFiles({ name: "lines.txt", mimeType: "text/plain", buffer });
}

async function labels(page) {
  await page.locator("#tab-label").click();
  await chooseLines(page);
  await page.locator("#label-take").fill("2");
  await page.locator("#label-random").fill("50");
  await page.locator("#label-start").click();
  await untilText(page, "#label-left", /0 answered, 2 left/);
  await page.keyboard.press("h");
  await untilText(page, "#label-left", /1 answered, 1 left/);
  await page.keyboard.press("h");
  await untilText(page, "#label-result", /Estimated share/);
}

async function looksAtFlips(page) {
  await page.locator("#tab-models").click();
  await page.locator("#compare-form").getByRole("button", { name: "Compare" }).click();
  await page.locator("#flips-button").click();
  await untilText(page, "#flips", /held-out sentences? have a different decision/);
}

async function operates(page) {
  await page.locator("#train-button").click();
  await page.locator("dialog#training").waitFor();
  assert.ok(await page.locator("#train-actor").isHidden(), "who has a key is not asked for a name");
  await page.getByRole("radio", { name: /waits for approval/ }).check();
  const started = page.waitForResponse((response) => response.url().endsWith("/train"));
  await page.locator("dialog#training").getByRole("button", { name: "Train", exact: true }).click();
  assert.ok((await started).ok());
  await page.locator("#run-list > li[data-stage=approval]").waitFor({ timeout: RUN_MS });
  // Who operates does not approve, and does not see comments; whether a version would pass they may ask.
  await approve(page);
  await untilText(page, "#runs-notice", /not approved[^]*role `?review/);
  await page.locator("#tab-models").click();
  await page.locator("#compare-form").getByRole("button", { name: "Compare" }).click();
  await page.locator("#flips-button").click();
  await untilText(page, "#flips", /cannot be shown[^]*role `?review/);
  await page
    .locator("#model-rows")
    .getByRole("button", { name: /Would.*pass/ })
    .first()
    .click();
  await untilText(page, "#notice", /pass the checks\. Nothing was changed/, RUN_MS);
  await page.locator("#tab-training").click();
}

async function approves(moderator, operator) {
  const { generation } = await ask(operator, "/models/production", { key: OLGA });
  await moderator.locator("#tab-training").click();
  await moderator.locator("#run-list > li").first().waitFor({ timeout: 60_000 });
  await approve(moderator);
  await untilText(moderator, "#runs-notice", /was approved/);
  await operator.locator("#run-list > li[data-stage=done]").waitFor({ timeout: RUN_MS });
  await untilText(operator, "#serving", new RegExp(`generation ${generation + 1}$`));
  const { promotions } = await ask(operator, "/models/history", { key: OLGA });
  assert.equal(promotions[0].actor, "mona", "the history knows who approved");
}

async function approve(page) {
  await page
    .locator("#run-list > li")
    .getByRole("button", { name: /^Approve/ })
    .first()
    .click();
  await page.locator("dialog#ask").waitFor();
  assert.ok(await page.locator("#ask-actor").isHidden());
  await page.locator("#ask-reason").fill("good enough");
  await page.locator("#ask-confirm").click();
}
