// The parts of the page as tabs. The address says which one is shown, so that it can be passed on and gone back to.

import { byId, setText } from "./dom.js";

const NAMES = ["check", "queue", "label", "models", "training", "live"];
// A model's card lies over the list of models.
const CARD = /^#card=/;

const listeners = new Map(NAMES.map((name) => [name, []]));
let current = NAMES[0];

export function setUpTabs() {
  const tabs = byId("tabs");
  tabs.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // The browser would scroll to what has the same name.
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

// Whether somebody can see the panel: what nobody sees asks the service for nothing.
export function isShown(name) {
  return name === current && document.visibilityState !== "hidden";
}

// Called each time that the panel comes into view.
export function whenShown(name, listener) {
  listeners.get(name).push(listener);
}

// ---- Which one -----------------------------------------------------------------------------------------------------

function linked() {
  if (CARD.test(location.hash)) return "models";
  if (location.hash === "") return NAMES[0];
  return NAMES.find((name) => location.hash === `#${name}`);
}

// An address that names something else, such as a heading, leaves the tab as it is.
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
  // Passing a tab by is no place to go back to.
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
