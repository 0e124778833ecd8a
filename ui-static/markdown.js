// The Markdown of model cards as elements: headings, paragraphs, lists, tables and code. Everything else is text.

import { cell, code, element, row } from "./dom.js";

// A first-level heading becomes an `h2`, because the page has an `h1`.
const HEADING = /^(#{1,4}) (.*)$/;
const ITEM = /^- /;

export function markdown(text) {
  let heading = "";
  return text.trim().split(/\n{2,}/).map((part) => {
    const lines = part.split("\n");
    const [, marks, title] = HEADING.exec(part) ?? [];
    if (marks) {
      heading = title;
      return element(`h${marks.length + 1}`, {}, ...inline(title));
    }
    if (lines.every((line) => line.startsWith("|"))) return tableOf(heading, lines.map(cellsOf));
    if (ITEM.test(part)) return element("ul", {}, ...lines.map((line) => element("li", {}, ...inline(line.slice(2)))));
    return element("p", {}, ...inline(lines.join(" ")));
  });
}

function inline(text) {
  return text.split("`").map((piece, i) => (i % 2 === 1 ? code(piece) : piece));
}

function cellsOf(line) {
  return line.split("|").slice(1, -1).map((piece) => piece.trim());
}

// The second line is only a rule.
function tableOf(name, [headings, , ...lines]) {
  const columns = headings.map((heading) => (heading ? element("th", { scope: "col" }, heading) : element("td")));
  const head = headings.some(Boolean) ? [element("thead", {}, element("tr", {}, ...columns))] : [];
  const rows = lines.map(([first, ...rest]) => {
    return row(first, ...rest.map((piece, i) => cell(headings[i + 1], element("span", {}, ...inline(piece)))));
  });
  const body = element("tbody", {}, ...rows);
  // On a narrow screen the table scrolls, also by keyboard.
  const frame = { class: "table-frame", role: "region", tabindex: "0", "aria-label": name };
  return element("div", frame, element("table", { "aria-label": name }, ...head, body));
}
