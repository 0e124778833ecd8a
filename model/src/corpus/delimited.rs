//! CSV (RFC 4180) with a header line: columns `text` and `label`, and if known `commenter` and `comment`.

use std::{borrow::Cow, io::BufRead};

use csv::ByteRecord;

use super::{
    CommentNumbers, Error, Item, NOT_UTF8, Record, Row,
    reader::{item, unreadable},
    standalone,
};

/// The records of a file after its header.
pub(super) struct Records<R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
    columns: Columns,
    comments: CommentNumbers,
}

struct Columns {
    text: usize,
    label: usize,
    commenter: Option<usize>,
    comment: Option<usize>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R) -> Result<Self, Error> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader.byte_headers().cloned().unwrap_or_default();
        let column =
            |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        let columns = Columns {
            text: column("text").ok_or(Error::MissingColumn("text"))?,
            label: column("label").ok_or(Error::MissingColumn("label"))?,
            commenter: column("commenter"),
            comment: column("comment"),
        };
        Ok(Self { reader, record: ByteRecord::new(), columns, comments: CommentNumbers::default() })
    }

    pub(super) fn next(&mut self) -> Option<Result<Item, Error>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                Some(Ok(item(line, self.columns.row(&self.record, &mut self.comments))))
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                Some(match error.into_kind() {
                    csv::ErrorKind::Io(error) => Err(unreadable(line, &error)),
                    _ => Ok(item(line, Err("the record is not CSV"))),
                })
            }
        }
    }
}

impl Columns {
    fn row(&self, record: &ByteRecord, comments: &mut CommentNumbers) -> Result<Row, &'static str> {
        let field = |at: usize| {
            let bytes = record.get(at).ok_or("a column is missing")?;
            std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)
        };
        standalone(
            comments,
            Record {
                text: field(self.text)?.into(),
                label: field(self.label)?.trim().into(),
                commenter: self.commenter.map(field).transpose()?.map(Cow::Borrowed),
                comment: self.comment.map(field).transpose()?.map(Cow::Borrowed),
            },
        )
    }
}
