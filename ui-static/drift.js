// Drift: compares the comments of the last 24 hours with those that the model was evaluated on.

import { asProblem, get } from "./api.js";
import { Chart } from "./chart.js";
import { byId, cell, element, mark, numberCell, row, setText, table } from "./dom.js";
import { histogram, stepped } from "./curves.js";
import { measure, plural } from "./figures.js";

const MEASURES = {
  probability: "Probabilities",
  unknown_share: "Share of unknown words",
  length: "Length of comments",
};
const MEASURE_LINES = [
  { measure: "probability", colour: "--accent", line: "solid" },
  { measure: "unknown_share", colour: "--busy", line: "dashed" },
  { measure: "length", colour: "--good", line: "dotted" },
];
// The usual thresholds of the population stability index.
const LITTLE = 0.1;
const MUCH = 0.25;
const HOUR = { hour: "2-digit", minute: "2-digit" };

export function setUpDrift() {
  const seen = histogram("Probabilities now and at training", ["Held-out commenters", "Now"]);
  const past = new Chart("Drift by hour (PSI)", {
    x: { label: "Hour", format: (at) => new Date(1000 * at).toLocaleTimeString(undefined, HOUR), isTime: true },
    y: { label: "PSI", format: (psi) => psi.toFixed(2) },
    series: MEASURE_LINES.map(({ measure: name, ...look }) => ({ label: MEASURES[name], ...look })),
  });
  const words = element("p", {});
  const figures = element("div");
  byId("live-probability").replaceChildren(seen.node);
  byId("live-drift").replaceChildren(words, figures, past.node);
  return { look: () => look({ seen, past, words, figures }) };
}

async function look(parts) {
  try {
    const { answer } = await get("drift");
    show(parts, answer);
  } catch (error) {
    const problem = asProblem(error);
    const isUnknown = problem.is("not-found");
    const reason = [problem.title, problem.detail].filter(Boolean).join(". ");
    setText(parts.words, isUnknown ? "This service does not measure drift." : `The drift cannot be shown. ${reason}`);
    showCharts(parts, false, false);
  }
}

function show({ seen, past, words, figures }, found) {
  const { measures, reason, hours, comments, reference_comments: reference, history } = found;
  const base = `${plural(comments, "comment")} of the last ${plural(hours, "hour")}`;
  setText(words, reason ?? `${base}, compared with ${reference.toLocaleString()} comments of held-out commenters.`);
  figures.replaceChildren(...(measures.length > 0 ? [driftTable(measures)] : []));
  const probability = measures.find(({ measure: name }) => name === "probability");
  const hoursKnown = history ?? [];
  showCharts({ seen, past }, Boolean(probability), hoursKnown.length > 1);
  if (probability) {
    const columns = [probability.reference, probability.seen];
    const shown = `of comments now and of held-out commenters; ${driftWords(probability)}.`;
    seen.update(stepped(probability.edges, columns), shown);
  }
  const psi = ({ measure: name }) => hoursKnown.map((hour) => hour.psi?.[name] ?? null);
  const times = hoursKnown.map(({ from }) => new Date(from).getTime() / 1000);
  if (hoursKnown.length > 1) past.update([times, ...MEASURE_LINES.map(psi)], "the three measures, hour by hour.");
}

function showCharts({ seen, past }, hasSeen, hasPast) {
  seen.node.hidden = !hasSeen;
  past.node.hidden = !hasPast;
}

function driftTable(measures) {
  const rows = measures.map((found) => {
    const { measure: name, psi, p_value: chance, drifted } = found;
    const chanceWords = chance < 0.001 ? "less than 0.001" : measure(chance);
    return row(
      MEASURES[name] ?? name,
      numberCell("PSI", measure(psi)),
      numberCell("p-value", chanceWords),
      cell("Verdict", mark(!drifted, driftWords(found))),
    );
  });
  const help =
    "PSI, the population stability index, is 0 if nothing has changed. " +
    `Below ${LITTLE} the change is small, from ${MUCH} on large. ` +
    "The p-value is the probability of such a change by chance.";
  const caption = "How far the comments differ from those that the model was evaluated on";
  const frame = table(caption, ["Measure", "PSI", "p-value", "Verdict"], rows);
  return element("div", {}, frame, element("p", { class: "help" }, help));
}

function driftWords({ psi, drifted }) {
  if (drifted) return psi >= MUCH ? "large drift" : "drifted";
  return psi < LITTLE ? "no drift" : "small change, may be chance";
}
