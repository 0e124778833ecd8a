//! One JSON object a line: `text` and `label`, and if known `commenter` and `comment` (text or number).

use serde_json::Value;

use super::{CommentNumbers, NOT_UTF8, Parsed, Quarantined, Record, lines, standalone};

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut comments = CommentNumbers::default();
    for (line, text) in lines(bytes) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        match read(text).and_then(|record| standalone(&mut comments, record)) {
            Ok(row) => parsed.rows.push(row),
            Err(reason) => parsed.quarantined.push(Quarantined { line, reason: reason.to_owned() }),
        }
    }
    parsed
}

fn read(line: &[u8]) -> Result<Record, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    let mut object: serde_json::Map<String, Value> =
        serde_json::from_str(line).map_err(|_| "the line is not a JSON object")?;
    let mut take = |name: &str| match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err("`text`, `label`, `commenter` or `comment` is neither text nor number"),
    };
    Ok(Record {
        text: take("text")?.ok_or("`text` is missing")?,
        label: take("label")?.ok_or("`label` is missing")?,
        commenter: take("commenter")?,
        comment: take("comment")?,
    })
}
