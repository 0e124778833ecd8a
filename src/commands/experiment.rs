//! `threatwatch experiment`: the pure pipeline on files, without a server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use activities::BaseSource;
use anyhow::Context;
use encoder::{Base, Recipe};
use indicatif::{ProgressBar, ProgressStyle};
use model::{
    Digest, Row,
    corpus::{self, Format},
    evaluation::{self, Judged, Scores},
    experiment::{self, Config, DEFAULT_SEED, EncoderFits},
    trainers::{self, Preset},
};
use serde_json::{Map, Value, json};

use crate::{encoder_base::EncoderBase, settings::Settings};

/// What to try
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The corpus to train on (THREAT format, JSONL or CSV)
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// A corpus to evaluate on
    #[arg(long, value_name = "FILE", conflicts_with = "cv")]
    test: Option<PathBuf>,
    /// Cross-validate by commenter with this many folds
    #[arg(long, value_name = "FOLDS", value_parser = clap::value_parser!(u64).range(2..=100))]
    cv: Option<u64>,
    /// The trainer
    #[arg(long, value_name = "NAME", default_value = "multinomial_nb")]
    trainer: String,
    /// Use the parameters of scikit-learn's defaults
    #[arg(long)]
    sklearn: bool,
    /// Decides the held-out commenters and the folds
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// For a trainer with an encoder: keep what fine-tuning made in this file, or take it from there if it is there
    #[arg(long, value_name = "FILE")]
    fits: Option<PathBuf>,
    /// Times that fine-tuning sees every sentence
    #[arg(long, value_name = "NUMBER")]
    epochs: Option<u32>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let trainer = trainers::find(&arguments.trainer)?;
    let rows = read(&arguments.train)?;
    let defaults = Config::default();
    let config = Config {
        preset: if arguments.sklearn { Preset::Sklearn } else { Preset::Default },
        seed: arguments.seed,
        folds: arguments.cv.map_or(defaults.folds, |folds| folds as usize),
        ..defaults
    };
    corpus::require_trainable(&rows)?;
    let encoder = trainer.encoder().map(|_| fine_tune(&arguments, settings, &rows, &config)).transpose()?;
    let trained = experiment::train_with_encoder(trainer, &rows, encoder, &config, &|_, _| {})?;
    let mut figures = Map::new();
    figures.insert("trainer".to_owned(), json!(trainer.name()));
    if let Some(test) = &arguments.test {
        let test = read(test)?;
        let probabilities = experiment::probabilities(&trained.model, &test);
        figures.extend(report(&Scores::of(&test, &probabilities, trained.model.threshold()), &test, &probabilities)?);
    } else {
        let report = report(&trained.cross_validation, &rows, &trained.unseen)?;
        figures.insert("cv".to_owned(), Value::Object(report));
        if let Some((cascade, _)) = trained.model.cascade() {
            let facts = json!({ "pass_from": cascade.pass_from, "passed_share": cascade.passed_share });
            figures.insert("cascade".to_owned(), facts);
        }
        if let Some(everywhere) = &trained.everywhere {
            figures.insert("cv_encoder_everywhere".to_owned(), serde_json::to_value(everywhere)?);
        }
    }
    if arguments.json {
        println!("{}", Value::Object(figures));
    } else {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(())
}

/// What an encoder learns, fold by fold and on everything: from a file that has it already, else on every core.
fn fine_tune(arguments: &Arguments, settings: &Settings, rows: &[Row], config: &Config) -> anyhow::Result<EncoderFits> {
    let defaults = Recipe::default();
    let recipe = Recipe { epochs: arguments.epochs.unwrap_or(defaults.epochs).max(1), ..defaults };
    let of = of_what(rows, config, &recipe);
    if let Some(file) = arguments.fits.as_ref().filter(|file| file.exists()) {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let fits = bytes.strip_prefix(of.as_str().as_bytes());
        let fits = fits.with_context(|| {
            format!("{} was made of other rows, folds, epochs or another seed: name another file", file.display())
        })?;
        return Ok(EncoderFits::decode(fits)?);
    }
    let source = EncoderBase::of(settings);
    let files = source.here()?.map_or_else(|| source.fetch(), Ok)?;
    let base = Base::read(&files)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:20} {pos}/{len} steps, {msg}, {eta} to go")?);
    let fits = experiment::fit_encoder(&base, rows, recipe, config, &mut |fit, stepped| {
        bar.set_length(stepped.of);
        bar.set_position(stepped.step);
        bar.set_message(format!("fit {} of {}, loss {:.3}", fit + 1, config.folds + 1, stepped.loss));
    });
    bar.finish_and_clear();
    if let Some(file) = &arguments.fits {
        fs::write(file, [of.as_str().as_bytes(), &fits.encode()].concat())
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(fits)
}

/// What fits are of: rows in their order, folds, seed and recipe.
fn of_what(rows: &[Row], config: &Config, recipe: &Recipe) -> Digest {
    let rows = rows.iter().map(|row| format!("{}\n{}\n{}\n", row.commenter, row.text, row.label));
    let rows = Digest::of(rows.collect::<String>().as_bytes());
    Digest::of(
        json!({ "rows": rows, "folds": config.folds, "seed": config.seed, "recipe": recipe }).to_string().as_bytes(),
    )
}

/// Everything that is known of some judged rows, by numbers and never by text.
fn report(scores: &Scores, rows: &[Row], probabilities: &[f64]) -> anyhow::Result<Map<String, Value>> {
    let judged: Vec<Judged> = probabilities.iter().copied().zip(rows.iter().map(Row::is_threat)).collect();
    let mut figures = Map::new();
    figures.insert("sentence".to_owned(), serde_json::to_value(&scores.sentence)?);
    figures.insert("comment".to_owned(), serde_json::to_value(&scores.comment)?);
    figures.insert("pr_curve".to_owned(), serde_json::to_value(evaluation::pr_curve(&judged, 100))?);
    figures.insert("calibration_curve".to_owned(), serde_json::to_value(evaluation::calibration_curve(&judged))?);
    let comments = evaluation::by_comment(rows, probabilities);
    figures.insert("flagged_comments".to_owned(), serde_json::to_value(evaluation::flagged_shares(&comments))?);
    figures.insert("worst_mistakes".to_owned(), serde_json::to_value(evaluation::worst_mistakes(&judged, 50))?);
    Ok(figures)
}

fn read(file: &Path) -> anyhow::Result<Vec<Row>> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let format = Format::guess(&file.to_string_lossy(), &bytes);
    let parsed = corpus::parse(format, &bytes).with_context(|| format!("read {}", file.display()))?;
    if !parsed.quarantined.is_empty() {
        eprintln!("{}: {} malformed rows set aside", file.display(), parsed.quarantined.len());
    }
    Ok(parsed.rows)
}
