// A labelling session: comments asked about one after the other, and what was answered.

import { sendFeedback, takeBack } from "./feedback.js";

export const SKIPPED = "skipped";

export class Session {
  #items;
  // `{ answer, stored }` of the items; `stored` is the feedback, where some was sent.
  #answers = [];
  #at = 0;

  // An item has a `text`; the `label` that a dataset gives it, in a review of labels; `draws`, in a random share.
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

  // In a review of labels only corrections are feedback: the others say nothing new. Answers what there is to be told,
  // as all do that may take something back.
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

  // The last comment once more. Its answer stays until another takes its place.
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
