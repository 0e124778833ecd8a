// The top of the page: the model that serves, whether promotions are refused, the link to Temporal.

import { refusePromotions } from "./action.js";
import { asProblem, get } from "./api.js";
import { byId, element, setText, webAddress } from "./dom.js";
import { localTime } from "./figures.js";
import { notice } from "./notice.js";
import { listen } from "./registry.js";

let shownRefusal = "";
let about = null;

export function setUpHeader() {
  listen({ arrived: showModels, failed: showTrouble });
  lookForTemporal();
}

// If this fails, only the link stays hidden. The next poll of the models tries again.
function lookForTemporal() {
  about ??= showTemporalLink().catch((error) => {
    asProblem(error);
    about = null;
  });
}

function showModels(answer) {
  lookForTemporal();
  showServing(...servingState(answer));
  showRefusal(answer.promotion_refused);
}

function showTrouble(_, health) {
  if (!health) {
    showServing("trouble", "The model that serves is unknown");
    return;
  }
  const { model_version: version, generation } = health;
  const serving = servingNow({ version, generation });
  if (health.stale) showServing("stale", `${serving}. ${staleWords(health.stale_since)}`);
  else showServing("serving", serving);
  showRefusal(health.promotion_refused);
}

function servingState({ production: wanted, serving }) {
  if (serving && wanted && serving.generation !== wanted.generation) {
    return ["loading", `${servingNow(serving)}; generation ${wanted.generation} is loading`];
  }
  if (serving) return ["serving", servingNow(serving)];
  if (wanted) return ["loading", `Loading ${wanted.version}, generation ${wanted.generation}`];
  return ["none", "No model in production"];
}

function servingNow({ version, generation }) {
  return `Serving ${version}, generation ${generation}`;
}

function staleWords(since) {
  const time = since ? ` since ${localTime(since).textContent}` : "";
  return `The object store has not answered${time}: a newer promotion would not be noticed. Judging continues.`;
}

function showServing(state, text) {
  byId("serving").dataset.state = state;
  setText(byId("serving"), text);
}

function showRefusal(reason = "") {
  refusePromotions(reason !== "");
  if (reason === shownRefusal) return;
  shownRefusal = reason;
  byId("refusal").replaceChildren(...(reason ? [refusalNotice(reason)] : []));
}

function refusalNotice(reason) {
  const why = element("p", { class: "notice-detail" }, reason);
  const consequence = "Comments are still judged. Promotions and rollbacks are disabled until this is fixed.";
  return notice("bad", "The object store cannot be trusted with promotions", why, element("p", {}, consequence));
}

async function showTemporalLink() {
  const { answer } = await get("about");
  const address = webAddress(answer.temporal_ui);
  if (!address) return;
  byId("temporal-link").href = address;
  byId("temporal-item").hidden = false;
}
