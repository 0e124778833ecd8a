//! The shape of an encoder, and the layout of its parameters.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The most word pieces and special tokens of a sentence; the rest is not read.
pub const MAX_TOKENS: usize = 56;

/// The shape of a BERT encoder, with the field names of its `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The number of word pieces in the vocabulary.
    pub vocab_size: usize,
    /// The number of values per token.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads per layer.
    pub num_attention_heads: usize,
    /// The number of values per token in the middle of a layer.
    pub intermediate_size: usize,
    /// The epsilon of layer normalisation, which prevents division by zero.
    pub layer_norm_eps: f32,
}

/// A shape that this code cannot compute.
#[derive(Debug, thiserror::Error)]
#[error("an encoder's `{0}` is out of range")]
pub struct WrongShape(pub &'static str);

impl Config {
    /// Refuses a shape that cannot be computed, or that needs too much memory.
    pub fn check(&self) -> Result<(), WrongShape> {
        let Self { vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, .. } = *self;
        let fits = |name, value: usize, most: usize| {
            if (1..=most).contains(&value) { Ok(()) } else { Err(WrongShape(name)) }
        };
        fits("vocab_size", vocab_size, 1 << 18)?;
        fits("hidden_size", hidden_size, 2048)?;
        fits("num_hidden_layers", num_hidden_layers, 48)?;
        fits("num_attention_heads", num_attention_heads, 64)?;
        fits("intermediate_size", intermediate_size, 8192)?;
        if !hidden_size.is_multiple_of(16) || !hidden_size.is_multiple_of(num_attention_heads) {
            return Err(WrongShape("hidden_size"));
        }
        if !intermediate_size.is_multiple_of(16) {
            return Err(WrongShape("intermediate_size"));
        }
        if !(1e-13..0.1).contains(&self.layer_norm_eps) {
            return Err(WrongShape("layer_norm_eps"));
        }
        Ok(())
    }

    /// The number of used parameters of an encoder with this shape.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layout().len()
    }

    /// The layout of the parameters.
    pub(crate) fn layout(&self) -> Layout {
        let mut at = 0;
        let mut take = |length: usize| {
            at += length;
            at - length..at
        };
        let (h, inner) = (self.hidden_size, self.intermediate_size);
        Layout {
            words: take(self.vocab_size * h),
            positions: take(MAX_TOKENS * h),
            kind: take(h),
            norm: Affine { scale: take(h), shift: take(h) },
            layers: (0..self.num_hidden_layers)
                .map(|_| Layer {
                    attention: Dense { weight: take(3 * h * h), bias: take(3 * h) },
                    mixed: Dense { weight: take(h * h), bias: take(h) },
                    mixed_norm: Affine { scale: take(h), shift: take(h) },
                    widened: Dense { weight: take(inner * h), bias: take(inner) },
                    narrowed: Dense { weight: take(h * inner), bias: take(h) },
                    narrowed_norm: Affine { scale: take(h), shift: take(h) },
                })
                .collect(),
            head: Dense { weight: take(h), bias: take(1) },
        }
    }
}

/// Ranges of an encoder's parameters in one row; weights lie output by output.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) words: Range<usize>,
    pub(crate) positions: Range<usize>,
    /// The token type of the first sentence; there is never a second.
    pub(crate) kind: Range<usize>,
    pub(crate) norm: Affine,
    pub(crate) layers: Vec<Layer>,
    pub(crate) head: Dense,
}

/// `scale * x + shift`.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Range<usize>,
    pub(crate) shift: Range<usize>,
}

/// `weight * x + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
}

/// One layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Queries, keys and values, stacked.
    pub(crate) attention: Dense,
    pub(crate) mixed: Dense,
    pub(crate) mixed_norm: Affine,
    pub(crate) widened: Dense,
    pub(crate) narrowed: Dense,
    pub(crate) narrowed_norm: Affine,
}

impl Layout {
    /// The number of parameters.
    pub(crate) fn len(&self) -> usize {
        self.head.bias.end
    }

    /// Every range with its name in BERT's weights.
    ///
    /// Of the positions only the first ones are used, and of the two token types only the first.
    pub(crate) fn named(&self) -> Vec<(String, Range<usize>)> {
        let mut all = vec![
            ("embeddings.word_embeddings.weight".to_owned(), self.words.clone()),
            ("embeddings.position_embeddings.weight".to_owned(), self.positions.clone()),
            ("embeddings.token_type_embeddings.weight".to_owned(), self.kind.clone()),
            ("embeddings.LayerNorm.weight".to_owned(), self.norm.scale.clone()),
            ("embeddings.LayerNorm.bias".to_owned(), self.norm.shift.clone()),
        ];
        for (k, layer) in self.layers.iter().enumerate() {
            let mut add = |name: &str, range: Range<usize>| all.push((format!("encoder.layer.{k}.{name}"), range));
            let third = |range: &Range<usize>, part: usize| {
                let length = range.len() / 3;
                range.start + part * length..range.start + (part + 1) * length
            };
            for (part, name) in ["query", "key", "value"].into_iter().enumerate() {
                add(&format!("attention.self.{name}.weight"), third(&layer.attention.weight, part));
                add(&format!("attention.self.{name}.bias"), third(&layer.attention.bias, part));
            }
            add("attention.output.dense.weight", layer.mixed.weight.clone());
            add("attention.output.dense.bias", layer.mixed.bias.clone());
            add("attention.output.LayerNorm.weight", layer.mixed_norm.scale.clone());
            add("attention.output.LayerNorm.bias", layer.mixed_norm.shift.clone());
            add("intermediate.dense.weight", layer.widened.weight.clone());
            add("intermediate.dense.bias", layer.widened.bias.clone());
            add("output.dense.weight", layer.narrowed.weight.clone());
            add("output.dense.bias", layer.narrowed.bias.clone());
            add("output.LayerNorm.weight", layer.narrowed_norm.scale.clone());
            add("output.LayerNorm.bias", layer.narrowed_norm.shift.clone());
        }
        all
    }
}
