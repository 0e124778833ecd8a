// The version that judges beside production, if one does.

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
  // An older service has no such route, and the line is no matter of life.
  const state = await get("shadow").then(({ answer }) => answer, () => ({}));
  const line = byId("shadow");
  line.hidden = !state.version;
  if (!state.version) return;
  const share = ` judges ${percent(state.share)} of the comments beside it. `;
  const outcome = state.trouble ? `It does not: ${state.trouble}.` : found(state);
  line.replaceChildren("In the shadow: ", code(state.version), share, outcome);
}

function found({ compared, only_shadow: more, only_production: fewer, mean_difference: difference }) {
  if (compared === 0) return "No comment was compared yet.";
  const apart = `${plural(more, "threat")} by it alone, ${fewer} by production alone`;
  const counts = `${plural(compared, "comment")} compared: ${apart}`;
  return `${counts}; its probability is ${signed(100 * difference, 1)} points from production's on average.`;
}
