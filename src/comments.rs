//! Reads the comments of a file one by one, and writes their verdicts as lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

/// Most bytes of a line.
const LONGEST: u64 = 1 << 20;
/// Most lines of a row: no comment has more.
const MOST_LINES: u64 = 200;

/// Format of a file with comments
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Each line is a comment
    Lines,
    /// Each line is a JSON object with `text` and, optionally, `id`
    Jsonl,
    /// A header line with the column `text` and, optionally, `id`
    Csv,
}

impl Format {
    /// The format by a file's name; `Lines` for an unknown ending.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("csv") => Self::Csv,
            _ => Self::Lines,
        }
    }
}

/// Format of the verdicts
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// One JSON object per line
    Jsonl,
    /// A header line, then one row per comment
    Csv,
}

/// A comment, or why it cannot be read.
pub(crate) struct Comment {
    /// Its id in the file, otherwise its number from 1.
    pub(crate) id: String,
    pub(crate) text: Result<String, String>,
}

/// A comment's verdict in the output, without the comment itself.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) judged_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// A piece of a file that should be a comment.
///
/// It is parsed later, so that threads can share that work.
pub(crate) enum Piece {
    /// A line and its number.
    Line { number: u64, bytes: Vec<u8>, is_object: bool },
    /// A row.
    Row(Comment),
}

impl Piece {
    pub(crate) fn comment(self) -> Comment {
        match self {
            Self::Row(comment) => comment,
            Self::Line { number, bytes, is_object: true } => object(number.to_string(), &bytes),
            Self::Line { number, bytes, is_object: false } => {
                let text = String::from_utf8(bytes).map(|line| line.trim_end_matches(['\r', '\n']).to_owned());
                Comment { id: number.to_string(), text: text.map_err(|_| "the line is not UTF-8".to_owned()) }
            }
        }
    }
}

type Pieces = Box<dyn Iterator<Item = anyhow::Result<Piece>>>;

/// The comments of a file; `-` is standard input.
pub(crate) fn read(path: &Path, format: Format) -> anyhow::Result<Pieces> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Box::new(BufReader::with_capacity(1 << 16, file))
    };
    Ok(match format {
        Format::Lines => Box::new(lines(reader, false)),
        Format::Jsonl => Box::new(lines(reader, true)),
        Format::Csv => Box::new(rows(reader)?.map(|row| row.map(Piece::Row))),
    })
}

/// Lines that are not blank.
fn lines(mut reader: impl BufRead, is_object: bool) -> impl Iterator<Item = anyhow::Result<Piece>> {
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            match read_line(&mut reader) {
                Ok(None) => return None,
                Ok(Some(Ok(bytes))) if bytes.trim_ascii().is_empty() => {}
                Ok(Some(Ok(bytes))) => return Some(Ok(Piece::Line { number, bytes, is_object })),
                Ok(Some(Err(reason))) => {
                    return Some(Ok(Piece::Row(Comment { id: number.to_string(), text: Err(reason) })));
                }
                Err(error) => return Some(Err(anyhow::Error::new(error).context(format!("read line {number}")))),
            }
        }
    })
}

/// A line, or why it cannot be used; none at the end.
///
/// Only the start of an overlong line is in memory.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, String>>> {
    let mut line = Vec::new();
    if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == LONGEST && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(format!("the line has more than {LONGEST} bytes"))));
    }
    Ok(Some(Ok(line)))
}

fn object(number: String, line: &[u8]) -> Comment {
    let wrong = |id: String, reason: &str| Comment { id, text: Err(reason.to_owned()) };
    let Ok(line) = std::str::from_utf8(line) else { return wrong(number, "the line is not UTF-8") };
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return wrong(number, "the line is not a JSON object");
    };
    let id = match fields.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => number,
    };
    match fields.remove("text") {
        Some(Value::String(text)) => Comment { id, text: Ok(text) },
        _ => wrong(id, "the object has no `text`"),
    }
}

fn rows(reader: impl BufRead + 'static) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Comment>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let header = reader.byte_headers().context("read the header line")?.clone();
    let column = |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    let text = column("text").context("the header line has no column `text`")?;
    let id = column("id");
    let (mut number, mut record) = (0_u64, csv::ByteRecord::new());
    Ok(std::iter::from_fn(move || {
        number += 1;
        let from = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => return Some(Err(anyhow::Error::new(error).context(format!("read row {number}")))),
        }
        let field = |at: usize| record.get(at).and_then(|field| std::str::from_utf8(field).ok());
        let id = id.and_then(field).filter(|id| !id.is_empty()).map_or_else(|| number.to_string(), str::to_owned);
        let lines = reader.position().line() - from;
        let text = if lines > MOST_LINES {
            // It has swallowed later rows. They must not be lost without a message.
            Err(format!("the row has {lines} lines from line {from} on: a quote is not closed"))
        } else {
            field(text).map(str::to_owned).ok_or_else(|| "the row has no `text` in UTF-8".to_owned())
        };
        Some(Ok(Comment { id, text }))
    }))
}

/// Written verdicts and their numbers by kind.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) text: Vec<u8>,
    pub(crate) judged: u64,
    pub(crate) threats: u64,
    pub(crate) wrong: u64,
}

impl Output {
    /// The text before the first verdict.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Jsonl => "",
            Self::Csv => "id,label,probability,decision,judged_by,problem\n",
        }
    }

    /// Writes verdicts one after the other.
    pub(crate) fn write(self, lines: impl Iterator<Item = Line>) -> Written {
        let mut written = Written::default();
        let mut table = csv::Writer::from_writer(Vec::new());
        for line in lines {
            written.judged += u64::from(line.problem.is_none());
            written.wrong += u64::from(line.problem.is_some());
            written.threats += u64::from(line.label.as_deref() == Some("threat"));
            match self {
                Self::Jsonl => {
                    serde_json::to_writer(&mut written.text, &line).expect("a line is plain data");
                    written.text.push(b'\n');
                }
                Self::Csv => {
                    let Line { id, label, probability, decision, judged_by, problem } = &line;
                    let probability = probability.map(|probability| probability.to_string());
                    let fields = [label, &probability, decision, judged_by, problem];
                    let fields = fields.map(|field| field.as_deref().unwrap_or_default());
                    let row = std::iter::once(id.as_str()).chain(fields);
                    table.write_record(row).expect("rows of equal length, in memory");
                }
            }
        }
        written.text.extend(table.into_inner().expect("written in memory"));
        written
    }
}
