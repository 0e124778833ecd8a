//! A file row by row, in memory that does not grow with it.

use std::io::{self, BufRead, Read};

use super::{Error, Format, Quarantined, Row, delimited, jsonl, threat};

/// A longer line is set aside: no sentence and no record is as long.
const MAX_LINE: u64 = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A usable row.
    Row(Row),
    /// A row that could not be read.
    Malformed(Quarantined),
}

/// Reads a file from its beginning to its end, each row once.
pub struct Reader<R>(Records<R>);

enum Records<R> {
    Threat(threat::Blocks, Lines<R>),
    Jsonl(jsonl::Records, Lines<R>),
    Csv(Box<delimited::Records<R>>),
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::MissingColumn`] for CSV; [`Error::Unreadable`] where the input fails.
    pub fn new(format: Format, mut input: R) -> Result<Self, Error> {
        if input.fill_buf().map_err(|error| unreadable(0, &error))?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        let lines = |input| Lines { input, number: 0, line: Vec::new() };
        Ok(Self(match format {
            Format::Threat => Records::Threat(threat::Blocks::default(), lines(input)),
            Format::Jsonl => Records::Jsonl(jsonl::Records::default(), lines(input)),
            Format::Csv => Records::Csv(Box::new(delimited::Records::new(lines(input))?)),
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

/// Lines with their numbers from 1, without line ends.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line, cut at [`MAX_LINE`].
    pub(super) fn next_line(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        match self.advance() {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some((self.number, self.line.strip_suffix(b"\r").unwrap_or(&self.line)))),
            Err(error) => Err(unreadable(self.number, &error)),
        }
    }

    /// The next line that `read` makes something of.
    fn next_row(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Option<Result<Row, &'static str>>,
    ) -> Option<Result<Item, Error>> {
        loop {
            let (number, line) = match self.next_line() {
                Ok(found) => found?,
                Err(error) => return Some(Err(error)),
            };
            let found =
                if line.len() as u64 > MAX_LINE { Some(Err("the line is longer than 1 MiB")) } else { read(line) };
            if let Some(row) = found {
                return Some(Ok(item(number, row)));
            }
        }
    }

    /// Reads one line; false at the end of the input.
    fn advance(&mut self) -> io::Result<bool> {
        self.number += 1;
        self.line.clear();
        let read = self.input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 > MAX_LINE {
            self.input.skip_until(b'\n')?;
        }
        Ok(read > 0)
    }
}

pub(super) fn item(line: u64, row: Result<Row, &'static str>) -> Item {
    row.map_or_else(|reason| Item::Malformed(Quarantined { line, reason: reason.to_owned() }), Item::Row)
}

pub(super) fn unreadable(line: u64, error: &io::Error) -> Error {
    Error::Unreadable { line, kind: error.kind() }
}
