// The comments of a file in one of the formats: CSV, JSON lines, the THREAT format, one comment per line.

import { CsvReader, openQuote } from "./csv.js";

const THREAT_HEADER = /^Video #(\d+), Comment #(\d+), Commenter #\d+/;
const THREAT_LABEL = /^[0-3]$/;
const SEPARATORS = [",", ";", "\t"];

// Calls `add(id, text)` for each comment, and `refuse(id, problem)` for each entry that is not a valid comment.
// `start` is the start of the file.
export function readerFor(name, start, told) {
  const lines = start.split("\n", 200).map(trimReturn);
  if (lines.some((line) => THREAT_HEADER.test(line))) return new LineReader(new ThreatLines(told));
  const first = lines.find((line) => line.trim() !== "") ?? "";
  if (/\.(jsonl|ndjson)$/i.test(name) || first.startsWith("{")) return new LineReader(new JsonLines(told));
  const separator = SEPARATORS.find((separator) => columnOf(headings(first, separator), "text") >= 0);
  if (separator) return tableReader(separator, told);
  return /\.csv$/i.test(name) ? null : new LineReader(new PlainLines(told));
}

function trimReturn(line) {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

// ---- Tables --------------------------------------------------------------------------------------------------------

function headings(line, separator) {
  let found = [];
  const reader = new CsvReader(({ fields }) => (found = fields), separator);
  reader.feed(line);
  reader.end();
  return found;
}

function columnOf(names, wanted) {
  return names.findIndex((name) => name.trim().toLowerCase() === wanted);
}

function tableReader(separator, { add, refuse }) {
  let columns = null;
  let number = 0;
  return new CsvReader((row) => {
    if (!columns) {
      columns = { id: columnOf(row.fields, "id"), text: columnOf(row.fields, "text") };
      return;
    }
    number += 1;
    const id = row.fields[columns.id] || String(number);
    const text = row.fields[columns.text];
    const problem = openQuote(row) ?? (text === undefined ? "The row has no text." : null);
    if (problem) refuse(id, problem);
    else add(id, text);
  }, separator);
}

// ---- Lines ---------------------------------------------------------------------------------------------------------

class LineReader {
  #lines;
  #rest = "";
  #number = 0;

  constructor(lines) {
    this.#lines = lines;
  }

  feed(piece) {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#tell(line);
  }

  end() {
    this.#tell(this.#rest);
    this.#lines.end?.();
  }

  #tell(line) {
    this.#number += 1;
    this.#lines.read(trimReturn(line), this.#number);
  }
}

class PlainLines {
  constructor({ add }) {
    this.add = add;
  }

  read(line, number) {
    if (line.trim() !== "") this.add(String(number), line);
  }
}

class JsonLines {
  constructor(told) {
    this.told = told;
  }

  read(line, number) {
    if (line.trim() === "") return;
    let object = null;
    try {
      object = JSON.parse(line);
    } catch {
      // Not JSON: reported below.
    }
    if (object === null || typeof object !== "object") {
      this.told.refuse(String(number), `Line ${number} is not a JSON object.`);
      return;
    }
    const id = ["string", "number"].includes(typeof object.id) ? String(object.id) : String(number);
    if (typeof object.text === "string") this.told.add(id, object.text);
    else this.told.refuse(id, `The object in line ${number} has no text.`);
  }
}

// Hammer et al., CBMI 2019: a header, then `label<TAB>sentence` lines, then a blank line. Sentences are joined.
class ThreatLines {
  #id = null;
  #sentences = [];

  constructor(told) {
    this.told = told;
  }

  read(line, number) {
    const header = THREAT_HEADER.exec(line);
    if (header || line.trim() === "") {
      this.end();
      this.#id = header ? `video ${header[1]}, comment ${header[2]}` : null;
      return;
    }
    if (this.#id === null && line.startsWith("#")) return;
    const [label, ...rest] = line.split("\t");
    const sentence = rest.join("\t");
    const problem = this.#problemOf(label, rest.length, sentence);
    if (problem) this.told.refuse(`line ${number}`, problem);
    else this.#sentences.push(sentence);
  }

  end() {
    if (this.#sentences.length > 0) this.told.add(this.#id, this.#sentences.join(" "));
    this.#sentences = [];
  }

  #problemOf(label, tabs, sentence) {
    if (tabs === 0) return "There is no tab between label and sentence.";
    if (!THREAT_LABEL.test(label)) return "The label is not 0, 1, 2 or 3.";
    if (sentence.trim() === "") return "The sentence is empty.";
    return this.#id === null ? "The sentence has no header line above it." : null;
  }
}
