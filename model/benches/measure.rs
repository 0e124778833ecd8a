//! Measures speed and quality of models on one thread, one measurement per process.
//!
//! `cargo bench -p model --bench measure -- suite [CORPUS]` prints an overview. The other commands are for `compare.py`
//! in this folder, which runs other programs for comparison. Each prints one line of JSON:
//!
//! ```text
//! split CORPUS DIR             five folds by commenter as DIR/fold-K-{train,test}.jsonl, and DIR/all.jsonl
//! perturb CORPUS N FILE        N sentences as JSONL: seeded perturbations of the corpus
//! fit MODEL TRAIN              from a file to a model in memory, including reading
//! predict MODEL TRAIN TEST     texts in memory to scores, best of five passes
//! latency MODEL TRAIN TEST     one sentence at a time
//! quality MODEL TRAIN          figures of five-fold cross-validation by commenter
//! scores MODEL TRAIN TEST      one probability a line
//! ```
//!
//! MODEL is `unigram_nb`, `bigram_nb`, `linear_svc` or `stacked`. Encoders are not measured here, because their
//! fine-tuning takes most of an hour: `threatwatch experiment` measures their quality, `cargo bench -p encoder` their
//! speed.
#![allow(clippy::expect_used, reason = "a failed measurement ends the program")]

use std::{
    fs::File,
    hint::black_box,
    io::{BufReader, BufWriter, Write},
    path::Path,
    time::Instant,
};

use model::{
    Model, Row,
    corpus::{self, Format, Item, Reader, split},
    counts::Counter,
    experiment::{self, Config},
    features,
    linear::Scratch,
    random::SplitMix,
    trainers::{self, Preset, Trainer},
};
use serde_json::json;

const FOLDS: usize = 5;
const SEED: u64 = experiment::DEFAULT_SEED;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] | ["suite"] => suite(None),
        ["suite", corpus] => suite(Some(corpus)),
        ["split", corpus, dir] => split(corpus, Path::new(dir)),
        ["perturb", corpus, n, file] => perturb(corpus, n.parse().expect("N is a number"), file),
        ["fit", name, train] => {
            let started = Instant::now();
            let (model, sentences) = Recipe::of(name).fit(train);
            let seconds = started.elapsed().as_secs_f64();
            let features = model.table().len();
            println!("{}", json!({"model": name, "sentences": sentences, "seconds": seconds, "features": features}));
        }
        ["predict", name, train, test] => {
            let model = Recipe::of(name).fit(train).0;
            let texts = texts(test);
            let seconds = scoring_seconds(&model, &texts);
            println!("{}", json!({"model": name, "sentences": texts.len(), "seconds": seconds}));
        }
        ["latency", name, train, test] => {
            let (p50, p99) = latency(&Recipe::of(name).fit(train).0, &texts(test));
            println!("{}", json!({"model": name, "p50_ns": p50, "p99_ns": p99}));
        }
        ["quality", name, train] => {
            let recipe = Recipe::of(name);
            let config = Config { preset: recipe.preset, threads: 1, ..Config::default() };
            let trained = experiment::train(recipe.trainer, &rows_of(train), &config, &|_, _| {});
            let sentence = trained.expect("it can be learned").cross_validation.sentence;
            println!("{}", json!({"model": name, "cross_validation": sentence}));
        }
        ["scores", name, train, test] => {
            let recipe = Recipe::of(name);
            let rows: Vec<Row> = rows(train).collect();
            let config = Config { preset: recipe.preset, threads: 1, ..Config::default() };
            let trained = experiment::train(recipe.trainer, &rows, &config, &|_, _| {}).expect("it can be learned");
            let test: Vec<Row> = rows_of(test);
            let mut out = BufWriter::new(std::io::stdout().lock());
            for probability in experiment::probabilities(&trained.model, &test) {
                writeln!(out, "{probability}").expect("standard output is open");
            }
        }
        _ => {
            eprintln!("unknown measurement {arguments:?}: see the top of benches/measure.rs");
            std::process::exit(2);
        }
    }
}

/// A trainer and a preset.
#[derive(Clone, Copy)]
struct Recipe {
    trainer: &'static dyn Trainer,
    preset: Preset,
}

impl Recipe {
    fn of(name: &str) -> Self {
        let (trainer, preset) = match name {
            "unigram_nb" => ("multinomial_nb", Preset::Sklearn),
            "bigram_nb" => ("multinomial_nb", Preset::Default),
            other => (other, Preset::Default),
        };
        let trainer = trainers::find(trainer).expect("a model that exists");
        if trainer.encoder().is_some() {
            eprintln!(
                "{name} has an encoder: `threatwatch experiment --trainer {name}` measures its quality, `cargo bench -p \
                 encoder` its speed"
            );
            std::process::exit(2);
        }
        Self { trainer, preset }
    }

    /// Trains on a file's rows; returns the model and the number of rows.
    ///
    /// Additive learners never hold more than one row in memory.
    fn fit(self, train: &str) -> (Model, usize) {
        let learners = self.trainer.learners();
        if let [learner] = learners
            && let Some(additive) = learner.as_additive()
        {
            let analyser = additive.features(self.preset).analyser().expect("the table has them");
            let (mut counter, mut scratch) = (Counter::default(), features::Scratch::default());
            let mut sentences = 0;
            for row in rows(train) {
                counter.add(&analyser, &row.text, row.is_threat(), &mut scratch);
                sentences += 1;
            }
            let fitted = additive.fit_counts(&counter.finish(), self.preset).expect("it can be learned");
            return (trainers::assemble(self.trainer.name(), vec![fitted], &[1.0], 0.0).expect("it fits"), sentences);
        }
        let rows: Vec<Row> = rows(train).collect();
        let config = Config { preset: self.preset, threads: 1, ..Config::default() };
        let model = if learners.len() == 1 {
            trainers::fit(self.trainer, &rows, self.preset)
        } else {
            // The learners' weights come from cross-validation, which is part of the fit.
            experiment::train(self.trainer, &rows, &config, &|_, _| {}).map(|trained| trained.model)
        };
        (model.expect("it can be learned"), rows.len())
    }
}

fn rows(file: &str) -> impl Iterator<Item = Row> {
    let input = BufReader::with_capacity(1 << 16, File::open(file).unwrap_or_else(|error| panic!("{file}: {error}")));
    let reader = Reader::new(Format::guess(file, b""), input).expect("the file is a corpus");
    reader.filter_map(|item| match item.expect("the file can be read") {
        Item::Row(row) => Some(row),
        Item::Malformed(_) => None,
    })
}

fn rows_of(file: &str) -> Vec<Row> {
    rows(file).collect()
}

fn texts(file: &str) -> Vec<String> {
    rows(file).map(|row| row.text).collect()
}

fn scoring_seconds(model: &Model, texts: &[String]) -> f64 {
    let mut scratch = Scratch::default();
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = Instant::now();
        for text in texts {
            black_box(model.score(text, &mut scratch));
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    best
}

/// The median and the 99th percentile of single calls, in nanoseconds.
fn latency(model: &Model, texts: &[String]) -> (u64, u64) {
    let mut scratch = Scratch::default();
    let time = |text: &String| {
        let started = Instant::now();
        black_box(model.score(text, &mut scratch));
        started.elapsed().as_nanos() as u64
    };
    let mut times: Vec<u64> = texts.iter().take(50_000).map(time).collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn write_rows<'a>(file: &Path, rows: impl Iterator<Item = &'a Row>) {
    let mut out = BufWriter::new(File::create(file).expect("the file can be made"));
    for row in rows {
        serde_json::to_writer(&mut out, row).expect("the disk has room");
        out.write_all(b"\n").expect("the disk has room");
    }
}

fn split(corpus: &str, dir: &Path) {
    let rows = rows_of(corpus);
    let folds = split::folds(SEED, &rows, FOLDS);
    std::fs::create_dir_all(dir).expect("the directory can be made");
    write_rows(&dir.join("all.jsonl"), rows.iter());
    for k in 0..FOLDS {
        for (name, is_test) in [("train", false), ("test", true)] {
            let side = rows.iter().zip(&folds).filter(|&(_, &fold)| (fold == k) == is_test).map(|(row, _)| row);
            write_rows(&dir.join(format!("fold-{k}-{name}.jsonl")), side);
        }
    }
    println!("{}", json!({"sentences": rows.len(), "folds": FOLDS}));
}

/// Writes perturbed copies of the corpus, each with other commenters.
///
/// One word in twenty is left out, one is replaced by another word of the corpus, and one is misspelt.
fn perturb(corpus: &str, n: u64, file: &str) {
    let rows = rows_of(corpus);
    let vocabulary: Vec<&str> = rows.iter().flat_map(|row| row.text.split_whitespace()).collect();
    let mut random = SplitMix(SEED);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file).expect("the file can be made"));
    for i in 0..n {
        let (copy, row) = (i / rows.len() as u64, &rows[(i % rows.len() as u64) as usize]);
        let mut text = String::with_capacity(row.text.len() + 8);
        for word in row.text.split_whitespace() {
            let word = match random.below(20) {
                0 => continue,
                1 => vocabulary[random.below(vocabulary.len())].to_owned(),
                2 => misspelt(word, &mut random),
                _ => word.to_owned(),
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text += &word;
        }
        if text.is_empty() {
            text.push('.');
        }
        let row = Row {
            comment: (copy as u32).wrapping_mul(100_000).wrapping_add(row.comment),
            commenter: format!("{}-{copy}", row.commenter),
            label: row.label,
            text,
        };
        serde_json::to_writer(&mut out, &row).expect("the disk has room");
        out.write_all(b"\n").expect("the disk has room");
    }
    out.flush().expect("the disk has room");
    println!("{}", json!({"sentences": n}));
}

/// A word with two neighbouring characters exchanged.
fn misspelt(word: &str, random: &mut SplitMix) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() > 1 {
        let at = random.below(letters.len() - 1);
        letters.swap(at, at + 1);
    }
    letters.into_iter().collect()
}

fn suite(corpus: Option<&str>) {
    let dir = std::env::temp_dir().join(format!("threatwatch-measure-{}", std::process::id()));
    let file = dir.join("rows.jsonl");
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let rows = corpus.map_or_else(|| corpus::sample().rows, rows_of);
    write_rows(&file, rows.iter());
    let file = file.to_str().expect("a temporary directory has a plain name");
    for name in ["unigram_nb", "bigram_nb", "linear_svc", "stacked"] {
        let started = Instant::now();
        let (model, sentences) = Recipe::of(name).fit(file);
        let fit = sentences as f64 / started.elapsed().as_secs_f64();
        let texts = texts(file);
        let score = sentences as f64 / scoring_seconds(&model, &texts);
        let (p50, p99) = latency(&model, &texts);
        let (fit, score, p50, p99) = (fit / 1e3, score / 1e3, p50 as f64 / 1e3, p99 as f64 / 1e3);
        println!(
            "{name:<11} fit {fit:7.0} k sentences/s   score {score:6.0} k sentences/s   one sentence {p50:.2} us (99%: {p99:.2} us)"
        );
    }
    let _ = std::fs::remove_dir_all(dir);
}
