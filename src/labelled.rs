//! Labelled rows of a file or of a stored dataset, and facts about them.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context;
use model::{
    Digest, Row,
    corpus::{Format, Item, Quarantined, Reader, Tally},
};
use registry::{Registry, dataset_digest};
use serde::Serialize;

/// Rows and facts about them.
#[derive(Debug)]
pub(crate) struct Labelled {
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Facts,
}

/// Facts about labelled rows, without their text and authors.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    /// The file's name, without folders.
    pub(crate) name: String,
    pub(crate) format: Format,
    /// The digest that a dataset of these rows has.
    pub(crate) dataset: Digest,
    pub(crate) sentences: u64,
    pub(crate) threats: u64,
    pub(crate) comments: u64,
    pub(crate) commenters: u64,
    /// Number of malformed rows, which were set aside.
    pub(crate) quarantined: u64,
    /// The first malformed rows: line and reason.
    pub(crate) quarantine: Vec<Quarantined>,
}

impl Labelled {
    /// Reads a THREAT, JSONL or CSV file.
    ///
    /// Refuses it if too many rows are malformed or none is usable.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        Self::read_corpus(file).with_context(|| format!("read {}", file.display()))
    }

    fn read_corpus(file: &Path) -> anyhow::Result<Self> {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut input = BufReader::with_capacity(1 << 16, File::open(file)?);
        let format = Format::guess(&name, input.fill_buf()?);
        let (mut rows, mut tally) = (Vec::new(), Tally::default());
        for item in Reader::new(format, input)? {
            let item = item?;
            tally.add(&item);
            if let Item::Row(row) = item {
                rows.push(row);
            }
        }
        tally.require_form()?;
        anyhow::ensure!(!rows.is_empty(), "the file has no labelled sentence");
        let facts = Facts {
            name,
            format,
            dataset: dataset_digest(&rows),
            sentences: tally.sentences,
            threats: tally.threats,
            comments: tally.comments,
            commenters: tally.commenters(),
            quarantined: tally.quarantined,
            quarantine: tally.quarantine,
        };
        Ok(Self { rows, facts })
    }

    /// Reads a stored dataset, each piece checked against its digest.
    pub(crate) async fn stored(registry: &Registry, dataset: &Digest) -> anyhow::Result<Self> {
        let manifest = registry.dataset(dataset).await?;
        let rows = registry.rows(&manifest).await?;
        let facts = Facts {
            name: manifest.source.name,
            format: manifest.source.format,
            dataset: manifest.digest,
            sentences: manifest.sentences,
            threats: manifest.threats,
            comments: manifest.comments,
            commenters: manifest.commenters,
            quarantined: manifest.quarantined,
            quarantine: manifest.quarantine,
        };
        Ok(Self { rows, facts })
    }
}

impl Facts {
    /// The rows in words.
    pub(crate) fn words(&self) -> String {
        format!(
            "{}: {} sentences ({} threats) in {} comments by {} commenters",
            self.name, self.sentences, self.threats, self.comments, self.commenters
        )
    }

    /// The malformed rows in words, one per line; empty if there are none.
    pub(crate) fn set_aside(&self, most: usize) -> Vec<String> {
        if self.quarantined == 0 {
            return Vec::new();
        }
        let rows = self.quarantine.iter().take(most).map(|row| format!("line {}: {}", row.line, row.reason));
        let mut words = vec![format!("{}: {} malformed rows set aside", self.name, self.quarantined)];
        words.extend(rows);
        words
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use registry::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_file_and_the_dataset_that_was_made_of_it_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.txt");
        fs::write(&file, [model::SAMPLE_CORPUS, b"9\tno such label\n"].concat()).unwrap();
        let read = Labelled::read(&file).unwrap();
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let manifest = registry.import_dataset("mine.txt", file, 1).await.unwrap();
        let stored = Labelled::stored(&registry, &manifest.digest).await.unwrap();
        assert_eq!(read.facts.dataset, manifest.digest);
        assert_eq!(read.rows, stored.rows);
        let facts = |labelled: &Labelled| serde_json::to_value(&labelled.facts).unwrap();
        assert_eq!(facts(&read), facts(&stored));
        assert_eq!(read.facts.set_aside(9).len(), 2, "{:?}", read.facts);
    }

    #[test]
    fn a_file_without_a_usable_row_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("empty.jsonl");
        fs::write(&file, "").unwrap();
        let error = format!("{:#}", Labelled::read(&file).unwrap_err());
        assert!(error.contains("empty.jsonl") && error.contains("no labelled sentence"), "{error}");
    }
}
