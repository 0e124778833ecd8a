//! Comments of a file, one by one, and their verdicts as lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

/// How a file has its comments
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Each line is a comment
    Lines,
    /// Each line is a JSON object with `text`, and if known `id`
    Jsonl,
    /// A header line with a column `text`, and if known `id`
    Csv,
}

impl Format {
    /// By a file's name; lines unless it says otherwise.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("csv") => Self::Csv,
            _ => Self::Lines,
        }
    }
}

/// How verdicts are written
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A JSON object a line
    Jsonl,
    /// A header line, then a row a comment
    Csv,
}

/// A comment, or why there is none at its place.
pub(crate) struct Comment {
    /// What the file calls it, else its number from 1.
    pub(crate) id: String,
    pub(crate) text: Result<String, String>,
}

/// A comment's verdict as it is written. The comment itself is not.
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

type Comments = Box<dyn Iterator<Item = anyhow::Result<Comment>>>;

/// The comments of a file; of standard input for `-`.
pub(crate) fn read(path: &Path, format: Format) -> anyhow::Result<Comments> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Box::new(BufReader::with_capacity(1 << 16, file))
    };
    Ok(match format {
        Format::Lines => Box::new(lines(reader).map(|line| line.map(|(id, text)| Comment { id, text }))),
        Format::Jsonl => Box::new(lines(reader).map(|line| line.map(|(number, text)| object(number, text)))),
        Format::Csv => Box::new(rows(reader)?),
    })
}

/// Lines that are not blank, with their numbers.
fn lines(mut reader: impl BufRead) -> impl Iterator<Item = anyhow::Result<(String, Result<String, String>)>> {
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let text = String::from_utf8(line).map(|line| line.trim_end_matches(['\r', '\n']).to_owned());
                    return Some(Ok((number.to_string(), text.map_err(|_| "the line is not UTF-8".to_owned()))));
                }
                Err(error) => return Some(Err(anyhow::Error::new(error).context(format!("read line {number}")))),
            }
        }
    })
}

fn object(number: String, line: Result<String, String>) -> Comment {
    let wrong = |id: String, reason: &str| Comment { id, text: Err(reason.to_owned()) };
    let line = match line {
        Ok(line) => line,
        Err(reason) => return wrong(number, &reason),
    };
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&line) else {
        return wrong(number, "the line is no JSON object");
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
    let text = column("text").context("the header line names no column `text`")?;
    let id = column("id");
    let mut number = 0_u64;
    Ok(reader.into_byte_records().map(move |record| {
        number += 1;
        let record = record.with_context(|| format!("read row {number}"))?;
        let field = |at: usize| record.get(at).and_then(|field| std::str::from_utf8(field).ok());
        let id = id.and_then(field).filter(|id| !id.is_empty()).map_or_else(|| number.to_string(), str::to_owned);
        let text = field(text).map(str::to_owned).ok_or_else(|| "the row has no `text` in UTF-8".to_owned());
        Ok(Comment { id, text })
    }))
}

/// Writes verdicts.
pub(crate) enum Writer<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: Output, to: W) -> anyhow::Result<Self> {
        Ok(match output {
            Output::Jsonl => Self::Jsonl(to),
            Output::Csv => {
                let mut writer = Box::new(csv::Writer::from_writer(to));
                writer.write_record(["id", "label", "probability", "decision", "judged_by", "problem"])?;
                Self::Csv(writer)
            }
        })
    }

    pub(crate) fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        match self {
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, line)?;
                to.write_all(b"\n")?;
            }
            Self::Csv(writer) => {
                let Line { id, label, probability, decision, judged_by, problem } = line;
                let probability = probability.map(|probability| probability.to_string());
                let fields = [label, &probability, decision, judged_by, problem];
                let fields = fields.map(|field| field.as_deref().unwrap_or_default());
                writer.write_record(std::iter::once(id.as_str()).chain(fields))?;
            }
        }
        Ok(())
    }

    /// Writes out what is still in memory.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Jsonl(mut to) => to.flush()?,
            Self::Csv(mut writer) => writer.flush()?,
        }
        Ok(())
    }
}
