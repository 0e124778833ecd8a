//! `threatwatch shadow`: lets a second version judge live comments, too, and compares its verdicts with production.

use model::Version;
use serde_json::{Value, json};

use super::{answer::Answer, exit::usage, rfc3339};
use crate::{
    audited::{Act, actor},
    http::Api,
    settings::Settings,
};

/// What to do with the second version
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let a second version judge a share of the live comments; its verdicts are compared, never returned
    Start {
        /// The registered version
        version: Version,
        /// Share of the comments: above 0, at most 1
        #[arg(long, default_value_t = 0.1)]
        share: f64,
        /// The reason, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// Stop the second version
    Stop {
        /// The reason, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show the comparison since the start, as counted by the API that answers
    Status,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let answer = arguments.answer;
    match arguments.command {
        Command::Start { version, share, reason } => {
            if !(share > 0.0 && share <= 1.0) {
                return Err(usage("--share must be above 0 and at most 1"));
            }
            order(Some(version), share, reason.as_deref(), settings, answer).await
        }
        Command::Stop { reason } => order(None, 0.0, reason.as_deref(), settings, answer).await,
        Command::Status => status(settings, answer).await,
    }
}

async fn order(
    version: Option<Version>,
    share: f64,
    reason: Option<&str>,
    settings: &Settings,
    answer: Answer,
) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    let action = if version.is_some() { "shadow_start" } else { "shadow_stop" };
    let act = Act { action, subject: version.as_ref().map(ToString::to_string), reason };
    let ordering = async { Ok(registry.order_shadow(version.as_ref(), share, &actor()).await?) };
    let order = act.on_record(settings, ordering, |order| format!("order {}", order.sequence)).await?;
    let told = json!({
        "sequence": order.sequence,
        "version": order.version,
        "share": order.share,
        "actor": order.actor,
        "at": rfc3339(order.at),
    });
    answer.give(&told, || match &order.version {
        Some(version) => println!("{version} judges {}% beside production, within seconds", 100.0 * order.share),
        None => println!("production judges alone, within seconds"),
    })
}

async fn status(settings: &Settings, answer: Answer) -> anyhow::Result<()> {
    let state = Api::new(settings)?.get("/shadow").await?;
    answer.give(&state, || print(&state))
}

fn print(state: &Value) {
    let Some(version) = state["version"].as_str() else {
        println!("production judges alone");
        return;
    };
    let text = |name: &str| state[name].as_str().unwrap_or("?").to_owned();
    println!(
        "{version} judges {}% beside production, since {}, by {}",
        100.0 * state["share"].as_f64().unwrap_or(f64::NAN),
        text("since"),
        text("actor")
    );
    if let Some(trouble) = state["trouble"].as_str() {
        println!("it does not judge: {trouble}");
    }
    let number = |name: &str| state.get(name).and_then(Value::as_u64).unwrap_or(0);
    println!(
        "{} comments compared: {} threats only by it, {} only by production; mean difference of its probability \
         {:+.4}; {} not judged because it was behind",
        number("compared"),
        number("only_shadow"),
        number("only_production"),
        state["mean_difference"].as_f64().unwrap_or(f64::NAN),
        number("dropped")
    );
}
