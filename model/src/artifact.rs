//! A model as bytes: pure data, and fully checked before use.
//!
//! ```text
//! 8 bytes   magic "threatw" and the format's version: 1, or 2 with an encoder
//! 4 bytes   length H of the specification, little-endian, at most 1 MiB
//! H bytes   the specification as JSON (linear::Spec)
//! 8 bytes   number N of features, little-endian
//! N * 8     keys, ascending, little-endian
//! N * C * 8 cells in units of 2^-40, little-endian, row by row; C is the number of columns of all components
//!           the encoder's bytes, if there is one; the crate `encoder` describes them
//! 32 bytes  SHA-256 of all bytes before
//! ```
//!
//! - **In**: a model, or untrusted bytes.
//! - **Out**: the model's bytes; or the decoded model, or the reason why the bytes are not one. Decoding never panics.
//! - **Callers**: activities, which store trained models; the registry, which loads them; the gate.

use std::sync::Arc;

use encoder::{Encoder, NotAnEncoder};
use sha2::{Digest as _, Sha256};

use crate::linear::{
    Invalid, Model, Spec,
    table::{MAX_ROWS, Table},
};

const MAGIC: &[u8; 7] = b"threatw";
/// The format versions: without and with an encoder.
const FORMATS: [u8; 2] = [1, 2];
const MAX_SPEC: usize = 1 << 20;
const MAX_FEATURES: u64 = MAX_ROWS as u64;
/// More columns than any model has.
const MAX_COLUMNS: usize = 64;
const DIGEST: usize = 32;

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are something else, or a later release wrote them.
    #[error("not a model of format 1 or 2")]
    NotAModel,
    /// The bytes are cut short, or longer than declared.
    #[error("the model's length is not what it declares")]
    Length,
    /// At least one byte was changed.
    #[error("the model's checksum does not match its bytes")]
    Checksum,
    /// The specification does not have the form that this release writes.
    #[error("the model's specification cannot be read")]
    Spec(#[from] serde_json::Error),
    /// The encoder's bytes are not an encoder.
    #[error(transparent)]
    Encoder(#[from] NotAnEncoder),
    /// The model is well formed, but it cannot score.
    #[error("the model is invalid")]
    Invalid(#[from] Invalid),
}

/// The model's bytes. Equal models have equal bytes.
///
/// # Panics
/// Never: a specification is plain data.
#[must_use]
pub fn encode(model: &Model) -> Vec<u8> {
    let spec = serde_json::to_vec(model.spec()).expect("a specification is plain data");
    let table = model.table();
    let encoder = model.cascade().map(|(_, encoder)| encoder.encode());
    let of_table = 8 + table.len() * 8 * (1 + table.columns());
    let of_encoder = encoder.as_ref().map_or(0, Vec::len);
    let mut bytes = Vec::with_capacity(8 + 4 + spec.len() + of_table + of_encoder + DIGEST);
    bytes.extend(MAGIC);
    bytes.push(FORMATS[usize::from(encoder.is_some())]);
    bytes.extend((spec.len() as u32).to_le_bytes());
    bytes.extend(spec);
    bytes.extend((table.len() as u64).to_le_bytes());
    bytes.extend(table.keys().iter().flat_map(|key| key.to_le_bytes()));
    bytes.extend(table.all_cells().iter().flat_map(|cell| cell.to_le_bytes()));
    bytes.extend(encoder.unwrap_or_default());
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}

/// Decodes untrusted bytes.
///
/// Memory is allocated only for lengths that the bytes really have.
///
/// ```
/// use model::{artifact, corpus, trainers::{self, Preset}};
///
/// let trainer = trainers::find("multinomial_nb").unwrap();
/// let model = trainers::fit(trainer, &corpus::sample().rows, Preset::Default).unwrap();
/// let mut bytes = artifact::encode(&model);
/// let decoded = artifact::decode(&bytes).unwrap();
/// assert_eq!(decoded.judge("I will find you."), model.judge("I will find you."));
///
/// bytes[100] ^= 1;
/// assert!(matches!(artifact::decode(&bytes), Err(artifact::Error::Checksum)));
/// ```
pub fn decode(bytes: &[u8]) -> Result<Model, Error> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Error::NotAModel)?;
    if magic[..7] != MAGIC[..] || !FORMATS.contains(&magic[7]) {
        return Err(Error::NotAModel);
    }
    let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(Error::Length)?;
    if Sha256::digest(body)[..] != digest[..] {
        return Err(Error::Checksum);
    }
    let rest = rest.strip_suffix(&digest[..]).ok_or(Error::Length)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Error::Length)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_SPEC || length > rest.len() {
        return Err(Error::Length);
    }
    let (spec, rest) = rest.split_at(length);
    let (count, rest) = rest.split_first_chunk::<8>().ok_or(Error::Length)?;
    let count = u64::from_le_bytes(*count);
    let spec: Spec = serde_json::from_slice(spec)?;
    // This release may write numbers longer than they were. A decoded specification must still fit when it is encoded.
    if serde_json::to_vec(&spec)?.len() > MAX_SPEC {
        return Err(Error::Length);
    }
    let columns: usize = spec.components.iter().map(|component| component.normalisation.columns()).sum();
    if count > MAX_FEATURES || columns > MAX_COLUMNS || count * 8 * (1 + columns as u64) > rest.len() as u64 {
        return Err(Error::Length);
    }
    let (rest, encoder) = rest.split_at(count as usize * 8 * (1 + columns));
    let encoder = match magic[7] {
        1 if encoder.is_empty() => None,
        2 => Some(Arc::new(Encoder::decode(encoder)?)),
        _ => return Err(Error::Length),
    };
    let (keys, cells) = rest.split_at(count as usize * 8);
    let keys = keys.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let cells = cells.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    Ok(Model::with_encoder(spec, Table::new(keys, columns, cells)?, encoder)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{corpus, experiment, linear::Scratch, trainers};

    fn trained() -> Model {
        let rows = corpus::sample().rows;
        let trainer = trainers::find("multinomial_nb").unwrap();
        experiment::train(trainer, &rows, &experiment::Config::default(), &|_, _| {}).unwrap().model
    }

    #[test]
    fn a_decoded_model_scores_as_the_one_encoded() {
        let model = trained();
        let bytes = encode(&model);
        let again = decode(&bytes).unwrap();
        assert_eq!(encode(&again), bytes);
        let mut scratch = Scratch::default();
        for row in corpus::sample().rows {
            assert_eq!(model.score(&row.text, &mut scratch), again.score(&row.text, &mut scratch));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let bytes = encode(&trained());
        for k in 0..100 {
            let mut broken = bytes.clone();
            let at = k * (bytes.len() - 1) / 99;
            broken[at] ^= 1 << (k % 8);
            assert!(decode(&broken).is_err(), "byte {at}");
        }
        assert!(matches!(decode(&bytes[..bytes.len() - 1]), Err(Error::Checksum)));
        assert!(matches!(decode(b"PK\x03\x04 something else"), Err(Error::NotAModel)));
    }

    #[test]
    fn lengths_that_lie_are_refused_before_memory_is_taken() {
        let spec = serde_json::to_vec(trained().spec()).unwrap();
        let true_length = spec.len() as u32;
        let lie = |length: u32, count: u64| {
            let mut bytes = [&MAGIC[..], &FORMATS[..1], &length.to_le_bytes()[..]].concat();
            bytes.extend(&spec);
            bytes.extend(count.to_le_bytes());
            let digest = Sha256::digest(&bytes);
            bytes.extend(digest);
            decode(&bytes).unwrap_err()
        };
        assert!(matches!(lie(u32::MAX, 0), Error::Length));
        assert!(matches!(lie(true_length, u64::MAX), Error::Length));
        assert!(matches!(lie(true_length, 1 << 60), Error::Length));
        assert!(matches!(lie(true_length, 1), Error::Length));
        assert!(matches!(lie(2, 0), Error::Spec(_)));
    }

    #[test]
    fn a_finite_number_that_makes_a_score_infinite_is_refused() {
        type Enlarge = fn(&mut Spec);
        let huge: [(&str, Enlarge); 4] = [
            ("weight", |spec| spec.components[0].weight = 1.01e308),
            ("bias", |spec| spec.components[0].bias = -1e300),
            ("intercept", |spec| spec.intercept = 1e101),
            ("context", |spec| spec.context.as_mut().unwrap().centre = 1e308),
        ];
        let model = trained();
        for (name, enlarge) in huge {
            let mut spec = model.spec().clone();
            enlarge(&mut spec);
            let spec = serde_json::to_vec(&spec).unwrap();
            let mut bytes = [&MAGIC[..], &FORMATS[..1], &(spec.len() as u32).to_le_bytes(), &spec, &[0; 8]].concat();
            let digest = Sha256::digest(&bytes);
            bytes.extend(digest);
            let error = decode(&bytes).unwrap_err();
            assert!(matches!(error, Error::Invalid(Invalid::OutOfRange(found)) if found == name), "{name}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            spec in "[ -~]{0,80}",
            count in any::<u64>(),
            tail in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = [&MAGIC[..], &FORMATS[..1], &(spec.len() as u32).to_le_bytes()[..]].concat();
            bytes.extend(spec.as_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(&tail);
            let _ = decode(&bytes);
            let digest = Sha256::digest(&bytes);
            bytes.extend(digest);
            let _ = decode(&bytes);
        }
    }
}
