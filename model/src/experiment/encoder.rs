//! Fine-tunes encoders in memory, fold by fold, and scores many sentences.

use std::sync::Arc;

use encoder::{Base, Encoder, Example, NotAnEncoder, Recipe, Stepped, Training};

use super::{Config, folds_of_all, parallel};
use crate::Row;

/// How many sentences an encoder reads together.
const TOGETHER: usize = 32;

/// The result of fine-tuning: an encoder, and cross-validated scores.
#[derive(Clone, Debug)]
pub struct EncoderFits {
    /// The score of each row from an encoder that had not seen its commenter.
    pub unseen: Vec<f32>,
    /// The encoder that was fine-tuned on all rows.
    pub encoder: Arc<Encoder>,
}

impl EncoderFits {
    /// Encodes the result as bytes.
    ///
    /// The number of rows in 8 bytes, little-endian, then their scores in 4 bytes each, then the encoder.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.unseen.len() as u64).to_le_bytes().to_vec();
        bytes.extend(self.unseen.iter().flat_map(|score| score.to_le_bytes()));
        bytes.extend(self.encoder.encode());
        bytes
    }

    /// Decodes the bytes that [`Self::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnEncoder> {
        let (rows, rest) = bytes.split_first_chunk::<8>().ok_or(NotAnEncoder::Length)?;
        let length = usize::try_from(u64::from_le_bytes(*rows)).ok().and_then(|rows| rows.checked_mul(4));
        let (scores, encoder) = length.and_then(|length| rest.split_at_checked(length)).ok_or(NotAnEncoder::Length)?;
        let unseen = scores.as_chunks::<4>().0.iter().map(|score| f32::from_le_bytes(*score)).collect();
        Ok(Self { unseen, encoder: Arc::new(Encoder::decode(encoder)?) })
    }
}

/// A training run on the rows outside fold `without`.
///
/// If no row has that fold, the run uses all rows.
#[must_use]
pub fn encoder_training(
    base: &Base,
    rows: &[Row],
    assigned: &[usize],
    without: usize,
    recipe: Recipe,
    seed: u64,
) -> Training {
    let seen = rows.iter().zip(assigned).filter(|&(_, &fold)| fold != without);
    let example = |(row, _): (&Row, _)| Example { ids: base.tokens().encode(&row.text), is_threat: row.is_threat() };
    Training::new(base, seen.map(example).collect(), recipe, seed.wrapping_add(without as u64))
}

/// The encoder's scores of sentences, computed on all available threads.
#[must_use]
pub fn encoder_scores(encoder: &Encoder, sentences: &[&str]) -> Vec<f32> {
    let batches: Vec<&[&str]> = sentences.chunks(TOGETHER).collect();
    let score = |batch: &&[&str]| encoder.score_texts(batch.iter().copied(), &mut encoder::Room::default());
    parallel::map(&batches, parallel::available(), score, &|_, _| {}).concat()
}

/// Fine-tunes an encoder without each fold, and one on all rows.
///
/// The fits run one after another, on the threads of the current pool. `progress` gets the fit and its step. The fit is
/// the number of the left-out fold; for the last fit it is the number of folds.
#[must_use]
pub fn fit_encoder(
    base: &Base,
    rows: &[Row],
    recipe: Recipe,
    config: &Config,
    progress: &mut dyn FnMut(usize, Stepped),
) -> EncoderFits {
    let (folds, assigned) = (config.folds.max(2), folds_of_all(rows, config));
    let mut fit = |without: usize| {
        let mut training = encoder_training(base, rows, &assigned, without, recipe, config.seed);
        while !training.is_done() {
            let stepped = training.step();
            progress(without, stepped);
        }
        Encoder::of(&training, base)
    };
    let mut unseen = vec![0.0; rows.len()];
    for fold in 0..folds {
        let encoder = fit(fold);
        let places: Vec<usize> = (0..rows.len()).filter(|&i| assigned[i] == fold).collect();
        let texts: Vec<&str> = places.iter().map(|&i| rows[i].text.as_str()).collect();
        for (i, score) in places.into_iter().zip(encoder_scores(&encoder, &texts)) {
            unseen[i] = score;
        }
    }
    EncoderFits { unseen, encoder: Arc::new(fit(folds)) }
}

/// Trains on the sample, with a small encoder of random weights if one is needed.
#[cfg(test)]
pub(crate) fn train_small(trainer: &dyn crate::trainers::Trainer, config: &Config) -> super::Trained {
    static FITS: std::sync::OnceLock<EncoderFits> = std::sync::OnceLock::new();
    let rows = crate::corpus::sample().rows;
    let fit = || {
        let base = Base::read(&encoder::BaseFiles::random(1, 16, 1)).unwrap();
        let recipe = Recipe { epochs: 4, batch: 16, rate: 3e-3, head_rate: 1e-2, ..Recipe::default() };
        fit_encoder(&base, &rows, recipe, config, &mut |_, _| {})
    };
    let fits = trainer.encoder().map(|_| FITS.get_or_init(fit).clone());
    super::train_with_encoder(trainer, &rows, fits, config, &|_, _| {}).unwrap()
}
