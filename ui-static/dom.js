// Elements. Everything from a person or the service enters the page as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function svgElement(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  // `append` turns strings into text nodes.
  node.append(...children);
  return node;
}

// Writing to a live region announces it again, so an unchanged text is not written.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function button(text, attributes, whenPressed) {
  const node = element("button", { type: "button", ...attributes }, text);
  // Not `disabled`, which would take the focus away.
  node.addEventListener("click", () => node.getAttribute("aria-disabled") === "true" || whenPressed());
  return node;
}

export function outsideLink(url, text) {
  const link = element("a", { target: "_blank", rel: "noopener noreferrer" }, text);
  link.href = url;
  return link;
}

// Only web addresses become links.
export function webAddress(url) {
  const parsed = URL.canParse(url ?? "") ? new URL(url) : null;
  return parsed && ["http:", "https:"].includes(parsed.protocol) ? parsed.href : null;
}

// Lets a long name break after a hyphen or underscore.
export function breakable(name) {
  return name.split(/(?<=[-_])/).flatMap((part, i) => (i > 0 ? [element("wbr"), part] : [part]));
}

export function code(name) {
  return element("code", {}, ...breakable(String(name)));
}

// A good or bad result in words. The style adds a sign before them.
export function mark(isGood, words) {
  return element("strong", { class: "check-result", "data-passed": String(isGood) }, words);
}

// ---- Tables --------------------------------------------------------------------------------------------------------

export function table(caption, headings, rows) {
  // A heading is aligned like the cells of its column.
  const sideOf = (i) => (rows[0]?.children[i]?.classList.contains("number") ? "number" : "");
  const columns = headings.map((heading, i) => element("th", { scope: "col", class: sideOf(i) }, heading));
  const head = element("thead", {}, element("tr", {}, ...columns));
  const body = element("tbody", {}, ...rows);
  return element("div", { class: "table-frame" }, element("table", {}, element("caption", {}, caption), head, body));
}

export function row(name, ...cells) {
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
}

// The cell repeats its column's heading, for narrow screens, where a row becomes a card.
export function cell(heading, content, className = "") {
  return element("td", { "data-heading": heading, class: className }, content);
}

export function numberCell(heading, content, className = "") {
  return cell(heading, content, `number ${className}`);
}
