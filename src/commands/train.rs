//! `threatwatch train`: starts a training run and, with `--wait`, follows it.

use std::process::ExitCode;

use indicatif::ProgressBar;
use model::{
    Digest,
    calibration::operation::{BEST_F1, Operation},
    experiment::DEFAULT_SEED,
    trainers::Preset,
};
use workflows::steps::{AutoPromote, DatasetChoice, TrainReport, TrainRequest};

use serde::Serialize;

use super::{
    answer::Answer,
    exit::{self, usage},
    promote::{print_gate, print_replicas},
};
use crate::{
    audited::{Act, current_user},
    following::follow,
    settings::{Settings, names},
};

/// What to train
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Arguments {
    /// A trainer to train; may be given several times
    #[arg(long = "trainer", value_name = "NAME")]
    trainers: Vec<String>,
    /// Use scikit-learn's default parameters
    #[arg(long)]
    sklearn: bool,
    /// Digest of a stored dataset, or `latest_with_feedback`; without it the newest import, otherwise the sample
    #[arg(long)]
    dataset: Option<DatasetChoice>,
    /// Source of the dataset: `import`, `sample`, or one that the worker's program adds
    #[arg(long, value_name = "NAME", conflicts_with = "dataset")]
    source: Option<String>,
    /// Seed that chooses the held-out commenters and the folds
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// Promote the best version if the gate passes
    #[arg(long)]
    promote: bool,
    /// Promote the best version if the gate passes and an operator approves (`threatwatch approve`)
    #[arg(long, conflicts_with = "promote")]
    after_approval: bool,
    /// Seconds to wait for approval
    #[arg(long, value_name = "SECONDS", default_value_t = TrainRequest::default().approval_seconds)]
    approval_seconds: u32,
    /// Operating point, which gives the threshold: `best_f1`, `daily_budget`, `fpr_5` or `precision_80`
    #[arg(long, value_name = "NAME", default_value = BEST_F1)]
    operating_point: String,
    /// Comments per day that the model will judge; for the operating point `daily_budget`
    #[arg(long, value_name = "NUMBER", default_value_t = Operation::default().comments_per_day)]
    comments_per_day: u32,
    /// Flags per day that people can review; for the operating point `daily_budget`
    #[arg(long, value_name = "NUMBER", default_value_t = Operation::default().flags_per_day)]
    flags_per_day: u32,
    /// Most sentences in a worker's memory at once; a larger dataset is counted in shards, and sampled
    #[arg(long, value_name = "NUMBER", default_value_t = TrainRequest::default().sentences_in_memory)]
    sentences_in_memory: u64,
    /// The reason, for the history
    #[arg(long)]
    reason: Option<String>,
    /// Wait for the result and show it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    answer: Answer,
}

/// The started run, and with `--wait` its result.
#[derive(Debug, Serialize)]
struct Told {
    workflow_id: String,
    run_id: String,
    /// Link to the run in the Temporal Web UI, if its address is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<TrainReport>,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let answer = arguments.answer;
    let defaults = TrainRequest::default();
    let request = TrainRequest {
        trainers: match (arguments.trainers.is_empty(), arguments.sklearn) {
            (true, true) => vec!["multinomial_nb".to_owned()],
            (true, false) => defaults.trainers,
            (false, _) => arguments.trainers,
        },
        preset: if arguments.sklearn { Preset::Sklearn } else { Preset::Default },
        dataset: arguments.dataset,
        source: arguments.source,
        seed: arguments.seed,
        auto_promote: match (arguments.promote, arguments.after_approval) {
            (true, _) => AutoPromote::IfGatePasses,
            (false, true) => AutoPromote::AfterApproval,
            (false, false) => AutoPromote::Never,
        },
        approval_seconds: arguments.approval_seconds,
        operation: Operation {
            point: arguments.operating_point,
            comments_per_day: arguments.comments_per_day,
            flags_per_day: arguments.flags_per_day,
        },
        sentences_in_memory: arguments.sentences_in_memory,
        actor: current_user(),
        reason: arguments.reason,
    };
    request.check().map_err(usage)?;
    let shall_promote = request.auto_promote != AutoPromote::Never;
    let orchestrator = settings.orchestrator("cli");
    let id = format!("train-{}", Digest::of(&rand::random::<[u8; 16]>()).short());
    let act = Act { action: "train", subject: Some(id.clone()), reason: request.reason.as_deref() };
    let starting = async { Ok(orchestrator.train(request.clone(), &id).await?) };
    let started = act.on_record(settings, starting, ToString::to_string).await?;
    let namespace = orchestrator.namespace()?;
    let ui = settings.get(names::TEMPORAL_UI);
    let url = ui.map(|ui| format!("{ui}/namespaces/{namespace}/workflows/{id}/{}", started.run_id));
    answer.say(&format!("started {}", url.as_ref().unwrap_or(&id)));
    let report = if arguments.wait { Some(follow(&orchestrator, &started, &ProgressBar::new(0)).await?) } else { None };
    let is_refused = shall_promote && report.as_ref().is_some_and(|report| report.generation.is_none());
    let told = Told { workflow_id: id, run_id: started.run_id, url, report };
    answer.give(&told, || told.report.iter().for_each(print_report))?;
    Ok(exit::answer(!is_refused))
}

fn print_report(report: &TrainReport) {
    println!("{:<16} {:<26} {:>10} {:>8} {:>16}", "trainer", "version", "PR-AUC cv", "F1 cv", "PR-AUC held out");
    for candidate in &report.candidates {
        let (cv, held_out) = (&candidate.cross_validation.sentence, &candidate.held_out.sentence);
        println!(
            "{:<16} {:<26} {:>10.3} {:>8.3} {:>16.3}",
            candidate.trainer, candidate.version, cv.pr_auc, cv.f1, held_out.pr_auc
        );
    }
    print_gate(&report.gate);
    if let Some(approval) = &report.approval {
        println!("{} by {}: {}", approval.outcome, approval.actor, approval.reason);
    }
    match report.generation {
        Some(generation) => {
            println!("{} is in production, generation {generation}", report.version);
            report.replicas.iter().for_each(print_replicas);
        }
        None => println!("not promoted; to promote it: threatwatch promote {}", report.version),
    }
}
