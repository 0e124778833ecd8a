// Which rows are shown, and in which order.

import { DECISIONS, PROBLEM, WAITING } from "./rows.js";

export const BY_PROBABILITY = "probability";

const FILTERS = {
  all: (rows) => (row) => rows.decision[row] !== WAITING,
  decided: (rows) => (row) => Boolean(rows.said(row)),
  undecided: (rows) => (row) => rows.decision[row] !== WAITING && rows.decision[row] !== PROBLEM && !rows.said(row),
};

// The numbers of the rows.
export function arranged(rows, { filter, sort }) {
  const belongs = (FILTERS[filter] ?? byDecision(filter))(rows);
  const found = [];
  for (let row = 0; row < rows.count; row += 1) if (belongs(row)) found.push(row);
  const order = Uint32Array.from(found);
  if (sort !== BY_PROBABILITY) return order;
  // Comments that could not be judged come last.
  const rank = (row) => (rows.decision[row] === PROBLEM ? -1 : rows.probability[row]);
  return order.sort((a, b) => rank(b) - rank(a) || a - b);
}

function byDecision(name) {
  const decision = DECISIONS.indexOf(name);
  return (rows) => (row) => rows.decision[row] === decision;
}
