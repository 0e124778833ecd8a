// Queue: files of three formats, their order and filters, decisions by keys, an export, and a run that is called off.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { HOSTILE, ask, flow, picture, stands, strangers, until, untilAnswer, untilText } from "./page.mjs";

// Words that no other text has: of comments that are decided, of one whose decision is taken back, and of all others.
const { DECIDED = "decided", TAKEN_BACK = "taken back", LOOKED_AT = "looked at" } = process.env;
const SAMPLE = new URL("../../model/data/sample.txt", import.meta.url);
const LONG_RUN = 60_000;

const COMMENTS = [
  { id: "a", text: `I will find you and kill you, ${DECIDED}.` },
  { id: "b", text: `He will burn your house down tonight ${LOOKED_AT}` },
  { id: "c", text: `What a derby, my heart is still racing, ${TAKEN_BACK}.` },
  { id: "d", text: `=HYPERLINK("http://127.0.0.1:9/?${LOOKED_AT}","press")` },
  { id: "e", text: `+1 to that ${LOOKED_AT}` },
  { id: "f", text: `-1, never ${LOOKED_AT}` },
  { id: "g", text: `@everyone see you soon, ${DECIDED}` },
  { id: "=1+1", text: `Two lines,\r\nof which "one" is quoted; ${LOOKED_AT}` },
  ...Object.entries(HOSTILE).map(([id, text]) => ({ id, text: `${text} ${LOOKED_AT}` })),
  { id: "long", text: `${LOOKED_AT} ${"x".repeat(14_000)} ${"word ".repeat(999)}` },
];

await flow(async (open) => {
  const page = await open("#queue");
  await untilText(page, "#serving", /Serving/);
  const before = await ask(page, "/feedback?limit=1");

  await drop(page, "comments.csv", csv(COMMENTS));
  await judged(page, COMMENTS.length);
  const verdicts = await verdictsOf(page, COMMENTS);
  await arranged(page, verdicts);
  await filtered(page, verdicts);
  assert.equal(await strangers(page), 0, "elements were made of comments");
  await stands(page, "Queue, a file");
  await explained(page);
  await decided(page, verdicts, before.total);
  await exported(page, verdicts);

  await typedFast(page, before.total + 2);
  await takenBackTo(page, before.total + 2);
  await manyLines(page);
  await jsonLines(page);
  await threatFile(page);
  await calledOff(page);
  const { total } = await ask(page, "/feedback?limit=1");
  assert.equal(total, before.total + 2, "only what was decided is kept");
});

// ---- Files ---------------------------------------------------------------------------------------------------------

function csv(comments) {
  const cell = (text) => `"${text.replaceAll('"', '""')}"`;
  return `id,when,Text\r\n${comments.map(({ id, text }) => `${cell(id)},today,${cell(text)}`).join("\r\n")}\r\n`;
}

async function choose(page, name, text) {
  await page.locator("#queue-file").setInputFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
}

async function drop(page, name, text) {
  const dataTransfer = await page.evaluateHandle(
    ([name, text]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], name));
      return transfer;
    },
    [name, text],
  );
  for (const type of ["dragenter", "dragover", "drop"]) await page.dispatchEvent("#queue-drop", type, { dataTransfer });
}

function judged(page, count) {
  return untilText(page, "#queue-status", new RegExp(`\\b${count.toLocaleString("en")} comments? judged`), 60_000);
}

// What the service says of each comment by itself.
async function verdictsOf(page, comments) {
  const verdicts = [];
  for (const { id, text } of comments) {
    const sent = text.toWellFormed();
    const verdict = await ask(page, "/predict", { method: "POST", data: { text: sent } });
    verdicts.push({ id, text: sent, ...verdict });
  }
  return verdicts;
}

// ---- The list ------------------------------------------------------------------------------------------------------

// The rows that have an element, in their order: their ids, texts and decisions.
function rows(page) {
  return page.locator("#queue-rows").evaluate((list) => {
    const nodes = [...list.querySelectorAll("[data-index]")].filter(({ hidden }) => !hidden);
    nodes.sort((a, b) => a.dataset.index - b.dataset.index);
    return nodes.map((node) => ({
      id: node.querySelector(".row-id")?.textContent,
      text: node.querySelector(".row-text")?.textContent,
      decision: node.dataset.decision,
    }));
  });
}

async function untilRows(page, ids, why) {
  let shown = [];
  const areShown = async () => {
    shown = (await rows(page)).map(({ id }) => id);
    return JSON.stringify(shown) === JSON.stringify(ids);
  };
  await untilSo(why, areShown).catch(() => assert.deepEqual(shown, ids, why));
}

async function untilSo(what, isSo) {
  const deadline = Date.now() + 10_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// By probability, the most threatening first, unless the order of the file is asked for; every text to the letter.
async function arranged(page, verdicts) {
  const byProbability = verdicts.toSorted((a, b) => b.probability - a.probability);
  const [first, second] = await page
    .locator("#queue-sort option")
    .evaluateAll((options) => options.map(({ value }) => value));
  assert.equal(await page.locator("#queue-sort").inputValue(), first);
  await untilRows(
    page,
    byProbability.map(({ id }) => id),
    "by probability",
  );
  for (const [i, { text, decision }] of (await rows(page)).entries()) {
    assert.equal(decision, byProbability[i].decision);
    assert.ok(byProbability[i].text.startsWith(text.replace(/…$/, "")) && text.length > 4, `row ${i}: ${text}`);
  }
  await page.locator("#queue-sort").selectOption(second);
  await untilRows(
    page,
    verdicts.map(({ id }) => id),
    "in the order of the file",
  );
  await page.locator("#queue-sort").selectOption(first);
}

async function filtered(page, verdicts) {
  const byProbability = verdicts.toSorted((a, b) => b.probability - a.probability);
  const decisions = new Set(verdicts.map(({ decision }) => decision));
  assert.ok(decisions.has("flag") && decisions.has("pass"), [...decisions].join());
  for (const decision of ["flag", "review", "pass"]) {
    await page.locator("#queue-filter").selectOption(decision);
    await untilRows(
      page,
      byProbability.filter((verdict) => verdict.decision === decision).map(({ id }) => id),
      decision,
    );
  }
  await page.locator("#queue-filter").selectOption("problem");
  await untilRows(page, [], "problems");
  await page.locator("#queue-filter").selectOption("all");
  await untilRows(
    page,
    byProbability.map(({ id }) => id),
    "all",
  );
}

// The selected row's detail says why.
async function explained(page) {
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.locator("#queue-detail details.why summary").first().click();
  await untilText(page, "#queue-detail", /Most for a threat/);
  await stands(page, "Queue, explained");
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("Escape");
  await page.locator("#queue-detail").waitFor({ state: "hidden" });
}

// ---- Decisions -----------------------------------------------------------------------------------------------------

async function decided(page, verdicts, before) {
  const order = verdicts.toSorted((a, b) => b.probability - a.probability).map(({ id }) => id);
  const threat = COMMENTS.find(({ id }) => id === "a");
  const harmless = COMMENTS.find(({ id }) => id === "g");
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("Home");
  assert.equal(await selectedId(page), order[0]);
  await page.keyboard.press("j");
  assert.equal(await selectedId(page), order[1]);
  await page.keyboard.press("k");
  assert.equal(await selectedId(page), order[0]);

  // A threat, one that is harmless, and one that is taken back.
  await goTo(page, order, threat.id);
  await page.keyboard.press("t");
  await storedAs(page, threat.text, "threat");
  await goTo(page, order, harmless.id);
  await page.keyboard.press("h");
  await storedAs(page, harmless.text, "harmless");
  const other = COMMENTS.find(({ id }) => id === "c");
  await goTo(page, order, other.id);
  await page.keyboard.press("t");
  await storedAs(page, other.text, "threat");
  await page.locator("#queue-filter").selectOption("decided");
  await untilRows(
    page,
    order.filter((id) => ["a", "g", "c"].includes(id)),
    "decided",
  );
  await page.locator("#queue-filter").selectOption("all");
  await untilRows(page, order, "all again");
  await goTo(page, order, other.id);
  await page.keyboard.press("u");
  await untilAnswer(
    page,
    "/feedback?limit=1000",
    ({ items, total }) => total === before + 2 && !items.some(({ text }) => text === other.text),
  );
  await page.locator("#queue-filter").selectOption("undecided");
  await untilRows(
    page,
    order.filter((id) => !["a", "g"].includes(id)),
    "not decided",
  );
  await page.locator("#queue-filter").selectOption("all");

  // Letters that are typed elsewhere decide nothing: the next decision is the first that is sent.
  const sent = sentBy(page);
  await page.locator("#queue-sort").focus();
  await page.keyboard.press("t");
  await goTo(page, order, other.id);
  await page.keyboard.press("h");
  await storedAs(page, other.text, "harmless");
  assert.deepEqual(sent, [[other.text, "harmless"]]);
  await page.keyboard.press("u");
  await untilAnswer(page, "/feedback?limit=1", ({ total }) => total === before + 2);
}

// What the page sends as feedback from now on.
function sentBy(page) {
  const sent = [];
  page.on("request", (request) => {
    if (request.method() !== "POST" || !request.url().endsWith("/feedback")) return;
    const { text, label } = request.postDataJSON();
    sent.push([text, label]);
  });
  return sent;
}

// Keys that are faster than the service: each decides about the row that is selected when it is pressed.
async function typedFast(page, before) {
  const texts = ["One", "Two", "Three"].map((word) => `${word} of ${TAKEN_BACK}.`);
  const file = csv(texts.map((text, i) => ({ id: String(i), text })));
  await choose(page, "fast.csv", file);
  await judged(page, texts.length);
  await page.locator("#queue-sort").selectOption("file");
  await untilRows(page, ["0", "1", "2"], "in the order of the file");
  await page.route("**/feedback", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await route.continue();
  });
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("Home");
  await page.evaluate(() => {
    const list = document.getElementById("queue-rows");
    const look = () => window.passed.push(list.querySelector("[aria-selected=true]")?.dataset.index);
    window.passed = [];
    new MutationObserver(look).observe(list, { subtree: true, attributeFilter: ["aria-selected"] });
  });
  for (const key of ["t", "j", "h"]) await page.keyboard.press(key);
  await storedAs(page, texts[0], "threat");
  await storedAs(page, texts[1], "harmless");
  const passed = await page.evaluate(() => window.passed);
  assert.deepEqual([...new Set(passed)], ["1"], "what was decided before is not selected again");
  await page.keyboard.press("u");
  await untilAnswer(page, "/feedback?limit=1", ({ total }) => total === before + 1);
  await page.keyboard.press("u");
  await untilAnswer(page, "/feedback?limit=1", ({ total }) => total === before);
  await until(page, "the row that was taken back", () =>
    document.querySelector('#queue-rows [aria-selected=true][data-index="0"]'),
  );

  // What was decided is sent, whatever is opened then.
  await page.keyboard.press("t");
  await choose(page, "again.csv", file);
  await untilAnswer(page, "/feedback?limit=1", ({ total }) => total === before + 1);
  await judged(page, texts.length);
  await page.unroute("**/feedback");
  await forget(page, texts[0]);
}

// An undo brings back what was said before, and deletes only what it brought.
async function takenBackTo(page, before) {
  const text = `Said before: ${TAKEN_BACK}.`;
  await ask(page, "/feedback", { method: "POST", data: { text, label: "harmless" } });
  await choose(page, "before.csv", csv([{ id: "x", text }]));
  await judged(page, 1);
  await page.locator("#queue-rows").focus();
  const presses = async (key, words) => {
    await page.keyboard.press(key);
    await untilText(page, "#queue-said", words);
  };
  const isStored = (label) => storedAs(page, text, label);
  await presses("h", /Already stored/);
  await presses("u", /nothing was undone/);
  await isStored("harmless");
  await presses("t", /had decided about it before/);
  await isStored("threat");
  await presses("t", /you have already decided/);
  await presses("u", /is again that it is harmless/);
  await isStored("harmless");
  await presses("u", /nothing to undo/);
  await forget(page, text);

  // What was there before the page was opened, only the moderator knows.
  await page.reload();
  await ask(page, "/feedback", { method: "POST", data: { text, label: "harmless" } });
  await choose(page, "before.csv", csv([{ id: "x", text }]));
  await judged(page, 1);
  await page.locator("#queue-rows").focus();
  await presses("t", /had decided about it before/);
  await isStored("threat");
  await presses("u", /nothing was undone yet/);
  await isStored("threat");
  await presses("u", /has deleted the decision/);
  assert.equal((await ask(page, "/feedback?limit=1")).total, before);
}

async function forget(page, text) {
  const { items } = await ask(page, "/feedback?limit=1000");
  const { id } = items.find((item) => item.text === text);
  const response = await page.request.delete(new URL(`/feedback/${id}`, page.url()).href);
  assert.equal(response.status(), 204);
}

async function goTo(page, order, id) {
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("Home");
  for (const _ of order.slice(0, order.indexOf(id))) await page.keyboard.press("j");
  assert.equal(await selectedId(page), id);
}

async function selectedId(page) {
  await until(page, "a row is selected", () => document.querySelector("#queue-rows [aria-selected=true] .row-id"));
  const active = await page.locator("#queue-rows").getAttribute("aria-activedescendant");
  assert.equal(await page.locator("#queue-rows [aria-selected=true]").count(), 1);
  return page.locator(`#queue-rows #${active}[aria-selected=true] .row-id`).innerText();
}

async function storedAs(page, text, label) {
  const stored = ({ items }) => items.some((item) => item.text === text && item.label === label);
  await untilAnswer(page, "/feedback?limit=1000", stored);
  await page.locator("#queue-rows .said-tag", { hasText: label }).first().waitFor();
}

// ---- The export ----------------------------------------------------------------------------------------------------

async function exported(page, verdicts) {
  await page.locator("#queue-sort").selectOption({ index: 1 });
  await untilRows(
    page,
    verdicts.map(({ id }) => id),
    "in the order of the file",
  );
  const texts = page.locator("#queue-export-texts");
  await texts.check();
  const table = await download(page);
  assert.equal(table.length, verdicts.length);
  for (const [i, { id, text, probability, decision, label, model_version: version }] of verdicts.entries()) {
    const row = table[i];
    const said = { a: "threat", g: "harmless" }[id] ?? "";
    assert.deepEqual([row.id, row.text], [guarded(id), guarded(text)]);
    assert.deepEqual([row.decision, row.label, row.moderator, row.problem], [decision, label, said, ""], id);
    assert.ok(Math.abs(Number(row.probability) - probability) < 1e-6, `${id}: ${row.probability}, not ${probability}`);
    assert.equal(row.model_version, version);
    for (const value of Object.values(row)) assert.ok(!/^[=+\-@\t\r]/.test(value), `a formula: ${value}`);
  }
  await texts.uncheck();
  const without = await download(page);
  assert.ok(without.length === verdicts.length && !("text" in without[0]), Object.keys(without[0]).join());
}

// A spreadsheet would carry it out.
function guarded(text) {
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

async function download(page) {
  const started = page.waitForEvent("download");
  await page.locator("#queue-export").click();
  const file = await started;
  assert.match(file.suggestedFilename(), /\.csv$/);
  return parsed(readFileSync(await file.path(), "utf8"));
}

// RFC 4180, and nothing but.
function parsed(text) {
  const rest = text.replace(/^\uFEFF/, "");
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy;
  const lines = [[]];
  for (let found = cell.exec(rest); found; found = cell.exec(rest)) {
    lines.at(-1).push(found[1] === undefined ? found[2] : found[1].replaceAll('""', '"'));
    if (found[3] === "\r\n") lines.push([]);
    if (cell.lastIndex === rest.length) break;
  }
  assert.deepEqual(lines.pop(), [], "the last line is whole");
  const [names, ...values] = lines;
  return values.map((fields) => {
    assert.equal(fields.length, names.length, fields.join());
    return Object.fromEntries(names.map((name, i) => [name, fields[i]]));
  });
}

// ---- Other files ---------------------------------------------------------------------------------------------------

// A comment may have many lines; a quote that is left open is said. The first press of the pointer selects what it hits.
async function manyLines(page) {
  const many = { id: "many", text: `${"line\n".repeat(300)}${LOOKED_AT}` };
  const short = { id: "short", text: `One line ${LOOKED_AT}` };
  await choose(page, "lines.csv", `${csv([many, short])}open,today,"No end ${LOOKED_AT}\r\nlost,today,lost`);
  await judged(page, 2);
  await page.locator("#queue-sort").selectOption({ index: 1 });
  await untilRows(page, ["many", "short", "open"], "in the order of the file");
  assert.match((await rows(page))[2].text, /begins in line 304/);
  await page.locator('#queue-rows [data-index="1"]').click();
  assert.equal(await selectedId(page), "short");
  await choose(page, "array.json", JSON.stringify([many, short]));
  await untilText(page, "#queue-notice", /one JSON array/);
}

// What is wrong in a line is said at its place, and the others are judged.
async function jsonLines(page) {
  const lines = [
    JSON.stringify({ id: "one", text: `See you soon ${LOOKED_AT}` }),
    "no JSON",
    JSON.stringify({ id: "two" }),
    `{"id":"three","text":"half \\ud83d of a pair ${LOOKED_AT}"}`,
    `{"id":"four","text":"a \\u0000 in it ${LOOKED_AT}"}`,
    JSON.stringify({ id: 5, text: "   " }),
    JSON.stringify({ id: HOSTILE.script, text: HOSTILE.image }),
  ];
  await choose(page, `${HOSTILE.image}.jsonl`.replaceAll("/", ""), lines.join("\n"));
  await judged(page, 3);
  await page.locator("#queue-sort").selectOption({ index: 1 });
  await untilRows(page, ["one", "2", "two", "three", "four", "5", HOSTILE.script], "in the order of the file");
  const shown = await rows(page);
  assert.deepEqual(
    shown.map(({ decision }) => decision === "problem"),
    [false, true, true, false, true, true, false],
  );
  assert.match(shown[3].text, /half \uFFFD of a pair/);
  assert.match(shown[4].text, /U\+0000/);
  await page.locator("#queue-filter").selectOption("problem");
  await untilRows(page, ["2", "two", "four", "5"], "problems");
  assert.equal(await strangers(page), 0);
  await stands(page, "Queue, lines that are wrong");
  await page.locator("#queue-filter").selectOption("all");
}

async function threatFile(page) {
  const sample = readFileSync(SAMPLE, "utf8");
  const comments = sample.match(/^Video #\d+, Comment #\d+/gm).length;
  await choose(page, "sample.txt", sample);
  await judged(page, comments);
  await page.locator("#queue-sort").selectOption({ index: 0 });
  const isByProbability = ([first, second]) => first?.decision === "flag" && second?.decision === "flag";
  await untilSo("by probability", async () => isByProbability(await rows(page)));
  // A long list shows what is in view, wherever that is.
  await page.locator("#queue-rows").focus();
  await page.keyboard.press("End");
  await until(
    page,
    "the last row",
    (last) => {
      const row = document.querySelector("#queue-rows [aria-selected=true]");
      return Number(row?.dataset.index) === last && row.querySelector(".row-text")?.textContent.length > 0;
    },
    comments - 1,
  );
  const [row, list] = [
    await page.locator("#queue-rows [aria-selected=true]").boundingBox(),
    await page.locator("#queue-rows").boundingBox(),
  ];
  assert.ok(row.y >= list.y - 1 && row.y + row.height <= list.y + list.height + 1, "it is in view");
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await untilText(page, "#queue-detail", /Sentence by sentence/i);
  await picture(page, "queue", { height: 1300 });
}

// Called off, a run sends nothing more; what was judged stays, and the rest can be judged later.
async function calledOff(page) {
  const line = (_, i) =>
    JSON.stringify({ id: String(i), text: `Number ${i} of the garden opens in the morning ${LOOKED_AT}` });
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await choose(page, "long.jsonl", Array.from({ length: LONG_RUN }, line).join("\n"));
  await untilText(page, "#queue-rate", /\d of 60,000 comments, [\d,]+ per second, .* left/);
  const bar = await page.locator("#queue-progress").evaluate(({ value, max }) => [value, max]);
  assert.ok(bar[0] > 0 && bar[0] < bar[1] && bar[1] === LONG_RUN, `progress: ${bar}`);
  await page.locator("#queue-cancel").click();
  const left = await untilText(page, "#queue-status", /Cancelled: ([\d,]+) are not judged/);
  assert.ok(asked.includes("/predict/batch"), "it was judged by lists");
  asked.length = 0;
  // The worker has time for that only where it judges no more.
  await download(page);
  assert.ok(!asked.includes("/predict/batch"), "it goes on");
  assert.ok(Number(left.replaceAll(",", "")) > 0);
  await stands(page, "Queue, called off");
  await page.locator("#queue-rest").focus();
  await page.keyboard.press("Enter");
  await until(page, "the focus goes on", () => document.activeElement.id === "queue-cancel");
  await until(
    page,
    "the rest is judged",
    () => /^[\d,]+ comments judged/.test(document.getElementById("queue-status").innerText),
    null,
    90_000,
  );
}
