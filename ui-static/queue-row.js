// A row of the queue: the decisions of the model and the moderator, and the start of the comment.

import { decisionTag } from "./decision.js";
import { element } from "./dom.js";

// Without a row, which is still loading, it shows an ellipsis.
export function fillRow(node, row) {
  node.dataset.row = row?.row ?? "";
  node.dataset.decision = row?.decision ?? "";
  if (!row) {
    node.replaceChildren("…");
    return;
  }
  const said = row.said ? [element("strong", { class: "said-tag", "data-label": row.said }, `You: ${row.said}`)] : [];
  const tag = row.problem ? problemTag() : decisionTag(row);
  const id = element("bdi", { class: "row-id" }, row.id);
  node.replaceChildren(
    element("span", { class: "row-head" }, tag, " ", ...said, " ", id),
    element("span", { class: "row-text", dir: "auto" }, row.problem || row.text),
  );
}

function problemTag() {
  return element("strong", { class: "decision-tag", "data-decision": "flag" }, "problem");
}
