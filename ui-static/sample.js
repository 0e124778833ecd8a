// The choice of comments to label: the most useful ones, chosen by the service, and some at random.

import { Problem, postUnless } from "./api.js";
import { patiently } from "./batch.js";
import { PROBLEM, WAITING } from "./rows.js";

// The service accepts 2,000 comments per request.
const LARGEST_POOL = 2000;
const POOL_FOR_EACH = 10;
const NEARLY = 1e-9;
const TOO_LARGE = "/problems/payload-too-large";

// Comments in random order, so that the person who labels them cannot tell which were drawn at random. `draws` counts
// how often the random share drew a comment: a text that is in the file several times is shown once.
export async function sampled(rows, { take, share }, signal, told) {
  const judged = Array.from(rows.decision.keys()).filter((row) => isJudged(rows.decision[row]));
  if (judged.length === 0) throw new Problem("No comment was judged", "There is nothing to choose from.");
  const isAll = judged.length <= take;
  const drawn = firstAtRandom(judged, isAll ? judged.length : Math.round((take * share) / 100));
  const items = new Map();
  for (const row of drawn) {
    const item = items.get(rows.text(row)) ?? { ...rows.whole(row), draws: 0 };
    items.set(item.text, { ...item, draws: item.draws + 1 });
  }
  const pool = mostUncertain(rows, judged, new Set(items.keys()), take);
  const wanted = isAll ? 0 : take - drawn.length;
  for (const row of await chosen(rows, pool, wanted, signal, told)) {
    items.set(rows.text(row), { ...rows.whole(row), draws: 0 });
  }
  const all = [...items.values()];
  return { items: firstAtRandom(all, all.length), drawn: drawn.length, judged: judged.length };
}

function isJudged(decision) {
  return decision !== WAITING && decision !== PROBLEM;
}

function mostUncertain(rows, judged, taken, take) {
  const distance = new Float64Array(rows.count);
  for (const row of judged) distance[row] = Math.abs(logit(rows.probability[row]) - logit(rows.threshold[row]));
  const pool = [];
  for (const row of judged.toSorted((a, b) => distance[a] - distance[b])) {
    if (pool.length >= Math.min(LARGEST_POOL, POOL_FOR_EACH * take)) break;
    if (taken.has(rows.text(row))) continue;
    taken.add(rows.text(row));
    pool.push(row);
  }
  return pool;
}

// The service chooses comments that are uncertain and differ from each other.
async function chosen(rows, pool, take, signal, told) {
  if (take <= 0) return [];
  if (pool.length <= take) return pool;
  const comments = pool.map((row) => ({ id: String(row), text: rows.text(row) }));
  try {
    const { answer } = await patiently(signal, told, () => postUnless(signal, "label", { comments, take }));
    return answer.chosen.map(({ id }) => Number(id));
  } catch (problem) {
    // The comments are long: try with the more uncertain half.
    if (problem.kind !== TOO_LARGE) throw problem;
    return chosen(rows, pool.slice(0, Math.max(take, pool.length >> 1)), take, signal, told);
  }
}

function logit(probability) {
  const share = Math.min(1 - NEARLY, Math.max(NEARLY, probability));
  return Math.log(share / (1 - share));
}

// A Fisher-Yates shuffle, as far as needed.
function firstAtRandom(list, count) {
  const shuffled = [...list];
  for (let at = 0; at < count; at += 1) {
    const other = at + below(shuffled.length - at);
    [shuffled[at], shuffled[other]] = [shuffled[other], shuffled[at]];
  }
  return shuffled.slice(0, count);
}

// A uniform random number from 0 to below `bound`. A draw in the incomplete last part of the range is repeated.
function below(bound) {
  const range = 2 ** 32;
  for (;;) {
    const [drawn] = crypto.getRandomValues(new Uint32Array(1));
    if (drawn < range - (range % bound)) return drawn % bound;
  }
}
