// The page's connection to a worker that reads and judges a file.

import { Problem, isWorthAskingAgain } from "./api.js";
import { usedKey, whenKeyChanges } from "./key.js";

export class Judging {
  #worker = new Worker("worker.js", { type: "module" });
  #calls = new Map();
  #told;
  #newest = 0;
  #failure = null;
  #endListening = whenKeyChanges(() => this.#sendKey());

  // Calls `told.judged({ done, total })` while comments are judged, `told.waiting(problem)` while the service is busy.
  constructor(told) {
    this.#told = told;
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", (event) => this.#fail(event));
    this.#sendKey();
  }

  // Forgets the file and its verdicts. Open calls are not answered.
  end() {
    this.#worker.terminate();
    this.#endListening();
  }

  // See `calls` in worker.js. An error of the worker is thrown as a `Problem`.
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

  // A worker that could not be loaded, or is out of memory, no longer answers.
  #fail({ message }) {
    this.#failure = new Problem("Files cannot be judged in this browser", message || "Reload the page.");
    for (const { reject } of this.#calls.values()) reject(this.#failure);
    this.#calls.clear();
  }

  #sendKey() {
    // The next call reports a failure.
    this.call("key", usedKey()).catch(() => {});
  }

  async #findKey(refused) {
    const isOld = usedKey() && usedKey().secret !== refused;
    const isFound = isOld || (await isWorthAskingAgain(usedKey()));
    // The new key was sent before this message.
    this.#worker.postMessage({ name: "keyFound", argument: isFound });
  }
}
