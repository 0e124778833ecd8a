// What the service knows of its models: asked again every few seconds, and told to whoever listens.

import { asProblem, get } from "./api.js";

const POLL_EVERY_MS = 5_000;

const listeners = [];
let nextPoll = 0;
let newestRequest = 0;
let production = null;

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
    const { answer } = await get("models");
    if (isNewest()) tellArrived(answer);
  } catch (error) {
    // The service itself may be well while the object store is away.
    const health = await get("health/ready").catch(() => null);
    if (isNewest()) tellFailed(asProblem(error), health?.answer ?? null);
  }
  if (isNewest()) nextPoll = setTimeout(refresh, POLL_EVERY_MS);
}

function tellArrived(answer) {
  production = answer.production ?? null;
  for (const { arrived } of listeners) arrived(answer);
}

function tellFailed(problem, health) {
  for (const { failed } of listeners) failed(problem, health);
}
