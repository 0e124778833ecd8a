//! `threatwatch evaluate`: measures the quality of a model on labelled rows, without training.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::{Digest, Version, calibration::OperatingPoint, evaluation::Scores, experiment};
use serde::Serialize;

use super::answer::Answer;
use crate::{
    chosen_model::{ChosenModel, TrainingData},
    figures::Figures,
    labelled::{Facts, Labelled},
    report::{self, Report},
    settings::Settings,
};

/// The rows to judge, and the model
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Labelled rows: a corpus (THREAT format, JSONL or CSV), or the digest of a stored dataset
    #[arg(long, value_name = "FILE|DIGEST")]
    data: String,
    /// A registered version, or an artifact's file; with two files no server is needed
    #[arg(long, value_name = "VERSION|FILE")]
    model: String,
    /// Also write figures, curves and tables to this file, as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

/// The quality of a model on labelled rows.
#[derive(Debug, Serialize)]
struct Evaluated {
    model: Judge,
    data: Facts,
    training_data: TrainingData,
    #[serde(flatten)]
    figures: Figures,
}

/// The model that judged.
#[derive(Debug, Serialize)]
struct Judge {
    /// None for a model from a file.
    version: Option<Version>,
    artifact: Digest,
    trainer: String,
    /// The threshold from which a sentence is a threat.
    operating_point: OperatingPoint,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    if let Some(file) = &arguments.report {
        report::check(file)?;
    }
    let data = find(&arguments.data, settings).await?;
    let chosen = ChosenModel::find(&arguments.model, settings).await?;
    let training_data = match &chosen.manifest {
        Some(_) => chosen.learned_from(&settings.registry().await?, &data.facts.dataset).await?,
        None => TrainingData::Unknown,
    };
    let evaluated = tokio::task::spawn_blocking(move || evaluate(&chosen, data, training_data)).await?;
    if let Some(file) = &arguments.report {
        evaluated.report().write(file)?;
        eprintln!("the report is in {}", file.display());
    }
    if arguments.answer.json {
        for words in evaluated.warnings() {
            eprintln!("! {words}");
        }
    }
    arguments.answer.give(&evaluated, || evaluated.print())
}

/// Reads the file of this name if there is one, otherwise the stored dataset.
async fn find(name: &str, settings: &Settings) -> anyhow::Result<Labelled> {
    if Path::new(name).is_file() {
        return Labelled::read(Path::new(name));
    }
    let dataset = Digest::parse(name).with_context(|| format!("`{name}` is neither a file nor a dataset's digest"))?;
    Labelled::stored(&settings.registry().await?, &dataset).await
}

fn evaluate(chosen: &ChosenModel, data: Labelled, training_data: TrainingData) -> Evaluated {
    let Labelled { rows, facts } = data;
    let model = &chosen.model;
    let probabilities = experiment::probabilities(model, &rows);
    let scores = Scores::of(&rows, &probabilities, model.threshold());
    Evaluated {
        model: Judge {
            version: chosen.manifest.as_ref().map(|manifest| manifest.version.clone()),
            artifact: chosen.artifact.clone(),
            trainer: model.spec().trainer.clone(),
            operating_point: model.operating_points()[0].clone(),
        },
        figures: Figures::of(&rows, &probabilities, scores, model.operating_points()),
        data: facts,
        training_data,
    }
}

impl Evaluated {
    /// Warnings about the figures.
    fn warnings(&self) -> Vec<String> {
        let of_training = self.training_data.warning().map(str::to_owned);
        let one_sided = match self.data.threats {
            0 => Some("no row is a threat: precision, recall, F1 and PR-AUC mean nothing".to_owned()),
            threats if threats == self.data.sentences => {
                Some("every row is a threat: precision, PR-AUC and the false positive figures mean nothing".to_owned())
            }
            _ => None,
        };
        of_training.into_iter().chain(one_sided).chain(self.data.set_aside(20)).collect()
    }

    fn print(&self) {
        let Judge { version, artifact, trainer, operating_point } = &self.model;
        let name = version.as_ref().map_or_else(|| artifact.short(), Version::as_str);
        println!("model  {name} by {trainer}, {} from {:.4}", operating_point.name, operating_point.threshold);
        println!("data   {}, dataset {}", self.data.words(), self.data.dataset.short());
        for words in self.warnings() {
            println!("! {words}");
        }
        print!("\n{}", self.figures.table());
    }

    fn report(&self) -> Report<'_> {
        let Judge { version, artifact, trainer, operating_point } = &self.model;
        let name = version.as_ref().map_or_else(|| artifact.short(), Version::as_str);
        Report {
            title: format!("Evaluation of {name} on {}", self.data.name),
            configuration: vec![
                ("version", version.as_ref().map_or_else(|| "none: a file".to_owned(), Version::to_string)),
                ("artifact", artifact.to_string()),
                ("trainer", trainer.clone()),
                ("operating point", format!("{} from {}", operating_point.name, operating_point.threshold)),
            ],
            warnings: self.warnings(),
            data: vec![("Judged rows", &self.data)],
            figures: &self.figures,
            beside: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen_model::tests::registered;

    #[tokio::test]
    async fn the_figures_are_those_of_the_model_on_the_rows() {
        let (registry, dataset, version) = registered().await;
        let chosen = ChosenModel::load(&registry, &version).await.unwrap();
        let data = Labelled::stored(&registry, &dataset).await.unwrap();
        let expected = experiment::evaluate(&chosen.model, &data.rows);
        let texts: Vec<String> = data.rows.iter().map(|row| row.text.clone()).collect();
        let evaluated = evaluate(&chosen, data, TrainingData::Same);
        assert_eq!(evaluated.figures.scores, expected);
        assert!(evaluated.warnings()[0].contains("trained on these rows"));
        let json = serde_json::to_string(&evaluated).unwrap();
        assert!(!texts.iter().any(|text| text.len() > 12 && json.contains(text)), "numbers only");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["training_data"], "same");
        assert_eq!(json["model"]["version"], version.as_str());
        assert_eq!(json["sentence"]["intervals"]["pr_auc"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["data"]["dataset"], dataset.as_str());
    }
}
