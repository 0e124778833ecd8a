//! The start of fine-tuning: the weights of a pretrained encoder, and its tokenizer.

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};

use crate::{
    compact::LARGEST,
    config::{Config, MAX_TOKENS, WrongShape},
    random::SplitMix,
    tokens::{NotATokenizer, Tokens},
};

/// The digest of the published files of sentence-transformers/all-MiniLM-L6-v2.
pub const MINILM: &str = "0147dd92681809c0954171a67837492ba20d4d34a546188d327e4ed1c3fd67e1";

/// The three published files of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFiles {
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `model.safetensors`.
    pub weights: Vec<u8>,
}

/// An encoder before fine-tuning.
#[derive(Debug)]
pub struct Base {
    digest: String,
    pub(crate) config: Config,
    pub(crate) tokens: Tokens,
    /// Its parameters, with a head of zeros.
    pub(crate) numbers: Vec<f32>,
}

/// Why files are not a base.
#[derive(Debug, thiserror::Error)]
pub enum WrongBase {
    /// `config.json` is not that of a BERT encoder.
    #[error("the encoder's config.json cannot be read")]
    Config(#[from] serde_json::Error),
    /// This code cannot compute its shape.
    #[error(transparent)]
    Shape(#[from] WrongShape),
    /// `tokenizer.json` cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] NotATokenizer),
    /// `model.safetensors` cannot be read.
    #[error("the encoder's model.safetensors cannot be read")]
    Weights(#[from] safetensors::SafeTensorError),
    /// A tensor has another shape or type, or contains NaN or infinity.
    #[error("the encoder's tensor `{0}` must have the shape of its config.json, and finite 32-bit floats")]
    Tensor(String),
}

impl BaseFiles {
    /// The SHA-256 of the three files' SHA-256, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for file in [&self.config, &self.tokenizer, &self.weights] {
            digest.update(Sha256::digest(file));
        }
        hex::encode(digest.finalize())
    }

    /// Packs the three files: for each, its length in 8 bytes, little-endian, then its bytes.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let files = [&self.config, &self.tokenizer, &self.weights];
        files.into_iter().flat_map(|file| [&(file.len() as u64).to_le_bytes()[..], file].concat()).collect()
    }

    /// Unpacks the bytes of [`Self::pack`]; `None` for other bytes.
    #[must_use]
    pub fn unpack(mut bytes: &[u8]) -> Option<Self> {
        let mut file = || {
            let (length, rest) = bytes.split_first_chunk::<8>()?;
            let (file, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            bytes = rest;
            Some(file.to_vec())
        };
        let files = Self { config: file()?, tokenizer: file()?, weights: file()? };
        bytes.is_empty().then_some(files)
    }

    /// A small encoder with random weights that knows letters and a few words.
    ///
    /// For tests, and for a quick trial of a training run.
    #[must_use]
    pub fn random(layers: usize, hidden_size: usize, seed: u64) -> Self {
        let tokenizer = Tokens::of_letters();
        let config = Config {
            vocab_size: tokenizer.vocab_size(),
            hidden_size,
            num_hidden_layers: layers,
            num_attention_heads: 2,
            intermediate_size: 4 * hidden_size,
            layer_norm_eps: 1e-12,
        };
        let mut random = SplitMix(seed);
        // The sum of twelve uniform numbers is nearly normal.
        let mut normal = || (0..12).map(|_| (random.draw() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0;
        let named = config.layout().named();
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = named
            .into_iter()
            .map(|(name, range)| {
                let shape = config.shape_of(&name, range.len());
                let value = |normal: &mut dyn FnMut() -> f32| match name.as_str() {
                    name if name.ends_with("LayerNorm.weight") => 1.0,
                    name if name.ends_with("bias") => 0.0,
                    _ => normal() * 2.0 / (hidden_size as f32).sqrt(),
                };
                let bytes = (0..shape.iter().product()).flat_map(|_| value(&mut normal).to_le_bytes()).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("a shape has as many numbers as were made"))
        });
        Self {
            config: serde_json::to_vec(&config).expect("a config is plain data"),
            tokenizer: tokenizer.json().into(),
            weights: safetensors::serialize(views, None).expect("names and sizes are right"),
        }
    }
}

impl Config {
    /// A tensor's shape, from its name and its number of used values.
    fn shape_of(&self, name: &str, used: usize) -> Vec<usize> {
        let h = self.hidden_size;
        match name {
            "embeddings.position_embeddings.weight" => vec![MAX_TOKENS, h],
            "embeddings.token_type_embeddings.weight" => vec![2, h],
            "embeddings.word_embeddings.weight" => vec![self.vocab_size, h],
            name if name.ends_with(".output.dense.weight") && used == h * self.intermediate_size => {
                vec![h, self.intermediate_size]
            }
            name if name.ends_with("dense.weight") || name.contains("attention.self") && name.ends_with("weight") => {
                vec![used / h, h]
            }
            _ => vec![used],
        }
    }
}

impl Base {
    /// Reads the files.
    pub fn read(files: &BaseFiles) -> Result<Self, WrongBase> {
        let config: Config = serde_json::from_slice(&files.config)?;
        config.check()?;
        let said: serde_json::Value = serde_json::from_slice(&files.config)?;
        if !matches!(said["hidden_act"].as_str(), None | Some("gelu")) {
            return Err(WrongShape("hidden_act").into());
        }
        let tokens = Tokens::read(&files.tokenizer)?;
        if tokens.vocab_size() > config.vocab_size {
            return Err(WrongShape("vocab_size").into());
        }
        let tensors = SafeTensors::deserialize(&files.weights)?;
        let layout = config.layout();
        let mut numbers = vec![0.0; layout.len()];
        for (name, range) in layout.named() {
            let tensor = tensors.tensor(&name)?;
            let wrong = || WrongBase::Tensor(name.clone());
            let out = &mut numbers[range];
            let shape = config.shape_of(&name, out.len());
            // A base may have more positions than are used.
            let (rows, width) = (tensor.shape().first(), tensor.shape().get(1..));
            if tensor.dtype() != Dtype::F32 || rows < shape.first() || width != shape.get(1..) {
                return Err(wrong());
            }
            for (out, bytes) in out.iter_mut().zip(tensor.data().as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*bytes);
                if !out.is_finite() || out.abs() > LARGEST {
                    return Err(wrong());
                }
            }
        }
        Ok(Self { digest: files.digest(), config, tokens, numbers })
    }

    /// The same base with this head instead of zeros.
    #[must_use]
    pub fn with_head(mut self, weight: &[f32], bias: f32) -> Self {
        let head = self.config.layout().head;
        self.numbers[head.weight].copy_from_slice(weight);
        self.numbers[head.bias.start] = bias;
        self
    }

    /// The digest of its files; see [`BaseFiles::digest`].
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}
