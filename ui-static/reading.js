// Reads a file into comments: detects its encoding and format. The file may be larger than the longest string.

import { Problem } from "./api.js";
import { readerFor } from "./formats.js";
import { Rows } from "./rows.js";

// Bytes of a file from which its format is detected.
const START_BYTES = 64 << 10;
const UNREADABLE = "\uFFFD";
const OBJECTS_IN_ARRAY = /^\s*\[\s*\{/;
const LARGEST_AUDIT = 64 << 20;

export async function readFile(file) {
  const encoding = await encodingOf(file);
  const start = await decoded(file.slice(0, START_BYTES), encoding);
  const suspects = start.trimStart().startsWith("{") ? await suspectsOf(file) : null;
  if (suspects) return { suspects };
  if (OBJECTS_IN_ARRAY.test(start)) {
    throw new Problem("The file is one JSON array", "Save it as JSON lines: one object with “text” per line.");
  }
  const rows = new Rows();
  let unreadable = 0;
  const add = (id, text) => {
    if (text.includes(UNREADABLE)) unreadable += 1;
    rows.add(id, text);
  };
  const reader = readerFor(file.name, start, { add, refuse: (id, problem) => rows.refuse(id, problem) });
  if (!reader) throw new Problem("The file has no column “text”", "The first line must contain the column names.");
  for await (const piece of pieces(file, encoding)) reader.feed(piece);
  reader.end();
  if (rows.count === 0) throw new Problem("The file has no comments", "Nothing in it could be read as a comment.");
  rows.close();
  return { rows, unreadable };
}

// Spreadsheets write UTF-16 as “Unicode text”. Everything else is read as UTF-8.
async function encodingOf(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
}

async function decoded(blob, encoding) {
  return new TextDecoder(encoding).decode(await blob.arrayBuffer());
}

async function* pieces(file, encoding) {
  const reader = file.stream().pipeThrough(new TextDecoderStream(encoding)).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

// The report of `threatwatch dataset audit DIGEST --json --show-text`, if the file is one.
async function suspectsOf(file) {
  if (file.size > LARGEST_AUDIT) return null;
  try {
    const { suspects } = JSON.parse(await file.text());
    return Array.isArray(suspects) ? suspects : null;
  } catch {
    return null;
  }
}
