// Comma-separated values: reading them piece by piece (RFC 4180, and what spreadsheets make of it), and writing them.

const QUOTE = '"';

// No comment of several lines is longer: a quote that is left open would take the rest of the file as one field.
const LONGEST_FIELD = 20_000;

// Calls `told({ fields, line, lines, isOpen })` for each row; `line` is its first line, from 1. A row is open where the
// file ends within quotes.
export class CsvReader {
  #told;
  #separator;
  #ends;
  #fields = [];
  #field = "";
  #isQuoted = false;
  // A quote inside of quotes: the end of them, unless a second one follows, perhaps in the next piece.
  #mayEnd = false;
  #line = 1;
  #from = 1;

  constructor(told, separator = ",") {
    this.#told = told;
    this.#separator = separator;
    this.#ends = new RegExp(`[${separator}"\n]`, "g");
  }

  feed(piece) {
    let at = 0;
    while (at < piece.length) {
      if (this.#mayEnd) at = this.#afterQuote(piece, at);
      else at = this.#isQuoted ? this.#quoted(piece, at) : this.#plain(piece, at);
    }
  }

  // Of two quotes the second one is meant.
  #afterQuote(piece, at) {
    this.#mayEnd = false;
    this.#isQuoted = piece[at] === QUOTE;
    if (!this.#isQuoted) return at;
    this.#field += QUOTE;
    return at + 1;
  }

  #quoted(piece, at) {
    const found = piece.indexOf(QUOTE, at);
    const end = found < 0 ? piece.length : found;
    this.#field += piece.slice(at, end);
    this.#line += piece.slice(at, end).split("\n").length - 1;
    this.#mayEnd = found >= 0;
    return end + 1;
  }

  #plain(piece, at) {
    this.#ends.lastIndex = at;
    const end = this.#ends.exec(piece)?.index ?? piece.length;
    this.#field += piece.slice(at, end);
    if (piece[end] === QUOTE) {
      // In the middle of a field it is a character like any other.
      if (this.#field === "") this.#isQuoted = true;
      else this.#field += QUOTE;
    } else if (end < piece.length) {
      this.#endField();
      if (piece[end] === "\n") this.#endRow();
    }
    return end + 1;
  }

  end() {
    if (this.#field === "" && this.#fields.length === 0) return;
    this.#endField();
    this.#endRow();
  }

  #endField() {
    this.#fields.push(this.#field);
    this.#field = "";
  }

  #endRow() {
    this.#line += 1;
    const fields = this.#fields;
    if (fields.at(-1).endsWith("\r")) fields.push(fields.pop().slice(0, -1));
    const isBlank = fields.length === 1 && fields[0].trim() === "";
    const isOpen = this.#isQuoted && !this.#mayEnd;
    if (!isBlank) this.#told({ fields, line: this.#from, lines: this.#line - this.#from, isOpen });
    this.#fields = [];
    this.#from = this.#line;
  }
}

// Why a row cannot be a comment; rows behind it are in it, and must not be missing without a word.
export function openQuote({ fields, line, lines, isOpen }) {
  const isEndless = lines > 1 && fields.some(({ length }) => length > LONGEST_FIELD);
  if (!isOpen && !isEndless) return null;
  return `A quote is left open in line ${line}: the row goes on to line ${line + lines - 1}.`;
}

// ---- Writing -------------------------------------------------------------------------------------------------------

// A spreadsheet takes a cell that starts so for a formula, and would carry it out.
const FORMULA = /^[=+\-@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]/;
const NEEDS_QUOTES = /[",\r\n]/;

export function csvRow(values) {
  return `${values.map(csvCell).join(",")}\r\n`;
}

function csvCell(value) {
  if (typeof value === "number") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return NEEDS_QUOTES.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
