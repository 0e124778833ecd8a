// What a moderator decides about the rows of a file: sent as feedback, one after the other, and taken back.

import { asProblem } from "./api.js";
import { LABELS, sendFeedback, storedWords, withdrawFeedback } from "./feedback.js";

export class Decisions {
  #judging;
  #told;
  // Rows that were decided, the latest at the end.
  #latest = [];
  #last = Promise.resolve();

  // `told.said(words)` and `told.failed(intro, problem)` say how it went; `told.changed(row)` follows each change.
  constructor(judging, told) {
    this.#judging = judging;
    this.#told = told;
  }

  decide(row, label) {
    return this.#inTurn(`It was not stored as ${LABELS[label]}`, async () => {
      const { text, id, problem } = await this.#judging.call("comment", row);
      if (text === "") {
        this.#told.said(`Comment ${id} has no text to decide about. ${problem}`);
        return;
      }
      const stored = await sendFeedback(text, label);
      await this.#judging.call("say", { row, said: { label, id: stored.id } });
      this.#latest = [...this.#latest.filter((other) => other !== row), row];
      this.#told.said(`Comment ${id}: ${storedWords(stored)}`);
      this.#told.changed(row);
    });
  }

  // Takes back what was said of the row; where nothing was, the latest decision about another.
  undo(row) {
    return this.#inTurn("It was not taken back", async () => {
      const isDecided = row !== null && this.#latest.includes(row);
      const which = isDecided ? row : this.#latest.at(-1);
      if (which === undefined) {
        this.#told.said("There is nothing to take back.");
        return;
      }
      const { feedback, id } = await this.#judging.call("comment", which);
      if (feedback) await this.#withdraw(feedback, which);
      this.#latest = this.#latest.filter((other) => other !== which);
      this.#told.said(`Comment ${id}: taken back. The service has deleted the decision and the comment.`);
      this.#told.changed(which);
    });
  }

  async #withdraw(feedback, row) {
    try {
      await withdrawFeedback(feedback);
    } catch (problem) {
      // Somebody else deleted it.
      if (!problem.is?.("not-found")) throw problem;
    }
    await this.#judging.call("say", { row, said: null });
  }

  // Whoever types faster than the service answers is served in the order of their keys.
  #inTurn(failed, action) {
    this.#last = this.#last.then(action).catch((error) => this.#told.failed(failed, asProblem(error)));
    return this.#last;
  }
}
