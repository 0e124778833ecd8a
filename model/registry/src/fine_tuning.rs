//! What fine-tuning keeps in the bucket: the base of an encoder, and checkpoints.
//!
//! A base is never deleted. A checkpoint belongs to one piece of work, which is named by the digest of everything that
//! decides its result. A newer checkpoint replaces it, and the end of the work deletes it. Retention deletes
//! checkpoints of killed workers after a day.

use bytes::Bytes;
use model::Digest;

use crate::{Error, Key, Registry};

impl Registry {
    /// Stores the packed files of a base, for workers that cannot fetch them.
    pub async fn put_encoder_base(&self, digest: &Digest, packed: Vec<u8>) -> Result<(), Error> {
        if !self.has_encoder_base(digest).await? {
            self.put_large(Key::EncoderBase(digest), packed.into()).await?;
        }
        Ok(())
    }

    /// Whether a base is in the bucket.
    pub async fn has_encoder_base(&self, digest: &Digest) -> Result<bool, Error> {
        let path = Key::EncoderBase(digest).path();
        Ok(self.store.list(&path).await?.contains(&path))
    }

    /// The packed files of a base, if they are in the bucket.
    pub async fn encoder_base(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        self.get_large(Key::EncoderBase(digest)).await
    }

    /// Stores a checkpoint of a piece of work, then deletes those of earlier steps.
    ///
    /// Later steps stay, because another worker may do the same work.
    pub async fn put_checkpoint(&self, work: &Digest, step: u64, bytes: Vec<u8>) -> Result<(), Error> {
        // A new name each time: an earlier worker with the same work may have been stopped between two parts.
        let nonce = rand::random::<u32>();
        let key = Key::Checkpoint(work, step, nonce);
        self.put_large(key, bytes.into()).await?;
        for path in self.store.list(&Key::checkpoints(work)).await? {
            if Key::step_of_checkpoint(&path).is_some_and(|of| of < step) {
                self.store.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// The newest whole checkpoint of a piece of work. Unreadable ones are skipped.
    pub async fn newest_checkpoint(&self, work: &Digest) -> Result<Option<Bytes>, Error> {
        let mut found = self.store.list(&Key::checkpoints(work)).await?;
        found.retain(|path| Key::checkpoint_of(path).is_some());
        for path in found.iter().rev() {
            let (step, nonce) = Key::checkpoint_of(path).expect("others were left out");
            match self.get_large(Key::Checkpoint(work, step, nonce)).await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(%error, "a checkpoint cannot be read and is skipped"),
            }
        }
        Ok(None)
    }

    /// Deletes every checkpoint of a piece of work.
    pub async fn delete_checkpoints(&self, work: &Digest) -> Result<(), Error> {
        // Indexes sort before their parts and go first: a checkpoint that has lost a part is not found.
        for path in self.store.list(&Key::checkpoints(work)).await? {
            self.store.delete(&path).await?;
        }
        Ok(())
    }
}
