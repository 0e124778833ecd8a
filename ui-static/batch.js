// Judges many comments: sends lists, a few at once, until all are judged or the run is cancelled.

import { Problem, UNREACHABLE, postUnless } from "./api.js";
import { WAITING } from "./rows.js";

// The service accepts lists of 1,000 comments and bodies of 8 MiB.
const MOST_COMMENTS = 1000;
const MOST_LENGTH = 1 << 20;
const LONGEST = 256 << 10;
const AT_ONCE = 3;
const REST_S = 1;
const LONGEST_REST_S = 30;
// A lost connection is often back in a moment.
const TRIES = 5;

// Calls `told.judged()` after each list, and `told.waiting(problem)` before it waits to send a list again.
export async function judgeRows(rows, signal, told) {
  const lists = listsOf(rows);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const work = async () => {
    for (const list of lists) {
      await judgeList(rows, list, either, told);
      told.judged();
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    stop.abort();
    if (!signal.aborted) throw error;
  }
}

function* listsOf(rows) {
  let list = [];
  let length = 0;
  for (let row = 0; row < rows.count; row += 1) {
    if (rows.decision[row] !== WAITING) continue;
    const text = rows.text(row);
    if (text.length > LONGEST) {
      rows.fail(row, `The comment has more than ${LONGEST} characters.`);
      continue;
    }
    if (list.length === MOST_COMMENTS || length + text.length > MOST_LENGTH) {
      yield list;
      [list, length] = [[], 0];
    }
    list.push(row);
    length += text.length;
  }
  if (list.length > 0) yield list;
}

async function judgeList(rows, list, signal, told) {
  const comments = list.map((row) => ({ text: rows.text(row) }));
  const { answer } = await patiently(signal, told, () => postUnless(signal, "predict/batch", { comments }));
  if (answer.results?.length !== list.length) throw new Problem("The service lost verdicts", "Judge the rest again.");
  answer.results.forEach(({ verdict, problem }, i) => {
    if (verdict) rows.judge(list[i], verdict);
    else rows.fail(list[i], problem?.detail || problem?.title || "The service gave no verdict.");
  });
}

// Sends again for as long as the service asks to try later.
export async function patiently(signal, told, send) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (problem) {
      const isGone = problem.kind === UNREACHABLE && tries < TRIES;
      if (!isGone && !Number.isFinite(problem.retryAfter)) throw problem;
      told.waiting(problem);
      await rest(isGone ? tries * REST_S : Math.min(Math.max(problem.retryAfter, REST_S), LONGEST_REST_S), signal);
    }
  }
}

function rest(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
