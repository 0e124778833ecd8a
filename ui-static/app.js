// The page of threatwatch: judges comments and shows what the models are worth.
// Whatever comes from a person or from the service enters the page as text, never as markup.

const POLL_EVERY_MS = 5_000;
const ANSWER_WITHIN_MS = 15_000;
// A promotion is answered when the checks are done, which takes longer than a look-up.
const ACTION_WITHIN_MS = 120_000;
const MOSTLY_UNKNOWN = 0.5;
// Shares of a sentence's largest contribution from which a word is underlined, and underlined more strongly.
const STRENGTHS = [0.25, 0.5, 0.75];
const LISTED_FOR = 5;
const LISTED_AGAINST = 3;
const EXCERPT_LENGTH = 60;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

// ---- Elements ------------------------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

function svgElement(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  // `append` makes text nodes of strings.
  node.append(...children);
  return node;
}

// A live region that is written again is announced again, so the same text is left alone.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function outsideLink(url, text) {
  const link = element("a", { target: "_blank", rel: "noopener noreferrer" }, text);
  link.href = url;
  return link;
}

// Only web addresses become links.
function webAddress(url) {
  const parsed = URL.canParse(url ?? "") ? new URL(url) : null;
  return parsed && ["http:", "https:"].includes(parsed.protocol) ? parsed.href : null;
}

// ---- Numbers and times ---------------------------------------------------------------------------------------------

// Nothing is certain: what would be rounded to 0% or 100% is shown as below or above the last step.
function percent(share, digits = 0) {
  if (!Number.isFinite(share)) return "–";
  const step = 10 ** -(digits + 2);
  const format = (value) => `${(100 * value).toFixed(digits)}%`;
  if (share > 0 && share < step) return `<${format(step)}`;
  if (share < 1 && share > 1 - step) return `>${format(1 - step)}`;
  return format(share);
}

function figure(value) {
  return Number.isFinite(value) ? value.toFixed(3) : "–";
}

// With its sign, even above 0; what rounds to 0 has none.
function signed(value) {
  const digits = Math.abs(value).toFixed(2);
  if (Number(digits) === 0) return digits;
  return `${value < 0 ? "\u2212" : "+"}${digits}`;
}

function localTime(iso) {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return element("span", {}, String(iso));
  const day = element("span", {}, time.toLocaleDateString(undefined, { dateStyle: "medium" }));
  const hour = element("span", {}, time.toLocaleTimeString(undefined, { timeStyle: "short" }));
  return element("time", { datetime: iso }, day, " ", hour);
}

// ---- Requests ------------------------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(title, detail) {
    super(title);
    this.title = title;
    this.detail = detail;
  }
}

const get = (path) => request(path, {}, ANSWER_WITHIN_MS);

function post(path, body, withinMs) {
  const headers = { "content-type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) }, withinMs);
}

async function request(path, options, withinMs) {
  const response = await reach(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(withinMs) });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response, answer);
  if (answer === null) throw new Problem("Unreadable answer", "The service answered in an unknown form.");
  return { status: response.status, answer };
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "TimeoutError") {
      throw new Problem("No answer in time", "The service may still be at work. Look again in a moment.");
    }
    throw new Problem("The service cannot be reached", "Check your connection, then try again.");
  }
}

function refusal(response, problem) {
  const title = problem?.title ?? `The service answered with status ${response.status}`;
  return new Problem(title, problem?.detail ?? "");
}

// What is no refusal of the service is a fault of this page: it is shown too, and kept for the console.
function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem("Something went wrong in this page", "Load it again. If that does not help, tell its operator.");
}

// ---- Notices -------------------------------------------------------------------------------------------------------

const SIGNS = { good: "✓", bad: "!", busy: "…" };

function notice(kind, title, ...body) {
  const sign = element("span", { class: "notice-sign", "aria-hidden": "true" }, SIGNS[kind]);
  const heading = element("p", { class: "notice-title" }, title);
  return element("div", { class: "notice", "data-kind": kind }, sign, element("div", {}, heading, ...body));
}

function problemNotice(intro, { title, detail }) {
  const body = detail ? [element("p", { class: "notice-detail" }, detail)] : [];
  return notice("bad", `${intro}: ${title}`, ...body);
}

// ---- Judging a comment ---------------------------------------------------------------------------------------------

function setUpJudging() {
  const form = byId("judge-form");
  const comment = byId("comment");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    judge(comment.value);
  });
  comment.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  // A pasted text is cut without a word otherwise, and a threat may stand at its end.
  comment.addEventListener("input", () => {
    const isFull = comment.value.length >= comment.maxLength;
    setText(byId("comment-full"), isFull ? "The limit is reached: anything beyond it was cut off." : "");
  });
}

let isJudging = false;

async function judge(entered) {
  if (isJudging) return;
  // Half a surrogate pair cannot be sent, and would shift the offsets of the answer.
  const text = entered.toWellFormed();
  setJudging(true);
  try {
    const { answer } = await post("predict", { text, explain: true }, ANSWER_WITHIN_MS);
    showVerdict(text, answer);
  } catch (error) {
    byId("verdict").replaceChildren(problemNotice("The comment was not judged", asProblem(error)));
    byId("verdict-details").replaceChildren();
  } finally {
    setJudging(false);
  }
}

function setJudging(judging) {
  isJudging = judging;
  const button = byId("judge-button");
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", String(judging));
  setText(button, judging ? "Judging…" : "Judge");
}

function showVerdict(text, verdict) {
  // Offsets count code points, a JavaScript string UTF-16 units.
  const points = Array.from(text);
  byId("verdict").replaceChildren(verdictWords(verdict));
  byId("verdict-details").replaceChildren(
    probabilityBar(verdict),
    ...unknownWordsHint(verdict),
    element("h3", {}, "Sentence by sentence"),
    judgedComment(points, verdict.sentences),
    ...underlineKey(verdict.sentences),
    element("p", { class: "help" }, "A comment is as threatening as its most threatening sentence."),
    ...reasons(points, verdict.sentences),
    judgedBy(verdict),
  );
}

function verdictWords(verdict) {
  const { probability, threshold } = verdict;
  const threatens = isThreat(verdict);
  const words = element("p", { class: "verdict-label" }, threatens ? "Threat" : "No threat found");
  const side = threatens ? "at or above" : "below";
  const bound = `${side} the threshold of ${percent(threshold, 1)}`;
  const reason = `Probability of a threat ${percent(probability, 1)}, ${bound}.`;
  const sign = element("span", { class: "verdict-sign", "aria-hidden": "true" }, threatens ? "!" : "✓");
  const lines = element("div", {}, words, element("p", { class: "verdict-reason" }, reason));
  return element("div", { class: "verdict", "data-label": threatens ? "threat" : "harmless" }, sign, lines);
}

function probabilityBar({ label, probability, threshold }) {
  const at = `${100 * threshold}%`;
  const name = `Probability ${percent(probability, 1)}, threshold ${percent(threshold, 1)}`;
  return svgElement(
    "svg",
    { class: "bar", role: "img", "aria-label": name, width: "100%", height: "46", "data-label": label },
    svgElement("rect", { class: "bar-track", y: "6", width: "100%", height: "12", rx: "6" }),
    svgElement("rect", { class: "bar-fill", y: "6", width: `${100 * probability}%`, height: "12", rx: "6" }),
    svgElement("line", { class: "bar-threshold", x1: at, x2: at, y1: "0", y2: "24" }),
    svgElement("text", { x: at, y: "40", "text-anchor": anchor(threshold) }, `threshold ${percent(threshold, 1)}`),
  );
}

// Near an end of the bar the text would be cut if it were centred.
function anchor(share) {
  if (share < 0.2) return "start";
  return share > 0.8 ? "end" : "middle";
}

function unknownWordsHint({ unknown_share: unknown }) {
  if (unknown <= MOSTLY_UNKNOWN) return [];
  const hint =
    `The model does not know most of the words of this comment (${percent(unknown)} are unknown). ` +
    "It may be in another language or full of rare spellings: do not rely on the verdict.";
  return [element("p", { class: "hint" }, hint)];
}

function judgedComment(points, sentences) {
  const block = element("blockquote", { class: "comment", dir: "auto" });
  let shown = 0;
  for (const sentence of sentences) {
    block.append(textOf(points, shown, sentence.start), ...judgedSentence(points, sentence));
    shown = sentence.end;
  }
  block.append(textOf(points, shown));
  return block;
}

function textOf(points, start, end) {
  return points.slice(start, end).join("");
}

function judgedSentence(points, sentence) {
  const { probability } = sentence;
  const words = judgedWords(points, sentence);
  // A no-break space keeps the figure on the line of the last word.
  if (isThreat(sentence)) return [element("mark", {}, ...words), "\u00a0", threatChance(probability)];
  return [...words, "\u00a0", element("small", { class: "chance", dir: "ltr" }, percent(probability))];
}

function isThreat({ label }) {
  return label === "threat";
}

function threatChance(probability) {
  return element("strong", { class: "chance-threat", dir: "ltr" }, `threat\u00a0${percent(probability)}`);
}

// The text of a sentence, with the words that contribute most underlined.
function judgedWords(points, sentence) {
  const parts = [];
  let shown = sentence.start;
  for (const token of telling(sentence)) {
    const { start, end, contribution, strength } = token;
    if (strength === 0) continue;
    parts.push(textOf(points, shown, start), word("span", textOf(points, start, end), contribution, strength));
    shown = end;
  }
  return [...parts, textOf(points, shown, sentence.end)];
}

function word(tag, text, contribution, strength) {
  const side = contribution > 0 ? "for" : "against";
  return element(tag, { class: "word", "data-side": side, "data-strength": String(strength) }, text);
}

// The words whose contribution does not round to 0, each with its strength: 0 for little, 3 for much of the sentence.
function telling({ tokens }) {
  const counted = (tokens ?? []).filter(({ contribution }) => Number(contribution.toFixed(2)) !== 0);
  const largest = counted.reduce((most, { contribution }) => Math.max(most, Math.abs(contribution)), 0);
  const strengthOf = (contribution) => STRENGTHS.filter((from) => Math.abs(contribution) >= from * largest).length;
  return counted.map((token) => ({ ...token, strength: strengthOf(token.contribution) }));
}

function underlineKey(sentences) {
  if (!sentences.some((sentence) => telling(sentence).length > 0)) return [];
  const solid = word("span", "solid line", 1, 2);
  const dotted = word("span", "dotted line", -1, 2);
  const rest = " against. The thicker the line, the more, next to the other words of the sentence.";
  return [element("p", { class: "help" }, "A ", solid, " speaks for a threat, a ", dotted, rest)];
}

// ---- Why a sentence has its score ----------------------------------------------------------------------------------

function reasons(points, sentences) {
  const explained = sentences.filter(({ tokens }) => tokens?.length > 0);
  const threats = explained.filter(isThreat);
  const subjects = threats.length > 0 ? threats : mostProbable(explained);
  return subjects.map((sentence) => reason(points, sentence));
}

function mostProbable(sentences) {
  return sentences.toSorted((a, b) => b.probability - a.probability).slice(0, 1);
}

function reason(points, sentence) {
  const { start, end, probability } = sentence;
  const quote = element("q", { dir: "auto" }, excerpt(points, start, end));
  const chance = isThreat(sentence) ? threatChance(probability) : `${percent(probability)}, the most probable sentence`;
  const words = telling(sentence).toSorted((a, b) => b.contribution - a.contribution);
  const speakFor = words.filter(({ contribution }) => contribution > 0).slice(0, LISTED_FOR);
  const speakAgainst = words.filter(({ contribution }) => contribution < 0).reverse().slice(0, LISTED_AGAINST);
  const lists = element(
    "div",
    { class: "why-lists" },
    wordList(points, "Most for a threat", speakFor, "No word speaks for a threat."),
    wordList(points, "Most against a threat", speakAgainst, "No word speaks against a threat."),
  );
  const summary = element("summary", {}, element("strong", {}, "Why?"), " ", quote, " ", chance);
  return element("details", { class: "why" }, summary, lists, element("p", { class: "help" }, logOddsLegend(sentence)));
}

// A single word may be as long as the comment.
function excerpt(points, start, end) {
  if (end - start <= EXCERPT_LENGTH) return textOf(points, start, end);
  return `${textOf(points, start, start + EXCERPT_LENGTH).trimEnd()}…`;
}

function wordList(points, title, words, none) {
  const items = words.map(({ start, end, contribution, strength }) => {
    const amount = element("span", { class: "contribution" }, signed(contribution));
    return element("li", {}, amount, " ", word("bdi", excerpt(points, start, end), contribution, strength));
  });
  const body = items.length > 0 ? element("ol", {}, ...items) : element("p", { class: "help" }, none);
  return element("div", {}, element("h4", {}, title), body);
}

function logOddsLegend({ bias, logit }) {
  return (
    "Log-odds before the neighbouring sentences and calibration are counted; they add up: " +
    `${signed(bias)} without a word, ${signed(logit)} with all.`
  );
}

function judgedBy({ model_version: version, generation, trainer }) {
  const origin = `, generation ${generation}, trained with ${trainer}.`;
  return element("p", { class: "help" }, "Judged by model ", element("code", {}, version), origin);
}

// ---- The list of models --------------------------------------------------------------------------------------------

let nextPoll = 0;
let newestRequest = 0;
let shownModels = "";
let production = null;

function setUpPolling() {
  document.addEventListener("visibilitychange", refresh);
  refresh();
}

async function refresh() {
  clearTimeout(nextPoll);
  if (document.visibilityState === "hidden") return;
  newestRequest += 1;
  const mine = newestRequest;
  // An answer that was overtaken by a later request is old news.
  const isNewest = () => mine === newestRequest;
  try {
    const { answer } = await get("models");
    if (isNewest()) showModels(answer);
  } catch (error) {
    if (isNewest()) showModelsTrouble(asProblem(error));
  }
  if (isNewest()) nextPoll = setTimeout(refresh, POLL_EVERY_MS);
}

function showModelsTrouble({ title, detail }) {
  const consequence = shownModels ? "The list may be out of date" : "The models cannot be listed";
  setText(byId("models-trouble"), `${consequence}. ${title}. ${detail}`);
  showServing("trouble", "The model in service is not known");
}

function showModels(answer) {
  setText(byId("models-trouble"), "");
  showServing(...servingState(answer));
  // Rows that did not change stay as they are, for the sake of focus and selection.
  const fingerprint = JSON.stringify([answer.production, answer.models]);
  if (fingerprint === shownModels) return;
  production = answer.production;
  keepingFocus(() => {
    showProduction();
    showRows(answer.models);
    showBaseline(answer.models[0]);
  });
  shownModels = fingerprint;
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

function showServing(state, text) {
  byId("serving").dataset.state = state;
  setText(byId("serving"), text);
}

// A button that is replaced or gone must not drop a keyboard user at the top of the page.
function keepingFocus(render) {
  const focused = document.activeElement;
  const { version } = focused?.dataset ?? {};
  const wasHere = byId("models").contains(focused);
  render();
  if (!wasHere || isVisible(document.activeElement)) return;
  const heir = version && document.querySelector(`[data-version="${CSS.escape(version)}"]`);
  (heir || byId("models-heading")).focus();
}

function isVisible(node) {
  return node !== null && node !== document.body && !node.hidden;
}

function showProduction() {
  byId("rollback-button").hidden = !production;
  const line = byId("production");
  if (!production) {
    line.replaceChildren("Nothing is in production: comments cannot be judged until a model is promoted.");
    return;
  }
  const { version, generation, actor, reason, at } = production;
  const by = `, generation ${generation}, by ${actor || "unknown"} on `;
  const why = reason ? [": ", element("q", {}, reason)] : [];
  line.replaceChildren("In production: ", element("code", {}, version), by, localTime(at), ...why);
}

function showRows(models) {
  const rows = models.map(modelRow);
  const empty = element("td", { colspan: "9", class: "empty" }, "There is no model yet. Train the first one.");
  byId("model-rows").replaceChildren(...(rows.length > 0 ? rows : [element("tr", {}, empty)]));
}

function modelRow(model) {
  const { cross_validation: { sentence: crossed }, held_out: { sentence: heldOut } } = model;
  const version = element("th", { scope: "row" }, element("code", {}, ...breakable(model.version)));
  const dataset = element("code", { title: model.dataset }, model.dataset.slice(0, 8));
  return element(
    "tr",
    model.in_production ? { class: "live" } : {},
    version,
    cell("Trainer", trainerName(model)),
    cell("Trained at", localTime(model.started)),
    numberCell("PR-AUC, cross-validation", figure(crossed.pr_auc), "group-start"),
    numberCell("F1, cross-validation", figure(crossed.f1)),
    numberCell("PR-AUC, held-out commenters", figure(heldOut.pr_auc), "group-start"),
    numberCell("Recall at 5% false alarms, held-out commenters", percent(heldOut.recall_at_fpr_5, 1)),
    cell("Dataset", dataset),
    cell("Use", model.in_production ? liveTag() : promoteButton(model)),
  );
}

// The heading of the column stands in the cell too, for narrow screens, where a row becomes a card.
function cell(heading, content, className = "") {
  return element("td", { "data-heading": heading, class: className }, content);
}

function numberCell(heading, text, className = "") {
  return cell(heading, text, `number ${className}`);
}

function trainerName({ trainer, preset }) {
  const name = preset === "default" ? trainer : `${trainer} (${preset})`;
  return element("span", {}, ...breakable(name));
}

// A long name may go on in the next line after one of its hyphens or underscores.
function breakable(name) {
  return name.split(/(?<=[-_])/).flatMap((part, i) => (i > 0 ? [element("wbr"), part] : [part]));
}

function liveTag() {
  return element("span", { class: "live-tag" }, "in production");
}

function promoteButton({ version }) {
  const attributes = { type: "button", "data-version": version, "aria-label": `Promote ${version}` };
  const button = element("button", attributes, "Promote");
  button.setAttribute("aria-disabled", String(isActing));
  button.addEventListener("click", () => promote(version));
  return button;
}

function showBaseline(newest) {
  const { n, positives } = newest?.held_out.sentence ?? {};
  const share = n > 0 ? ` (${figure(positives / n)} among the held-out commenters of the newest model)` : "";
  setText(byId("baseline"), share);
}

// ---- Promoting, rolling back, training -----------------------------------------------------------------------------

let isActing = false;

function setUpActions() {
  byId("rollback-button").addEventListener("click", rollBack);
  byId("train-button").addEventListener("click", train);
  byId("ask-cancel").addEventListener("click", () => byId("ask").close());
}

async function promote(version) {
  if (isActing) return;
  const consequence = production ? `It replaces ${production.version}.` : "It is the first in production.";
  const answers = await ask({
    title: "Promote this model?",
    explanation: `It judges all comments from then on, if it passes the checks. ${consequence}`,
    version,
    confirm: "Promote",
  });
  if (!answers) return;
  await act({
    doing: `Promoting ${version}: the checks are running…`,
    failed: `${version} was not promoted`,
    send: () => post("promote", { version, ...answers }, ACTION_WITHIN_MS),
    report: ({ status, answer }) => (status === 202 ? stillRunning("The promotion", answer) : promotionReport(answer)),
  });
}

async function rollBack() {
  if (isActing) return;
  const answers = await ask({
    title: "Roll back?",
    explanation: "The model that was in production before judges all comments again. It takes the place of:",
    version: production.version,
    confirm: "Roll back",
  });
  if (!answers) return;
  await act({
    doing: "Rolling back…",
    failed: "Nothing was rolled back",
    send: () => post("rollback", answers, ACTION_WITHIN_MS),
    report: ({ status, answer }) => (status === 202 ? stillRunning("The rollback", answer) : rollbackReport(answer)),
  });
}

async function train() {
  if (isActing) return;
  await act({
    doing: "Starting a training…",
    failed: "No training was started",
    send: () => post("train", {}, ACTION_WITHIN_MS),
    report: ({ answer }) => trainingReport(answer),
  });
}

async function act({ doing, failed, send, report }) {
  setActing(true);
  announce(notice("busy", doing));
  try {
    announce(report(await send()));
  } catch (error) {
    announce(problemNotice(failed, asProblem(error)));
  } finally {
    setActing(false);
  }
  refresh();
}

function announce(message) {
  byId("notice").replaceChildren(message);
}

function setActing(acting) {
  isActing = acting;
  for (const button of byId("models").querySelectorAll("button")) button.setAttribute("aria-disabled", String(acting));
}

// Who and why, or null if the dialog was left. The name stays in its field for as long as the page lives.
function ask({ title, explanation, version, confirm }) {
  const [dialog, actor, reason] = [byId("ask"), byId("ask-actor"), byId("ask-reason")];
  setText(byId("ask-title"), title);
  setText(byId("ask-explanation"), explanation);
  setText(byId("ask-version"), version);
  setText(byId("ask-confirm"), confirm);
  reason.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  (actor.value ? reason : actor).focus();
  const answers = () => ({ actor: actor.value.trim() || undefined, reason: reason.value.trim() });
  return new Promise((resolve) => {
    const close = () => resolve(dialog.returnValue === "confirm" ? answers() : null);
    dialog.addEventListener("close", close, { once: true });
  });
}

function promotionReport({ outcome, version, generation, previous, gate }) {
  const titles = {
    promoted: `${version} is in production`,
    already_live: `${version} was in production already`,
    dry_run: `${version} passed the checks; nothing was changed`,
  };
  const title = titles[outcome] ?? `${version}: ${outcome}`;
  return notice("good", title, ...generationLine(generation, previous), ...checkList(gate));
}

function rollbackReport({ outcome, version, generation, previous }) {
  const title = outcome === "already_live" ? `${version} was in production already` : `Rolled back to ${version}`;
  return notice("good", title, ...generationLine(generation, previous));
}

function generationLine(generation, previous) {
  const parts = [generation && `Generation ${generation}.`, previous && `In production before: ${previous}.`];
  const line = parts.filter(Boolean).join(" ");
  return line ? [element("p", {}, line)] : [];
}

function checkList(gate) {
  if (!gate?.checks?.length) return [];
  const title = gate.passed ? "Every check passed:" : "Not every check passed:";
  return [element("p", {}, title), element("ul", { class: "checks" }, ...gate.checks.map(checkItem))];
}

function checkItem({ check, passed, meaning }) {
  const word = element("strong", { class: "check-word" }, passed ? "passed" : "failed");
  const name = element("code", {}, check);
  return element("li", { class: "check", "data-passed": String(passed) }, name, " ", word, ". ", meaning);
}

function stillRunning(what, run) {
  const hint = element("p", {}, "The list below shows the outcome as soon as there is one.");
  return notice("busy", `${what} is still running`, hint, runLine(run));
}

function trainingReport(run) {
  const hint = element("p", {}, "The new version appears here when it is ready.");
  return notice("good", "The training has started", hint, runLine(run));
}

function runLine({ workflow_id: workflow, temporal_url: url }) {
  const address = webAddress(url);
  if (address) return element("p", {}, outsideLink(address, "Follow it in Temporal"));
  return element("p", {}, "Workflow ", element("code", {}, workflow));
}

// ---- Header --------------------------------------------------------------------------------------------------------

async function showTemporalLink() {
  const { answer } = await get("about");
  const address = webAddress(answer.temporal_ui);
  if (!address) return;
  byId("temporal-link").href = address;
  byId("temporal-item").hidden = false;
}

// Without its answer the link stays hidden, and nothing else is lost.
showTemporalLink().catch(asProblem);
setUpJudging();
setUpActions();
setUpPolling();
