// The page of threatwatch: judges comments, shows the models and their figures, and lets people decide about them.

import { setUpAccess } from "./access.js";
import { setUpCard } from "./card.js";
import { setUpComparison } from "./comparison.js";
import { setUpCurves } from "./curves.js";
import { setUpDialogs } from "./dialog.js";
import { setUpHeader } from "./header.js";
import { setUpHistory } from "./history.js";
import { setUpLabel } from "./label.js";
import { setUpLive } from "./live.js";
import { setUpModels } from "./models.js";
import { setUpPromotion } from "./promotion.js";
import { setUpQueue } from "./queue.js";
import { setUpPolling } from "./registry.js";
import { setUpRuns } from "./runs.js";
import { setUpShadow } from "./shadow.js";
import { setUpTabs } from "./tabs.js";
import { setUpTraining } from "./training.js";
import { setUpJudging } from "./verdict.js";

setUpJudging();
setUpDialogs();
setUpAccess();
setUpHeader();
setUpModels();
setUpCard();
setUpCurves();
setUpComparison();
setUpShadow();
setUpPromotion();
setUpTraining();
setUpRuns();
setUpHistory();
setUpQueue();
setUpLabel();
setUpLive();
// After the panels: showing a tab notifies its panel.
setUpTabs();
// Last, when every part listens.
setUpPolling();
