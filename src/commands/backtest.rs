//! `threatwatch backtest`: compares two versions' decisions on a file, on feedback or on a dataset.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use model::{
    Digest, Model, Row, Version,
    backtest::{self, Backtest, BacktestId, Case, Comment, Compared, Labelled, Report, Source},
    calibration::Decision,
    corpus::{self, Item, Reader},
};
use registry::Registry;
use workflows::steps::BacktestRequest;

use super::{
    answer::Answer,
    exit::{SOME_WRONG, usage},
    rfc3339,
};
use crate::{comments, following::watch, settings::Settings};

/// Comments of a file in memory at once.
const AT_ONCE: usize = 20_000;
/// Bytes at the start of a file that are read to guess its format.
const HEAD: usize = 64 << 10;

/// The version to try, and the comments to judge
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["file", "feedback", "dataset"])))]
pub(super) struct Arguments {
    /// The version to try
    version: Version,
    /// A file with comments, or a corpus with labels; `-` for standard input
    #[arg(long)]
    file: Option<PathBuf>,
    /// Format of the file; without it the file's name and first lines decide
    #[arg(long, value_enum, requires = "file")]
    format: Option<Format>,
    /// Judge the comments that reviewers decided about
    #[arg(long)]
    feedback: bool,
    /// Judge the comments of a stored dataset
    #[arg(long, value_name = "DIGEST")]
    dataset: Option<Digest>,
    /// The version to compare with; without it the version in production
    #[arg(long, value_name = "VERSION")]
    against: Option<Version>,
    /// Run `BacktestWorkflow` on a worker, and wait for the result
    #[arg(long, conflicts_with_all = ["file", "no_store"])]
    workflow: bool,
    /// Do not store the report
    #[arg(long)]
    no_store: bool,
    #[command(flatten)]
    answer: Answer,
}

/// Format of a file with comments
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Each line is a comment
    Lines,
    /// Each line is a JSON object with `text`
    Jsonl,
    /// A header line with a column `text`
    Csv,
    /// Sentences with labels, as `dataset import` takes them: THREAT format, JSONL or CSV
    Corpus,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let source = match (&arguments.file, &arguments.dataset) {
        (Some(path), _) => Source::File(Digest::of(name(path).as_bytes())),
        (None, Some(dataset)) => Source::Dataset(dataset.clone()),
        (None, None) => Source::Feedback,
    };
    let (done, wrong) = if arguments.workflow {
        (by_workflow(&arguments, source, settings).await?, 0)
    } else {
        // The future holds two models and their manifests: too large for the stack.
        Box::pin(here(&arguments, source, settings)).await?
    };
    arguments.answer.give(&done, || show(&done))?;
    if wrong > 0 {
        eprintln!("{wrong} comments could not be judged");
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
}

async fn by_workflow(arguments: &Arguments, source: Source, settings: &Settings) -> anyhow::Result<Backtest> {
    let request =
        BacktestRequest { candidate: arguments.version.clone(), incumbent: arguments.against.clone(), source };
    request.check().map_err(usage)?;
    let orchestrator = settings.orchestrator("cli");
    let id = format!("backtest-{}", Digest::of(&rand::random::<[u8; 16]>()).short());
    let started = orchestrator.backtest(request, &id).await?;
    eprintln!("started {id}");
    watch(&orchestrator, &started, &ProgressBar::new(0), Box::pin(orchestrator.backtested(&started))).await
}

/// Judges on every core of this machine.
///
/// Also returns the number of comments that could not be judged.
async fn here(arguments: &Arguments, source: Source, settings: &Settings) -> anyhow::Result<(Backtest, u64)> {
    let registry = settings.registry().await?;
    let incumbent = registry.incumbent(arguments.against.clone()).await?;
    if incumbent == arguments.version {
        return Err(usage(format!("{incumbent} cannot be compared with itself: name another version with --against")));
    }
    let [candidate, other] = [registry.load(&arguments.version).await?, registry.load(&incumbent).await?];
    let mut judging = Judging::new(&candidate.model, &other.model)?;
    match &arguments.file {
        Some(path) => judging.file(path, arguments.format)?,
        None => judging.stored(&registry, &source).await?,
    }
    let Judging { cases, wrong, bar, .. } = judging;
    bar.finish_and_clear();
    ensure!(!cases.is_empty(), "there are no comments to judge: {} has none", source.kind());
    let cases = registry.mark_learnt(cases, [&candidate.manifest, &other.manifest]).await?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let lot = Digest::of(&rand::random::<[u8; 16]>());
    let done = Backtest {
        id: BacktestId::derive(since_1970.as_secs() as i64, "cli", lot.as_str()),
        candidate: arguments.version.clone(),
        incumbent,
        source,
        at: since_1970.as_millis() as i64,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        report: Report::of(&cases),
    };
    let done = if arguments.no_store { done } else { registry.put_backtest(&done).await? };
    Ok((done, wrong))
}

/// Two models and their verdicts so far.
struct Judging<'a> {
    candidate: &'a Model,
    incumbent: &'a Model,
    threads: usize,
    cases: Vec<Case>,
    wrong: u64,
    bar: ProgressBar,
}

impl<'a> Judging<'a> {
    fn new(candidate: &'a Model, incumbent: &'a Model) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("  {spinner} {pos} judged, {per_sec}")?);
        Ok(Self { candidate, incumbent, threads, cases: Vec::new(), wrong: 0, bar })
    }

    fn judge(&mut self, comments: &[Comment]) {
        self.cases.extend(backtest::judge(self.candidate, self.incumbent, comments, self.threads));
        self.bar.set_position(self.cases.len() as u64);
    }

    /// Judges the comments of a stored source, one piece after the other.
    async fn stored(&mut self, registry: &Registry, source: &Source) -> anyhow::Result<()> {
        for piece in registry.backtest_pieces(source).await? {
            for comments in registry.comments(&piece).await?.chunks(AT_ONCE) {
                self.judge(comments);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, format: Option<Format>) -> anyhow::Result<()> {
        let head = head(path)?;
        match format.unwrap_or_else(|| guess(path, &head)) {
            Format::Lines => self.unlabelled(path, comments::Format::Lines),
            Format::Jsonl => self.unlabelled(path, comments::Format::Jsonl),
            Format::Csv => self.unlabelled(path, comments::Format::Csv),
            Format::Corpus => self.corpus(path, corpus::Format::guess(&name(path), &head)),
        }
    }

    fn unlabelled(&mut self, path: &Path, format: comments::Format) -> anyhow::Result<()> {
        let mut waiting = Vec::new();
        for piece in comments::read(path, format)? {
            match piece?.comment().text {
                Ok(text) if !text.trim().is_empty() => waiting.push(Comment { text, label: None, commenter: None }),
                _ => self.wrong += 1,
            }
            if waiting.len() == AT_ONCE {
                self.judge(&waiting);
                waiting.clear();
            }
        }
        self.judge(&waiting);
        Ok(())
    }

    fn corpus(&mut self, path: &Path, format: corpus::Format) -> anyhow::Result<()> {
        let mut waiting: Vec<Row> = Vec::new();
        for item in Reader::new(format, open(path)?).with_context(|| format!("read {}", path.display()))? {
            match item.with_context(|| format!("read {}", path.display()))? {
                Item::Malformed(_) => self.wrong += 1,
                Item::Row(row) => {
                    let is_next = waiting
                        .last()
                        .is_some_and(|last| (last.comment, &last.commenter) != (row.comment, &row.commenter));
                    if is_next && waiting.len() >= AT_ONCE {
                        self.judge(&backtest::comments(&waiting));
                        waiting.clear();
                    }
                    waiting.push(row);
                }
            }
        }
        self.judge(&backtest::comments(&waiting));
        Ok(())
    }
}

/// A file's name without its folders.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(HEAD, file)))
}

/// The start of a file. For standard input it only fills the buffer and consumes nothing.
fn head(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(open(path)?.fill_buf().with_context(|| format!("read {}", path.display()))?.to_vec())
}

/// `Corpus` if the start of the file has labels; otherwise the format by the file's name.
fn guess(path: &Path, head: &[u8]) -> Format {
    let of_name = match comments::Format::of(path) {
        comments::Format::Lines => Format::Lines,
        comments::Format::Jsonl => Format::Jsonl,
        comments::Format::Csv => Format::Csv,
    };
    let head = String::from_utf8_lossy(head);
    let head = head.trim_start_matches('\u{feff}');
    let mut lines = head.lines().filter(|line| !line.trim().is_empty());
    let has_labels = match of_name {
        Format::Csv => lines.next().is_some_and(|header| {
            header.split(',').any(|name| name.trim_matches([' ', '"']).eq_ignore_ascii_case("label"))
        }),
        Format::Jsonl => lines.next().is_some_and(|line| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|object| !object["label"].is_null())
        }),
        _ => lines.find(|line| !line.starts_with('#')).is_some_and(|line| line.starts_with("Video #")),
    };
    if has_labels { Format::Corpus } else { of_name }
}

/// A summary of a backtest in one line.
pub(super) fn summary(done: &Backtest) -> String {
    let Report { comments, changed, labelled, .. } = &done.report;
    let accuracy = labelled.as_ref().map_or_else(String::new, |Labelled { accuracy, .. }| {
        format!("; accuracy {:+.3} {}", accuracy.difference, interval(accuracy.interval, 3))
    });
    format!(
        "backtest {}: of {comments} comments ({}), {changed} labelled differently than by {}, {}{accuracy}",
        done.id,
        done.source.kind(),
        done.incumbent,
        share(done.report.changed_share, done.report.changed_interval),
    )
}

fn show(done: &Backtest) {
    let report = &done.report;
    println!("candidate    {}", done.candidate);
    println!("against      {}", done.incumbent);
    println!("comments     {} of {}", report.comments, done.source);
    println!(
        "changed      {}: {}; {} become threats, {} harmless",
        report.changed,
        share(report.changed_share, report.changed_interval),
        report.to_threat,
        report.to_harmless
    );
    println!("decisions    {} change; against in rows, candidate in columns", report.handled_otherwise());
    println!("{:>12} {:>9} {:>9} {:>9}", "", "flag", "review", "pass");
    for by_incumbent in Decision::ALL {
        let row = report.decisions.of(by_incumbent);
        let [flag, review, pass] = Decision::ALL.map(|by_candidate| row.of(by_candidate));
        println!("{:>12} {flag:>9} {review:>9} {pass:>9}", by_incumbent.name());
    }
    if report.learnt > 0 {
        println!("left out     {} labels: a version was trained on a sentence of the comment", report.learnt);
    }
    match &report.labelled {
        None => println!("labelled     none: it is unknown which version is right"),
        Some(labelled) => show_labelled(labelled),
    }
    println!("intervals    95%, by {}", if report.by_commenter { "commenter" } else { "comment" });
    println!("backtest     {} at {}", done.id, rfc3339(done.at));
}

fn show_labelled(labelled: &Labelled) {
    println!("labelled     {}, {} of them threats", labelled.comments, labelled.threats);
    println!("corrected    {}", labelled.corrected);
    println!("broken       {}; by chance alone p = {:.4}", labelled.broken, labelled.p_value);
    let figures = [
        ("accuracy", Some(labelled.accuracy)),
        ("recall", labelled.recall),
        ("false alarms", labelled.false_alarm_rate),
    ];
    for (name, figure) in figures {
        let Some(Compared { candidate, incumbent, difference, interval: of }) = figure else { continue };
        println!("{name:<12} {candidate:.3}, against {incumbent:.3}: {difference:+.3} {}", interval(of, 3));
    }
}

fn share(share: f64, [low, high]: [f64; 2]) -> String {
    format!("{:.2}% [{:.2}%, {:.2}%]", 100.0 * share, 100.0 * low, 100.0 * high)
}

fn interval([low, high]: [f64; 2], digits: usize) -> String {
    format!("[{low:+.digits$}, {high:+.digits$}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_labels_is_a_corpus() {
        for (name, head, expected) in [
            ("a.csv", "text,label\na,1\n", Format::Corpus),
            ("a.csv", "\u{feff}id, \"Label\",text\n", Format::Corpus),
            ("a.csv", "id,text\nlabel,a\n", Format::Csv),
            ("a.jsonl", "\n{\"text\":\"a\",\"label\":0}\n", Format::Corpus),
            ("a.jsonl", "{\"text\":\"label\"}\n{\"text\":\"a\",\"label\":0}\n", Format::Jsonl),
            ("a.txt", "# a remark\n\nVideo #1, Comment #2, Commenter #3, today\n", Format::Corpus),
            ("a.txt", "I like this\nVideo #1, Comment #2, Commenter #3, today\n", Format::Lines),
            ("-", "", Format::Lines),
        ] {
            assert_eq!(guess(Path::new(name), head.as_bytes()), expected, "{name} {head}");
        }
    }
}
