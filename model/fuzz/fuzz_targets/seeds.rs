//! Small real models to start from, trained when they are asked for.

use std::{fs, path::Path};

use encoder::{Base, BaseFiles, Encoder, Recipe, Training};
use model::{
    Model, Row, artifact,
    calibration::{OperatingPoint, Platt},
    linear::Context,
    trainers::{self, Preset, TRAINERS},
};

/// Writes the seeds to the folder that the environment variable `MODEL_FUZZ_SEEDS` names, if it is set.
///
/// # Panics
/// When the folder cannot be written to.
pub(super) fn write_if_asked() {
    let Some(folder) = std::env::var_os("MODEL_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).expect("make the seeds' folder");
    for (name, model) in models() {
        for (shape, bytes) in inputs(&model) {
            let input = [&[shape], &bytes[..]].concat();
            fs::write(folder.join(format!("seed-{name}-{}", shape as char)), input).expect("write a seed");
        }
    }
    let base = Base::read(&BaseFiles::random(1, 16, 1)).expect("a base of random weights is sound");
    let encoder = Encoder::of(&Training::new(&base, Vec::new(), Recipe::default(), 0), &base).encode();
    let input = [&[b'4'], &encoder[..encoder.len() - 32]].concat();
    fs::write(folder.join("seed-encoder-4"), input).expect("write a seed");
}

/// A model of every trainer, and one with everything that a specification can have.
fn models() -> Vec<(&'static str, Model)> {
    let rows = rows();
    let fit = |trainer, preset| trainers::fit(trainer, &rows, preset).expect("the rows have both classes");
    let mut models: Vec<_> = TRAINERS.iter().map(|&trainer| (trainer.name(), fit(trainer, Preset::Default))).collect();
    let naive_bayes = trainers::find("multinomial_nb").expect("it is among the trainers");
    models.push(("sklearn", fit(naive_bayes, Preset::Sklearn)));
    let context = Context {
        own: 1.5,
        previous: 0.5,
        next: 0.25,
        has_previous: -0.5,
        has_next: 0.125,
        intercept: -1.0,
        centre: -2.0,
    };
    let point = |name: &str, threshold| OperatingPoint { name: name.to_owned(), threshold };
    let points = vec![point("best_f1", 0.25), point("even_odds", 0.5)];
    let calibration = Platt { slope: 0.75, offset: -0.5 };
    let finished = fit(naive_bayes, Preset::Sklearn).finished(Some(context), calibration, points);
    models.push(("finished", finished.expect("every number is in range")));
    models
}

/// A model as the target reads it, by the first byte of the input.
fn inputs(model: &Model) -> [(u8, Vec<u8>); 4] {
    let whole = artifact::encode(model);
    let unsigned = whole[..whole.len() - 32].to_vec();
    let mut parts = serde_json::to_vec(model.spec()).expect("a specification is plain data");
    parts.push(0);
    parts.extend(model.table().keys().iter().flat_map(|key| key.to_le_bytes()));
    let exact = [&parts[..], &cells(model, 0)].concat();
    // The target shifts these cells back into range.
    let shifted = [&parts[..], &cells(model, 18)].concat();
    [(b'0', whole), (b'1', unsigned), (b'2', exact), (b'3', shifted)]
}

fn cells(model: &Model, shift: u32) -> Vec<u8> {
    model.table().all_cells().iter().flat_map(|cell| (cell << shift).to_le_bytes()).collect()
}

/// Just enough for every learner: a word counts when it stands in three sentences.
fn rows() -> Vec<Row> {
    let texts = ["we will kill you", "we will come", "I kill you", "we will see you"];
    (0..3)
        .flat_map(|i| texts.iter().zip([1, 0, 1, 0]).map(move |(text, label)| (i, text, label)))
        .map(|(i, text, label)| Row { comment: i, commenter: i.to_string(), label, text: (*text).to_owned() })
        .collect()
}
