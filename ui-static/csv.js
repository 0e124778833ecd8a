// Comma-separated values: reads them piece by piece (RFC 4180 and the variants of spreadsheets), and writes them.

const QUOTE = '"';

// A longer field of several lines means an unclosed quote, which would take the rest of the file as one field.
const LONGEST_FIELD = 20_000;

// Calls `told({ fields, line, lines, isOpen })` for each row. `line` is its first line, from 1. A row is open if the
// file ends inside quotes.
export class CsvReader {
  #told;
  #separator;
  #ends;
  #fields = [];
  #field = "";
  #isQuoted = false;
  // After a quote inside quotes: it ends the quotes, unless a second quote follows, perhaps in the next piece.
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

  // Two quotes inside quotes mean one quote.
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
      // In the middle of a field a quote is an ordinary character.
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

// Why a row is not a comment. With an unclosed quote it contains the rows after it, so it is reported.
export function openQuote({ fields, line, lines, isOpen }) {
  const isEndless = lines > 1 && fields.some(({ length }) => length > LONGEST_FIELD);
  if (!isOpen && !isEndless) return null;
  return `A quote is not closed: the row begins in line ${line} and continues to line ${line + lines - 1}.`;
}

// ---- Writing -------------------------------------------------------------------------------------------------------

// A spreadsheet reads a cell with this start as a formula and would run it.
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
