//! CSV (RFC 4180) with a header line: columns `text`, `label`, and optionally `commenter` and `comment`.
//!
//! An open quote would swallow the rows that follow it. If a record does not end correctly, only its first line is
//! quarantined, and the following lines are read as records of their own.

use std::{borrow::Cow, collections::VecDeque, io::BufRead};

use super::{
    Error, Item, Row,
    lines::{Lines, item},
    record::{CommentNumbers, Record, standalone},
    row::NOT_UTF8,
};

/// The most lines of a record after its first one.
const MOST_LINES: usize = 200;
/// The most bytes of a record.
const LONGEST: usize = 1 << 20;

/// The records of a file after its header.
pub(super) struct Records<R> {
    lines: Lines<R>,
    /// Lines that were read ahead, with their numbers.
    ahead: VecDeque<(u64, Vec<u8>)>,
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
    pub(super) fn new(lines: Lines<R>) -> Result<Self, Error> {
        let columns = Columns { text: 0, label: 0, commenter: None, comment: None };
        let mut this = Self { lines, ahead: VecDeque::new(), columns, comments: CommentNumbers::default() };
        let header = match this.record()? {
            Some((_, Ok(header))) => header,
            _ => Vec::new(),
        };
        let column =
            |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        this.columns = Columns {
            text: column("text").ok_or(Error::MissingColumn("text"))?,
            label: column("label").ok_or(Error::MissingColumn("label"))?,
            commenter: column("commenter"),
            comment: column("comment"),
        };
        Ok(this)
    }

    pub(super) fn next(&mut self) -> Option<Result<Item, Error>> {
        let (line, record) = match self.record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        let row = record.and_then(|fields| self.columns.row(&fields, &mut self.comments));
        Some(Ok(item(line, row)))
    }

    /// The next record that is not blank: its line number, and fields or an error.
    fn record(&mut self) -> Result<Option<(u64, Fielded)>, Error> {
        let (number, first) = loop {
            match self.line()? {
                None => return Ok(None),
                Some((_, line)) if line.is_empty() => {}
                Some(found) => break found,
            }
        };
        let mut whole = first;
        let mut read_ahead = VecDeque::new();
        let fields = loop {
            if whole.len() > LONGEST {
                break Err("the record is longer than 1 MiB");
            }
            match fields(&whole) {
                Fields::Whole(fields) => break Ok(fields),
                Fields::Wrong(reason) => break Err(reason),
                Fields::Open if read_ahead.len() == MOST_LINES => break Err("a quote is not closed"),
                Fields::Open => match self.line()? {
                    None => break Err("a quote is not closed"),
                    Some((number, line)) => {
                        whole.push(b'\n');
                        whole.extend(&line);
                        read_ahead.push_back((number, line));
                    }
                },
            }
        };
        if fields.is_err() {
            read_ahead.append(&mut self.ahead);
            self.ahead = read_ahead;
        }
        Ok(Some((number, fields)))
    }

    fn line(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        Ok(self.lines.next_line()?.map(|(number, line)| (number, line.to_vec())))
    }
}

/// A record's fields, or why it is malformed.
type Fielded = Result<Vec<Vec<u8>>, &'static str>;

/// The fields found in some lines.
enum Fields {
    /// A complete record.
    Whole(Vec<Vec<u8>>),
    /// The beginning of a record: a quote is still open.
    Open,
    /// A malformed record, with the reason.
    Wrong(&'static str),
}

fn fields(line: &[u8]) -> Fields {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let mut field = Vec::new();
        if let Some(mut quoted) = rest.strip_prefix(b"\"") {
            loop {
                let Some(end) = quoted.iter().position(|&byte| byte == b'"') else { return Fields::Open };
                field.extend(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix(b"\"") {
                    Some(more) => {
                        field.push(b'"');
                        quoted = more;
                    }
                    None => break,
                }
            }
            rest = quoted;
            if !rest.is_empty() && rest[0] != b',' {
                return Fields::Wrong("there is text between a closing quote and the next comma");
            }
        } else {
            let end = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
            field.extend(&rest[..end]);
            rest = &rest[end..];
        }
        found.push(field);
        match rest.strip_prefix(b",") {
            Some(more) => rest = more,
            None => return Fields::Whole(found),
        }
    }
}

impl Columns {
    fn row(&self, record: &[Vec<u8>], comments: &mut CommentNumbers) -> Result<Row, &'static str> {
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
