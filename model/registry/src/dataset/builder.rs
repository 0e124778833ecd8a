//! Makes a dataset's manifest from its rows.

use model::{Digest, Row, corpus::Tally, version::Digester};

use super::{
    DatasetManifest, Shard, Source,
    shard::{ShardText, write_line},
};

/// Makes a dataset's manifest from its rows, which are added in order.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) tally: Tally,
    whole: Digester,
    lines: Vec<u8>,
    pub(super) rows: u64,
    shards: Vec<Shard>,
}

impl Builder {
    pub(super) fn add(&mut self, row: &Row) {
        self.tally.add_row(row);
        write_line(&mut self.lines, row);
        self.rows += 1;
    }

    /// Ends a shard, if any row was added since the last one.
    pub(super) fn cut(&mut self) -> Option<ShardText> {
        if self.rows == 0 {
            return None;
        }
        let lines = std::mem::take(&mut self.lines);
        self.whole.update(&lines);
        let number = self.shards.len() as u32;
        self.shards.push(Shard { number, rows: std::mem::take(&mut self.rows), sha256: Digest::of(&lines) });
        Some(ShardText { lines })
    }

    pub(super) fn finish(mut self, source: Source) -> (DatasetManifest, Tally) {
        self.cut();
        let tally = self.tally;
        let manifest = DatasetManifest {
            digest: self.whole.finish(),
            source,
            sentences: tally.sentences,
            threats: tally.threats,
            comments: tally.comments,
            commenters: tally.commenters(),
            quarantined: tally.quarantined,
            quarantine: tally.quarantine.clone(),
            shards: self.shards,
            sample_of: None,
            built_on: None,
        };
        (manifest, tally)
    }
}
