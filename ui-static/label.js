// Labelling, one comment at a time: the comments of a file that are most useful for the next model, and some at random.
// Or the labels of a dataset that are likely wrong.

import { Problem, asProblem } from "./api.js";
import { button, byId, element, setText } from "./dom.js";
import { setUpFileChoice } from "./file-choice.js";
import { FileRun } from "./file-run.js";
import { percent, plural } from "./figures.js";
import { usedKey } from "./key.js";
import { resultOf } from "./label-result.js";
import { notice, problemNotice } from "./notice.js";
import { Session } from "./session.js";

let run = null;
// Suspected labels, if the file has some.
let suspects = null;
let session = null;
// The run with a pending request, if there is one.
let busy = null;

export function setUpLabel() {
  setUpFileChoice({ input: byId("label-file"), place: byId("label-drop"), chosen: open });
  byId("label-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  byId("label-card").addEventListener("keydown", actByKey);
  for (const [id, act] of Object.entries(BUTTONS)) byId(id).addEventListener("click", act);
}

async function open(file) {
  run?.end();
  run = new FileRun("label");
  session = null;
  suspects = null;
  byId("label-notice").replaceChildren();
  byId("label-result").replaceChildren();
  byId("label-card").hidden = true;
  byId("label-start").hidden = true;
  const read = await run.read(file);
  if (!read) return;
  if (read.suspects && !accepted(read.suspects)) return;
  byId("label-choice").hidden = suspects !== null;
  // A hidden field must not block the form.
  for (const id of ["label-take", "label-random"]) byId(id).disabled = suspects !== null;
  byId("label-start").hidden = false;
  if (!suspects)
    run.say(`${run.name}: ${plural(read.comments, "comment")}. They are judged first, to choose from them.`);
}

// Feedback does not change rows of held-out commenters, so they are left out.
function accepted(all) {
  if (all.some(({ text }) => typeof text !== "string")) {
    const advice = element("p", {}, "Run the audit with --show-text, then open its output again.");
    byId("label-notice").replaceChildren(notice("warning", "The report has no sentences", advice));
    run.say("");
    return false;
  }
  const useful = all.filter(({ held_out: isHeldOut }) => !isHeldOut);
  suspects = useful.map(({ label, ...suspect }) => ({ ...suspect, suspected: label }));
  const left = all.length - useful.length;
  const apart = left > 0 ? ` ${left} more are left out: feedback does not change held-out commenters.` : "";
  run.say(`${plural(useful.length, "label")} of a dataset that are likely wrong.${apart}`);
  return useful.length > 0;
}

async function start() {
  if (!run || busy === run) return;
  const mine = run;
  busy = mine;
  byId("label-notice").replaceChildren();
  byId("label-result").replaceChildren();
  byId("label-card").hidden = true;
  try {
    checkRole();
    const items = suspects ?? (await chosen(mine));
    if (mine === run && items?.length > 0) begin(items);
  } catch (error) {
    if (mine === run) fail("The comments were not chosen", error);
  } finally {
    if (busy === mine) busy = null;
  }
}

// Checked before a file is judged in vain.
function checkRole() {
  const key = usedKey();
  if (!key?.roles || key.roles.includes("review")) return;
  throw new Problem(`The key of ${key.name} lacks the role “review”`, "Labels are decisions and need this role.");
}

async function chosen(mine) {
  if (!(await mine.judge())) {
    mine.say("Not all comments are judged. Press Start to continue.");
    return null;
  }
  const wanted = { take: byId("label-take").valueAsNumber, share: byId("label-random").valueAsNumber };
  const { items, drawn, judged } = await mine.sample(wanted);
  const atRandom = drawn > 0 ? `, ${drawn.toLocaleString()} of them drawn at random from all` : "";
  mine.say(`${items.length.toLocaleString()} of ${plural(judged, "comment")} are to be labelled${atRandom}.`);
  return items;
}

function begin(items) {
  session = new Session(items);
  byId("label-card").hidden = false;
  showCurrent();
  byId("label-card").focus();
}

// ---- One comment ---------------------------------------------------------------------------------------------------

function showCurrent() {
  const { current, done, total } = session;
  setText(byId("label-left"), `${done.toLocaleString()} answered, ${(total - done).toLocaleString()} left`);
  byId("label-answered").max = total;
  byId("label-answered").value = done;
  if (!current) {
    showResult();
    return;
  }
  byId("label-comment").replaceChildren(current.text);
  byId("label-comment").scrollTop = 0;
  setText(byId("label-origin"), current.suspected ? suspectWords(current) : "");
}

function suspectWords({ suspected, probability, row }) {
  const chance = `Models that were not trained on it give a probability of ${percent(probability)}`;
  return `Row ${row} of the dataset is labelled ${suspected}. ${chance} that it is a threat.`;
}

const KEYS = { t: () => answer("threat"), h: () => answer("harmless"), s: skip, u: undo };

const BUTTONS = {
  "label-threat": KEYS.t,
  "label-harmless": KEYS.h,
  "label-skip": skip,
  "label-undo": undo,
  "label-finish": finish,
};

// Single letters act only while the focus is in the card.
function actByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  if (!event.repeat) KEYS[event.key]();
}

function answer(label) {
  if (session?.current) inTurn("The answer was not stored", (mine) => mine.answer(label));
}

function skip() {
  if (session?.current) inTurn("The comment was not skipped", (mine) => mine.skip());
}

function undo() {
  if (session?.done > 0) inTurn("The answer was not undone", (mine) => mine.undo());
}

// The next comment is shown when the service has stored the answer to this one.
async function inTurn(failed, action) {
  if (busy === run) return;
  const [mine, itsRun] = [session, run];
  busy = itsRun;
  byId("label-notice").replaceChildren();
  try {
    const words = await action(mine);
    if (mine !== session) return;
    if (words) run.say(words);
    showCurrent();
  } catch (error) {
    fail(failed, error);
  } finally {
    if (busy === itsRun) busy = null;
  }
}

function fail(intro, error) {
  byId("label-notice").replaceChildren(problemNotice(intro, asProblem(error)));
}

function finish() {
  if (busy !== run) showResult();
}

function showResult() {
  byId("label-card").hidden = true;
  byId("label-result").replaceChildren(
    ...resultOf(session.counts(), suspects !== null),
    element("div", { class: "row after-table" }, button("Back to the comments", {}, goBack)),
  );
  byId("label-result").firstElementChild.focus();
}

function goBack() {
  byId("label-result").replaceChildren();
  byId("label-card").hidden = false;
  byId("label-card").focus();
  if (!session.current) session.reopen();
  showCurrent();
}
