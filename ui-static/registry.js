// The models of the service: polled every few seconds and passed to the listeners.

import { asProblem, get, getAsked, withQuery } from "./api.js";

const POLL_EVERY_MS = 5_000;
const PAGE = 25;
// The largest page of the service.
const LARGEST_PAGE = 1000;

const listeners = [];
let nextPoll = 0;
let newestRequest = 0;
let production = null;
let answered = null;
// Versions of later pages, loaded on request. Only their state in production can change.
let older = [];
// The version after which the next page begins, if any.
let next = null;

// `arrived` gets every answer of `/models`. `failed` gets the problem, and the answer of `/health/ready` or null.
export function listen({ arrived, failed = () => {} }) {
  listeners.push({ arrived, failed });
}

export function inProduction() {
  return production;
}

export function setUpPolling() {
  document.addEventListener("visibilitychange", refresh);
  refresh();
}

export async function refresh() {
  clearTimeout(nextPoll);
  if (document.visibilityState === "hidden") return;
  newestRequest += 1;
  const mine = newestRequest;
  // An answer to an earlier request is ignored.
  const isNewest = () => mine === newestRequest;
  try {
    const { answer } = await get(withQuery("models", { limit: PAGE }));
    if (isNewest()) await take(answer);
  } catch (error) {
    // The service may be up while the object store is away.
    const health = await get("health/ready").catch(() => null);
    if (isNewest()) tellFailed(asProblem(error), health?.answer ?? null);
  }
  if (isNewest()) nextPoll = setTimeout(refresh, POLL_EVERY_MS);
}

// Loads the next page of older versions.
export function loadMore() {
  return load(getAsked, PAGE);
}

async function load(ask, limit) {
  const [first, isFirst, after] = [answered, older.length === 0, next];
  const { answer } = await ask(withQuery("models", { limit, after }));
  // The pages were reloaded meanwhile.
  if (after !== next && !isFirst) return;
  // Versions of the first page may have moved to a later page since.
  older = merged(isFirst ? first.models : older, answer.models);
  next = answer.next ?? null;
  tellArrived(answered);
}

// If the total has fallen, it is unknown which versions were deleted. The later pages are loaded again.
async function take(answer) {
  const again = answer.total < answered?.total ? older.length : 0;
  if (again > 0) [older, answered] = [[], null];
  tellArrived(answer);
  if (again > 0 && next) await load(get, Math.min(again, LARGEST_PAGE));
}

function tellArrived(answer) {
  // New versions push others off the first page. These are kept like versions of later pages. A version that is newer
  // than the page's end but not on the page was deleted.
  const end = answer.models.at(-1)?.version ?? "";
  const pushedOff = older.length > 0 ? (answered?.models ?? []) : [];
  older = merged(pushedOff, older).filter(({ version }) => version < end);
  if (older.length === 0) next = answer.next ?? null;
  answered = answer;
  production = answer.production ?? null;
  const models = [...answer.models, ...older.map(asOfNow)];
  const told = { ...answer, models, total: answer.total ?? models.length, hasMore: next !== null };
  for (const { arrived } of listeners) arrived(told);
}

// Each version once, newest first.
function merged(...lists) {
  const byVersion = new Map(lists.flat().map((model) => [model.version, model]));
  return [...byVersion.values()].toSorted((a, b) => (a.version < b.version ? 1 : -1));
}

function asOfNow(model) {
  return { ...model, in_production: model.version === production?.version };
}

function tellFailed(problem, health) {
  for (const { failed } of listeners) failed(problem, health);
}
