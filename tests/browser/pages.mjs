// Every page and tab, as it is found: nothing was done in it yet.

import assert from "node:assert/strict";

import { TABS, flow, stands, texts, untilText } from "./page.mjs";

await flow(async (open) => {
  const page = await open();
  await untilText(page, "#serving", /Serving \d{8}T\d{6}Z-/);
  assert.deepEqual(await page.locator("[role=tab]").evaluateAll((tabs) => tabs.map(({ hash }) => hash.slice(1))), TABS);
  for (const name of TABS) {
    const tab = await open(`#${name}`);
    await untilText(tab, "#serving", /Serving/);
    await tab.locator(`#panel-${name}`).waitFor();
    assert.equal(await tab.locator("[role=tabpanel]:visible").count(), 1, "one panel is shown");
    assert.equal(await tab.locator(`#tab-${name}`).getAttribute("aria-selected"), "true");
    // What arrives by itself has arrived.
    await tab.waitForLoadState("networkidle").catch(() => {});
    await stands(tab, name);
    assert.ok(
      !/undefined|NaN|\[object|Infinity/.test((await texts(tab, `#panel-${name}`)).join()),
      `${name}: half a value`,
    );
    await tab.close();
  }

  // An address that is gone back to and forth.
  await page.locator("#tab-models").click();
  await page.locator("#tab-live").click();
  await page.goBack();
  await page.locator("#panel-models").waitFor();
  await page.goBack();
  await page.locator("#panel-check").waitFor();
  await page.goForward();
  await page.locator("#panel-models").waitFor();

  const problems = await open("problems");
  await stands(problems, "problems");
  // Swagger UI is as its authors made it: it only has to work, and to ask nobody else.
  const swagger = await open("docs");
  await swagger.getByText("/predict/batch").first().waitFor();
});
