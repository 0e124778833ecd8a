// What a moderator decides about the rows of a file: sent as feedback, one after the other, and taken back.

import { asProblem } from "./api.js";
import { LABELS, sendFeedback, storedWords, takeBack } from "./feedback.js";

export class Decisions {
  #judging;
  #told;
  // `{ row, id, stored }`, the latest at the end; `id` is that of the comment in the file.
  #decided = [];
  #last = Promise.resolve();
  #pending = 0;

  // `told.said(words)` and `told.failed(intro, problem)` say how it went; `told.changed(row, isElsewhere)` follows each
  // change, which may be that of another row than was chosen.
  constructor(judging, told) {
    this.#judging = judging;
    this.#told = told;
  }

  get isPending() {
    return this.#pending > 0;
  }

  // When everything is sent that was decided so far.
  done() {
    return this.#last;
  }

  // `chosen` is a promise of a row, or of null. Its text is taken at once: the file may be gone when its turn comes.
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
      // Sent again, it would take the place of one that names sentences.
      if (this.#latestOf(row)?.stored.label === label) {
        this.#told.said(`Comment ${id}: you said already that it is ${LABELS[label]}.`);
        return;
      }
      const stored = await sendFeedback(text, label);
      this.#decided.push({ row, id, stored });
      await this.#judging.call("say", { row, said: { label, id: stored.id } });
      this.#told.said(`Comment ${id}: ${storedWords(stored)}`);
      this.#told.changed(row, false);
    });
  }

  // Takes back what was said of the row; where nothing was, the latest decision about another.
  undo(chosen) {
    return this.#inTurn("It was not taken back", chosen, async (found) => {
      const ofRow = this.#latestOf(found?.row);
      const which = ofRow ?? this.#decided.at(-1);
      if (!which) {
        this.#told.said("There is nothing to take back.");
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

  // Whoever types faster than the service answers is served in the order of their keys.
  #inTurn(failed, needed, action) {
    this.#pending += 1;
    this.#last = Promise.all([needed, this.#last])
      .then(([found]) => action(found))
      .catch((error) => this.#told.failed(failed, asProblem(error)))
      .finally(() => (this.#pending -= 1));
    return this.#last;
  }
}
