//! Rows of labelled sentences, their parsers, and the split into training and held-out commenters.
//!
//! - **In**: the bytes of a file in one of three formats.
//! - **Out**: [`Row`]s, a [`Tally`] of them, and from [`split`] the side and the fold of each commenter.
//! - **Callers**: the registry, which stores rows as datasets; everything in this crate that learns or judges.
//!
//! A malformed row is quarantined with its line number and a reason. The reason never repeats the row's text.

mod delimited;
mod error;
mod jsonl;
mod lines;
pub mod near;
mod reader;
mod record;
mod row;
pub mod split;
mod tally;
mod threat;

use serde::{Deserialize, Serialize};

pub use self::{
    error::Error,
    reader::Reader,
    row::{Item, Quarantined, Row, THREAT},
    tally::Tally,
};

/// A file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Blocks of a header line, `label<TAB>sentence` lines and a blank line.
    Threat,
    /// One JSON object per line: `text`, `label`, and optionally `commenter` and `comment`.
    Jsonl,
    /// Comma-separated with a header line and the same columns.
    Csv,
}

impl Format {
    /// Guesses the format from the file's name, else from its first bytes.
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

/// The contents of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The usable rows, in the file's order.
    pub rows: Vec<Row>,
    /// The malformed rows, in the file's order.
    pub quarantined: Vec<Quarantined>,
}

/// A file with a higher percentage of malformed rows is refused.
pub const MAX_QUARANTINED_PERCENT: u64 = 5;
/// The fewest threats for training: each of five folds needs some.
pub const MIN_THREATS: u64 = 10;
const MIN_COMMENTERS: usize = 10;

/// Reads a whole file into memory.
///
/// Malformed rows are quarantined. If their share exceeds [`MAX_QUARANTINED_PERCENT`], the file is refused. The error
/// names the first ones.
///
/// ```
/// use model::corpus::{Format, parse};
///
/// let file = "text,label,commenter\nNice song.,0,ann\nI will find you.,1,bob\n";
/// let parsed = parse(Format::Csv, file.as_bytes())?;
/// assert!(!parsed.rows[0].is_threat() && parsed.rows[1].is_threat());
/// assert_eq!(parsed.rows[1].commenter, "bob");
/// assert!(parsed.quarantined.is_empty());
/// # Ok::<(), model::corpus::Error>(())
/// ```
pub fn parse(format: Format, bytes: &[u8]) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    let mut tally = Tally::default();
    for item in Reader::new(format, bytes)? {
        let item = item?;
        tally.add(&item);
        match item {
            Item::Row(row) => parsed.rows.push(row),
            Item::Malformed(row) => parsed.quarantined.push(row),
        }
    }
    tally.require_form()?;
    Ok(parsed)
}

/// Refuses rows that are not enough to train and judge a model.
pub fn require_trainable(rows: &[Row]) -> Result<(), Error> {
    let mut tally = Tally::default();
    for row in rows {
        tally.add_row(row);
    }
    tally.require_trainable()
}

/// The sample corpus, parsed.
///
/// # Panics
/// Never: a test parses it.
#[must_use]
pub fn sample() -> Parsed {
    parse(Format::Threat, crate::SAMPLE_CORPUS).expect("the shipped corpus is well formed")
}

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

    #[test]
    fn an_open_quote_costs_its_own_line_and_no_other() {
        let mut file = String::from("text,label\nfirst,0\n\"said \"\"it\"\"\ntwice\",1\n\"oops he said,0\n");
        file += "\"a, b\",0\n\"closed\" early,0\nlast,2\r\n\"never closed,0\n";
        let parsed: Vec<Item> = Reader::new(Format::Csv, file.as_bytes()).unwrap().map(Result::unwrap).collect();
        let told: Vec<String> = parsed
            .iter()
            .map(|item| match item {
                Item::Row(row) => row.text.clone(),
                Item::Malformed(row) => format!("line {}", row.line),
            })
            .collect();
        assert_eq!(told, ["first", "said \"it\"\ntwice", "line 5", "a, b", "line 7", "last", "line 9"]);
    }

    #[test]
    fn sentences_of_a_comment_without_a_commenter_stay_together() {
        let file = br#"{"text":"one","label":0,"comment":7}
{"text":"two","label":1,"comment":7}
{"text":"three","label":1}"#;
        let rows = parse(Format::Jsonl, file).unwrap().rows;
        assert_eq!((rows[0].comment, &rows[0].commenter), (rows[1].comment, &rows[1].commenter));
        assert_ne!(rows[2].commenter, rows[1].commenter);
    }

    #[test]
    fn a_line_without_an_end_is_set_aside_and_the_next_is_read() {
        let mut file = vec![b'x'; 3 << 20];
        file.extend(b"\n{\"text\":\"short\",\"label\":0}\r\n");
        let items: Vec<Item> = Reader::new(Format::Jsonl, &file[..]).unwrap().map(Result::unwrap).collect();
        let [Item::Malformed(long), Item::Row(row)] = &items[..] else { panic!("{items:?}") };
        assert_eq!((long.line, row.text.as_str()), (1, "short"));
        assert!(long.reason.contains("longer than 1 MiB"));
    }

    #[test]
    fn an_input_that_fails_is_named_by_its_line() {
        use std::io::{BufReader, Read};
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let start = &b"{\"text\":\"a\",\"label\":0}\n"[..];
        let items: Vec<_> = Reader::new(Format::Jsonl, BufReader::new(start.chain(Broken))).unwrap().take(2).collect();
        assert!(items[0].is_ok());
        assert_eq!(items[1], Err(Error::Unreadable { line: 2, kind: std::io::ErrorKind::ConnectionReset }));
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
            let items = Reader::new(Format::Threat, file.as_bytes()).unwrap();
            prop_assert_eq!(items.flatten().count(), labels.len());
        }
    }
}
