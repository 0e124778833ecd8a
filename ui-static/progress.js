// The progress of judging a file, and the time left.

import { setText } from "./dom.js";
import { plural } from "./figures.js";

const SECONDS_A_MINUTE = 60;

export class Progress {
  #bar;
  #words;
  #from = 0;
  #started = 0;

  // The words are not a live region: they change five times a second.
  constructor(bar, words) {
    this.#bar = bar;
    this.#words = words;
  }

  // `done` comments were judged before, in a run that was cancelled.
  start({ done, total }) {
    this.#started = performance.now();
    this.#from = done;
    this.show({ done, total });
  }

  show({ done, total }) {
    this.#bar.max = Math.max(1, total);
    this.#bar.value = done;
    const rate = (done - this.#from) / this.seconds();
    const words = [`${done.toLocaleString()} of ${plural(total, "comment")}`];
    if (done > this.#from) words.push(`${rateWords(rate)} per second`, `${timeWords((total - done) / rate)} left`);
    setText(this.#words, words.join(", "));
  }

  // Replaces the figures until the next update.
  say(text) {
    setText(this.#words, text);
  }

  seconds() {
    return Math.max(0.001, (performance.now() - this.#started) / 1000);
  }
}

function rateWords(rate) {
  return rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString();
}

export function timeWords(seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < SECONDS_A_MINUTE) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / SECONDS_A_MINUTE)} min`;
}
