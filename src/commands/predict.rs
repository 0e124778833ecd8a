//! `threatwatch predict`: judges comments through the API, or with a model on this machine.

use std::{
    io::{self, BufWriter, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use model::Model;
use registry::Label;
use serde_json::{Value, json};

use super::exit::SOME_WRONG;
use crate::{
    chosen_model::ChosenModel,
    comments::{self, Comment, Format, Line, Output, Piece, Written},
    http::Api,
    settings::Settings,
};

/// Most comments in a request.
const SHARE: usize = 500;
/// Comments in a thread's share. A thread gets faster after some thousand comments.
const OF_A_THREAD: usize = 10_000;
/// Bytes after which a request gets no further comment. The API accepts some MiB.
const MOST_BYTES: usize = 2 << 20;
/// Most bytes of a comment in a request.
const LONGEST: usize = 256 << 10;
/// Requests that run at once.
const AT_ONCE: usize = 3;

/// What to judge
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The comment
    #[arg(required_unless_present = "file")]
    text: Option<String>,
    /// A file with comments, `-` for standard input; prints the verdicts in the order of the file
    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Format of the file; without it the file's name decides
    #[arg(long, value_enum, requires = "file")]
    format: Option<Format>,
    /// Format of the verdicts
    #[arg(long, value_enum, requires = "file", default_value = "jsonl")]
    output: Output,
    /// Judge on this machine, without the API: a registered version or an artifact's file
    #[arg(long, value_name = "VERSION|FILE")]
    model: Option<String>,
    /// Print the whole answer to one comment as JSON
    #[arg(long, conflicts_with = "file")]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let model = match &arguments.model {
        Some(name) => Some(ChosenModel::find(name, settings).await?.model),
        None => None,
    };
    let Some(path) = &arguments.file else {
        let text = arguments.text.unwrap_or_default();
        match model {
            Some(model) => show(&by_model(&model, text)?, arguments.json)?,
            None => show(&Api::new(settings)?.post("/predict", &json!({ "text": text })).await?, arguments.json)?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let comments = comments::read(path, arguments.format.unwrap_or_else(|| Format::of(path)))?;
    let mut told = Told::new(arguments.output)?;
    match model {
        Some(model) => judge_here(&model, comments, &mut told)?,
        None => judge_there(&Api::new(settings)?, comments, &mut told).await?,
    }
    told.finish()
}

/// The verdict in the API's form, with the fields that a model alone can give.
fn by_model(model: &Model, text: String) -> anyhow::Result<Value> {
    let line = line(model, Comment { id: String::new(), text: Ok(text) });
    if let Some(problem) = line.problem {
        bail!(problem);
    }
    Ok(json!({
        "label": line.label,
        "probability": line.probability,
        "threshold": model.threshold(),
        "decision": line.decision,
        "judged_by": line.judged_by,
    }))
}

fn show(answer: &Value, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        println!("{}", serde_json::to_string_pretty(answer)?);
        return Ok(());
    }
    let percent = |value: &Value| 100.0 * value.as_f64().unwrap_or(f64::NAN);
    let origin = match (answer["model_version"].as_str(), &answer["generation"]) {
        (Some(version), generation) => format!(", model {version}, generation {generation}"),
        (None, _) => String::new(),
    };
    println!(
        "{}: {:.1}% (threat from {:.1}%){origin}",
        answer["label"].as_str().unwrap_or("?"),
        percent(&answer["probability"]),
        percent(&answer["threshold"]),
    );
    Ok(())
}

/// Judges on every core.
///
/// While some comments are judged, earlier ones are written and later ones are read.
///
/// Some ten thousand comments are in memory. Comments that were read before an error are still judged and written.
fn judge_here(
    model: &Model,
    pieces: impl Iterator<Item = anyhow::Result<Piece>>,
    told: &mut Told,
) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let output = told.output;
    let judge = |share: Vec<Piece>| output.write(share.into_iter().map(|piece| line(model, piece.comment())));
    let mut pieces = UntilWrong { pieces, wrong: None };
    let mut shares = || -> Vec<Vec<Piece>> {
        let shares = (0..threads).map(|_| pieces.by_ref().take(OF_A_THREAD).collect::<Vec<_>>());
        shares.filter(|share| !share.is_empty()).collect()
    };
    let mut waiting = shares();
    let mut judged: Vec<Written> = Vec::new();
    while !(waiting.is_empty() && judged.is_empty()) {
        (judged, waiting) = std::thread::scope(|scope| {
            let running: Vec<_> = waiting.into_iter().map(|share| scope.spawn(move || judge(share))).collect();
            judged.iter().try_for_each(|written| told.add(written))?;
            let next = shares();
            let judged = running.into_iter().map(|share| share.join().expect("judging does not panic")).collect();
            Ok::<_, anyhow::Error>((judged, next))
        })?;
    }
    pieces.wrong.map_or(Ok(()), Err)
}

/// Pieces up to the first one that cannot be read, and its error.
struct UntilWrong<I> {
    pieces: I,
    wrong: Option<anyhow::Error>,
}

impl<I: Iterator<Item = anyhow::Result<Piece>>> Iterator for UntilWrong<I> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.wrong.is_some() {
            return None;
        }
        match self.pieces.next()? {
            Ok(piece) => Some(piece),
            Err(error) => {
                self.wrong = Some(error);
                None
            }
        }
    }
}

/// A model's verdict on a comment.
fn line(model: &Model, comment: Comment) -> Line {
    let Comment { id, text } = comment;
    let text = match text {
        Ok(text) if text.trim().is_empty() => Err("the comment is empty".to_owned()),
        text => text,
    };
    match text {
        Err(problem) => Line { id, problem: Some(problem), ..Line::default() },
        Ok(text) => {
            let verdict = model.judge(&text);
            Line {
                id,
                label: Some(Label::from(verdict.is_threat).name().to_owned()),
                probability: Some(verdict.probability),
                decision: Some(verdict.band.decide(verdict.probability).name().to_owned()),
                judged_by: Some(verdict.judged_by.name().to_owned()),
                problem: None,
            }
        }
    }
}

/// Judges through the API, a few requests at once.
///
/// Comments that were read before an error are still judged.
async fn judge_there(
    api: &Api,
    pieces: impl Iterator<Item = anyhow::Result<Piece>>,
    told: &mut Told,
) -> anyhow::Result<()> {
    let mut pieces = UntilWrong { pieces, wrong: None };
    let lists = std::iter::from_fn(|| next_list(&mut pieces));
    let mut answers = stream::iter(lists).map(|list| ask(api, list)).buffered(AT_ONCE);
    while let Some(lines) = answers.next().await {
        let lines = lines.with_context(|| format!("after {} comments", told.judged + told.wrong))?;
        told.add(&told.output.write(lines.into_iter()))?;
    }
    drop(answers);
    pieces.wrong.map_or(Ok(()), Err)
}

/// The comments of the next request; none at the end.
fn next_list(pieces: &mut impl Iterator<Item = Piece>) -> Option<Vec<Comment>> {
    let (mut list, mut bytes) = (Vec::new(), 0);
    while list.len() < SHARE && bytes < MOST_BYTES {
        let Some(piece) = pieces.next() else { break };
        let mut comment = piece.comment();
        if comment.text.as_ref().is_ok_and(|text| text.len() > LONGEST) {
            comment.text = Err(format!("the comment has more than {LONGEST} bytes"));
        }
        bytes += comment.text.as_ref().map_or(0, String::len);
        list.push(comment);
    }
    (!list.is_empty()).then_some(list)
}

async fn ask(api: &Api, list: Vec<Comment>) -> anyhow::Result<Vec<Line>> {
    let sent: Vec<Value> =
        list.iter().filter_map(|c| c.text.as_ref().ok()).map(|text| json!({ "text": text })).collect();
    let mut results = Vec::new();
    if !sent.is_empty() {
        let mut answer = api.post_patiently("/predict/batch", &json!({ "comments": sent })).await?;
        results = answer["results"].as_array_mut().map(std::mem::take).unwrap_or_default();
        anyhow::ensure!(results.len() == sent.len(), "the API did not answer with one verdict per comment");
    }
    let mut results = results.into_iter();
    let line = |Comment { id, text }: Comment| {
        if let Err(problem) = text {
            return Line { id, problem: Some(problem), ..Line::default() };
        }
        let result: Value = results.next().unwrap_or_default();
        let (verdict, problem) = (&result["verdict"], &result["problem"]);
        let word = |name: &str| verdict[name].as_str().map(str::to_owned);
        Line {
            id,
            label: word("label"),
            probability: verdict["probability"].as_f64(),
            decision: word("decision"),
            judged_by: word("judged_by"),
            problem: problem["detail"].as_str().map(str::to_owned),
        }
    };
    Ok(list.into_iter().map(line).collect())
}

/// Prints verdicts on standard output and counts them.
struct Told {
    output: Output,
    to: BufWriter<io::Stdout>,
    bar: ProgressBar,
    judged: u64,
    threats: u64,
    wrong: u64,
}

impl Told {
    fn new(output: Output) -> anyhow::Result<Self> {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("  {spinner} {pos} judged, {per_sec}")?);
        let mut to = BufWriter::with_capacity(1 << 16, io::stdout());
        to.write_all(output.header().as_bytes())?;
        Ok(Self { output, to, bar, judged: 0, threats: 0, wrong: 0 })
    }

    fn add(&mut self, written: &Written) -> anyhow::Result<()> {
        self.judged += written.judged;
        self.threats += written.threats;
        self.wrong += written.wrong;
        self.bar.set_position(self.judged + self.wrong);
        Ok(self.to.write_all(&written.text)?)
    }

    fn finish(mut self) -> anyhow::Result<ExitCode> {
        self.to.flush()?;
        self.bar.finish_and_clear();
        let Self { judged, threats, wrong, .. } = self;
        eprintln!("{judged} comments judged, {threats} of them threats; {wrong} could not be judged");
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
    }
}
