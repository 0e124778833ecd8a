//! One labelled sentence, or a malformed row.

use serde::{Deserialize, Serialize};

/// The label of violent threats and of support of violence; other labels are no threat.
pub const THREAT: u8 = 1;

/// One labelled sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The comment that contains the sentence; the sentences of a comment follow each other.
    pub comment: u32,
    /// The writer; a split never separates the rows of one commenter.
    pub commenter: String,
    /// 1 is a threat; 0, 2 and 3 are not (2 and 3: other abuse).
    pub label: u8,
    /// The sentence.
    pub text: String,
}

impl Row {
    /// Whether the sentence is labelled a threat.
    #[must_use]
    pub fn is_threat(&self) -> bool {
        self.label == THREAT
    }
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Line in the file, from 1.
    pub line: u64,
    /// The reason, without the row's text.
    pub reason: String,
}

/// An item of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A usable row.
    Row(Row),
    /// A row that could not be read.
    Malformed(Quarantined),
}

pub(super) const NOT_UTF8: &str = "the line is not UTF-8";

/// Why a text and a label do not make a row; `None` if they do.
pub(super) fn refusal(label: &str, text: &str) -> Option<&'static str> {
    if !matches!(label, "0" | "1" | "2" | "3") {
        Some("the label is not 0, 1, 2 or 3")
    } else if text.trim().is_empty() {
        Some("the sentence is empty")
    } else {
        None
    }
}
