// The keyboard alone: the skip link, the tabs, every stop of the Tab key, dialogs, a judgement.

import assert from "node:assert/strict";

import { TABS, flow, untilText } from "./page.mjs";

const MOST_STOPS = 400;

const steps = async (open) => {
  const page = await open();
  await untilText(page, "#serving", /Serving/);
  await skipLink(page);
  await tabsByArrows(page);
  for (const name of TABS) await stopsOf(page, name);
  await dialog(page, "training", "#train-button", "dialog#training");
  await dialog(page, "models", "#rollback-button", "dialog#ask");
  await dialog(page, "models", "#model-rows a", "dialog#card");
  await judgement(page);
};

// Another test may have filled the registry with versions whose runs Temporal does not know.
await flow(steps, { refused: [[404, "/runs/status"]] });

async function skipLink(page) {
  await page.keyboard.press("Tab");
  const skip = page.locator(".skip");
  assert.ok(await isFocused(skip), "the skip link is the first stop");
  const { x, y, width } = await skip.boundingBox();
  assert.ok(x >= 0 && y >= 0 && width > 20, "it is seen when it has the focus");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  const isInside = await page.evaluate(() => Boolean(document.activeElement.closest("main [role=tabpanel]")));
  assert.ok(isInside, `it leads into the panel, not to ${await focused(page)}`);
}

async function tabsByArrows(page) {
  await page.locator("#tab-check").focus();
  const press = async (key, expected) => {
    await page.keyboard.press(key);
    assert.equal(await focused(page), `a#tab-${expected}`, key);
    if ((await page.locator(`#tab-${expected}`).getAttribute("aria-selected")) !== "true")
      await page.keyboard.press("Enter");
    await page.locator(`#panel-${expected}`).waitFor();
    assert.equal(new URL(page.url()).hash, `#${expected}`);
    const stops = await page.locator("[role=tab][tabindex='0'], [role=tab]:not([tabindex])").count();
    assert.equal(stops, 1, "the tabs are one stop");
  };
  for (const name of [...TABS.slice(1), TABS[0]]) await press("ArrowRight", name);
  await press("ArrowLeft", TABS.at(-1));
  await press("Home", TABS[0]);
  await press("End", TABS.at(-1));
}

// Each stop of a tab is seen: it has a mark, it is in the window, and nothing lies over it.
async function stopsOf(page, name) {
  await page.goto(new URL(`#${name}`, page.url()).href);
  await page.locator(`#panel-${name}`).waitFor();
  await page.evaluate(() => {
    document.activeElement?.blur();
    getSelection().removeAllRanges();
    scrollTo(0, 0);
  });
  await page.locator(`#tab-${name}`).focus();
  const stops = [];
  for (let i = 0; i < MOST_STOPS; i += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const node = document.activeElement;
      if (!node || node === document.body) return null;
      const [style, box] = [getComputedStyle(node), node.getBoundingClientRect()];
      const isOutlined = style.outlineStyle !== "none" && style.outlineWidth !== "0px";
      // Of a date the browser marks the part that is edited.
      const hasMark = isOutlined || style.boxShadow !== "none" || node.type === "datetime-local";
      const inWindow = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
      const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
      const above = document.elementFromPoint(x, y);
      // Of what is large its middle may be outside.
      const isCovered = box.height < 80 && above && !node.contains(above) && !above.contains(node);
      return {
        hasMark,
        inWindow,
        isCovered,
        inPanel: Boolean(node.closest("[role=tabpanel]")),
        html: node.cloneNode().outerHTML.slice(0, 160),
      };
    });
    if (!stop || !stop.inPanel) break;
    stops.push(stop);
    assert.ok(stop.hasMark, `${name}: no mark on ${stop.html}`);
    assert.ok(stop.inWindow && !stop.isCovered, `${name}: out of sight: ${stop.html}`);
  }
  assert.ok(stops.length > 0, `${name}: nothing to reach`);
  assert.ok(stops.length < MOST_STOPS, `${name}: a trap`);
}

// A dialog takes the focus, keeps it, and gives it back to what opened it.
async function dialog(page, tab, opener, selector) {
  await page.goto(new URL(`#${tab}`, page.url()).href);
  const from = page.locator(opener).first();
  await from.waitFor();
  await from.focus();
  await page.keyboard.press("Enter");
  const opened = page.locator(selector);
  await opened.waitFor();
  for (const key of [...Array(12).fill("Tab"), ...Array(12).fill("Shift+Tab")]) {
    // Beyond the last stop comes the browser itself: then nothing of the page has the focus.
    const isKept = await opened.evaluate(
      (node) => node.contains(document.activeElement) || document.activeElement === document.body,
    );
    assert.ok(isKept, `${selector} lost the focus to ${await focused(page)}`);
    await page.keyboard.press(key);
  }
  await page.keyboard.press("Escape");
  await opened.waitFor({ state: "hidden" });
  assert.ok(await isFocused(from), `${selector}: the focus went to ${await focused(page)}`);
}

async function judgement(page) {
  await page.goto(new URL("#check", page.url()).href);
  await page.locator("#comment").focus();
  await page.keyboard.type("I will find you and kill you.");
  await page.keyboard.press("Control+Enter");
  await untilText(page, "#verdict", /threat/);
}

function isFocused(locator) {
  return locator.evaluate((node) => node === document.activeElement);
}

function focused(page) {
  return page.evaluate(() => {
    const { localName, id, textContent } = document.activeElement;
    return id ? `${localName}#${id}` : `${localName} ${textContent.slice(0, 40)}`;
  });
}
