//! The encoder against the values that `PyTorch` and the library `transformers` compute of the same published weights.
//!
//! `minilm-reference.json` has 20 sentences, written for it, with their word pieces, the mean of their tokens after the
//! last layer, and the losses of six steps on all of them at once (`AdamW`, gradients cut to length 1, no dropout) from a
//! head of `0.05 * sin(i + 1)` with bias 0.1.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, path::Path};

use encoder::{Base, BaseFiles, Encoder, Example, Recipe, Room, Training};
use serde::Deserialize;
use threatwatch::programs;

#[derive(Deserialize)]
struct Reference {
    sentences: Vec<Sentence>,
    losses: Vec<f32>,
    embeddings: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    label: u8,
    ids: Vec<u32>,
}

#[test]
fn embeddings_losses_and_steps_are_those_of_the_reference() {
    let folder = programs::encoder_base(&common::tools(), &|text| eprintln!("{text}")).unwrap();
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    let (config, tokenizer) = (file("config.json"), file("tokenizer.json"));
    let files = BaseFiles { config, tokenizer, weights: file("model.safetensors") };
    assert_eq!(files.digest(), encoder::MINILM);
    let base = Base::read(&files).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/minilm-reference.json");
    let reference: Reference = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();

    for sentence in &reference.sentences {
        assert_eq!(base.tokens().encode(&sentence.text), sentence.ids, "{}", sentence.text);
    }
    let head: Vec<f32> = (0..384).map(|i| 0.05 * ((i + 1) as f32).sin()).collect();
    let base = base.with_head(&head, 0.1);
    let examples: Vec<Example> = reference
        .sentences
        .iter()
        .map(|sentence| Example { ids: sentence.ids.clone(), is_threat: sentence.label == 1 })
        .collect();
    // So many epochs that the step size does not fall noticeably in six steps.
    let steady = Recipe { epochs: 1 << 20, batch: examples.len(), warm_up: 0.0, dropout: 0.0, ..Recipe::default() };
    let mut training = Training::new(&base, examples, steady, 0);

    let ids: Vec<&[u32]> = reference.sentences.iter().map(|sentence| sentence.ids.as_slice()).collect();
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(training.embed(&ids), &reference.embeddings.concat()) < 1e-5);
    for (sentence, embedding) in ids.iter().zip(&reference.embeddings) {
        assert!(far(training.embed(&[*sentence]), embedding) < 1e-5, "alone as beside others");
    }
    let by_floats = training.scores(&ids);
    let by_bytes = Encoder::of(&training, &base).score(&ids, &mut Room::default());
    assert!(far(&by_floats, &by_bytes) < 0.05, "8 bits a weight say nearly the same: {}", far(&by_floats, &by_bytes));
    // Without the decay of weights the last loss would be off by 1.7e-5.
    let losses: Vec<f32> = reference.losses.iter().map(|_| training.step().loss).collect();
    assert!(far(&losses, &reference.losses) < 1e-5, "{losses:?}");
}
