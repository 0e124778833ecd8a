// What the service knows of its models: asked again every few seconds, and told to whoever listens.

import { asProblem, get, getAsked, withQuery } from "./api.js";

const POLL_EVERY_MS = 5_000;
const PAGE = 25;
// The service gives no more at once.
const LARGEST_PAGE = 1000;

const listeners = [];
let nextPoll = 0;
let newestRequest = 0;
let production = null;
let answered = null;
// Versions of later pages, which only a person asks for. They do not change but for their place in production.
let older = [];
// The version after which the next page begins, if there is one.
let next = null;

// `arrived` is given every answer of `/models`; `failed` the problem, and what `/health/ready` says then, if it does.
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
  // An answer that was overtaken by a later request is old news.
  const isNewest = () => mine === newestRequest;
  try {
    const { answer } = await get(withQuery("models", { limit: PAGE }));
    if (isNewest()) await take(answer);
  } catch (error) {
    // The service itself may be well while the object store is away.
    const health = await get("health/ready").catch(() => null);
    if (isNewest()) tellFailed(asProblem(error), health?.answer ?? null);
  }
  if (isNewest()) nextPoll = setTimeout(refresh, POLL_EVERY_MS);
}

// One page more of the older versions.
export function loadMore() {
  return load(getAsked, PAGE);
}

async function load(ask, limit) {
  const [first, isFirst, after] = [answered, older.length === 0, next];
  const { answer } = await ask(withQuery("models", { limit, after }));
  // Meanwhile the pages were read anew, from another place on.
  if (after !== next && !isFirst) return;
  // What was on the first page then may have been pushed off it since.
  older = merged(isFirst ? first.models : older, answer.models);
  next = answer.next ?? null;
  tellArrived(answered);
}

// Where versions are gone, nobody says which: those of later pages are read again.
async function take(answer) {
  const again = answer.total < answered?.total ? older.length : 0;
  if (again > 0) [older, answered] = [[], null];
  tellArrived(answer);
  if (again > 0 && next) await load(get, Math.min(again, LARGEST_PAGE));
}

function tellArrived(answer) {
  // Versions that came since push others off the first page, which are kept as if they had been asked for. What is
  // newer than its end and not on it is gone.
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

// Each version once, the newest first.
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
