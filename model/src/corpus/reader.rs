//! Reads a file row by row, in memory that does not grow with the file.

use std::io::BufRead;

use super::{
    Error, Format, Item, delimited, jsonl,
    lines::{Lines, unreadable},
    threat,
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An iterator over the rows of a file, in the file's order.
///
/// ```
/// use model::corpus::{Format, Item, Reader};
///
/// let file = "{\"text\": \"I will find you.\", \"label\": 1}\n{\"text\": \"Nice song.\"}\n";
/// let items: Vec<Item> = Reader::new(Format::Jsonl, file.as_bytes())?.collect::<Result<_, _>>()?;
/// assert!(matches!(&items[0], Item::Row(row) if row.is_threat()));
/// assert!(matches!(&items[1], Item::Malformed(bad) if bad.line == 2 && bad.reason == "`label` is missing"));
/// # Ok::<(), model::corpus::Error>(())
/// ```
pub struct Reader<R>(Records<R>);

enum Records<R> {
    Threat(threat::Blocks, Lines<R>),
    Jsonl(jsonl::Records, Lines<R>),
    Csv(Box<delimited::Records<R>>),
}

impl<R: BufRead> Reader<R> {
    /// Starts to read a file.
    ///
    /// # Errors
    /// [`Error::MissingColumn`] if a CSV header lacks a column; [`Error::Unreadable`] if the input fails.
    pub fn new(format: Format, mut input: R) -> Result<Self, Error> {
        if input.fill_buf().map_err(|error| unreadable(0, &error))?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Self(match format {
            Format::Threat => Records::Threat(threat::Blocks::default(), Lines::new(input)),
            Format::Jsonl => Records::Jsonl(jsonl::Records::default(), Lines::new(input)),
            Format::Csv => Records::Csv(Box::new(delimited::Records::new(Lines::new(input))?)),
        }))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Records::Threat(blocks, lines) => lines.next_row(|line| blocks.read(line)),
            Records::Jsonl(records, lines) => lines.next_row(|line| records.read(line)),
            Records::Csv(records) => records.next(),
        }
    }
}
