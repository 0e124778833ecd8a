// The page's end of a worker that reads and judges a file.

import { Problem, isWorthAskingAgain } from "./api.js";
import { usedKey, whenKeyChanges } from "./key.js";

export class Judging {
  #worker = new Worker("worker.js", { type: "module" });
  #calls = new Map();
  #told;
  #newest = 0;
  #failure = null;
  #endListening = whenKeyChanges(() => this.#sendKey());

  // `told.judged({ done, total })` while comments are judged, `told.waiting(problem)` while the service has no time.
  constructor(told) {
    this.#told = told;
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", (event) => this.#fail(event));
    this.#sendKey();
  }

  // The file and all that was said of it are forgotten. What was asked for is not answered any more.
  end() {
    this.#worker.terminate();
    this.#endListening();
  }

  // See `calls` in worker.js. What the worker refuses is thrown as a `Problem`.
  call(name, argument) {
    if (this.#failure) return Promise.reject(this.#failure);
    this.#newest += 1;
    const id = this.#newest;
    this.#worker.postMessage({ id, name, argument });
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  #hear({ id, answer, problem, news, argument }) {
    if (news === "refused") this.#findKey(argument);
    else if (news) this.#told[news](argument);
    else if (problem) this.#ended(id).reject(new Problem(problem.title, problem.detail, problem));
    else this.#ended(id).resolve(answer);
  }

  #ended(id) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  // A worker that could not be loaded, or has no memory left, answers nothing any more.
  #fail({ message }) {
    this.#failure = new Problem("Files cannot be judged in this browser", message || "Load the page again.");
    for (const { reject } of this.#calls.values()) reject(this.#failure);
    this.#calls.clear();
  }

  #sendKey() {
    // Whoever calls next hears of a failure.
    this.call("key", usedKey()).catch(() => {});
  }

  async #findKey(refused) {
    const isOld = usedKey() && usedKey().secret !== refused;
    const isFound = isOld || (await isWorthAskingAgain(usedKey()));
    // A key that was found is on its way before this word.
    this.#worker.postMessage({ name: "keyFound", argument: isFound });
  }
}
