//! Lines of a file, with numbers and a limit on their length.

use std::io::{self, BufRead, Read};

use super::{Error, Item, Quarantined, Row};

/// A longer line is quarantined; no sentence or record is as long.
const MAX_LINE: u64 = 1 << 20;

/// Lines with their numbers from 1, without line ends.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    /// The next line, cut at [`MAX_LINE`].
    pub(super) fn next_line(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        match self.advance() {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some((self.number, self.line.strip_suffix(b"\r").unwrap_or(&self.line)))),
            Err(error) => Err(unreadable(self.number, &error)),
        }
    }

    /// The next item: `read` returns `None` for a line to skip.
    pub(super) fn next_row(
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
