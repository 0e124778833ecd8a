//! How fast a model is fitted and scores, on one thread: `cargo run -p model --example throughput [-- FILE]`.
//!
//! Prints the best of seven passes, so that what else the machine does matters little. With `--release` it measures
//! the release build.

use std::time::Instant;

use model::{
    corpus::{self, Format},
    features::Scratch,
    trainers::{self, Preset},
};

fn main() {
    let rows = match std::env::args().nth(1) {
        Some(file) => {
            let bytes = std::fs::read(&file).expect("the file given can be read");
            corpus::parse(Format::guess(&file, &bytes), &bytes).expect("the file given is a corpus").rows
        }
        None => corpus::sample().rows,
    };
    for (name, trainer, preset) in [
        ("words, pairs, edges", "multinomial_nb", Preset::Default),
        ("scikit-learn's words", "multinomial_nb", Preset::Sklearn),
        ("with characters", "linear_svc", Preset::Default),
        ("stacked", "stacked", Preset::Default),
    ] {
        let trainer = trainers::find(trainer).expect("it is in the table");
        let mut model = None;
        let fit =
            best_of_seven(|| model = Some(trainers::fit(trainer, &rows, preset).expect("the corpus can be learned")));
        let model = model.expect("fitted seven times");
        let mut scratch = Scratch::default();
        let mut sum = 0.0;
        let score = best_of_seven(|| {
            for row in &rows {
                sum += model.score(&row.text, &mut scratch).logit;
            }
        });
        let rate = |seconds: f64| rows.len() as f64 / seconds / 1e6;
        println!(
            "{name:<22} fit {:.2} M sentences/s, score {:.2} M sentences/s ({} sentences, check {sum:.3})",
            rate(fit),
            rate(score),
            rows.len()
        );
    }
}

fn best_of_seven(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let started = Instant::now();
        work();
        best = best.min(started.elapsed().as_secs_f64());
    }
    best
}
