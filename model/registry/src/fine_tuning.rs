//! What fine-tuning needs of the bucket: the base of an encoder, and checkpoints of what is being learned.
//!
//! A base stays for ever. A checkpoint is of one piece of work, which is named by the digest of all that decides it; a
//! newer one takes its place, and the end of the work takes it away. What a killed worker leaves behind, retention
//! deletes after a day.

use bytes::Bytes;
use model::Digest;

use crate::{Error, Key, Registry};

impl Registry {
    /// Keeps the packed files of a base under their digest, for workers that cannot fetch them.
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

    /// Keeps a checkpoint of a piece of work, then deletes those of earlier steps: another worker may do the same work.
    pub async fn put_checkpoint(&self, work: &Digest, step: u64, bytes: Vec<u8>) -> Result<(), Error> {
        // Under a name of its own: whoever did the same work before may have been stopped between two parts.
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

    /// The newest whole checkpoint of a piece of work. One that cannot be read is passed over.
    pub async fn newest_checkpoint(&self, work: &Digest) -> Result<Option<Bytes>, Error> {
        let mut found = self.store.list(&Key::checkpoints(work)).await?;
        found.retain(|path| Key::checkpoint_of(path).is_some());
        for path in found.iter().rev() {
            let (step, nonce) = Key::checkpoint_of(path).expect("others were left out");
            match self.get_large(Key::Checkpoint(work, step, nonce)).await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(%error, "a checkpoint is passed over"),
            }
        }
        Ok(None)
    }

    /// Deletes every checkpoint of a piece of work.
    pub async fn delete_checkpoints(&self, work: &Digest) -> Result<(), Error> {
        // Indexes sort before their parts: what has lost a part is not found any more.
        for path in self.store.list(&Key::checkpoints(work)).await? {
            self.store.delete(&path).await?;
        }
        Ok(())
    }
}
