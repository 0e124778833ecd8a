//! Backtests: the comments to judge again, the judged parts, and the reports.
//!
//! Each is written once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use model::{
    Digest, Row, Version,
    backtest::{self, Backtest, BacktestId, Case, Comment, Piece, Source},
};

use crate::{
    Error, FeedbackItem, Key, Label, ModelManifest, REQUESTS_AT_ONCE, Registry, blocking, compression::decompress,
};

/// Reviewed comments in a piece: small reads that take some seconds.
const COMMENTS_A_PIECE: usize = 10_000;
/// Shards in a piece: 100,000 sentences.
///
/// A fast model needs seconds for them, one with an encoder some minutes.
const SHARDS_A_PIECE: u32 = 5;
/// The most pieces of a source, so that a run's history stays short.
const MOST_PIECES: u32 = 256;
/// The fastest level of zstd, because parts are read once.
const COMPRESSION_LEVEL: i32 = 1;

impl Registry {
    /// The version to compare with: the named one, else the one in production.
    pub async fn incumbent(&self, named: Option<Version>) -> Result<Version, Error> {
        match named {
            Some(version) => Ok(version),
            None => Ok(self.production().await?.ok_or(Error::NothingInProduction)?.record.version),
        }
    }

    /// The pieces of a source, each of which fits into memory.
    ///
    /// A file has none, and neither has a source without comments. A dataset is protected from retention.
    pub async fn backtest_pieces(&self, source: &Source) -> Result<Vec<Piece>, Error> {
        match source {
            Source::Feedback => {
                let paths = self.store.list(Key::FEEDBACK).await?;
                let comments: BTreeSet<&str> =
                    paths.iter().filter_map(|path| Key::feedback_of(path)).map(|(comment, ..)| comment).collect();
                Ok(feedback_pieces(comments.len()))
            }
            Source::Dataset(dataset) => {
                let shards = self.claim_dataset(dataset).await?.shards.len() as u32;
                Ok(shard_pieces(dataset, shards))
            }
            Source::File(_) => Ok(Vec::new()),
        }
    }

    /// The comments of a piece.
    ///
    /// Feedback has the label of most reviewers, a dataset its own label.
    pub async fn comments(&self, piece: &Piece) -> Result<Vec<Comment>, Error> {
        match piece {
            Piece::Feedback { digits } => Ok(reviewed(self.feedback_part(digits).await?.into_values())),
            Piece::Shards { dataset, from, to } => self.comments_of_shards(dataset, *from, *to).await,
        }
    }

    /// The comments that begin in these shards.
    ///
    /// The last one may end in the next shard.
    async fn comments_of_shards(&self, dataset: &Digest, from: u32, to: u32) -> Result<Vec<Comment>, Error> {
        let manifest = self.dataset(dataset).await?;
        let (first, last) = (from.saturating_sub(1), manifest.shards.len().min(to as usize + 1));
        let rows_in = |from: u32, to: u32| -> u64 {
            let shards = manifest.shards.get(from as usize..to as usize).unwrap_or_default();
            shards.iter().map(|shard| shard.rows).sum()
        };
        let (before, own) = (rows_in(first, from), rows_in(from, to));
        let rows = self.fold_rows(&manifest, first as usize..last, Vec::new(), Extend::extend).await?;
        blocking(move || {
            let own = begin(&rows, before as usize)..begin(&rows, (before + own) as usize);
            backtest::comments(&rows[own])
        })
        .await
    }

    /// Stores what a step of a backtest judged, unless it is there already.
    pub async fn put_cases(
        &self,
        version: &Version,
        id: &BacktestId,
        number: u32,
        cases: Vec<Case>,
    ) -> Result<(), Error> {
        let compress = move || {
            let mut lines = Vec::new();
            for case in &cases {
                serde_json::to_writer(&mut lines, case).expect("a case is plain data");
                lines.push(b'\n');
            }
            zstd::bulk::compress(&lines, COMPRESSION_LEVEL).expect("compression in memory")
        };
        let body = blocking(compress).await?;
        self.store.create(&Key::Cases(version, id, number).path(), body.into()).await?;
        Ok(())
    }

    /// What a step of a backtest judged.
    pub async fn cases(&self, version: &Version, id: &BacktestId, number: u32) -> Result<Vec<Case>, Error> {
        let key = Key::Cases(version, id, number);
        let body = self.require(key).await?;
        let decode = move || {
            let lines = decompress(&body).ok()?;
            let lines = lines.split(|&b| b == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).ok()).collect::<Option<Vec<Case>>>()
        };
        blocking(decode).await?.ok_or_else(|| key.corrupt("it is not a list of judged comments"))
    }

    /// Deletes what the steps of a backtest judged.
    pub async fn drop_cases(&self, version: &Version, id: &BacktestId) -> Result<(), Error> {
        for path in self.store.list(&Key::cases(version, id)).await? {
            self.store.delete(&path).await?;
        }
        Ok(())
    }

    /// Marks the labelled cases that repeat a training sentence of any of these versions.
    ///
    /// It reads the dataset of each version, a few shards at a time.
    pub async fn mark_learnt(&self, mut cases: Vec<Case>, versions: [&ModelManifest; 2]) -> Result<Vec<Case>, Error> {
        let wanted = Arc::new(backtest::labelled_sentences(&cases));
        if wanted.is_empty() {
            return Ok(cases);
        }
        let trained: BTreeSet<(&Digest, u64)> = versions.map(|version| (&version.dataset, version.seed)).into();
        let mut learnt = BTreeSet::new();
        for (dataset, seed) in trained {
            let manifest = self.dataset(dataset).await?;
            let wanted = Arc::clone(&wanted);
            let look = move |learnt: &mut BTreeSet<u64>, rows: Vec<Row>| {
                let traces = rows.iter().flat_map(|row| backtest::traces(seed, row));
                learnt.extend(traces.filter(|trace| wanted.contains(trace)));
            };
            learnt = self.fold_rows(&manifest, 0..manifest.shards.len(), learnt, look).await?;
        }
        blocking(move || {
            backtest::mark_learnt(&mut cases, &learnt);
            cases
        })
        .await
    }

    /// Stores the report of a backtest and returns it.
    ///
    /// If its run has stored one already, that one is returned.
    pub async fn put_backtest(&self, backtest: &Backtest) -> Result<Backtest, Error> {
        let key = Key::Backtest(&backtest.candidate, &backtest.id);
        self.create_json(key, backtest).await?;
        let stored = self.backtest(&backtest.candidate, &backtest.id).await?;
        stored.ok_or_else(|| Error::NotFound { what: key.what(), path: key.path() })
    }

    /// The report of a backtest of a version, if there is one.
    pub async fn backtest(&self, version: &Version, id: &BacktestId) -> Result<Option<Backtest>, Error> {
        let key = Key::Backtest(version, id);
        match self.read_json::<Backtest>(key).await? {
            Some((found, _)) if (&found.candidate, &found.id) != (version, id) => {
                Err(key.corrupt("it belongs to another version or run"))
            }
            found => Ok(found.map(|(found, _)| found)),
        }
    }

    /// The backtests of a version, newest first. Unreadable ones are left out and logged.
    pub async fn backtests(&self, version: &Version) -> Result<Vec<Backtest>, Error> {
        let paths = self.store.list(&Key::backtests(version)).await?;
        let ids: Vec<BacktestId> = paths.iter().filter_map(|path| Key::backtest_of(path)?.1).collect();
        let read = |id: BacktestId| async move {
            match self.backtest(version, &id).await {
                Err(error) if !error.is_transient() => {
                    tracing::warn!(%error, "a backtest cannot be read and is left out of the list");
                    Ok(None)
                }
                read => read,
            }
        };
        let found: Vec<Option<Backtest>> = stream::iter(ids).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let mut found: Vec<Backtest> = found.into_iter().flatten().collect();
        found.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        Ok(found)
    }
}

/// The end of the comment that the row before `at` belongs to.
fn begin(rows: &[Row], at: usize) -> usize {
    let Some(last) = at.checked_sub(1).and_then(|before| rows.get(before)) else { return at.min(rows.len()) };
    let is_same = |row: &&Row| (row.comment, &row.commenter) == (last.comment, &last.commenter);
    at + rows[at..].iter().take_while(is_same).count()
}

/// Pieces by the first digits of the comments' names, which are as good as random.
fn feedback_pieces(comments: usize) -> Vec<Piece> {
    let piece = |digits: String| Piece::Feedback { digits };
    match comments {
        0 => Vec::new(),
        few if few <= COMMENTS_A_PIECE => vec![piece(String::new())],
        some if some <= 16 * COMMENTS_A_PIECE => (0..16).map(|number| piece(format!("{number:x}"))).collect(),
        _ => (0..MOST_PIECES).map(|number| piece(format!("{number:02x}"))).collect(),
    }
}

fn shard_pieces(dataset: &Digest, shards: u32) -> Vec<Piece> {
    let size = SHARDS_A_PIECE.max(shards.div_ceil(MOST_PIECES));
    let piece = |number: u32| {
        let from = number * size;
        Piece::Shards { dataset: dataset.clone(), from, to: shards.min(from + size) }
    };
    (0..shards.div_ceil(size)).map(piece).collect()
}

/// Each comment once, with the label of most reviewers, or none without a majority.
fn reviewed(items: impl Iterator<Item = Arc<FeedbackItem>>) -> Vec<Comment> {
    let mut by_comment: BTreeMap<String, (Comment, i64)> = BTreeMap::new();
    for item in items {
        let comment = || Comment { text: item.feedback.text.clone(), label: None, commenter: None };
        let (_, balance) = by_comment.entry(item.id.comment().to_owned()).or_insert_with(|| (comment(), 0));
        *balance += if item.feedback.label == Label::Threat { 1 } else { -1 };
    }
    let resolved =
        |(comment, balance): (Comment, i64)| Comment { label: (balance != 0).then_some(balance > 0), ..comment };
    by_comment.into_values().map(resolved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_and_never_too_many() {
        let dataset = Digest::of(b"rows");
        for shards in [0, 1, 5, 6, 77, 1280, 1281, 9999] {
            let mut next = 0;
            let pieces = shard_pieces(&dataset, shards);
            for piece in &pieces {
                let Piece::Shards { from, to, .. } = piece else { panic!("{piece:?}") };
                assert!(*from == next && to > from, "{piece:?}");
                next = *to;
            }
            assert!(next == shards && pieces.len() <= MOST_PIECES as usize, "{shards}: {}", pieces.len());
        }
        assert_eq!([0, 1, 10_000, 10_001, 200_000].map(|n| feedback_pieces(n).len()), [0, 1, 1, 16, 256]);
        assert_eq!(feedback_pieces(100_000)[15], Piece::Feedback { digits: "f".to_owned() });
        assert_eq!(feedback_pieces(200_000)[10], Piece::Feedback { digits: "0a".to_owned() });
    }

    #[test]
    fn a_comment_that_is_cut_by_a_shard_is_whole_in_the_piece_that_it_begins_in() {
        let row = |comment: u32| Row { comment, commenter: "a".to_owned(), label: 0, text: String::new() };
        let rows: Vec<Row> = [1, 1, 2, 2, 2, 3].map(row).to_vec();
        assert_eq!((0..=6).map(|at| begin(&rows, at)).collect::<Vec<_>>(), [0, 2, 2, 5, 5, 5, 6]);
    }
}
