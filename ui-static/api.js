// Requests to the service, and what it refuses.

import { usedKey } from "./key.js";

const ANSWER_WITHIN_MS = 15_000;
// A promotion is answered when the checks are done, which takes longer than a look-up.
const ACTION_WITHIN_MS = 120_000;

// No kind of the service's own problems.
export const UNREACHABLE = "unreachable";

const NOTHING_TO_SAY = 204;
const TEXT = /^(text\/|application\/openmetrics-text)/;

// What people can do something about says so, whatever the service calls it.
const TITLES = {
  "/problems/store-unsafe": "The object store cannot be trusted with promotions",
  "/problems/not-waiting": "The run does not wait for approval",
};

export class Problem extends Error {
  // `retryAfter` is the time in seconds after which the service wants to be asked again, where it says so.
  constructor(title, detail, { kind = "", requestId = "", retryAfter } = {}) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.kind = kind;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  is(kind) {
    return this.kind === `/problems/${kind}`;
  }
}

let isWorthAnotherTry = async () => false;

// What the page asks by itself, and what a person asked for: only the latter may ask for a key again and again.
export const get = (path) => request(path, {}, ANSWER_WITHIN_MS, false);
export const getAsked = (path) => request(path, {}, ANSWER_WITHIN_MS, true);
export const getWithKey = (path, key) => exchange(path, {}, ANSWER_WITHIN_MS, key);
export const post = (path, body) => send(path, body, ANSWER_WITHIN_MS);
export const postAction = (path, body) => send(path, body, ACTION_WITHIN_MS);
export const postUnless = (signal, path, body) => send(path, body, ACTION_WITHIN_MS, signal);
export const remove = (path) => request(path, { method: "DELETE" }, ANSWER_WITHIN_MS, true);

// `handler` is given the key that was refused, if any, and whether a person waits. It says whether to try again.
export function whenUnauthorized(handler) {
  isWorthAnotherTry = handler;
}

// For whoever sends requests elsewhere, as a worker does.
export const isWorthAskingAgain = (key) => isWorthAnotherTry(key, true);

// `path?name=value`, with names and values escaped.
export function withQuery(path, parameters) {
  return `${path}?${new URLSearchParams(parameters)}`;
}

function send(path, body, withinMs, signal) {
  const headers = { "content-type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal }, withinMs, true);
}

async function request(path, options, withinMs, isAsked) {
  const key = usedKey();
  try {
    return await exchange(path, options, withinMs, key);
  } catch (problem) {
    if (!problem.is?.("unauthorized") || !(await isWorthAnotherTry(key, isAsked))) throw problem;
  }
  return request(path, options, withinMs, isAsked);
}

async function exchange(path, options, withinMs, key) {
  const headers = key ? { ...options.headers, authorization: `Bearer ${key.secret}` } : options.headers;
  const timeout = AbortSignal.timeout(withinMs);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  const response = await reach(path, { ...options, headers, cache: "no-store", signal });
  if (response.status === NOTHING_TO_SAY) return { status: response.status, answer: null };
  const isText = TEXT.test(response.headers.get("content-type"));
  const answer = await (isText ? response.text() : response.json()).catch(() => null);
  // What was cut off in the middle of its answer was called off as well.
  options.signal?.throwIfAborted();
  if (!response.ok) throw refusal(response, answer);
  if (answer === null) throw new Problem("Unreadable answer", "The service answered in an unknown form.");
  return { status: response.status, answer };
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "TimeoutError") {
      throw new Problem("No answer in time", "The service may still be at work. Look again in a moment.");
    }
    // Called off by who asked.
    if (error.name === "AbortError") throw error;
    throw new Problem("The service cannot be reached", "Check your connection, then try again.", { kind: UNREACHABLE });
  }
}

function refusal(response, problem) {
  const kind = String(problem?.type ?? "");
  const title = TITLES[kind] ?? problem?.title ?? `The service answered with status ${response.status}`;
  const retryAfter = Number.parseFloat(response.headers.get("retry-after"));
  return new Problem(title, problem?.detail ?? "", { kind, requestId: problem?.request_id ?? "", retryAfter });
}

// What is no refusal of the service is a fault of this page: it is shown too, and kept for the console.
export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem("Something went wrong in this page", "Load it again. If that does not help, tell its operator.");
}
