// A page that is watched: what it logs, asks for and violates, and how each of its states stands light, dark, wide and
// narrow.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";

const { PAGE, CHROMIUM, MODULES, PICTURES, FAILURES } = process.env;
const require = createRequire(`${MODULES}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const IN_CI = Boolean(process.env.CI);
export const WIDE = { width: 1280, height: 900 };
export const NARROW = { width: 360, height: 740 };
export const TABS = ["check", "queue", "label", "models", "training", "live"];
const PATIENCE_MS = 20_000;
const LONGEST_FLOW_MS = 600_000;
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"];

// ---- Flows ---------------------------------------------------------------------------------------------------------

// Runs a flow in a browser of its own. It fails with the flow, or with anything that a page of it did wrong.
// `refused` are the refusals that it provokes, as `[status, path]`: the browser logs each as an error of its own.
// Pages that are somebody else's are not `watched`.
export async function flow(steps, { refused = [], watched = true } = {}) {
  const name = basename(process.argv[1], ".mjs");
  setTimeout(() => {
    console.error(`${name}: not over after ${LONGEST_FLOW_MS} ms`);
    process.exit(1);
  }, LONGEST_FLOW_MS).unref();
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  const context = await browser.newContext({ viewport: WIDE, reducedMotion: "reduce", acceptDownloads: true });
  context.setDefaultTimeout(PATIENCE_MS);
  const opened = [];
  const open = async (path = "") => {
    const page = await context.newPage();
    opened.push(page);
    page.faults = watched ? watch(page, new URL(PAGE).origin, refused) : [];
    await page.goto(new URL(path, PAGE).href);
    return page;
  };
  try {
    await steps(open);
    assert.deepEqual(
      opened.flatMap(({ faults }) => faults),
      [],
      "what the pages did wrong",
    );
    console.log(`${name}: done`);
  } catch (error) {
    for (const [i, page] of opened.entries()) {
      console.error(`${name}: page ${i + 1} did wrong:`, page.faults);
      const file = join(FAILURES, `${name}-${i + 1}.png`);
      await page.screenshot({ path: file, timeout: 5_000 }).then(
        () => console.error(`see ${file}`),
        () => {},
      );
    }
    throw error;
  } finally {
    await browser.close();
  }
}

// Everything that no page may do, as it happens.
function watch(page, origin, refused) {
  const faults = [];
  const isProvoked = (url, text) =>
    refused.some(([status, path]) => text.includes(`status of ${status}`) && new URL(url).pathname.startsWith(path));
  page.on("console", (message) => {
    const [type, text, { url }] = [message.type(), message.text(), message.location()];
    const isFault = ["error", "warning", "assert"].includes(type);
    if (isFault && !isProvoked(url || origin, text)) faults.push(`console ${type}: ${text} (${url})`);
  });
  page.on("pageerror", (error) => faults.push(`page error: ${error.stack ?? error}`));
  page.on("crash", () => faults.push("the page crashed"));
  page.on("request", (request) => {
    const asked = new URL(request.url());
    const isOwn = asked.origin === origin || asked.protocol === "data:";
    if (!isOwn) faults.push(`a request to ${asked.href.slice(0, 200)}`);
  });
  page.on("dialog", (dialog) => {
    // Asked before leaving the page is what a page may do.
    if (dialog.type() !== "beforeunload") faults.push(`a dialog: ${dialog.type()} ${dialog.message()}`);
    dialog.accept().catch(() => {});
  });
  page.on("popup", (popup) => faults.push(`a window: ${popup.url()}`));
  // A worker has its own policy, and tells nobody else of violations.
  page.addInitScript(tellViolations);
  page.on("worker", (worker) => worker.evaluate(tellViolations).catch(() => {}));
  return faults;
}

function tellViolations() {
  addEventListener("securitypolicyviolation", ({ effectiveDirective: directive, blockedURI: blocked }) =>
    console.error(`the policy forbids ${directive} of ${blocked}`),
  );
}

// ---- Waiting -------------------------------------------------------------------------------------------------------

// Waits until what `look` finds in the page is true; answers it.
export async function until(page, what, look, argument, timeout = PATIENCE_MS) {
  try {
    return await (await page.waitForFunction(look, argument, { timeout, polling: 50 })).jsonValue();
  } catch (error) {
    throw new Error(`${what}: not within ${timeout} ms (${String(error).split("\n")[0]})`);
  }
}

export async function untilText(page, selector, pattern, timeout = PATIENCE_MS) {
  const look = ([selector, source, flags]) =>
    new RegExp(source, flags).exec(document.querySelector(selector)?.innerText);
  const found = await until(page, `${selector}: ${pattern}`, look, [selector, pattern.source, pattern.flags], timeout);
  return found.length > 1 ? found[1] : found[0];
}

// Waits until the service answers so that `isSo`; answers what it answered.
export async function untilAnswer(page, path, isSo, timeout = PATIENCE_MS) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const answer = await ask(page, path);
    if (isSo(answer)) return answer;
    assert.ok(Date.now() < deadline, `${path}: not within ${timeout} ms: ${JSON.stringify(answer).slice(0, 2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// What the service answers to a request beside the page, which it must not refuse.
export async function ask(page, path, { method = "GET", data, key } = {}) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const response = await page.request.fetch(new URL(path, PAGE).href, { method, data, headers });
  assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${await response.text()}`);
  return response.json();
}

export const texts = (page, selector) => page.locator(selector).allInnerTexts();

export async function showTab(page, name) {
  await page.locator(`#tab-${name}`).click();
  await page.locator(`#panel-${name}`).waitFor();
}

// ---- Looks ---------------------------------------------------------------------------------------------------------

// The state that the page is in must stand in light and dark, wide and narrow. What does not is told at the flow's end.
export async function stands(page, state) {
  for (const viewport of [WIDE, NARROW]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await settled(page);
      const where = `${state}, ${colorScheme}, ${viewport.width} px`;
      for (const finding of await axeFindings(page)) page.faults.push(`${where}: ${finding}`);
      if ((await overflow(page)) > 0) page.faults.push(`${where}: wider than the window: ${await widest(page)}`);
    }
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: "light" });
  await settled(page);
}

// Two frames: by then the page is laid out, and what listens to its size has answered.
export function settled(page) {
  return page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))));
}

async function axeFindings(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  // The size of targets is a rule of WCAG 2.2, which axe leaves off unless asked.
  const options = { resultTypes: ["violations"], preload: false, rules: { "target-size": { enabled: true } } };
  const { violations } = await page.evaluate((options) => window.axe.run(document, options), options);
  const severe = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return severe.map(({ id, impact, nodes }) => {
    const places = nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`);
    return `${id} (${impact}), ${nodes.length} times: ${places.join(" | ")}`;
  });
}

function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

function widest(page) {
  return page.evaluate(() => {
    const nodes = [...document.querySelectorAll("body *")].filter(
      (node) => node.getBoundingClientRect().right > innerWidth,
    );
    return nodes
      .slice(0, 5)
      .map((node) => node.cloneNode().outerHTML.slice(0, 120))
      .join(" ");
  });
}

// A picture for the README: 1280 px wide, light, from the top of the page or of one of its parts.
export async function picture(page, name, { height = 900 } = {}) {
  if (!PICTURES) return;
  await page.setViewportSize({ width: WIDE.width, height });
  await page.evaluate(() => {
    document.activeElement?.blur();
    scrollTo(0, 0);
  });
  await settled(page);
  await page.screenshot({ path: join(PICTURES, `${name}.png`), animations: "disabled" });
  await page.setViewportSize(WIDE);
}

// ---- Texts that are only texts -------------------------------------------------------------------------------------

// Each would show in the page, or open a dialog, if it was ever taken for markup.
export const HOSTILE = {
  script: `<script>alert("script")</script><svg onload="alert('svg')"></svg>`,
  image: `<img src="x" onerror="alert('image')"> <iframe srcdoc="<script>parent.alert(1)</script>"></iframe>`,
  link: `<a href="javascript:alert('link')">press</a> javascript:alert(1) {{constructor.constructor("alert(1)")()}}`,
  leftToRight: "\u202Eevil txet\u202C \u200F\u2067שלום، مرحبا\u2069 \u061C\u200Eabc",
  emoji: "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 e\u0301\u0323 Z̷̧̢̛͙̠͖͈̣͗̃̈́a̵l̴g̶o ﷽ 🇪🇺",
  controls: "b\u0007c\u001B[31md\u2028e\u2029f\uFEFFg",
  lone: "half \uD83D of a pair, \uDE00 the other half",
};

// How many elements there are that hostile texts would make.
export function strangers(page) {
  return page.evaluate(
    () => document.querySelectorAll("body script, body img, body iframe, body a[href^='javascript']").length,
  );
}
