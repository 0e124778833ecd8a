// Requests to the service, and its problems.

import { usedKey } from "./key.js";

const ANSWER_WITHIN_MS = 15_000;
// A promotion answers after its checks, which take longer than a look-up.
const ACTION_WITHIN_MS = 120_000;

// Not one of the service's own kinds.
export const UNREACHABLE = "unreachable";

const NOTHING_TO_SAY = 204;
const TEXT = /^(text\/|application\/openmetrics-text)/;

// Titles of this page for some kinds, used instead of the service's title.
const TITLES = {
  "/problems/store-unsafe": "The object store cannot be trusted with promotions",
  "/problems/not-waiting": "The run does not wait for approval",
};

export class Problem extends Error {
  // `retryAfter` is the number of seconds after which to try again, if the service gives one.
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

// `get` is for requests by the page itself, `getAsked` for requests by a person. Only these may always ask for a key.
export const get = (path) => request(path, {}, ANSWER_WITHIN_MS, false);
export const getAsked = (path) => request(path, {}, ANSWER_WITHIN_MS, true);
export const getWithKey = (path, key) => exchange(path, {}, ANSWER_WITHIN_MS, key);
export const post = (path, body) => send(path, body, ANSWER_WITHIN_MS);
export const postAction = (path, body) => send(path, body, ACTION_WITHIN_MS);
export const postUnless = (signal, path, body) => send(path, body, ACTION_WITHIN_MS, signal);
export const remove = (path) => request(path, { method: "DELETE" }, ANSWER_WITHIN_MS, true);

// `handler` gets the refused key, if any, and whether a person waits. It returns whether to try again.
export function whenUnauthorized(handler) {
  isWorthAnotherTry = handler;
}

// For requests that are sent elsewhere, as in a worker.
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
  // A request whose answer was interrupted by a cancel counts as cancelled.
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
      throw new Problem("No answer in time", "The service may still be working. Check again in a moment.");
    }
    // Cancelled by the caller.
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

// An error that is not a problem of the service is a fault of this page. It is shown, and logged to the console.
export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem("Something went wrong in this page", "Reload the page. If that does not help, tell the operator.");
}
