// The comments of a file in order, with the decisions of the model and the moderator. Used in the worker only.

// Indexes in `DECISIONS`.
export const WAITING = 0;
export const PROBLEM = 4;
export const DECISIONS = ["waiting", "flag", "review", "pass", "problem"];

const EXCERPT_LENGTH = 400;

export class Rows {
  #ids = [];
  #texts = [];
  #problems = new Map();
  // The moderator's decisions by row: `{ label, id }`, with the id of the feedback.
  #said = new Map();
  #versions = [];

  get count() {
    return this.#texts.length;
  }

  get versions() {
    return this.#versions;
  }

  add(id, text) {
    this.#ids.push(id);
    this.#texts.push(text.toWellFormed());
  }

  refuse(id, problem) {
    this.#problems.set(this.count, problem);
    this.add(id, "");
  }

  // After this, rows are judged and none are added.
  close() {
    this.decision = new Uint8Array(this.count);
    this.probability = new Float64Array(this.count);
    this.threshold = new Float64Array(this.count);
    this.version = new Uint16Array(this.count);
    for (const row of this.#problems.keys()) this.decision[row] = PROBLEM;
  }

  text(row) {
    return this.#texts[row];
  }

  said(row) {
    return this.#said.get(row);
  }

  judge(row, { decision, probability, threshold, model_version: version }) {
    this.decision[row] = Math.max(DECISIONS.indexOf(decision), WAITING + 1);
    this.probability[row] = probability;
    this.threshold[row] = threshold;
    if (!this.#versions.includes(version)) this.#versions.push(version);
    this.version[row] = this.#versions.indexOf(version);
  }

  fail(row, problem) {
    this.decision[row] = PROBLEM;
    this.#problems.set(row, problem);
  }

  // Rows with the same comment share their feedback, so a decision applies to all of them.
  say(row, said) {
    const before = this.#said.get(row);
    for (const [other, { id }] of this.#said) {
      if (id !== (said ?? before)?.id) continue;
      if (said) this.#said.set(other, said);
      else this.#said.delete(other);
    }
    if (said) this.#said.set(row, said);
  }

  // A row for a list, with a shortened text.
  shown(row) {
    return { ...this.whole(row), text: this.#texts[row].slice(0, EXCERPT_LENGTH).toWellFormed() };
  }

  whole(row) {
    const decision = DECISIONS[this.decision[row]];
    const isJudged = this.decision[row] !== WAITING && this.decision[row] !== PROBLEM;
    return {
      row,
      id: this.#ids[row],
      text: this.#texts[row],
      decision,
      problem: this.#problems.get(row),
      said: this.#said.get(row)?.label,
      feedback: this.#said.get(row)?.id,
      ...(isJudged && {
        probability: this.probability[row],
        label: this.probability[row] >= this.threshold[row] ? "threat" : "harmless",
        version: this.#versions[this.version[row]],
      }),
    };
  }

  // The number of rows by decision, and the number that the moderator decided.
  tally() {
    const tally = Object.fromEntries(DECISIONS.map((name) => [name, 0]));
    for (const decision of this.decision) tally[DECISIONS[decision]] += 1;
    return { ...tally, decided: this.#said.size };
  }
}
