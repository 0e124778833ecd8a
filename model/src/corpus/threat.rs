//! The THREAT format: `Video #1, Comment #2, Commenter #3, when`, then `label<TAB>sentence` lines, then a blank line.
//!
//! Hammer, Riegler, Øvrelid, Velldal: "THREAT: A Large Annotated Corpus for Detection of Violent Threats", CBMI 2019.
//! Lines that start with `#` before a block are remarks.

use super::{NOT_UTF8, Parsed, Quarantined, Row, lines, refusal};

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut comment = 0;
    let mut commenter: Option<&str> = None;
    for (number, line) in lines(bytes) {
        match read(line, commenter) {
            Ok(Line::Blank) => commenter = None,
            Ok(Line::Remark) => {}
            Ok(Line::Header { commenter: name }) => {
                comment += 1;
                commenter = Some(name);
            }
            Ok(Line::Sentence { label, text, commenter }) => parsed.rows.push(Row {
                comment: comment - 1,
                commenter: commenter.to_owned(),
                label,
                text: text.to_owned(),
            }),
            Err(reason) => parsed.quarantined.push(Quarantined { line: number, reason: reason.to_owned() }),
        }
    }
    parsed
}

enum Line<'a> {
    Blank,
    Remark,
    Header { commenter: &'a str },
    Sentence { label: u8, text: &'a str, commenter: &'a str },
}

fn read<'a>(line: &'a [u8], commenter: Option<&'a str>) -> Result<Line<'a>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    if line.trim().is_empty() {
        return Ok(Line::Blank);
    }
    if let Some(commenter) = header(line) {
        return Ok(Line::Header { commenter });
    }
    if commenter.is_none() && line.starts_with('#') {
        return Ok(Line::Remark);
    }
    let (label, text) = line.split_once('\t').ok_or("no tab between label and sentence")?;
    if let Some(reason) = refusal(label, text) {
        return Err(reason);
    }
    let commenter = commenter.ok_or("the sentence stands under no header line")?;
    Ok(Line::Sentence { label: label.parse().expect("one of four digits"), text, commenter })
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
