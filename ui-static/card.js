// A version's model card, opened by a link that can be shared: `#card=VERSION`.

import { asProblem, getAsked } from "./api.js";
import { opened } from "./dialog.js";
import { byId, element, setText } from "./dom.js";
import { markdown } from "./markdown.js";
import { problemNotice } from "./notice.js";

const LINK = /^#card=([\w-]+)$/;

let saved = "";

export function setUpCard() {
  addEventListener("hashchange", showLinked);
  byId("card").addEventListener("close", forget);
  showLinked();
}

export function cardLink(version) {
  return element("a", { href: `#card=${version}`, "aria-label": `Model card of ${version}` }, "Model card");
}

async function showLinked() {
  const version = linked();
  if (!version) {
    byId("card").close();
    return;
  }
  setText(byId("card-title"), `Model card: ${version}`);
  byId("card-body").replaceChildren(element("p", { class: "help" }, "Loading the card…"));
  byId("card-save").hidden = true;
  if (!byId("card").open) opened(byId("card"), byId("card-title"));
  try {
    const { answer } = await getAsked(`models/${version}/card`);
    if (linked() === version) show(version, answer);
  } catch (error) {
    if (linked() === version) byId("card-body").replaceChildren(problemNotice("No card to show", asProblem(error)));
  }
}

function linked() {
  return LINK.exec(location.hash)?.[1];
}

function show(version, text) {
  const [, ...parts] = markdown(text);
  byId("card-body").replaceChildren(...parts);
  URL.revokeObjectURL(saved);
  saved = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  const save = byId("card-save");
  save.href = saved;
  save.download = `${version}.md`;
  save.hidden = false;
}

function forget() {
  URL.revokeObjectURL(saved);
  // Not `location.hash`, which would add an entry to the browser's history.
  if (linked()) history.replaceState(null, "", "#models");
}
