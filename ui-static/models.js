// The list of models with their figures.

import { PROMOTION, showAvailability } from "./action.js";
import { asProblem } from "./api.js";
import { cardLink } from "./card.js";
import { curvesButton } from "./curves.js";
import { breakable, button, byId, cell, code, element, numberCell, row, setText } from "./dom.js";
import { figure, localTime, percent, plural, withInterval } from "./figures.js";
import { dryRun, promote } from "./promotion.js";
import { listen, loadMore } from "./registry.js";

const COLUMNS = 9;

let shownModels = "";
const rowsOf = new Map();

export function setUpModels() {
  listen({ arrived: showModels, failed: showTrouble });
  byId("models-more").addEventListener("click", showMore);
}

function showTrouble({ title, detail }) {
  const consequence = shownModels ? "The list may be out of date" : "The models cannot be listed";
  setText(byId("models-trouble"), [consequence, title, detail].filter(Boolean).join(". "));
}

function showModels({ production, models, total, hasMore }) {
  setText(byId("models-trouble"), "");
  byId("models-more").hidden = !hasMore;
  setText(byId("models-count"), hasMore ? `${models.length.toLocaleString()} of ${plural(total, "version")}` : "");
  // Unchanged rows stay, to keep focus and selection.
  const fingerprint = JSON.stringify([production, models]);
  if (fingerprint === shownModels) return;
  keepingFocus(() => {
    showProduction(production);
    showRows(models);
    showBaseline(models[0]);
  });
  showAvailability();
  shownModels = fingerprint;
}

async function showMore() {
  const button = byId("models-more");
  if (button.getAttribute("aria-disabled") === "true") return;
  const before = byId("model-rows").children.length;
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", "true");
  try {
    await loadMore();
    byId("model-rows").children[before]?.querySelector("a")?.focus();
  } catch (error) {
    showTrouble(asProblem(error));
  } finally {
    button.setAttribute("aria-disabled", "false");
  }
}

// If the focused button is replaced or removed, a keyboard user must not land at the top of the page.
function keepingFocus(render) {
  const focused = document.activeElement;
  const { version, curves } = focused?.dataset ?? {};
  const link = focused?.getAttribute("href");
  const wasHere = byId("models").contains(focused);
  render();
  if (!wasHere || isVisible(document.activeElement)) return;
  const heirOf = (name, value) => value && document.querySelector(`#model-rows [${name}="${CSS.escape(value)}"]`);
  const heir = heirOf("data-version", version) || heirOf("data-curves", curves) || heirOf("href", link);
  (heir || byId("models-heading")).focus();
}

function isVisible(node) {
  return node !== null && node !== document.body && !node.hidden;
}

function showProduction(production) {
  byId("rollback-button").hidden = !production;
  const line = byId("production");
  if (!production) {
    line.replaceChildren("No model is in production. Promote one to judge comments.");
    return;
  }
  line.replaceChildren("In production: ", ...promotionWords(production));
}

// Version, generation, who, when and why, for a line of text.
export function promotionWords({ version, generation, actor, reason, forced, at }) {
  const by = `, generation ${generation}, by ${actor || "unknown"} on `;
  const why = reason ? [": ", element("q", {}, reason)] : [];
  return [code(version), by, localTime(at, "medium"), ...why, ...(forced ? [" ", forcedTag()] : [])];
}

export function forcedTag() {
  return element("strong", { class: "forced-tag", title: "Promoted although the gate refused" }, "forced");
}

function showRows(models) {
  const none = "There is no model yet. Train the first one.";
  const empty = element("td", { colspan: String(COLUMNS), class: "empty" }, none);
  const rows = models.length > 0 ? models.map(knownRow) : [element("tr", {}, empty)];
  const shown = byId("model-rows");
  // Only new rows are inserted, because there may be many.
  rows.forEach((one, i) => shown.children[i] === one || shown.insertBefore(one, shown.children[i] ?? null));
  while (shown.children.length > rows.length) shown.lastElementChild.remove();
}

function knownRow(model) {
  const fingerprint = JSON.stringify(model);
  const known = rowsOf.get(model.version);
  if (known?.fingerprint === fingerprint) return known.node;
  const node = modelRow(model);
  rowsOf.set(model.version, { fingerprint, node });
  return node;
}

function modelRow(model) {
  const { cross_validation: { sentence: crossed }, held_out: { sentence: heldOut } } = model;
  const shown = row(
    element("span", { class: "with-interval" }, code(model.version), " ", links(model.version)),
    cell("Trainer, operating point", origin(model)),
    cell("Trained at", localTime(model.started)),
    numberCell("PR-AUC, cross-validation", figureOf(crossed, "pr_auc", figure), "group-start"),
    numberCell("F1, cross-validation", figureOf(crossed, "f1", figure)),
    numberCell("PR-AUC, held-out commenters", figureOf(heldOut, "pr_auc", figure), "group-start"),
    numberCell("Recall at 5% false alarms, held-out commenters", figureOf(heldOut, "recall_at_fpr_5", percent)),
    cell("Dataset", datasetName(model)),
    cell("Use", model.in_production ? liveTag() : useButtons(model)),
  );
  if (model.in_production) shown.className = "live";
  return shown;
}

function links(version) {
  return element("span", { class: "version-links" }, cardLink(version), " ", curvesButton(version));
}

function figureOf(figures, name, format) {
  const text = format === percent ? percent(figures[name], 1) : format(figures[name]);
  return withInterval(text, figures.intervals?.[name], (end) => format(end));
}

function origin({ trainer, preset, operating_point: point, held_out: { sentence: { threshold } } }) {
  const name = preset === "default" ? trainer : `${trainer} (${preset})`;
  const decides = element("span", { class: "interval" }, `${point} from ${percent(threshold, 1)}`);
  return element("span", { class: "with-interval" }, ...breakable(name), " ", decides);
}

function datasetName({ dataset, sample }) {
  const start = (digest) => element("code", { title: digest }, digest.slice(0, 8));
  if (!sample) return start(dataset);
  const note = element("span", { class: "interval" }, "figures on the sample ", start(sample));
  return element("span", { class: "with-interval" }, start(dataset), " ", note);
}

function liveTag() {
  return element("span", { class: "live-tag" }, "in production");
}

function useButtons({ version }) {
  const attributes = (acts, label) => ({ "data-acts": acts, "data-version": version, "aria-label": label });
  return element(
    "span",
    { class: "use" },
    button("Promote", attributes(PROMOTION, `Promote ${version}`), () => promote(version)),
    button("Would it pass?", attributes(PROMOTION, `Would it pass? ${version}`), () => dryRun(version)),
  );
}

function showBaseline(newest) {
  const { n, positives } = newest?.held_out.sentence ?? {};
  const share = n > 0 ? ` (${figure(positives / n)} for the held-out commenters of the newest model)` : "";
  setText(byId("baseline"), share);
}
