// A registry of many versions: the page shows the newest, and the others when somebody asks for them.

import assert from "node:assert/strict";

import { ask, flow, settled, stands, until, untilText } from "./page.mjs";

await flow(
  async (open) => {
    const page = await open("#models");
    await untilText(page, "#serving", /Serving/);
    const { models } = await ask(page, "/models");
    const versions = models.map(({ version }) => version);
    await until(page, "rows", () => document.querySelectorAll("#model-rows tr th code").length > 1);
    const first = await shown(page);
    assert.ok(versions.length > 60 && first.length < versions.length / 2, `${first.length} of ${versions.length}`);
    assert.deepEqual(first, versions.slice(0, first.length), "the newest first");
    assert.equal(await page.locator("#model-rows .live-tag").count(), 1, "one is in production");
    await stands(page, "Models, the first page");

    const more = page.locator("#models-more");
    while (await more.isVisible()) {
      const { length } = await shown(page);
      await untilText(page, "#models-count", new RegExp(`^${length} of ${versions.length} versions`));
      await more.click();
      await until(
        page,
        "the next page",
        (length) => document.querySelectorAll("#model-rows tr").length > length,
        length,
      );
    }
    assert.deepEqual(await shown(page), versions, "each once");
    // The service is asked again every few seconds: what was opened stays open.
    await page.waitForResponse((response) => new URL(response.url()).pathname === "/models");
    await settled(page);
    assert.deepEqual(await shown(page), versions, "a look at the service closes no page");

    // The oldest: its dataset is gone, so it has no curves, and the page says so.
    const oldest = versions.at(-1);
    await page.locator(`[data-curves="${oldest}"]`).click();
    await untilText(page, "#curves-problem", /The curves cannot be shown/);
    await stands(page, "Models, no curves");
  },
  { refused: [[404, "/models/"]] },
);

function shown(page) {
  return page.locator("#model-rows tr th code").evaluateAll((codes) => codes.map(({ textContent }) => textContent));
}
