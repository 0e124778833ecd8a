// Every promotion, and the version in production at a given time.

import { asProblem, get, getAsked, withQuery } from "./api.js";
import { byId, cell, code, element, row } from "./dom.js";
import { localTime } from "./figures.js";
import { forcedTag, promotionWords } from "./models.js";
import { listen } from "./registry.js";

const SHOWN_FIRST = 10;

let shownGeneration = null;
let showsAll = false;
let promotions = [];

export function setUpHistory() {
  listen({ arrived: ({ production }) => update(production?.generation ?? 0) });
  byId("history-all").addEventListener("click", () => {
    showsAll = true;
    showRows();
    byId("history-heading").focus();
  });
  byId("production-at-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUp(new Date(byId("production-at").value));
  });
}

// The history changes only with a new generation.
async function update(generation) {
  if (generation === shownGeneration) return;
  shownGeneration = generation;
  try {
    const { answer } = await get("models/history");
    promotions = answer.promotions;
    byId("history-trouble").textContent = "";
    showRows();
  } catch (error) {
    // The next poll of the models tries again.
    shownGeneration = null;
    const { title, detail } = asProblem(error);
    byId("history-trouble").textContent = [`The history cannot be shown. ${title}`, detail].filter(Boolean).join(". ");
  }
}

function showRows() {
  const shown = showsAll ? promotions : promotions.slice(0, SHOWN_FIRST);
  const empty = element("tr", {}, element("td", { colspan: "5", class: "empty" }, "No version was promoted yet."));
  byId("history-rows").replaceChildren(...(shown.length > 0 ? shown.map(historyRow) : [empty]));
  byId("history-all").hidden = shown.length === promotions.length;
}

function historyRow({ generation, version, at, actor, reason, forced }) {
  const mark = forced ? [" ", forcedTag()] : [];
  return row(
    element("span", { class: "generation" }, String(generation), ...mark),
    cell("Version", code(version)),
    cell("From", localTime(at, "medium")),
    cell("By", element("span", {}, actor || "unknown"), "prose"),
    cell("Reason", element("span", {}, reason || "–"), "prose"),
  );
}

async function lookUp(time) {
  const line = byId("production-at-answer");
  if (Number.isNaN(time.getTime())) {
    line.replaceChildren("Enter a date and a time.");
    return;
  }
  const at = time.toISOString();
  try {
    const { answer } = await getAsked(withQuery("models/production", { at }));
    line.replaceChildren("On ", localTime(at, "medium"), " in production: ", ...promotionWords(answer), ".");
  } catch (error) {
    const { title, detail } = asProblem(error);
    line.replaceChildren("On ", localTime(at, "medium"), `: ${detail || title}`);
  }
}
