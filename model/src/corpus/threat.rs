//! The THREAT format: blocks of a header line, sentence lines and a blank line.
//!
//! A header is `Video #1, Comment #2, Commenter #3, when`; a sentence line is `label<TAB>sentence`.
//!
//! Hammer, Riegler, Øvrelid, Velldal: "THREAT: A Large Annotated Corpus for Detection of Violent Threats", CBMI 2019.
//! A line that starts with `#` outside a block is a remark.

use super::row::{NOT_UTF8, Row, refusal};

/// The state of a reader of blocks.
#[derive(Default)]
pub(super) struct Blocks {
    comments: u32,
    commenter: Option<String>,
}

impl Blocks {
    /// The row of a line; `None` if the line is not a sentence.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<Result<Row, &'static str>> {
        match read(line, self.commenter.is_some()) {
            Ok(Line::Blank) => self.commenter = None,
            Ok(Line::Remark) => {}
            Ok(Line::Header { commenter }) => {
                self.comments += 1;
                self.commenter = Some(commenter.to_owned());
            }
            Ok(Line::Sentence { label, text }) => {
                let row = self.commenter.as_ref().map(|commenter| Row {
                    comment: self.comments - 1,
                    commenter: commenter.clone(),
                    label,
                    text: text.to_owned(),
                });
                return Some(row.ok_or("the sentence has no header line above it"));
            }
            Err(reason) => return Some(Err(reason)),
        }
        None
    }
}

enum Line<'a> {
    Blank,
    Remark,
    Header { commenter: &'a str },
    Sentence { label: u8, text: &'a str },
}

fn read(line: &[u8], is_in_block: bool) -> Result<Line<'_>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    if line.trim().is_empty() {
        return Ok(Line::Blank);
    }
    if let Some(commenter) = header(line) {
        return Ok(Line::Header { commenter });
    }
    if !is_in_block && line.starts_with('#') {
        return Ok(Line::Remark);
    }
    let (label, text) = line.split_once('\t').ok_or("no tab between label and sentence")?;
    if let Some(reason) = refusal(label, text) {
        return Err(reason);
    }
    Ok(Line::Sentence { label: label.parse().expect("one of four digits"), text })
}

/// The commenter of a header line.
fn header(line: &str) -> Option<&str> {
    let rest = number(line, "Video #")?.1;
    let rest = number(rest, ", Comment #")?.1;
    Some(number(rest, ", Commenter #")?.0)
}

fn number<'a>(text: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    let text = text.strip_prefix(before)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (digits > 0).then(|| text.split_at(digits))
}
