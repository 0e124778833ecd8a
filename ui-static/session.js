// A labelling session: its comments and the answers.

import { sendFeedback, takeBack } from "./feedback.js";

export const SKIPPED = "skipped";

export class Session {
  #items;
  // `{ answer, stored }` by item. `stored` is the feedback, if any was sent.
  #answers = [];
  #at = 0;

  // An item has a `text`; in a review of labels `suspected`, the dataset's label; in a random share `draws`.
  constructor(items) {
    this.#items = items;
  }

  get total() {
    return this.#items.length;
  }

  get done() {
    return this.#at;
  }

  // Undefined at the end.
  get current() {
    return this.#items[this.#at];
  }

  // In a review of labels only corrections are sent as feedback. Returns a message for the person, or an empty string,
  // as `skip` and `undo` do.
  async answer(label) {
    const { text, suspected } = this.current;
    const old = this.#answers[this.#at];
    if (label === suspected) return this.#withoutFeedback(label);
    const sent = label === old?.answer ? old.stored : await sendFeedback(text, label);
    this.#put({ answer: label, stored: old?.stored ? { ...sent, before: old.stored.before } : sent });
    return "";
  }

  skip() {
    return this.#withoutFeedback(SKIPPED);
  }

  async undo() {
    const { isDone, words } = await takenBack(this.#answers.at(-1));
    if (isDone) {
      this.#answers.pop();
      this.#at = this.#answers.length;
    }
    return words;
  }

  // Goes back to the last comment. Its answer stays until it is replaced.
  reopen() {
    this.#at -= 1;
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

  async #withoutFeedback(answer) {
    const { isDone, words } = await takenBack(this.#answers[this.#at]);
    if (isDone) this.#put({ answer });
    return words;
  }

  #put(answer) {
    this.#answers[this.#at] = answer;
    this.#at += 1;
  }
}

async function takenBack(answer) {
  return answer?.stored ? takeBack(answer.stored) : { isDone: true, words: "" };
}
