// Check: a comment is judged and explained, what a moderator says of it is stored, and hostile texts stay text.

import assert from "node:assert/strict";

import { HOSTILE, ask, flow, picture, stands, strangers, until, untilText } from "./page.mjs";

const THREAT = "I watched the match with my brother. I will find you and kill you. See you on Sunday then.";

await flow(async (open) => {
  const page = await open();
  await untilText(page, "#serving", /Serving \d{8}T\d{6}Z-/);
  await stands(page, "Check, empty");

  await judge(page, THREAT);
  const verdict = await untilText(page, "#verdict", /threat/i);
  assert.ok(verdict);
  // Explained: the sentence is marked, and its words are listed with what they add.
  assert.match(await page.locator("#verdict-details mark").first().innerText(), /kill you/);
  await page.locator("#verdict-details details.why summary").first().click();
  assert.match(await page.locator("#verdict-details .why-lists").first().innerText(), /Most for a threat[^]*kill/);
  await stands(page, "Check, judged");
  await picture(page, "check");

  await says(page, THREAT, "threat", [1]);
  await page
    .locator("#verdict-details .review")
    .getByRole("checkbox", { name: /See you on Sunday/ })
    .check();
  await says(page, THREAT, "threat", [1, 2]);
  // A threat without a sentence that is one: that is no decision.
  const review = page.locator("#verdict-details .review");
  for (const box of await review.getByRole("checkbox").all()) await box.uncheck();
  await review.getByRole("button", { name: /threat/ }).click();
  await untilText(page, "#verdict-details .review [role=status]", /Tick at least one/);
  await says(page, THREAT, "harmless", []);
  for (const [name, text] of Object.entries(HOSTILE)) await staysText(page, name, text);
  await staysText(page, "long", "Why me? ".repeat(2500).slice(0, 20_000));
  await staysText(page, "one word", `${"a".repeat(19_990)}<b>`);
  await stands(page, "Check, a word of 20,000 characters");
});

async function judge(page, text) {
  // Not `fill`, which would make other texts of some.
  await page.evaluate((text) => {
    const comment = document.getElementById("comment");
    comment.value = text;
    comment.dispatchEvent(new Event("input", { bubbles: true }));
  }, text);
  const answered = page.waitForResponse((response) => new URL(response.url()).pathname === "/predict");
  await page.locator("#judge-button").click();
  const response = await answered;
  assert.equal(response.status(), 200, await response.text());
  await until(page, "a verdict", () => document.querySelector("#verdict-details .comment"));
}

// Right or wrong, as a moderator says it, is what the service has then; of a threat also which sentences are meant.
async function says(page, text, label, sentences) {
  const answered = page.waitForResponse((response) => response.url().endsWith("/feedback"));
  await page
    .locator("#verdict-details .review")
    .getByRole("button", { name: label === "threat" ? /threat/ : /harmless/ })
    .click();
  const stored = await (await answered).json();
  assert.equal(stored.label, label);
  await untilText(page, "#verdict-details .review [role=status]", /Stored/);
  const { items } = await ask(page, "/feedback?limit=10");
  const item = items.find(({ id }) => id === stored.id);
  assert.deepEqual([item?.text, item?.label, item?.sentences ?? []], [text, label, sentences]);
}

async function staysText(page, name, text) {
  const before = await strangers(page);
  await judge(page, text);
  const comment = page.locator("#verdict-details .comment").first();
  // Between the sentences stand tags; the rest is the comment to the letter, with halves of pairs replaced.
  const shown = await comment.evaluate((node) => {
    const copy = node.cloneNode(true);
    for (const tag of copy.querySelectorAll(".decision-tag, .judge-tag")) tag.remove();
    return copy.textContent;
  });
  const letters = (text) => text.toWellFormed().replaceAll("\u00A0", "");
  assert.ok(letters(shown) === letters(text), `${name}: ${JSON.stringify(shown.slice(0, 300))}`);
  assert.equal(await strangers(page), before, `${name}: elements were made of the text`);
}
