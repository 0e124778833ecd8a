//! From a sentence to the ids of its word pieces.

use serde_json::{Value, json};
use tokenizers::{Tokenizer, TruncationParams};

use crate::config::MAX_TOKENS;

/// The most bytes that are read of a sentence; far more than [`MAX_TOKENS`] need.
const MAX_BYTES: usize = 16 << 10;

/// A tokenizer that cuts sentences to [`MAX_TOKENS`], including special tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    tokenizer: Tokenizer,
    json: String,
}

/// Why bytes are not a tokenizer, in the library's words.
#[derive(Debug, thiserror::Error)]
#[error("the encoder's tokenizer.json cannot be used: {0}")]
pub struct NotATokenizer(String);

impl Tokens {
    /// Reads a `tokenizer.json`. Its settings for padding and truncation are ignored.
    pub fn read(json: &[u8]) -> Result<Self, NotATokenizer> {
        let refused = |error: &dyn std::fmt::Display| NotATokenizer(error.to_string());
        let parsed: Value = serde_json::from_slice(json).map_err(|error| refused(&error))?;
        is_that_of_bert(&parsed).map_err(|wrong| NotATokenizer(format!("its `{wrong}` is not that of BERT")))?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| refused(&error))?;
        tokenizer.with_padding(None);
        let cut = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut)).map_err(|error| refused(&error))?;
        let json = String::from_utf8(json.to_vec()).map_err(|error| refused(&error))?;
        Ok(Self { tokenizer, json })
    }

    /// The `tokenizer.json`.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The size of the vocabulary; all ids are smaller.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).values().max().map_or(0, |most| *most as usize + 1)
    }

    /// The ids of a sentence's word pieces, between the tokens for start and end.
    #[must_use]
    pub fn encode(&self, sentence: &str) -> Vec<u32> {
        let sentence = &sentence[..sentence.floor_char_boundary(MAX_BYTES)];
        // There is an id for unknown word pieces, so encoding does not fail.
        self.tokenizer.encode_fast(sentence, true).map(|found| found.get_ids().to_vec()).unwrap_or_default()
    }

    /// A tokenizer with single letters and some words.
    pub(crate) fn of_letters() -> Self {
        let words =
            "i you we he she they will kill die shoot burn hurt your my the a and not this that is are to of in";
        let letters = || ('a'..='z').chain('0'..='9').map(String::from);
        let signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
        let marks = ".,!?'-:".chars().map(String::from);
        let tails = letters().map(|letter| format!("##{letter}"));
        let words = words.split(' ').map(str::to_owned).filter(|word| word.len() > 1);
        let all = signs.into_iter().chain(letters()).chain(marks).chain(tails).chain(words);
        let vocab: serde_json::Map<String, serde_json::Value> =
            all.zip(0..).map(|(word, at)| (word, at.into())).collect();
        let sign = |name: &str, id: u32| json!({ "id": name, "ids": [id], "tokens": [name] });
        let special = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
        let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": true,
                "strip_accents": null,
                "lowercase": true
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special("[CLS]"), text, special("[SEP]")],
                "pair": [special("[CLS]"), text, special("[SEP]")],
                "special_tokens": { "[CLS]": sign("[CLS]", 2), "[SEP]": sign("[SEP]", 3) }
            },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocab
            }
        });
        Self::read(json.to_string().as_bytes()).expect("this tokenizer is well formed")
    }
}

/// Checks that a tokenizer is of BERT's kind.
///
/// The library does not validate all parts of other kinds, and could fail with them.
fn is_that_of_bert(tokenizer: &Value) -> Result<(), &'static str> {
    let kinds = [
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
        ("post_processor", "TemplateProcessing"),
        ("model", "WordPiece"),
    ];
    for (part, kind) in kinds {
        if tokenizer[part]["type"] != kind {
            return Err(part);
        }
    }
    let words = tokenizer["model"]["vocab"].as_object().ok_or("model.vocab")?;
    let most = words.values().map(|id| id.as_u64().unwrap_or(u64::MAX)).max().ok_or("model.vocab")?;
    let template = &tokenizer["post_processor"];
    let is_short = |list: &Value| list.as_array().is_some_and(|list| list.len() <= 8);
    if !is_short(&template["single"]) || !is_short(&template["pair"]) {
        return Err("post_processor.single");
    }
    let signs = template["special_tokens"].as_object().ok_or("post_processor.special_tokens")?;
    let is_known = |id: &Value| id.as_u64().is_some_and(|id| id <= most);
    let is_sound =
        |sign: &Value| is_short(&sign["ids"]) && sign["ids"].as_array().is_some_and(|ids| ids.iter().all(is_known));
    if signs.len() <= 8 && signs.values().all(is_sound) { Ok(()) } else { Err("post_processor.special_tokens") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_cut_and_keeps_its_end() {
        let tokens = Tokens::of_letters();
        assert_eq!(tokens.encode(""), [2, 3]);
        let long = tokens.encode(&"we will ".repeat(100));
        assert_eq!((long.len(), long[0], long[MAX_TOKENS - 1]), (MAX_TOKENS, 2, 3));
        assert_eq!(tokens.encode("Will"), tokens.encode("will"));
        assert_eq!(tokens.encode("ß東\u{0}\u{202e}🙂").first(), Some(&2));
        assert!(tokens.encode(&"é".repeat(MAX_BYTES)).len() <= MAX_TOKENS);
        assert!(Tokens::read(b"{}").unwrap_err().to_string().contains("tokenizer.json"));
        let with = |from: &str, to: &str| Tokens::read(tokens.json().replace(from, to).as_bytes());
        assert!(with("BertNormalizer", "Precompiled").unwrap_err().to_string().contains("normalizer"));
        assert!(with(r#""ids":[3]"#, r#""ids":[9999]"#).unwrap_err().to_string().contains("special_tokens"));
        assert!(with("[PAD]", "[NIL]").is_ok());
    }
}
