// A moderator's decisions about the rows of a file: sent as feedback one after the other, and undone.

import { asProblem } from "./api.js";
import { LABELS, sendFeedback, storedWords, takeBack } from "./feedback.js";

export class Decisions {
  #judging;
  #told;
  // `{ row, id, stored }`, the latest last. `id` is the comment's id in the file.
  #decided = [];
  #last = Promise.resolve();
  #pending = 0;

  // Calls `told.said(words)` or `told.failed(intro, problem)` for each outcome, and `told.changed(row, isElsewhere)`
  // after each change. `isElsewhere` is true if another row than the chosen one changed.
  constructor(judging, told) {
    this.#judging = judging;
    this.#told = told;
  }

  get isPending() {
    return this.#pending > 0;
  }

  // Resolves when all decisions so far are sent.
  done() {
    return this.#last;
  }

  // `chosen` is a promise of a row, or of null. Its text is read at once: the file may be closed when its turn comes.
  decide(chosen, label) {
    const comment = chosen.then((row) => row && this.#judging.call("comment", row.row));
    return this.#inTurn(`It was not stored as ${LABELS[label]}`, comment, async (found) => {
      if (!found) {
        this.#told.said("Select a comment first.");
        return;
      }
      const { row, text, id, problem } = found;
      if (text === "") {
        this.#told.said(`Comment ${id} has no text to decide about. ${problem}`);
        return;
      }
      // Sending it again would replace a decision that names sentences.
      if (this.#latestOf(row)?.stored.label === label) {
        this.#told.said(`Comment ${id}: you have already decided that it is ${LABELS[label]}.`);
        return;
      }
      const stored = await sendFeedback(text, label);
      this.#decided.push({ row, id, stored });
      await this.#judging.call("say", { row, said: { label, id: stored.id } });
      this.#told.said(`Comment ${id}: ${storedWords(stored)}`);
      this.#told.changed(row, false);
    });
  }

  // Undoes the decision about the row, or the latest decision if the row has none.
  undo(chosen) {
    return this.#inTurn("The decision was not undone", chosen, async (found) => {
      const ofRow = this.#latestOf(found?.row);
      const which = ofRow ?? this.#decided.at(-1);
      if (!which) {
        this.#told.said("There is nothing to undo.");
        return;
      }
      const { row, id, stored } = which;
      const { isDone, words } = await takeBack(stored);
      this.#told.said(`Comment ${id}: ${words}`);
      if (!isDone) return;
      this.#decided = this.#decided.filter((other) => other !== which);
      await this.#judging.call("say", { row, said: stored.before && { label: stored.before, id: stored.id } });
      this.#told.changed(row, !ofRow);
    });
  }

  #latestOf(row) {
    return this.#decided.findLast((decision) => decision.row === row);
  }

  // Decisions are sent in the order of the key presses, even if the service answers slowly.
  #inTurn(failed, needed, action) {
    this.#pending += 1;
    this.#last = Promise.all([needed, this.#last])
      .then(([found]) => action(found))
      .catch((error) => this.#told.failed(failed, asProblem(error)))
      .finally(() => (this.#pending -= 1));
    return this.#last;
  }
}
