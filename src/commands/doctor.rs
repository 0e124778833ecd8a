//! `threatwatch doctor`: is every part well, and if not, what is wrong?

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use super::{answer::Answer, exit};
use crate::{
    http::{self, Api},
    settings::Settings,
};

/// How to answer
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
}

/// How every part is.
#[derive(Debug, Default, Serialize)]
struct Diagnosis {
    well: bool,
    parts: Vec<Part>,
}

/// How a part is.
#[derive(Debug, Serialize)]
struct Part {
    part: &'static str,
    well: bool,
    /// What was found, or what is wrong.
    detail: String,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut found = Diagnosis { well: true, parts: Vec::new() };
    let mut say = |part: &'static str, result: anyhow::Result<String>| {
        let well = result.is_ok();
        let detail = result.unwrap_or_else(|error| format!("{error:#}"));
        if !arguments.answer.json {
            // At once: a part that is away takes its time.
            println!("{} {part:<14} {detail}", if well { "ok   " } else { "WRONG" });
        }
        found.well &= well;
        found.parts.push(Part { part, well, detail });
    };
    say("object store", object_store(settings).await);
    say("production", production(settings).await);
    say("temporal", temporal(settings).await);
    say("worker", worker(settings).await);
    say("api", api(settings).await);
    arguments.answer.give(&found, || {})?;
    Ok(exit::answer(found.well))
}

async fn object_store(settings: &Settings) -> anyhow::Result<String> {
    let endpoint = settings.s3()?.endpoint;
    let registry = settings.registry().await?;
    match registry.probe().await? {
        None => Ok(format!("{endpoint}; of racing writers exactly one wins, and a wrong checksum is refused")),
        Some(reason) => bail!("{endpoint} cannot be trusted with promotions: {reason}"),
    }
}

async fn production(settings: &Settings) -> anyhow::Result<String> {
    let registry = settings.registry().await?;
    let promotion =
        registry.production().await?.context("no model is in production: run `threatwatch train --promote`")?;
    let record = promotion.record;
    let loaded = registry.load(&record.version).await?;
    if loaded.manifest_digest != record.manifest {
        bail!("the manifest of {} is not the one that was promoted", record.version);
    }
    Ok(format!("{} verified, generation {}", record.version, record.generation))
}

async fn temporal(settings: &Settings) -> anyhow::Result<String> {
    let client = settings.orchestrator("doctor").client().await?;
    Ok(format!("namespace {}", client.options().namespace))
}

async fn worker(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.worker_url();
    if http::is_ok(&format!("{url}/health/ready")).await {
        return Ok(url);
    }
    if http::is_ok(&format!("{url}/health/live")).await {
        bail!("{url} runs and waits for Temporal or the object store");
    }
    Err(anyhow!("{url} does not answer: is `threatwatch worker` running?"))
}

async fn api(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.api_url();
    // With the key, if there is one: strangers are not told what is wrong.
    let state = Api::new(settings)?.get("/health/ready").await?;
    match state["trouble"].as_str() {
        Some(trouble) => bail!("{url} serves, but does not follow production: {trouble}"),
        None => Ok(format!("{url} serves {}", state["model_version"].as_str().unwrap_or("?"))),
    }
}
