//! `threatwatch audit`: shows the audit trail. It reads it from the API.

use serde_json::Value;

use super::answer::Answer;
use crate::{http::Api, settings::Settings};

/// The entries of the audit trail to show
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show at most this many entries, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
    /// Show only entries before this entry number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let before = arguments.before.map_or_else(String::new, |before| format!("&before={before}"));
    let answer = Api::new(settings)?.get(&format!("/audit?limit={}{before}", arguments.limit)).await?;
    arguments.answer.give(&answer, || answer["entries"].as_array().into_iter().flatten().for_each(print))
}

fn print(entry: &Value) {
    let text = |name: &str| plain(entry[name].as_str().unwrap_or("-"));
    println!(
        "{:>6} {} {} {} {}: {} ({})",
        entry["sequence"],
        text("at"),
        text("actor"),
        text("action"),
        text("subject"),
        entry["outcome"].as_str().unwrap_or("no end on record"),
        text("detail"),
    );
    if let Some(reason) = entry["reason"].as_str() {
        println!("       because: {}", plain(reason));
    }
}

/// Escapes control characters in text from other users: it stays on one line and cannot control the terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
