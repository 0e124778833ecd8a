//! Compares the preset `sklearn` with scikit-learn's own results; `sklearn/make.py` makes the fixture.

use model::{
    corpus,
    linear::Scratch,
    trainers::{self, Preset},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    features: usize,
    corpus: Vec<f64>,
    unseen: Vec<Unseen>,
}

#[derive(Deserialize)]
struct Unseen {
    text: String,
    probability: f64,
}

#[test]
fn the_sklearn_preset_gives_scikit_learns_probabilities() {
    let expected: Expected = serde_json::from_str(include_str!("sklearn/expected.json")).unwrap();
    let rows = corpus::sample().rows;
    let model = trainers::fit(trainers::find("multinomial_nb").unwrap(), &rows, Preset::Sklearn).unwrap();
    assert_eq!(model.table().keys().len(), expected.features);
    assert_eq!(rows.len(), expected.corpus.len());

    let mut scratch = Scratch::default();
    let texts = rows.iter().map(|row| row.text.as_str()).zip(expected.corpus);
    let unseen = expected.unseen.iter().map(|row| (row.text.as_str(), row.probability));
    for (text, probability) in texts.chain(unseen) {
        let ours = model.probability(text, &mut scratch);
        assert!((ours - probability).abs() < 1e-9, "{ours} is not {probability}: {text}");
    }
}
