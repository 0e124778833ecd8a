//! Any bytes through the artifact decoder: it must not panic, and what it accepts must score and encode again.
//!
//! Few mutations of an artifact keep its checksum, so the first byte of an input says what is made of the rest:
//!
//! | first byte less 48, modulo 5 | the rest |
//! |---|---|
//! | 0 | an artifact, as it is |
//! | 1 | an artifact without its digest, which is appended |
//! | 2 | a specification, a zero byte, keys and cells; lengths and digest are made to fit |
//! | 3 | the same, with the keys sorted and the cells brought into range |
//! | 4 | an encoder without its digest, which is appended |

#![no_main]

mod seeds;

use std::borrow::Cow;

use encoder::{Encoder, Room};
use libfuzzer_sys::fuzz_target;
use model::{
    artifact,
    linear::{
        Scratch, Spec,
        table::{ABSENT, MAX_ROWS},
    },
};
use sha2::{Digest as _, Sha256};

/// Short texts, whose words the seeds know.
const TEXTS: [&str; 3] = ["", "I will kill you", "Nice day. We will come for you! \u{1F600} K\u{130}LL"];
/// Bytes of the input that are scored as a text as well.
const OWN_TEXT: usize = 64;

fuzz_target!(init: seeds::write_if_asked(), |input: &[u8]| {
    let Some((&shape, rest)) = input.split_first() else { return };
    let own_text = String::from_utf8_lossy(&rest[rest.len().saturating_sub(OWN_TEXT)..]);
    match shape % 5 {
        0 => check(rest, &own_text),
        1 => check(&signed(rest.to_vec()), &own_text),
        2 => check(&framed(rest, false), &own_text),
        3 => check(&framed(rest, true), &own_text),
        _ => check_encoder(&signed(rest.to_vec()), &own_text),
    }
});

/// What must hold of every model that can be decoded.
fn check(bytes: &[u8], own_text: &str) {
    let Ok(model) = artifact::decode(bytes) else { return };
    let encoded = artifact::encode(&model);
    let again = artifact::decode(&encoded).expect("an encoded model can be decoded");
    assert!(artifact::encode(&again) == encoded, "equal models have equal bytes");
    let mut scratch = Scratch::default();
    for text in TEXTS.into_iter().chain([own_text]) {
        let _ = model.explain(text, &mut scratch);
        let score = model.score(text, &mut scratch);
        assert!(score.logit.is_finite(), "{score:?} of {text:?} by {:?}", model.spec());
        assert!(score.known <= score.features, "{score:?}");
        assert_eq!(again.score(text, &mut scratch), score);
        for sentence in model.judge(text).sentences {
            assert!((0.0..=1.0).contains(&sentence.probability), "{sentence:?} of {text:?} by {:?}", model.spec());
        }
    }
}

/// What must hold of every encoder that can be decoded.
fn check_encoder(bytes: &[u8], own_text: &str) {
    let Ok(encoder) = Encoder::decode(bytes) else { return };
    let encoded = encoder.encode();
    let again = Encoder::decode(&encoded).expect("an encoded encoder can be decoded");
    assert!(again.encode() == encoded, "equal encoders have equal bytes");
    let ids: Vec<Vec<u32>> = TEXTS.into_iter().chain([own_text]).map(|text| encoder.tokens().encode(text)).collect();
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let scores = encoder.score(&ids, &mut Room::default());
    assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
}

/// The bytes with their digest.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}

/// An artifact of a specification, a zero byte (no JSON has one), keys and cells.
///
/// As many rows as there are bytes for: how many columns a row has is read from the specification.
fn framed(input: &[u8], repaired: bool) -> Vec<u8> {
    let (spec, table) = match input.iter().position(|&byte| byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[][..]),
    };
    let columns = serde_json::from_slice(spec)
        .map_or(1, |spec: Spec| spec.components.iter().map(|component| component.normalisation.columns()).sum());
    let rows = (table.len() / (8 * (1 + columns))).min(MAX_ROWS);
    let (keys, cells) = table.split_at(8 * rows);
    let (mut keys, mut cells) = (Cow::Borrowed(keys), Cow::Borrowed(&cells[..8 * rows * columns]));
    if repaired {
        let mut sorted: Vec<u64> = words(&keys).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let in_range = words(&cells).map(|cell| if cell == ABSENT as u64 { cell } else { (cell as i64 >> 18) as u64 });
        cells = in_range.take(sorted.len() * columns).flat_map(u64::to_le_bytes).collect();
        keys = sorted.into_iter().flat_map(u64::to_le_bytes).collect();
    }
    let count = keys.len() as u64 / 8;
    let length = spec.len() as u32;
    signed([b"threatw\x01", &length.to_le_bytes()[..], spec, &count.to_le_bytes(), &keys, &cells].concat())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}
