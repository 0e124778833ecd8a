//! `threatwatch doctor`: is every part well, and if not, what is wrong?

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use crate::{
    http::{self, Api},
    settings::Settings,
};

pub(super) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut is_well = true;
    let mut say = |what: &str, found: anyhow::Result<String>| match found {
        Ok(found) => println!("ok    {what:<14} {found}"),
        Err(error) => {
            is_well = false;
            println!("WRONG {what:<14} {error:#}");
        }
    };
    say("object store", object_store(settings).await);
    say("production", production(settings).await);
    say("temporal", temporal(settings).await);
    say("worker", worker(settings).await);
    say("api", api(settings).await);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
