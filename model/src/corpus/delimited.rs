//! CSV (RFC 4180) with a header line: columns `text` and `label`, and if known `commenter` and `comment`.

use super::{CommentNumbers, Error, NOT_UTF8, Parsed, Quarantined, Record, standalone};

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.byte_headers().cloned().unwrap_or_default();
    let column = |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    let text = column("text").ok_or(Error::MissingColumn("text"))?;
    let label = column("label").ok_or(Error::MissingColumn("label"))?;
    let (commenter, comment) = (column("commenter"), column("comment"));

    let mut parsed = Parsed::default();
    let mut comments = CommentNumbers::default();
    for record in reader.byte_records() {
        let (line, read) = match record {
            Ok(record) => {
                let field = |at: usize| {
                    let bytes = record.get(at).ok_or("a column is missing")?;
                    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NOT_UTF8)
                };
                let read = || {
                    Ok(Record {
                        text: field(text)?,
                        label: field(label)?.trim().to_owned(),
                        commenter: commenter.map(field).transpose()?,
                        comment: comment.map(field).transpose()?,
                    })
                };
                (record.position().map_or(0, csv::Position::line), read())
            }
            Err(error) => (error.position().map_or(0, csv::Position::line), Err("the record is not CSV")),
        };
        match read.and_then(|record| standalone(&mut comments, record)) {
            Ok(row) => parsed.rows.push(row),
            Err(reason) => parsed.quarantined.push(Quarantined { line, reason: reason.to_owned() }),
        }
    }
    Ok(parsed)
}
