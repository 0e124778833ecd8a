//! Counts of a corpus, made in one pass over its rows.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Error, Item, MAX_QUARANTINED_PERCENT, MIN_COMMENTERS, MIN_THREATS, Quarantined, Row};

/// Malformed rows that are reported one by one; the count includes all.
const REPORTED_ROWS: usize = 1_000;

/// Counts of rows.
///
/// Memory grows by a few bytes for each commenter and comment, but not with sentences.
///
/// ```
/// use model::corpus::{Error, Row, Tally};
///
/// let mut tally = Tally::default();
/// tally.add_row(&Row { comment: 0, commenter: "ann".into(), label: 1, text: "I will find you.".into() });
/// assert_eq!((tally.sentences, tally.threats, tally.commenters()), (1, 1, 1));
/// assert_eq!(tally.require_trainable(), Err(Error::TooSmall { rows: 1, threats: 1 }));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Usable sentences.
    pub sentences: u64,
    /// Threats among the sentences.
    pub threats: u64,
    /// Comments.
    pub comments: u64,
    /// Malformed rows.
    pub quarantined: u64,
    /// The first thousand malformed rows.
    pub quarantine: Vec<Quarantined>,
    seen_comments: Vec<u64>,
    commenters: HashSet<u64>,
    /// The first few commenters of harmless sentences, and of threats.
    few: [BTreeSet<String>; 2],
}

impl Tally {
    /// Counts one item of a file.
    pub fn add(&mut self, item: &Item) {
        match item {
            Item::Row(row) => self.add_row(row),
            Item::Malformed(row) => {
                self.quarantined += 1;
                if self.quarantine.len() < REPORTED_ROWS {
                    self.quarantine.push(row.clone());
                }
            }
        }
    }

    /// Counts a usable row.
    pub fn add_row(&mut self, row: &Row) {
        self.sentences += 1;
        self.threats += u64::from(row.is_threat());
        let (word, bit) = (row.comment as usize / 64, 1 << (row.comment % 64));
        if self.seen_comments.len() <= word {
            self.seen_comments.resize(word + 1, 0);
        }
        self.comments += u64::from(self.seen_comments[word] & bit == 0);
        self.seen_comments[word] |= bit;
        let mut hasher = DefaultHasher::new();
        row.commenter.hash(&mut hasher);
        self.commenters.insert(hasher.finish());
        let few = &mut self.few[usize::from(row.is_threat())];
        if few.len() < MIN_COMMENTERS && !few.contains(&row.commenter) {
            few.insert(row.commenter.clone());
        }
    }

    /// The number of commenters.
    #[must_use]
    pub fn commenters(&self) -> u64 {
        self.commenters.len() as u64
    }

    /// Refuses a file with too many malformed rows; it probably has another format.
    pub fn require_form(&self) -> Result<(), Error> {
        let total = self.sentences + self.quarantined;
        if self.quarantined * 100 <= total * MAX_QUARANTINED_PERCENT {
            return Ok(());
        }
        let first: Vec<String> =
            self.quarantine.iter().take(5).map(|q| format!("line {}: {}", q.line, q.reason)).collect();
        Err(Error::TooManyMalformed { quarantined: self.quarantined, total, first: first.join("; ") })
    }

    /// Refuses rows that are not enough to train and judge a model.
    pub fn require_trainable(&self) -> Result<(), Error> {
        let enough = self.threats >= MIN_THREATS
            && self.sentences - self.threats >= MIN_THREATS
            && self.few.iter().all(|few| few.len() >= MIN_COMMENTERS);
        if enough { Ok(()) } else { Err(Error::TooSmall { rows: self.sentences, threats: self.threats }) }
    }
}
