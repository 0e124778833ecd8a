//! `threatwatch predict`: one comment, judged by the API.

use serde_json::json;

use crate::{http::Api, settings::Settings};

/// What to judge
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The comment
    text: String,
    /// Print the API's whole answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let answer = Api::new(settings)?.post("/predict", &json!({ "text": arguments.text })).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let percent = |value: &serde_json::Value| 100.0 * value.as_f64().unwrap_or(f64::NAN);
    println!(
        "{}: {:.1}% (threat from {:.1}%), model {}, generation {}",
        answer["label"].as_str().unwrap_or("?"),
        percent(&answer["probability"]),
        percent(&answer["threshold"]),
        answer["model_version"].as_str().unwrap_or("?"),
        answer["generation"]
    );
    Ok(())
}
