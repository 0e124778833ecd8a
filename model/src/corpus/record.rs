//! Records of JSONL and CSV, where every row is independent of the others.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::row::{Row, refusal};

/// The row of one record of JSONL or CSV.
///
/// A row without a commenter is grouped by its comment; a row without either is grouped by its sentence, so that equal
/// sentences stay on one side of a split. `comments` numbers the comments in order of appearance. A row without a
/// comment is a comment of its own.
pub(super) fn standalone(comments: &mut CommentNumbers, record: Record<'_>) -> Result<Row, &'static str> {
    let Record { label, text, commenter, comment } = record;
    if let Some(reason) = refusal(&label, &text) {
        return Err(reason);
    }
    let comment = comment.as_deref().filter(|id| !id.is_empty());
    let commenter = match (commenter.filter(|name| !name.is_empty()), comment) {
        (Some(name), _) => name.into_owned(),
        (None, Some(id)) => format!("comment:{id}"),
        (None, None) => format!("text:{}", crate::Digest::of(text.to_lowercase().as_bytes()).short()),
    };
    let comment = comments.number(&commenter, comment);
    let label = label.parse().expect("one of four digits");
    Ok(Row { comment, commenter, label, text: text.into_owned() })
}

/// A record of JSONL or CSV before it is checked.
pub(super) struct Record<'a> {
    pub(super) label: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
    pub(super) commenter: Option<Cow<'a, str>>,
    pub(super) comment: Option<Cow<'a, str>>,
}

/// Numbers comments in order of first appearance.
#[derive(Default)]
pub(super) struct CommentNumbers {
    /// By a hash of commenter and id: ten million names would not fit in memory.
    known: HashMap<u64, u32>,
    next: u32,
}

impl CommentNumbers {
    fn number(&mut self, commenter: &str, id: Option<&str>) -> u32 {
        let fresh = self.next;
        let number = id.map_or(fresh, |id| {
            let mut hasher = DefaultHasher::new();
            (commenter, id).hash(&mut hasher);
            *self.known.entry(hasher.finish()).or_insert(fresh)
        });
        self.next += u32::from(number == fresh);
        number
    }
}
