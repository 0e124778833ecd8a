// A labelling session: comments asked about one after the other, and what was answered.

import { sendFeedback, withdrawFeedback } from "./feedback.js";

export const SKIPPED = "skipped";

export class Session {
  #items;
  // `{ answer, id }` of the items before the current one; `id` is that of the feedback, where some was sent.
  #answers = [];

  // An item has a `text`; the `label` that a dataset gives it, in a review of labels; `draws`, in a random share.
  constructor(items) {
    this.#items = items;
  }

  get total() {
    return this.#items.length;
  }

  get done() {
    return this.#answers.length;
  }

  // Undefined at the end.
  get current() {
    return this.#items[this.#answers.length];
  }

  // In a review of labels only corrections are feedback: the others say nothing new.
  async answer(label) {
    const { text, suspected } = this.current;
    const stored = label === suspected ? {} : await sendFeedback(text, label);
    this.#answers.push({ answer: label, id: stored.id });
  }

  skip() {
    this.#answers.push({ answer: SKIPPED });
  }

  async undo() {
    const { id } = this.#answers.at(-1);
    if (id) await withdrawFeedback(id);
    this.#answers.pop();
  }

  counts() {
    const counts = { threat: 0, harmless: 0, [SKIPPED]: 0, corrected: 0, drawn: 0, drawnThreats: 0, drawnSkipped: 0 };
    this.#answers.forEach(({ answer }, i) => {
      const { suspected, draws = 0 } = this.#items[i];
      counts[answer] += 1;
      if (suspected && answer !== SKIPPED && answer !== suspected) counts.corrected += 1;
      if (answer === SKIPPED) counts.drawnSkipped += draws;
      else counts.drawn += draws;
      if (answer === "threat") counts.drawnThreats += draws;
    });
    return counts;
  }
}
