// Boxes that show an outcome.

import { element } from "./dom.js";

const SIGNS = { good: "✓", bad: "!", busy: "…", warning: "!" };

export function notice(kind, title, ...body) {
  const sign = element("span", { class: "notice-sign", "aria-hidden": "true" }, SIGNS[kind]);
  const heading = element("p", { class: "notice-title" }, title);
  return element("div", { class: "notice", "data-kind": kind }, sign, element("div", {}, heading, ...body));
}

export function problemNotice(intro, { title, detail, requestId }) {
  const why = detail ? [element("p", { class: "notice-detail" }, detail)] : [];
  return notice("bad", `${intro}: ${title}`, ...why, ...requestLine(requestId));
}

// With this id an operator finds the line in the log.
function requestLine(id) {
  return id ? [element("p", { class: "notice-request" }, "Request ", element("code", {}, id))] : [];
}
