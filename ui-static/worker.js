// Long work outside the page's thread: reading files, judging, sorting, exporting. A worker has one file.

import { Problem, asProblem, whenUnauthorized } from "./api.js";
import { judgeRows } from "./batch.js";
import { exported } from "./export.js";
import { setKey, usedKey } from "./key.js";
import { arranged } from "./order.js";
import { readFile } from "./reading.js";
import { sampled } from "./sample.js";

const TELL_EVERY_MS = 200;
const CALLED_OFF = new Problem("It was cancelled", "Nothing is lost. Start it again to continue.");

let rows = null;
let order = new Uint32Array();
let calledOff = new AbortController();

const calls = {
  async read(file) {
    rows = null;
    const { rows: read, suspects, unreadable } = await readFile(file);
    if (suspects) return { suspects };
    rows = read;
    return { comments: rows.count, problems: rows.tally().problem, unreadable };
  },

  async judge() {
    calledOff = new AbortController();
    await judgeRows(rows, calledOff.signal, { judged: tellJudged(), waiting: tellWaiting });
    return { ...rows.tally(), versions: rows.versions };
  },

  cancel: () => calledOff.abort(),

  arrange({ filter, sort, kept }) {
    order = arranged(rows, { filter, sort });
    return { count: order.length, position: order.indexOf(kept), tally: rows.tally() };
  },

  window: ({ from, to }) => Array.from(order.subarray(from, to), (row) => rows.shown(row)),
  position: (row) => order.indexOf(row),
  comment: (row) => rows.whole(row),
  say: ({ row, said }) => rows.say(row, said),
  export: (wanted) => exported(rows, order, wanted),

  sample(wanted) {
    calledOff = new AbortController();
    return sampled(rows, wanted, calledOff.signal, { waiting: tellWaiting });
  },

  key: (key) => setKey(key),
};

addEventListener("message", async ({ data: { id, name, argument } }) => {
  if (name === "keyFound") {
    keyFound(argument);
    return;
  }
  try {
    postMessage({ id, answer: await calls[name](argument) });
  } catch (error) {
    const { title, detail, kind, requestId } = asProblem(error.name === "AbortError" ? CALLED_OFF : error);
    postMessage({ id, problem: { title, detail, kind, requestId } });
  }
});

// ---- Progress ------------------------------------------------------------------------------------------------------

function tellJudged() {
  let told = 0;
  return () => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    const { waiting } = rows.tally();
    postMessage({ news: "judged", argument: { done: rows.count - waiting, total: rows.count } });
  };
}

function tellWaiting({ title, detail }) {
  postMessage({ news: "waiting", argument: { title, detail } });
}

// ---- The key -------------------------------------------------------------------------------------------------------

let keyFound = () => {};
let search = null;

// Only the page can ask for a key. Requests that are refused at the same time share the dialog.
whenUnauthorized(async (refused) => {
  if (usedKey() !== refused) return true;
  search ??= new Promise((resolve) => {
    keyFound = resolve;
    postMessage({ news: "refused", argument: refused?.secret ?? null });
  }).finally(() => (search = null));
  return search;
});
