// The page of threatwatch: judges comments, shows what the models are worth, and lets people decide about them.

import { setUpAccess } from "./access.js";
import { setUpCard } from "./card.js";
import { setUpComparison } from "./comparison.js";
import { setUpDialogs } from "./dialog.js";
import { setUpHeader } from "./header.js";
import { setUpHistory } from "./history.js";
import { setUpModels } from "./models.js";
import { setUpPromotion } from "./promotion.js";
import { setUpPolling } from "./registry.js";
import { setUpRuns } from "./runs.js";
import { setUpShadow } from "./shadow.js";
import { setUpTraining } from "./training.js";
import { setUpJudging } from "./verdict.js";

setUpJudging();
setUpDialogs();
setUpAccess();
setUpHeader();
setUpModels();
setUpCard();
setUpComparison();
setUpShadow();
setUpPromotion();
setUpTraining();
setUpRuns();
setUpHistory();
// Last: everybody listens by now.
setUpPolling();
