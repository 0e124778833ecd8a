//! `threatwatch label`: chooses the comments of a file to label next.

use std::{collections::HashSet, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use model::{
    Model,
    labelling::{self, Choice, RANDOM_SHARE},
};
use registry::{FeedbackId, FeedbackList};
use serde_json::json;

use super::exit::SOME_WRONG;
use crate::{
    chosen_model::ChosenModel,
    comments::{self, Comment, Format},
    settings::Settings,
};

/// The comments, and how many to choose
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A file with comments, `-` for standard input
    file: PathBuf,
    /// How many comments to choose
    #[arg(long, default_value_t = 200)]
    take: usize,
    /// Share of the chosen comments that is drawn at random, from 0 to 1
    #[arg(long, default_value_t = RANDOM_SHARE, value_parser = share)]
    random_share: f64,
    /// Seed of the random draw
    #[arg(long, default_value_t = model::experiment::DEFAULT_SEED)]
    seed: u64,
    /// Judge with a registered version or an artifact's file; without it the version in production
    #[arg(long, value_name = "VERSION|FILE")]
    model: Option<String>,
    /// Format of the file; without it the file's name decides
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Also choose comments that already have a label
    #[arg(long)]
    again: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not from 0 to 1".to_owned()) }
}

/// Prints the chosen comments as lines of JSON, in the order in which to label them.
pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let is_file = arguments.model.as_ref().is_some_and(|name| std::path::Path::new(name).is_file());
    let model = match &arguments.model {
        Some(name) => ChosenModel::find(name, settings).await?.model,
        None => in_production(settings).await?,
    };
    // With a model from a file there may be no registry.
    let labelled =
        if arguments.again || is_file { FeedbackList::new() } else { settings.registry().await?.feedback().await? };
    let labelled: HashSet<&str> = labelled.keys().map(FeedbackId::comment).collect();
    let format = arguments.format.unwrap_or_else(|| Format::of(&arguments.file));
    let read = Read::new(comments::read(&arguments.file, format)?.map(|piece| Ok(piece?.comment())), &labelled)?;
    let Read { comments, known, wrong, twice } = &read;
    if comments.is_empty() {
        bail!("no comment is left to choose from: {known} were labelled before, {wrong} cannot be read");
    }
    let probabilities = judge(&model, comments);
    let choice = Choice { take: arguments.take, random_share: arguments.random_share, seed: arguments.seed };
    let text = |at: usize| comments[at].1.as_str();
    let chosen = labelling::choose(&probabilities, model.threshold(), text, &choice);
    let (from, taken) = (comments.len(), chosen.len());
    let unasked = if arguments.again || is_file { " (not checked)" } else { "" };
    for (at, why) in chosen {
        let (id, text) = &comments[at];
        println!("{}", json!({ "id": id, "text": text, "probability": probabilities[at], "why": why }));
    }
    eprintln!(
        "{taken} of {from} comments; left out: {known} labelled before{unasked}, {twice} duplicates, {wrong} that \
         cannot be read"
    );
    Ok(if *wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
}

async fn in_production(settings: &Settings) -> anyhow::Result<Model> {
    let registry = settings.registry().await?;
    let promotion = registry.production().await?.context("nothing is in production: name a version with --model")?;
    Ok(ChosenModel::load(&registry, &promotion.record.version).await?.model)
}

/// The comments of a file.
#[derive(Default)]
struct Read {
    /// Id and text.
    comments: Vec<(String, String)>,
    /// Number of comments that were labelled before.
    known: usize,
    /// Number of comments that cannot be read.
    wrong: usize,
    /// Number of comments with the same text as an earlier one.
    twice: usize,
}

impl Read {
    fn new(comments: impl Iterator<Item = anyhow::Result<Comment>>, labelled: &HashSet<&str>) -> anyhow::Result<Self> {
        let anybody = "anybody".parse().expect("a name");
        let (mut this, mut seen) = (Self::default(), HashSet::new());
        for comment in comments {
            let Comment { id, text } = comment?;
            let Some(text) = text.ok().filter(|text| !text.trim().is_empty()) else {
                this.wrong += 1;
                continue;
            };
            let name = FeedbackId::new(&text, &anybody).comment().to_owned();
            if labelled.contains(name.as_str()) {
                this.known += 1;
            } else if seen.insert(name) {
                this.comments.push((id, text));
            } else {
                this.twice += 1;
            }
        }
        Ok(this)
    }
}

/// The probability of each comment, on every core.
fn judge(model: &Model, comments: &[(String, String)]) -> Vec<f64> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let judge = |share: &[(String, String)]| -> Vec<f64> {
        share.iter().map(|(_, text)| model.judge(text).probability).collect()
    };
    std::thread::scope(|scope| {
        let shares = comments.chunks(comments.len().div_ceil(threads).max(1));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || judge(share))).collect();
        running.into_iter().flat_map(|share| share.join().expect("judging does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_labelled_or_stands_there_twice_or_cannot_be_read_is_left_out_and_counted() {
        let comment = |id: &str, text: &str| Ok(Comment { id: id.to_owned(), text: Ok(text.to_owned()) });
        let known = FeedbackId::new("known", &"anna".parse().unwrap());
        let wrong = Ok(Comment { id: "5".to_owned(), text: Err("not UTF-8".to_owned()) });
        let all = [comment("1", "new"), comment("2", "known"), comment("3", "new"), comment("4", " "), wrong];
        let read = Read::new(all.into_iter(), &HashSet::from([known.comment()])).unwrap();
        assert_eq!(read.comments, [("1".to_owned(), "new".to_owned())]);
        assert_eq!((read.known, read.twice, read.wrong), (1, 1, 2));
    }
}
