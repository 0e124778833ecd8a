// Rows as a CSV file, for a spreadsheet.

import { csvRow } from "./csv.js";

const ROWS_A_PART = 10_000;
// It tells spreadsheets that the file is UTF-8.
const BYTE_ORDER_MARK = "\uFEFF";

export function exported(rows, order, { withTexts }) {
  const columns = ["id", ...(withTexts ? ["text"] : []), "probability", "decision", "label", "moderator", "problem"];
  const parts = [BYTE_ORDER_MARK + csvRow([...columns, "model_version"])];
  for (let from = 0; from < order.length; from += ROWS_A_PART) {
    let part = "";
    for (const row of order.subarray(from, from + ROWS_A_PART)) part += exportedRow(rows.whole(row), withTexts);
    parts.push(part);
  }
  return new Blob(parts, { type: "text/csv;charset=utf-8" });
}

function exportedRow({ id, text, probability, decision, label, said, problem, version }, withTexts) {
  return csvRow([
    id,
    ...(withTexts ? [text] : []),
    probability ?? "",
    decision,
    label ?? "",
    said ?? "",
    problem ?? "",
    version ?? "",
  ]);
}
