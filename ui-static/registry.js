// What the service knows of its models: asked again every few seconds, and told to whoever listens.

import { asProblem, get, getAsked, withQuery } from "./api.js";

const POLL_EVERY_MS = 5_000;
const PAGE = 25;

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
    if (isNewest()) tellArrived(answer);
  } catch (error) {
    // The service itself may be well while the object store is away.
    const health = await get("health/ready").catch(() => null);
    if (isNewest()) tellFailed(asProblem(error), health?.answer ?? null);
  }
  if (isNewest()) nextPoll = setTimeout(refresh, POLL_EVERY_MS);
}

// One page more of the older versions.
export async function loadMore() {
  const { answer } = await getAsked(withQuery("models", { limit: PAGE, after: next }));
  older = [...older, ...answer.models];
  next = answer.next ?? null;
  tellArrived(answered);
}

function tellArrived(answer) {
  // Versions that came since push others off the first page, which are kept as if they had been asked for.
  const isOnFirst = new Set(answer.models.map(({ version }) => version));
  const pushedOff = older.length > 0 ? (answered?.models ?? []) : [];
  older = [...pushedOff, ...older].filter(({ version }) => !isOnFirst.has(version));
  if (older.length === 0) next = answer.next ?? null;
  answered = answer;
  production = answer.production ?? null;
  const models = [...answer.models, ...older.map(asOfNow)];
  const told = { ...answer, models, total: answer.total ?? models.length, hasMore: next !== null };
  for (const { arrived } of listeners) arrived(told);
}

function asOfNow(model) {
  return { ...model, in_production: model.version === production?.version };
}

function tellFailed(problem, health) {
  for (const { failed } of listeners) failed(problem, health);
}
