// The parts of the page as tabs. The URL names the current tab, for links and the back button.

import { byId, setText } from "./dom.js";

const NAMES = ["check", "queue", "label", "models", "training", "live"];
// A model card is shown over the list of models.
const CARD = /^#card=/;

const listeners = new Map(NAMES.map((name) => [name, []]));
let current = NAMES[0];

export function setUpTabs() {
  const tabs = byId("tabs");
  tabs.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // The browser would scroll to the element with that id.
    event.preventDefault();
    if (nameOf(tab) !== current) history.pushState(null, "", tab.hash);
    show(nameOf(tab));
  });
  tabs.addEventListener("keydown", moveByKey);
  addEventListener("hashchange", showLinked);
  addEventListener("popstate", showLinked);
  document.addEventListener("visibilitychange", tellShown);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    panel(current).focus();
  });
  show(linked() ?? current);
}

// Whether the panel is visible. A hidden panel sends no requests.
export function isShown(name) {
  return name === current && document.visibilityState !== "hidden";
}

// `listener` is called each time the panel is shown.
export function whenShown(name, listener) {
  listeners.get(name).push(listener);
}

// ---- Which one -----------------------------------------------------------------------------------------------------

function linked() {
  if (CARD.test(location.hash)) return "models";
  if (location.hash === "") return NAMES[0];
  return NAMES.find((name) => location.hash === `#${name}`);
}

// A URL that names something else, such as a heading, does not change the tab.
function showLinked() {
  const name = linked();
  if (!name || name === current) return;
  const isElsewhere = !byId("tabs").contains(document.activeElement);
  show(name);
  if (isElsewhere) panel(name).focus();
}

function show(name) {
  const isNews = name !== current;
  current = name;
  for (const other of NAMES) {
    const isCurrent = other === name;
    tab(other).setAttribute("aria-selected", String(isCurrent));
    tab(other).tabIndex = isCurrent ? 0 : -1;
    panel(other).hidden = !isCurrent;
  }
  setText(document.querySelector("title"), `${tab(name).textContent.trim()} · threatwatch`);
  if (isNews) tellShown();
}

function tellShown() {
  if (isShown(current)) for (const listener of listeners.get(current)) listener();
}

// ---- Keyboard ------------------------------------------------------------------------------------------------------

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function moveByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = NAMES.indexOf(current);
  const ends = { Home: 0, End: NAMES.length - 1 };
  const next = ends[event.key] ?? (STEPS[event.key] && (at + STEPS[event.key] + NAMES.length) % NAMES.length);
  if (next === undefined) return;
  event.preventDefault();
  const name = NAMES[next];
  // Moving through tabs by keyboard must not fill the browser's history.
  history.replaceState(null, "", `#${name}`);
  show(name);
  tab(name).focus();
}

function tab(name) {
  return byId(`tab-${name}`);
}

function panel(name) {
  return byId(`panel-${name}`);
}

function nameOf({ id }) {
  return id.slice("tab-".length);
}
