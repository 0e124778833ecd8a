// Reading and judging one file, with its progress: for the queue and for labelling.

import { asProblem } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { plural } from "./figures.js";
import { Judging } from "./judging.js";
import { notice, problemNotice } from "./notice.js";
import { Progress, timeWords } from "./progress.js";

export class FileRun {
  #part;
  #progress;
  // Warnings about the file, shown in every state.
  #warnings = [];
  #total = 0;
  #done = 0;
  // Over all starts of the run.
  #seconds = 0;

  // `part` is the prefix of its elements' ids. Calls `told.judged()` while comments are judged.
  constructor(part, told = {}) {
    this.#part = part;
    this.#progress = new Progress(this.#node("progress"), this.#node("rate"));
    // Replaces the handler of the run before.
    this.#node("cancel").onclick = () => this.judging.call("cancel");
    this.judging = new Judging({
      judged: (progress) => {
        this.#done = progress.done;
        this.#progress.show(progress);
        told.judged?.();
      },
      waiting: ({ title }) => this.#progress.say(`Waiting for the service: ${title}. The run continues by itself.`),
    });
  }

  end() {
    this.judging.end();
    this.#showRunning(false);
  }

  say(words) {
    setText(this.#node("status"), words);
  }

  // The number of comments in the file, or its suspected labels. Null if it cannot be read.
  async read(file) {
    this.name = file.name.replace(/\.\w+$/, "");
    this.say(`Reading ${file.name}…`);
    try {
      const read = await this.judging.call("read", file);
      this.#total = read.comments ?? 0;
      this.#done = read.problems ?? 0;
      this.#warnings = read.unreadable > 0 ? [unreadableNotice(read.unreadable)] : [];
      this.#node("notice").replaceChildren(...this.#warnings);
      return read;
    } catch (error) {
      this.say("");
      this.#node("notice").replaceChildren(problemNotice(`${file.name} was not read`, asProblem(error)));
      return null;
    }
  }

  // Judges the comments that are not judged yet. Returns whether all are judged.
  async judge() {
    this.#showRunning(true);
    this.#node("notice").replaceChildren(...this.#warnings);
    this.say(`Judging ${plural(this.#total, "comment")}…`);
    this.#progress.start({ done: this.#done, total: this.#total });
    try {
      const end = await this.judging.call("judge").finally(() => (this.#seconds += this.#progress.seconds()));
      this.#done = this.#total - end.waiting;
      this.say(this.#endWords(end));
      if (end.versions.length > 1) this.#node("notice").append(versionsNotice(end.versions));
      return end.waiting === 0;
    } catch (error) {
      this.say("Judging has stopped. The verdicts so far are kept.");
      this.#node("notice").replaceChildren(problemNotice("Not all comments were judged", asProblem(error)));
      return false;
    } finally {
      this.#showRunning(false);
    }
  }

  // Chooses comments to label from the judged ones.
  async sample(wanted) {
    const doing = "Choosing the most useful comments…";
    this.#showRunning(true);
    this.say(doing);
    this.#progress.say(doing);
    try {
      return await this.judging.call("sample", wanted);
    } catch (error) {
      this.say("The comments are judged. Press Start again to choose some.");
      throw error;
    } finally {
      this.#showRunning(false);
    }
  }

  #endWords({ flag, review, pass, problem, waiting }) {
    const judged = plural(flag + review + pass, "comment");
    const many = (count, decision) => `${count.toLocaleString()} to ${decision}`;
    const counts = [many(flag, "flag"), many(review, "review"), many(pass, "pass")].join(", ");
    const wrong = problem > 0 ? ` ${problem.toLocaleString()} could not be judged.` : "";
    const words = `${judged} judged in ${timeWords(this.#seconds)}: ${counts}.${wrong}`;
    return waiting > 0 ? `Cancelled: ${waiting.toLocaleString()} are not judged. ${words}` : words;
  }

  #showRunning(isRunning) {
    const running = this.#node("running");
    // The focused button is about to be hidden.
    if (!isRunning && running.contains(document.activeElement)) this.#node("file").focus();
    running.hidden = !isRunning;
  }

  #node(name) {
    return byId(`${this.#part}-${name}`);
  }
}

function unreadableNotice(count) {
  const advice = element("p", {}, "Save the file as UTF-8 and open it again.");
  return notice("warning", `${plural(count, "comment")} with characters that are not UTF-8`, advice);
}

function versionsNotice(versions) {
  const which = element("p", {}, `Production changed during the run: ${versions.join(", ")}.`);
  return notice("warning", "Not all comments were judged by the same version", which);
}
