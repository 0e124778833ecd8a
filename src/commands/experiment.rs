//! `threatwatch experiment`: trains and evaluates on files, without a server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use activities::BaseSource;
use anyhow::Context;
use encoder::{Base, Recipe};
use indicatif::{ProgressBar, ProgressStyle};
use model::{
    Digest, Row, corpus,
    evaluation::Scores,
    experiment::{self, Config, DEFAULT_SEED, EncoderFits, Trained},
    trainers::{self, Preset, Trainer},
};
use serde::Serialize;
use serde_json::json;

use super::{answer::Answer, exit::usage};
use crate::{
    encoder_base::EncoderBase,
    figures::Figures,
    labelled::{Facts, Labelled},
    report::{self, Report},
    settings::Settings,
};

/// The data and the trainer
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
    /// Use scikit-learn's default parameters
    #[arg(long)]
    sklearn: bool,
    /// Seed that chooses the held-out commenters and the folds
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// For a trainer with an encoder: file for the result of fine-tuning; read if it exists, otherwise written
    #[arg(long, value_name = "FILE")]
    fits: Option<PathBuf>,
    /// Epochs of fine-tuning: how many times it sees every sentence
    #[arg(long, value_name = "NUMBER")]
    epochs: Option<u32>,
    /// Also write figures, curves and tables to this file, as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

/// The experiment and its figures.
#[derive(Debug, Serialize)]
struct Tried {
    trainer: &'static str,
    data: Data,
    /// Figures on the rows of `--test`.
    #[serde(flatten)]
    test: Option<Figures>,
    /// Cross-validated figures; only without `--test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cv: Option<Figures>,
    /// With an encoder: the sentences that are passed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cascade: Option<Passing>,
    /// With an encoder: the cross-validated figures if it judged every sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    cv_encoder_everywhere: Option<Scores>,
}

/// The rows.
#[derive(Debug, Serialize)]
struct Data {
    train: Facts,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Facts>,
}

/// The sentences that are passed to an encoder.
#[derive(Debug, Serialize)]
struct Passing {
    pass_from: f64,
    passed_share: f64,
}

pub(super) fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let trainer = trainers::find(&arguments.trainer).map_err(usage)?;
    if let Some(file) = &arguments.report {
        report::check(file)?;
    }
    let train = read(&arguments.train)?;
    let test = arguments.test.as_deref().map(read).transpose()?;
    let defaults = Config::default();
    let config = Config {
        preset: if arguments.sklearn { Preset::Sklearn } else { Preset::Default },
        seed: arguments.seed,
        folds: arguments.cv.map_or(defaults.folds, |folds| folds as usize),
        ..defaults
    };
    corpus::require_trainable(&train.rows)?;
    let encoder = trainer.encoder().map(|_| fine_tune(&arguments, settings, &train.rows, &config)).transpose()?;
    let trained = experiment::train_with_encoder(trainer, &train.rows, encoder, &config, &|_, _| {})?;
    let configuration = configuration(&arguments, trainer, &config, &trained);
    let tried = Tried::of(trainer.name(), trained, train, test);
    if let Some(file) = &arguments.report {
        tried.report(configuration).write(file)?;
        eprintln!("the report is in {}", file.display());
    }
    if arguments.answer.json {
        println!("{}", serde_json::to_string(&tried)?);
    } else {
        tried.print();
    }
    Ok(())
}

/// The configuration, for the report.
fn configuration(
    arguments: &Arguments,
    trainer: &dyn Trainer,
    config: &Config,
    trained: &Trained,
) -> Vec<(&'static str, String)> {
    let point = &trained.model.operating_points()[0];
    let mut facts = vec![
        ("trainer", trainer.name().to_owned()),
        ("preset", format!("{:?}", config.preset).to_lowercase()),
        ("seed", config.seed.to_string()),
        ("folds by commenter", config.folds.to_string()),
        ("operating point", format!("{} from {}", point.name, point.threshold)),
    ];
    if trainer.encoder().is_some() {
        let epochs = arguments.epochs.unwrap_or(Recipe::default().epochs).max(1);
        facts.push(("epochs of fine-tuning", epochs.to_string()));
    }
    if let Some((cascade, _)) = trained.model.cascade() {
        let passed = format!("from {}: {:.4} of the sentences", cascade.pass_from, cascade.passed_share);
        facts.push(("passed to the encoder", passed));
    }
    facts
}

impl Tried {
    fn of(trainer: &'static str, trained: Trained, train: Labelled, test: Option<Labelled>) -> Self {
        let Trained { model, cross_validation, unseen, everywhere } = trained;
        let points = model.operating_points();
        let Some(test) = test else {
            let passing = |cascade: &model::linear::Cascade| Passing {
                pass_from: cascade.pass_from,
                passed_share: cascade.passed_share,
            };
            return Self {
                trainer,
                cv: Some(Figures::of(&train.rows, &unseen, cross_validation, points)),
                data: Data { train: train.facts, test: None },
                test: None,
                cascade: model.cascade().map(|(cascade, _)| passing(cascade)),
                cv_encoder_everywhere: everywhere,
            };
        };
        let probabilities = experiment::probabilities(&model, &test.rows);
        let scores = Scores::of(&test.rows, &probabilities, model.threshold());
        Self {
            trainer,
            test: Some(Figures::of(&test.rows, &probabilities, scores, points)),
            cv: None,
            data: Data { train: train.facts, test: Some(test.facts) },
            cascade: None,
            cv_encoder_everywhere: None,
        }
    }

    fn figures(&self) -> &Figures {
        self.test.as_ref().or(self.cv.as_ref()).expect("rows were judged in one of two ways")
    }

    fn warnings(&self) -> Vec<String> {
        let is_same = self.data.test.as_ref().is_some_and(|test| test.dataset == self.data.train.dataset);
        let of_same = "the model was trained on these rows: the figures are too good".to_owned();
        is_same.then_some(of_same).into_iter().collect()
    }

    fn print(&self) {
        println!("trainer  {}", self.trainer);
        println!("train    {}", self.data.train.words());
        match &self.data.test {
            Some(test) => println!("test     {}", test.words()),
            None => println!("judged   by cross-validation: each row by a model that was not trained on its commenter"),
        }
        for words in self.warnings() {
            println!("! {words}");
        }
        print!("\n{}", self.figures().table());
        println!("\n--json and --report FILE also give curves, thresholds and the worst mistakes");
    }

    fn report(&self, configuration: Vec<(&'static str, String)>) -> Report<'_> {
        let Data { train, test } = &self.data;
        let (title, data) = match test {
            Some(test) => (
                format!("{} trained on {}, judged on {}", self.trainer, train.name, test.name),
                vec![("Trained on", train), ("Judged on", test)],
            ),
            None => (
                format!("{} on {}, cross-validated by commenter", self.trainer, train.name),
                vec![("Trained and judged on, fold by fold", train)],
            ),
        };
        let everywhere = self.cv_encoder_everywhere.iter();
        Report {
            title,
            configuration,
            warnings: self.warnings(),
            data,
            figures: self.figures(),
            beside: everywhere.map(|scores| ("If the encoder judged every sentence", scores)).collect(),
        }
    }
}

/// Fine-tunes the encoder on each fold and on all rows, on every core.
///
/// Reads the result from the file of `--fits` if it exists.
fn fine_tune(arguments: &Arguments, settings: &Settings, rows: &[Row], config: &Config) -> anyhow::Result<EncoderFits> {
    let defaults = Recipe::default();
    let recipe = Recipe { epochs: arguments.epochs.unwrap_or(defaults.epochs).max(1), ..defaults };
    let of = of_what(rows, config, &recipe);
    if let Some(file) = arguments.fits.as_ref().filter(|file| file.exists()) {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let fits = bytes.strip_prefix(of.as_str().as_bytes());
        let fits = fits.with_context(|| {
            format!("{} was made with other rows, folds, epochs or another seed: name another file", file.display())
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

/// The digest of what fits depend on: rows in their order, folds, seed and recipe.
fn of_what(rows: &[Row], config: &Config, recipe: &Recipe) -> Digest {
    let rows = rows.iter().map(|row| format!("{}\n{}\n{}\n", row.commenter, row.text, row.label));
    let rows = Digest::of(rows.collect::<String>().as_bytes());
    Digest::of(
        json!({ "rows": rows, "folds": config.folds, "seed": config.seed, "recipe": recipe }).to_string().as_bytes(),
    )
}

fn read(file: &Path) -> anyhow::Result<Labelled> {
    let read = Labelled::read(file)?;
    for words in read.facts.set_aside(5) {
        eprintln!("{words}");
    }
    Ok(read)
}
