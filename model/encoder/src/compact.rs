//! A fine-tuned encoder for storage and serving: 8-bit weights, all else 32-bit floats.
//!
//! ```text
//! 8 bytes   magic "thrtenc" and the format's version, 1
//! 4 bytes   length of the description, little-endian
//!           the description as JSON (About)
//! 4 bytes   length of the tokenizer, little-endian
//!           tokenizer.json
//!           the parameters in the layout's order: a matrix has one signed byte per cell, then one 32-bit float per
//!           row, its scale; all others are 32-bit floats; all little-endian
//! 32 bytes  SHA-256 of all bytes before
//! ```
//!
//! A sentence's score does not depend on the machine or on the other sentences of a batch.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    attention,
    base::Base,
    config::{Affine, Config, Dense, Layout, MAX_TOKENS, WrongShape},
    integer::{Quantised, Weights},
    math::{add_scaled, dot, gelu, standardise},
    simd::vectorised,
    tokens::{NotATokenizer, Tokens},
    training::{Recipe, Training},
};

const MAGIC: &[u8; 8] = b"thrtenc\x01";
const MAX_ABOUT: usize = 1 << 16;
const MAX_TOKENIZER: usize = 16 << 20;
const DIGEST: usize = 32;
/// The bound of all parameters; with it no score can be infinite.
pub(crate) const LARGEST: f32 = 100.0;

/// The description of an encoder: everything but its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its shape.
    pub config: Config,
    /// How it was fine-tuned.
    pub recipe: Recipe,
    /// The digest of the base that it was fine-tuned from.
    pub base: String,
}

/// Why bytes are not an encoder.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEncoder {
    /// The bytes are something else, or a later release wrote them.
    #[error("not an encoder of format 1")]
    Magic,
    /// The bytes are cut short, or longer than declared.
    #[error("the encoder's length is not what it declares")]
    Length,
    /// At least one byte was changed.
    #[error("the encoder's checksum does not match its bytes")]
    Checksum,
    /// The description does not have the form that this release writes.
    #[error("the encoder's description cannot be read")]
    About(#[from] serde_json::Error),
    /// A shape that cannot be computed.
    #[error(transparent)]
    Shape(#[from] WrongShape),
    /// A tokenizer that cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] NotATokenizer),
    /// A parameter could make scores infinite.
    #[error("a parameter of the encoder is out of range")]
    Number,
}

/// A fine-tuned encoder.
#[derive(Debug)]
pub struct Encoder {
    about: About,
    tokens: Tokens,
    words: Vec<i8>,
    word_scales: Vec<f32>,
    positions: Vec<f32>,
    kind: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    head: Vec<f32>,
    head_bias: f32,
}

#[derive(Debug)]
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    attention: Weights,
    mixed: Weights,
    mixed_norm: Norm,
    widened: Weights,
    narrowed: Weights,
    narrowed_norm: Norm,
}

/// The stored size of an encoder's parameters in bytes.
fn stored_bytes(layout: &Layout, config: &Config) -> usize {
    let dense = |at: &Dense| at.weight.len() + 8 * at.bias.len();
    let norm = |at: &Affine| 8 * at.scale.len();
    let layers = layout.layers.iter().map(|layer| {
        let products = [&layer.attention, &layer.mixed, &layer.widened, &layer.narrowed].map(dense);
        products.iter().sum::<usize>() + norm(&layer.mixed_norm) + norm(&layer.narrowed_norm)
    });
    let words = layout.words.len() + 4 * config.vocab_size;
    let rest = 4 * (layout.positions.len() + layout.kind.len() + layout.head.weight.len() + 1);
    words + rest + norm(&layout.norm) + layers.sum::<usize>()
}

/// Reads numbers from the front of bytes; the caller has checked their length.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotAnEncoder> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(NotAnEncoder::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    fn part(&mut self, most: usize) -> Result<&'a [u8], NotAnEncoder> {
        let length = self.take(4)?.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        if length > most { Err(NotAnEncoder::Length) } else { self.take(length) }
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, NotAnEncoder> {
        let bytes = self.take(4 * count)?.as_chunks::<4>().0;
        let floats: Vec<f32> = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if floats.iter().all(|x| x.abs() <= LARGEST) { Ok(floats) } else { Err(NotAnEncoder::Number) }
    }

    fn norm(&mut self, width: usize) -> Result<Norm, NotAnEncoder> {
        Ok(Norm { scale: self.floats(width)?, shift: self.floats(width)? })
    }

    fn matrix(&mut self, rows: usize, width: usize) -> Result<(Vec<i8>, Vec<f32>), NotAnEncoder> {
        let cells: Vec<i8> = self.take(rows * width)?.iter().map(|byte| *byte as i8).collect();
        let scales = self.floats(rows)?;
        // -128 is never written; sums of products rely on that.
        let is_sound = scales.iter().all(|scale| (0.0..=LARGEST / 127.0).contains(scale));
        if is_sound && !cells.contains(&i8::MIN) { Ok((cells, scales)) } else { Err(NotAnEncoder::Number) }
    }

    fn dense(&mut self, outputs: usize, inputs: usize) -> Result<Weights, NotAnEncoder> {
        let (cells, scales) = self.matrix(outputs, inputs)?;
        Ok(Weights::new(&cells, scales, self.floats(outputs)?))
    }
}

/// Rounds each row to whole steps of a 127th of its largest number.
fn quantise(numbers: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let rows = numbers.chunks_exact(width);
    let largest = |row: &[f32]| row.iter().fold(1e-12_f32, |most, x| most.max(x.abs()));
    let scales: Vec<f32> = rows.clone().map(|row| largest(row) / 127.0).collect();
    let nearest = |(row, scale): (&[f32], &f32)| row.iter().map(|x| (x / scale).round_ties_even() as i8).collect();
    let cells: Vec<Vec<i8>> = rows.zip(&scales).map(nearest).collect();
    (cells.concat(), scales)
}

/// Writes numbers as bytes, one after another.
struct Writer(Vec<u8>);

impl Writer {
    fn part(&mut self, part: &[u8]) {
        self.0.extend((part.len() as u32).to_le_bytes());
        self.0.extend(part);
    }

    fn floats(&mut self, floats: &[f32]) {
        self.0.extend(floats.iter().flat_map(|x| x.to_le_bytes()));
    }

    fn norm(&mut self, norm: &Norm) {
        self.floats(&norm.scale);
        self.floats(&norm.shift);
    }

    fn matrix(&mut self, cells: &[i8], scales: &[f32]) {
        self.0.extend(cells.iter().map(|cell| *cell as u8));
        self.floats(scales);
    }

    fn dense(&mut self, weights: &Weights) {
        self.matrix(&weights.rows(), weights.scales());
        self.floats(weights.bias());
    }
}

impl Encoder {
    /// The compact form of a trained encoder.
    #[must_use]
    pub fn of(training: &Training, base: &Base) -> Self {
        let config = *training.config();
        let (layout, numbers, h) = (config.layout(), training.numbers(), config.hidden_size);
        let floats = |range: &Range<usize>| numbers[range.clone()].to_vec();
        let norm = |at: &Affine| Norm { scale: floats(&at.scale), shift: floats(&at.shift) };
        let dense = |at: &Dense| {
            let (cells, scales) = quantise(&numbers[at.weight.clone()], at.weight.len() / at.bias.len());
            Weights::new(&cells, scales, floats(&at.bias))
        };
        let layers = layout.layers.iter().map(|layer| Layer {
            attention: dense(&layer.attention),
            mixed: dense(&layer.mixed),
            mixed_norm: norm(&layer.mixed_norm),
            widened: dense(&layer.widened),
            narrowed: dense(&layer.narrowed),
            narrowed_norm: norm(&layer.narrowed_norm),
        });
        let (words, word_scales) = quantise(&numbers[layout.words.clone()], h);
        Self {
            about: About { config, recipe: *training.recipe(), base: base.digest().to_owned() },
            tokens: base.tokens().clone(),
            words,
            word_scales,
            positions: floats(&layout.positions),
            kind: floats(&layout.kind),
            norm: norm(&layout.norm),
            layers: layers.collect(),
            head: floats(&layout.head.weight),
            head_bias: numbers[layout.head.bias.start],
        }
    }

    /// Encodes the encoder as bytes. Equal encoders have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(MAGIC.to_vec());
        writer.part(&serde_json::to_vec(&self.about).expect("a description is plain data"));
        writer.part(self.tokens.json().as_bytes());
        writer.matrix(&self.words, &self.word_scales);
        writer.floats(&self.positions);
        writer.floats(&self.kind);
        writer.norm(&self.norm);
        for layer in &self.layers {
            writer.dense(&layer.attention);
            writer.dense(&layer.mixed);
            writer.norm(&layer.mixed_norm);
            writer.dense(&layer.widened);
            writer.dense(&layer.narrowed);
            writer.norm(&layer.narrowed_norm);
        }
        writer.floats(&self.head);
        writer.floats(&[self.head_bias]);
        let mut bytes = writer.0;
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// Decodes untrusted bytes.
    ///
    /// Memory is allocated only for lengths that the bytes really have.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnEncoder> {
        if !bytes.starts_with(MAGIC) {
            return Err(NotAnEncoder::Magic);
        }
        let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(NotAnEncoder::Length)?;
        if Sha256::digest(body)[..] != digest[..] {
            return Err(NotAnEncoder::Checksum);
        }
        let mut reader = Reader { rest: body.get(MAGIC.len()..).ok_or(NotAnEncoder::Length)? };
        let about: About = serde_json::from_slice(reader.part(MAX_ABOUT)?)?;
        let config = about.config;
        config.check()?;
        let tokenizer = reader.part(MAX_TOKENIZER)?;
        if reader.rest.len() != stored_bytes(&config.layout(), &config) {
            return Err(NotAnEncoder::Length);
        }
        let tokens = Tokens::read(tokenizer)?;
        if tokens.vocab_size() > config.vocab_size {
            return Err(WrongShape("vocab_size").into());
        }
        let (h, inner) = (config.hidden_size, config.intermediate_size);
        let (words, word_scales) = reader.matrix(config.vocab_size, h)?;
        let (positions, kind, norm) = (reader.floats(MAX_TOKENS * h)?, reader.floats(h)?, reader.norm(h)?);
        let layer = |_| {
            Ok(Layer {
                attention: reader.dense(3 * h, h)?,
                mixed: reader.dense(h, h)?,
                mixed_norm: reader.norm(h)?,
                widened: reader.dense(inner, h)?,
                narrowed: reader.dense(h, inner)?,
                narrowed_norm: reader.norm(h)?,
            })
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect::<Result<_, NotAnEncoder>>()?;
        let (head, bias) = (reader.floats(h)?, reader.floats(1)?);
        Ok(Self { about, tokens, words, word_scales, positions, kind, norm, layers, head, head_bias: bias[0] })
    }

    /// Its description.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The size of its parameters in memory in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |layer: &Layer| {
            [&layer.attention, &layer.mixed, &layer.widened, &layer.narrowed].map(Weights::bytes).iter().sum::<usize>()
        };
        let words = self.words.len() + 4 * self.word_scales.len();
        words + 4 * self.positions.len() + self.layers.iter().map(of).sum::<usize>()
    }

    /// The score of each sentence; see [`Self::score`].
    ///
    /// ```
    /// use encoder::{Base, BaseFiles, Encoder, Recipe, Room, Training};
    ///
    /// let base = Base::read(&BaseFiles::random(1, 16, 7))?;
    /// let encoder = Encoder::of(&Training::new(&base, Vec::new(), Recipe::default(), 0), &base);
    /// let scores = encoder.score_texts(["we will find you", "nice song"].into_iter(), &mut Room::default());
    /// assert_eq!(scores.len(), 2);
    /// # Ok::<(), encoder::WrongBase>(())
    /// ```
    pub fn score_texts<'t>(&self, sentences: impl Iterator<Item = &'t str>, room: &mut Room) -> Vec<f32> {
        let ids: Vec<Vec<u32>> = sentences.map(|sentence| self.tokens.encode(sentence)).collect();
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        self.score(&ids, room)
    }

    /// The score of each sentence, given as word pieces, on the calling thread.
    ///
    /// A score above 0 speaks for a threat.
    pub fn score(&self, sentences: &[&[u32]], room: &mut Room) -> Vec<f32> {
        let config = &self.about.config;
        let (h, heads, epsilon) = (config.hidden_size, config.num_attention_heads, config.layer_norm_eps);
        let Room { x, parts, mixed, squares, between, wide, quantised } = room;
        let tokens = sentences.iter().map(|ids| ids.len().min(MAX_TOKENS)).sum::<usize>();
        x.clear();
        for ids in sentences {
            for (id, position) in ids.iter().zip(self.positions.chunks_exact(h)) {
                // An unknown id is read as 0, the padding token.
                let id = if (*id as usize) < self.word_scales.len() { *id as usize } else { 0 };
                let (word, scale) = (&self.words[id * h..][..h], self.word_scales[id]);
                let with_kind = position.iter().zip(&self.kind).map(|(position, kind)| position + kind);
                x.extend(word.iter().zip(with_kind).map(|(word, rest)| f32::from(*word) * scale + rest));
            }
        }
        self.norm.apply(x, epsilon);
        for layer in &self.layers {
            layer.attention.apply(x, quantised, parts);
            mixed.resize(tokens * h, 0.0);
            let mut at = 0;
            for ids in sentences {
                let length = ids.len().min(MAX_TOKENS);
                squares.resize(length * length * heads, 0.0);
                let parts = &parts[at * 3 * h..][..length * 3 * h];
                attention::forward_one(heads, h, parts, squares, &mut mixed[at * h..][..length * h]);
                at += length;
            }
            layer.mixed.apply(mixed, quantised, between);
            add(x, between);
            layer.mixed_norm.apply(x, epsilon);
            layer.widened.apply(x, quantised, wide);
            vectorised(|| wide.iter_mut().for_each(|x| *x = gelu(*x)));
            layer.narrowed.apply(wide, quantised, between);
            add(x, between);
            layer.narrowed_norm.apply(x, epsilon);
        }
        let mut rest = &x[..];
        let score = |ids: &&[u32]| {
            let length = ids.len().min(MAX_TOKENS);
            let (rows, others) = rest.split_at(length * h);
            rest = others;
            let mut mean = vec![0.0; h];
            for row in rows.chunks_exact(h) {
                add_scaled(&mut mean, 1.0 / length.max(1) as f32, row);
            }
            dot(&mean, &self.head) + self.head_bias
        };
        sentences.iter().map(score).collect()
    }
}

/// Reusable memory for [`Encoder::score`].
#[derive(Debug, Default)]
pub struct Room {
    x: Vec<f32>,
    parts: Vec<f32>,
    mixed: Vec<f32>,
    squares: Vec<f32>,
    between: Vec<f32>,
    wide: Vec<f32>,
    quantised: Quantised,
}

fn add(out: &mut [f32], x: &[f32]) {
    vectorised(|| {
        for (out, x) in out.iter_mut().zip(x) {
            *out += x;
        }
    });
}

impl Norm {
    fn apply(&self, rows: &mut [f32], epsilon: f32) {
        vectorised(|| {
            for row in rows.chunks_exact_mut(self.scale.len()) {
                standardise(row, epsilon);
                for ((x, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                    *x = *x * scale + shift;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BaseFiles;

    fn encoder() -> Encoder {
        let base = Base::read(&BaseFiles::random(1, 16, 5)).unwrap();
        Encoder::of(&Training::new(&base, Vec::new(), Recipe::default(), 0), &base)
    }

    /// The same bytes with a checksum that fits them.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let body = bytes.len() - DIGEST;
        let digest = Sha256::digest(&bytes[..body]);
        bytes[body..].copy_from_slice(&digest);
        bytes
    }

    #[test]
    fn a_decoded_encoder_is_the_one_encoded() {
        let bytes = encoder().encode();
        assert_eq!(Encoder::decode(&bytes).unwrap().encode(), bytes);
        assert!(encoder().memory() > 0);
        for k in 0..100 {
            let mut broken = bytes.clone();
            let at = k * (bytes.len() - 1) / 99;
            broken[at] ^= 1 << (k % 8);
            assert!(Encoder::decode(&broken).is_err(), "byte {at}");
        }
        assert!(matches!(Encoder::decode(&bytes[..20]), Err(NotAnEncoder::Length)));
        assert!(matches!(Encoder::decode(b"threatw\x01"), Err(NotAnEncoder::Magic)));
    }

    #[test]
    fn what_could_not_be_scored_is_refused() {
        let bytes = encoder().encode();
        let end = bytes.len() - DIGEST;
        let with = |at: usize, number: f32| {
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&number.to_le_bytes());
            Encoder::decode(&sealed(changed))
        };
        for wrong in [f32::NAN, f32::INFINITY, 101.0] {
            assert!(matches!(with(end - 4, wrong), Err(NotAnEncoder::Number)), "{wrong}");
        }
        assert!(with(end - 4, 99.0).is_ok());
        let about = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        let lie = |length: u32| {
            let mut changed = bytes.clone();
            changed[8..12].copy_from_slice(&length.to_le_bytes());
            Encoder::decode(&sealed(changed)).unwrap_err()
        };
        assert!(matches!(lie(u32::MAX), NotAnEncoder::Length));
        assert!(matches!(lie(about - 1), NotAnEncoder::About(_)));
        let mut short = bytes.clone();
        short.drain(end - 64..end);
        assert!(matches!(Encoder::decode(&sealed(short)), Err(NotAnEncoder::Length)));
        let mut least = bytes.clone();
        let words = end - stored_bytes(&encoder().about.config.layout(), &encoder().about.config);
        least[words] = 0x80;
        assert!(matches!(Encoder::decode(&sealed(least)), Err(NotAnEncoder::Number)));
    }

    #[test]
    fn no_word_piece_and_no_length_makes_a_score_fail() {
        let (encoder, mut room) = (encoder(), Room::default());
        let long = vec![7; 3 * MAX_TOKENS];
        let scores = encoder.score(&[&[], &[u32::MAX], &long, &long[..MAX_TOKENS]], &mut room);
        assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
        assert_eq!(scores[2], scores[3]);
    }
}
