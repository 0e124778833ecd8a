//! Rows of labelled sentences, and the parsers that make them from files.
//!
//! A row that cannot be read is put in quarantine with its line and a reason; the reason never repeats the row.

mod delimited;
mod jsonl;
mod threat;

use serde::{Deserialize, Serialize};

/// The label of a violent threat, or support of violence. Every other label is something else.
pub const THREAT: u8 = 1;

/// One labelled sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Which comment the sentence stands in; sentences of one comment follow each other.
    pub comment: u32,
    /// Who wrote it; splits never cut a commenter in two.
    pub commenter: String,
    /// 1 is a threat; 0, 2 and 3 are not (2 and 3: other abuse).
    pub label: u8,
    /// The sentence.
    pub text: String,
}

impl Row {
    /// Whether the sentence is labelled a threat.
    #[must_use]
    pub fn is_threat(&self) -> bool {
        self.label == THREAT
    }
}

/// A file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Blocks of a header line, `label<TAB>sentence` lines and a blank line.
    Threat,
    /// One JSON object a line: `text`, `label`, and if known `commenter` and `comment`.
    Jsonl,
    /// Comma-separated with a header line; the same columns.
    Csv,
}

impl Format {
    /// The format of a file by its name, else by how it begins.
    #[must_use]
    pub fn guess(name: &str, bytes: &[u8]) -> Self {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        match ending.as_deref() {
            Some("jsonl" | "ndjson" | "json") => Self::Jsonl,
            Some("csv") => Self::Csv,
            _ if bytes.trim_ascii_start().starts_with(b"{") => Self::Jsonl,
            _ => Self::Threat,
        }
    }
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Line in the file, from 1.
    pub line: u64,
    /// Why, without the row's text.
    pub reason: String,
}

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The usable rows, in the file's order.
    pub rows: Vec<Row>,
    /// The others, in the file's order.
    pub quarantined: Vec<Quarantined>,
}

/// A file that cannot become a dataset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many rows are malformed: probably the wrong format.
    #[error("{quarantined} of {total} rows are malformed, more than {}%; the first: {first}", MAX_QUARANTINED_PERCENT)]
    TooManyMalformed {
        /// Malformed rows.
        quarantined: usize,
        /// All rows.
        total: usize,
        /// The first few, as `line N: reason`.
        first: String,
    },
    /// There is nothing to learn from.
    #[error(
        "the corpus has {threats} threats among {rows} sentences: at least {MIN_THREATS} threats and as many others, each by {MIN_COMMENTERS} commenters or more, are needed"
    )]
    TooSmall {
        /// Usable rows.
        rows: usize,
        /// Rows labelled a threat.
        threats: usize,
    },
    /// The CSV header lacks a column.
    #[error("line 1: the header has no column `{0}`")]
    MissingColumn(&'static str),
}

/// Above this share of malformed rows a file is refused.
pub const MAX_QUARANTINED_PERCENT: usize = 5;
/// Five folds by commenter need threats in each.
pub const MIN_THREATS: usize = 10;
const MIN_COMMENTERS: usize = 10;

/// Reads a file.
///
/// Malformed rows are set aside; over [`MAX_QUARANTINED_PERCENT`] the file is refused and the error names the first.
pub fn parse(format: Format, bytes: &[u8]) -> Result<Parsed, Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let parsed = match format {
        Format::Threat => threat::parse(bytes),
        Format::Jsonl => jsonl::parse(bytes),
        Format::Csv => delimited::parse(bytes)?,
    };
    let total = parsed.rows.len() + parsed.quarantined.len();
    if parsed.quarantined.len() * 100 > total * MAX_QUARANTINED_PERCENT {
        let first: Vec<String> =
            parsed.quarantined.iter().take(5).map(|q| format!("line {}: {}", q.line, q.reason)).collect();
        return Err(Error::TooManyMalformed { quarantined: parsed.quarantined.len(), total, first: first.join("; ") });
    }
    Ok(parsed)
}

/// Refuses rows from which no model could be trained and judged.
pub fn require_trainable(rows: &[Row]) -> Result<(), Error> {
    let threats = rows.iter().filter(|row| row.is_threat()).count();
    let commenters = |threat: bool| {
        let names: std::collections::BTreeSet<&str> =
            rows.iter().filter(|row| row.is_threat() == threat).map(|row| row.commenter.as_str()).collect();
        names.len()
    };
    let enough = threats >= MIN_THREATS
        && rows.len() - threats >= MIN_THREATS
        && commenters(true) >= MIN_COMMENTERS
        && commenters(false) >= MIN_COMMENTERS;
    if enough { Ok(()) } else { Err(Error::TooSmall { rows: rows.len(), threats }) }
}

/// The sample corpus, parsed.
///
/// # Panics
/// Never: a test parses it.
#[must_use]
pub fn sample() -> Parsed {
    parse(Format::Threat, crate::SAMPLE_CORPUS).expect("the shipped corpus is well formed")
}

/// Why a sentence of this text and label cannot be a row, if so.
fn refusal(label: &str, text: &str) -> Option<&'static str> {
    if !matches!(label, "0" | "1" | "2" | "3") {
        Some("the label is not 0, 1, 2 or 3")
    } else if text.trim().is_empty() {
        Some("the sentence is empty")
    } else {
        None
    }
}

/// The row of one record of a format whose rows stand alone.
///
/// Without a commenter the sentence itself is the group, so that equal sentences stay on one side of a split.
/// `comments` numbers the comments in order of appearance; a row without one is a comment of its own.
fn standalone(comments: &mut CommentNumbers, record: Record) -> Result<Row, &'static str> {
    let Record { label, text, commenter, comment } = record;
    if let Some(reason) = refusal(&label, &text) {
        return Err(reason);
    }
    let commenter = commenter
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("text:{}", crate::Digest::of(text.to_lowercase().as_bytes()).short()));
    let comment = comments.number(comment.filter(|id| !id.is_empty()).map(|id| (commenter.clone(), id)));
    let label = label.parse().expect("one of four digits");
    Ok(Row { comment, commenter, label, text })
}

/// A record of JSONL or CSV before it is checked.
struct Record {
    label: String,
    text: String,
    commenter: Option<String>,
    comment: Option<String>,
}

/// Numbers comments in order of first appearance.
#[derive(Default)]
struct CommentNumbers {
    known: std::collections::BTreeMap<(String, String), u32>,
    next: u32,
}

impl CommentNumbers {
    fn number(&mut self, id: Option<(String, String)>) -> u32 {
        let fresh = self.next;
        let number = id.map_or(fresh, |id| *self.known.entry(id).or_insert(fresh));
        self.next += u32::from(number == fresh);
        number
    }
}

/// Lines of a file with their numbers from 1, without line ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    bytes.split(|&b| b == b'\n').zip(1..).map(|(line, number)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
}

const NOT_UTF8: &str = "the line is not UTF-8";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sample_is_what_its_header_says() {
        let Parsed { rows, quarantined } = sample();
        assert_eq!(quarantined, []);
        let comments = rows.iter().map(|r| r.comment).collect::<std::collections::BTreeSet<_>>().len();
        let threats = rows.iter().filter(|r| r.is_threat()).count();
        assert!(rows.len() >= 1200 && comments >= 400, "{} sentences in {comments} comments", rows.len());
        let share = threats as f64 / rows.len() as f64;
        assert!((0.07..0.10).contains(&share), "{share}");
        assert_eq!(require_trainable(&rows), Ok(()));
    }

    #[test]
    fn the_three_formats_agree() {
        let threat = b"Video #1, Comment #5, Commenter #4, 1 week ago\n1\tI will find you.\n0\tHe said \"no\".\n\nVideo #1, Comment #6, Commenter #9, today\n2\tok\n";
        let jsonl = br#"{"text":"I will find you.","label":1,"commenter":"4","comment":"5"}
{"text":"He said \"no\".","label":"0","commenter":4,"comment":5}
{"text":"ok","label":2,"commenter":"9","comment":"6"}"#;
        let csv = b"label,text,commenter,comment\n1,I will find you.,4,5\n0,\"He said \"\"no\"\".\",4,5\n2,ok,9,6\n";
        let expected = parse(Format::Threat, threat).unwrap();
        assert_eq!(expected.rows.len(), 3);
        assert_eq!(parse(Format::Jsonl, jsonl).unwrap(), expected);
        assert_eq!(parse(Format::Csv, csv).unwrap(), expected);
    }

    #[test]
    fn a_malformed_row_is_quarantined_and_its_text_is_not_repeated() {
        let mut file = String::from("# a comment line\nVideo #1, Comment #1, Commenter #1, today\n");
        for i in 0..60 {
            file.push_str(&format!("0\tsentence {i}\n"));
        }
        file.push_str("02\tsecret words\n\t0secret words\n\n0\tsecret: no header above\n");
        let parsed = parse(Format::Threat, file.as_bytes()).unwrap();
        assert_eq!(parsed.rows.len(), 60);
        let lines: Vec<u64> = parsed.quarantined.iter().map(|q| q.line).collect();
        assert_eq!(lines, [63, 64, 66]);
        assert!(parsed.quarantined.iter().all(|q| !q.reason.contains("secret")));
    }

    #[test]
    fn a_file_of_another_format_is_refused_by_line() {
        let error = parse(Format::Threat, b"text,label\nhello,0\n").unwrap_err().to_string();
        assert!(error.contains("2 of 2 rows") && error.contains("line 1"), "{error}");
        assert_eq!(parse(Format::Csv, b"a,b\n1,2\n"), Err(Error::MissingColumn("text")));
        let one = parse(Format::Threat, b"Video #1, Comment #1, Commenter #1, x\n1\thello\n").unwrap();
        assert_eq!(require_trainable(&one.rows), Err(Error::TooSmall { rows: 1, threats: 1 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for format in [Format::Threat, Format::Jsonl, Format::Csv] {
                let _ = parse(format, &bytes);
            }
        }

        #[test]
        fn every_line_is_a_row_or_in_quarantine(labels in proptest::collection::vec("[0-3]|x|12", 1..40)) {
            let mut file = String::from("Video #1, Comment #1, Commenter #1, x\n");
            for label in &labels {
                file.push_str(&format!("{label}\twords\n"));
            }
            let parsed = threat::parse(file.as_bytes());
            prop_assert_eq!(parsed.rows.len() + parsed.quarantined.len(), labels.len());
        }
    }
}
