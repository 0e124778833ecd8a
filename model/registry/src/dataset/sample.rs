//! Samples: rows that are chosen from a dataset become a dataset of their own.

use model::{Digest, Row};

use super::{
    DatasetManifest,
    builder::Builder,
    shard::{COMPRESSION_LEVEL, SHARD_ROWS, parse_lines, write_line},
};
use crate::{Error, Key, Registry, blocking, compression::decompress};

impl Registry {
    /// Stores rows for a sample, compressed, under the digest of the compressed bytes.
    pub async fn put_part(&self, rows: Vec<Row>) -> Result<Digest, Error> {
        let compress = move || {
            let mut lines = Vec::new();
            for row in &rows {
                write_line(&mut lines, row);
            }
            zstd::bulk::compress(&lines, COMPRESSION_LEVEL)
        };
        self.put_artifact(blocking(compress).await?.expect("compression in memory")).await
    }

    /// The rows that [`Self::put_part`] stored, checked against the digest.
    pub async fn part(&self, digest: &Digest) -> Result<Vec<Row>, Error> {
        let body = self.artifact(digest).await?;
        let decoded = blocking(move || parse_lines(&decompress(&body)?)).await?;
        decoded.map_err(|reason| Key::Blob(digest).corrupt(reason))
    }

    /// Stores rows that were chosen from a stored dataset, as a dataset of their own.
    pub async fn put_sample(&self, of: &DatasetManifest, rows: Vec<Row>) -> Result<DatasetManifest, Error> {
        let mut builder = Builder::default();
        let mut texts = Vec::new();
        for rows in rows.chunks(SHARD_ROWS) {
            for row in rows {
                builder.add(row);
            }
            texts.extend(builder.cut());
        }
        let manifest = builder.finish(of.source.clone());
        manifest.1.require_trainable()?;
        let manifest = DatasetManifest { sample_of: Some(of.digest.clone()), ..manifest.0 };
        self.claim(&Key::Dataset(&manifest.digest).path()).await?;
        for (number, text) in (0..).zip(texts) {
            self.put_shard(&manifest.digest, number, text).await?;
        }
        self.create_json(Key::Dataset(&manifest.digest), &manifest).await?;
        self.dataset(&manifest.digest).await
    }
}
