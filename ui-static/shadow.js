// The shadow version, if there is one.

import { get } from "./api.js";
import { byId, code } from "./dom.js";
import { percent, plural, signed } from "./figures.js";
import { listen } from "./registry.js";
import { isShown, whenShown } from "./tabs.js";

export function setUpShadow() {
  listen({ arrived: look });
  whenShown("models", look);
}

async function look() {
  if (!isShown("models")) return;
  // An older service has no such route. The line is optional.
  const state = await get("shadow").then(({ answer }) => answer, () => ({}));
  const line = byId("shadow");
  line.hidden = !state.version;
  if (!state.version) return;
  const share = ` judges ${percent(state.share)} of the comments too. `;
  const outcome = state.trouble ? `It does not judge now: ${state.trouble}.` : found(state);
  line.replaceChildren("Shadow version: ", code(state.version), share, outcome);
}

function found({ compared, only_shadow: more, only_production: fewer, mean_difference: difference }) {
  if (compared === 0) return "No comment was compared yet.";
  const apart = `${plural(more, "threat")} by it only, ${fewer} by production only`;
  const counts = `${plural(compared, "comment")} compared: ${apart}`;
  return `${counts}. On average its probability differs by ${signed(100 * difference, 1)} points from production's.`;
}
