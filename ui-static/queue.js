// The queue: a judged file of comments, for a moderator to work through.

import { asProblem } from "./api.js";
import { Decisions } from "./decisions.js";
import { byId, element, setText } from "./dom.js";
import { Explained } from "./explained.js";
import { setUpFileChoice } from "./file-choice.js";
import { FileRun } from "./file-run.js";
import { problemNotice } from "./notice.js";
import { fillRow } from "./queue-row.js";
import { VirtualList } from "./virtual-list.js";

const REARRANGE_EVERY_MS = 2_000;
const FILTERS = {
  all: "All",
  flag: "Flag",
  review: "Review",
  pass: "Pass",
  problem: "Not judged (problem)",
  decided: "Decided by you",
  undecided: "Not decided by you",
};

let run = null;
let list = null;
let decisions = null;
let explained = null;
// The row that is selected, by its number in the file.
let selected = null;
let nextArrangement = 0;
let newestFile = 0;

export function setUpQueue() {
  explained = new Explained(byId("queue-detail"), () => byId("queue-rows").focus());
  list = new VirtualList(byId("queue-rows"), {
    fetchRows: (from, to) => run.judging.call("window", { from, to }),
    fill: fillRow,
    selected: select,
  });
  setUpFileChoice({ input: byId("queue-file"), place: byId("queue-drop"), chosen: open });
  for (const id of ["queue-filter", "queue-sort"]) byId(id).addEventListener("change", startAtTop);
  byId("queue-rows").addEventListener("keydown", actByKey);
  byId("queue-rows").addEventListener("dblclick", explain);
  selectOnFocus(byId("queue-rows"));
  for (const [id, action] of Object.entries(BUTTONS)) byId(id).addEventListener("click", action);
  addEventListener("beforeunload", (event) => decisions?.isPending && event.preventDefault());
}

// On focus by keyboard, selects the first row. A click selects the clicked row.
function selectOnFocus(rows) {
  let isPressed = false;
  rows.addEventListener("pointerdown", () => (isPressed = true));
  for (const end of ["click", "blur"]) rows.addEventListener(end, () => (isPressed = false));
  rows.addEventListener("focus", () => isPressed || list.selected >= 0 || list.select(0));
}

async function open(file) {
  newestFile += 1;
  const mine = newestFile;
  byId("queue-work").hidden = true;
  byId("queue-rest").hidden = true;
  // Pending decisions are sent before their file is closed.
  await decisions?.done();
  if (mine !== newestFile) return;
  run?.end();
  explained.close();
  list.deselect();
  selected = null;
  byId("queue-notice").replaceChildren();
  setText(byId("queue-said"), "");
  run = new FileRun("queue", { judged: () => performance.now() > nextArrangement && arrange() });
  decisions = new Decisions(run.judging, {
    said: (words) => setText(byId("queue-said"), words),
    failed: (intro, problem) => byId("queue-notice").replaceChildren(problemNotice(intro, problem)),
    changed: showChange,
  });
  const read = await run.read(file);
  if (!read) return;
  if (read.suspects) {
    run.say("The file has suspected labels. Open it under Label.");
    return;
  }
  byId("queue-work").hidden = false;
  await judge();
}

async function judge() {
  const mine = run;
  const judging = mine.judge();
  if (document.activeElement === byId("queue-rest")) byId("queue-cancel").focus();
  byId("queue-rest").hidden = true;
  await arrange();
  const isAll = await judging;
  if (mine !== run) return;
  byId("queue-rest").hidden = isAll;
  await arrange();
}

// ---- The list ------------------------------------------------------------------------------------------------------

async function arrange() {
  const started = performance.now();
  nextArrangement = Infinity;
  const mine = run;
  let kept;
  do {
    kept = selected;
    const wanted = { filter: byId("queue-filter").value, sort: byId("queue-sort").value, kept };
    const { count, position, tally } = await mine.judging.call("arrange", wanted);
    if (mine !== run) return;
    showCounts(tally);
    byId("queue-rows").hidden = count === 0;
    byId("queue-none").hidden = count > 0;
    setText(byId("queue-count"), `${count.toLocaleString()} shown`);
    await list.arrange(count, position);
    // The selection may have changed meanwhile.
  } while (kept !== selected && mine === run);
  if (list.selected < 0) selected = null;
  // The first rows are shown at once. Sorting a million rows takes seconds, in which none are judged.
  const now = performance.now();
  nextArrangement = list.count === 0 ? 0 : now + Math.max(REARRANGE_EVERY_MS, 5 * (now - started));
}

async function startAtTop() {
  byId("queue-rows").scrollTop = 0;
  await arrange();
}

function showCounts(tally) {
  const judged = tally.flag + tally.review + tally.pass;
  const counts = { ...tally, all: judged + tally.problem, undecided: Math.max(0, judged - tally.decided) };
  for (const option of byId("queue-filter").options) {
    setText(option, `${FILTERS[option.value]} (${counts[option.value].toLocaleString()})`);
  }
}

function select(row) {
  selected = row.row;
  if (explained.isOpen) explain();
}

// ---- Acting --------------------------------------------------------------------------------------------------------

const KEYS = {
  t: () => decide("threat"),
  h: () => decide("harmless"),
  u: undo,
  Enter: explainAsked,
  Escape: () => explained.close(),
};

const BUTTONS = {
  "queue-threat": KEYS.t,
  "queue-harmless": KEYS.h,
  "queue-undo": KEYS.u,
  "queue-why": KEYS.Enter,
  "queue-rest": judge,
  "queue-export": exportRows,
};

// Single letters act only while the list has the focus.
function actByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  if (!event.repeat) KEYS[event.key]();
}

function decide(label) {
  decisions.decide(list.chosen, label);
}

function undo() {
  decisions.undo(list.chosen);
}

async function showChange(row, isElsewhere) {
  byId("queue-notice").replaceChildren();
  // The order stays until the person changes it: if rows moved by themselves, the wrong comment could be decided.
  await list.refresh();
  if (!isElsewhere) return;
  const position = await run.judging.call("position", row);
  if (position >= 0) list.select(position);
}

async function explainAsked() {
  const comment = await explain();
  if (comment) setText(byId("queue-said"), `Comment ${comment.id}: the explanation is open. Press Tab to reach it.`);
}

async function explain() {
  const chosen = await list.chosen;
  if (!chosen) return null;
  const comment = await run.judging.call("comment", chosen.row);
  if (chosen.row !== selected) return null;
  explained.open(comment);
  return comment;
}

async function exportRows() {
  try {
    const table = await run.judging.call("export", { withTexts: byId("queue-export-texts").checked });
    const link = element("a", { download: `${run.name}-judged.csv` });
    link.href = URL.createObjectURL(table);
    link.click();
    // The browser has read the file by then.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    byId("queue-notice").replaceChildren(problemNotice("Nothing was exported", asProblem(error)));
  }
}
