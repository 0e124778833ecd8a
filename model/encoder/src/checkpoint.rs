//! The state of a training run as bytes.
//!
//! A resumed run ends with the same bytes as an uninterrupted one.
//!
//! ```text
//! 8 bytes   magic "thrtchk" and the format's version, 1
//! 8 bytes   steps done, little-endian
//! 4 bytes   number W of words that have learned
//! W * 4     the ids of these words, ascending
//!           three rows of 32-bit floats: the parameters, the running means of their gradients, the running means of
//!           the squared gradients; each row has first these words' values, then those of all other parameters but
//!           words
//! 32 bytes  SHA-256 of all bytes before
//! ```

use sha2::{Digest as _, Sha256};

use crate::{base::Base, training::State};

const MAGIC: &[u8; 8] = b"thrtchk\x01";
const DIGEST: usize = 32;

/// Bytes from which this run cannot resume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("these bytes are not a checkpoint of this training run")]
pub struct NotACheckpoint;

impl State {
    /// Encodes the state as bytes.
    #[must_use]
    pub fn encode(&self, base: &Base) -> Vec<u8> {
        let (words, h) = (base.config.layout().words.end, base.config.hidden_size);
        let is_new = |id: &u32| {
            let row = *id as usize * h..(*id as usize + 1) * h;
            // A word that ever had a gradient has a running mean of squares above zero.
            self.numbers[row.clone()] != base.numbers[row.clone()] || self.second[row].iter().any(|x| *x != 0.0)
        };
        let learned: Vec<u32> = (0..base.config.vocab_size as u32).filter(is_new).collect();
        let mut bytes = Vec::with_capacity(64 + 12 * (self.numbers.len() - words + learned.len() * h));
        bytes.extend(MAGIC);
        bytes.extend(self.step.to_le_bytes());
        bytes.extend((learned.len() as u32).to_le_bytes());
        bytes.extend(learned.iter().flat_map(|id| id.to_le_bytes()));
        for all in [&self.numbers, &self.first, &self.second] {
            for id in &learned {
                bytes.extend(all[*id as usize * h..][..h].iter().flat_map(|x| x.to_le_bytes()));
            }
            bytes.extend(all[words..].iter().flat_map(|x| x.to_le_bytes()));
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// Decodes the state of a run that started from this base.
    pub fn decode(bytes: &[u8], base: &Base) -> Result<Self, NotACheckpoint> {
        Self::read(bytes, base).ok_or(NotACheckpoint)
    }

    fn read(bytes: &[u8], base: &Base) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<DIGEST>()?;
        if Sha256::digest(body)[..] != digest[..] {
            return None;
        }
        let (step, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (learned, rest) = rest.split_at_checked(u32::from_le_bytes(*count) as usize * 4)?;
        let learned: Vec<usize> =
            learned.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id) as usize).collect();
        let (words, h, length) = (base.config.layout().words.end, base.config.hidden_size, base.numbers.len());
        let row = learned.len() * h + length - words;
        if rest.len() != 3 * 4 * row || !learned.iter().all(|id| *id < base.config.vocab_size) {
            return None;
        }
        let mut numbers = rest.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x));
        let mut read_into = |mut all: Vec<f32>| {
            for id in &learned {
                all[id * h..][..h].iter_mut().zip(&mut numbers).for_each(|(out, x)| *out = x);
            }
            all[words..].iter_mut().zip(&mut numbers).for_each(|(out, x)| *out = x);
            all
        };
        let state = Self {
            step: u64::from_le_bytes(*step),
            numbers: read_into(base.numbers.clone()),
            first: read_into(vec![0.0; length]),
            second: read_into(vec![0.0; length]),
        };
        let is_sound =
            [&state.numbers, &state.first, &state.second].iter().all(|all| all.iter().all(|x| x.is_finite()));
        is_sound.then_some(state)
    }

    /// The number of finished steps.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }
}
