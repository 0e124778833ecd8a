//! `threatwatch doctor`: checks every part and reports what is wrong.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use super::{answer::Answer, exit};
use crate::{
    http::{self, Api},
    settings::{Settings, names},
};

/// The form of the answer
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
}

/// The state of all parts.
#[derive(Debug, Default, Serialize)]
struct Diagnosis {
    well: bool,
    parts: Vec<Part>,
}

/// The state of a part.
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
            // Each result is printed at once: an unreachable part takes a while.
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
    say("payloads", payloads(settings).await);
    arguments.answer.give(&found, || {})?;
    Ok(exit::answer(found.well))
}

async fn object_store(settings: &Settings) -> anyhow::Result<String> {
    let endpoint = settings.s3()?.endpoint;
    let registry = settings.registry().await?;
    match registry.probe().await? {
        None => Ok(format!("{endpoint}; of concurrent writers exactly one wins, and a wrong checksum is refused")),
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
    let orchestrator = settings.orchestrator("doctor");
    let missing = orchestrator.missing_search_attributes().await?;
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        bail!(
            "search attributes are missing ({}): start a worker, which creates them, or run `{}`",
            names.join(", "),
            orchestrator.command_for(&missing)?
        );
    }
    Ok(format!("{}, namespace {}", orchestrator.place()?, orchestrator.namespace()?))
}

async fn worker(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.worker_url();
    if http::is_ok(&format!("{url}/health/ready")).await {
        return Ok(url);
    }
    if http::is_ok(&format!("{url}/health/live")).await {
        let state = http::get_json(&format!("{url}/health/ready")).await.unwrap_or_default();
        if let Some(key) = state["lacking"].as_str() {
            bail!("{url} takes no work: runs are encrypted with the key {key}, which the worker does not have");
        }
        bail!("{url} is running, but waits for Temporal or the object store");
    }
    Err(anyhow!("{url} does not answer: is `threatwatch worker` running?"))
}

/// Checks that worker, API and this command can decrypt each other's payloads in Temporal.
async fn payloads(settings: &Settings) -> anyhow::Result<String> {
    let worker = http::get_json(&format!("{}/health/ready", settings.worker_url())).await;
    let worker = worker.context("the keys of the worker are unknown, because it does not answer")?;
    let api = Api::new(settings)?.get("/health/live").await.context("the keys of the API are unknown")?;
    let own = settings.codec().names().iter().map(|name| format!("{}:{}", name.id, name.fingerprint)).collect();
    let told = |state: &serde_json::Value| {
        serde_json::from_value(state["payload_keys"].clone())
            .context("it does not show its keys: set THREATWATCH_API_KEY")
    };
    let parts = [
        Encrypting { part: "the worker", keys: told(&worker).context("the worker")? },
        Encrypting { part: "the API", keys: told(&api).context("the API")? },
        Encrypting { part: "this command", keys: own },
    ];
    compare(&parts)
}

/// A part and its keys as `id:fingerprint`. The first key encrypts.
struct Encrypting {
    part: &'static str,
    keys: Vec<String>,
}

fn compare(parts: &[Encrypting]) -> anyhow::Result<String> {
    for writer in parts {
        let Some(key) = writer.keys.first() else { continue };
        if let Some(reader) = parts.iter().find(|reader| !reader.keys.contains(key)) {
            let has = if reader.keys.is_empty() { "no keys".to_owned() } else { reader.keys.join(", ") };
            bail!(
                "{} encrypts with the key {key}, which {} does not have (it has {has}): give both the same file in {}",
                writer.part,
                reader.part,
                names::PAYLOAD_KEY_FILE
            );
        }
    }
    Ok(match parts[0].keys.first() {
        None => "not encrypted in Temporal".to_owned(),
        Some(key) if parts.iter().all(|part| part.keys == parts[0].keys) => {
            format!(
                "encrypted in Temporal with the key {key}; worker, API and this command have the same {}",
                count(parts)
            )
        }
        Some(_) => "encrypted in Temporal; worker, API and this command have different keys, but can read each other: \
                    the change of keys is not finished"
            .to_owned(),
    })
}

fn count(parts: &[Encrypting]) -> String {
    match parts[0].keys.len() {
        1 => "key".to_owned(),
        more => format!("{more} keys"),
    }
}

async fn api(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.api_url();
    // The API reports the trouble only to a caller with a key.
    let state = Api::new(settings)?.get("/health/ready").await?;
    match state["trouble"].as_str() {
        Some(trouble) => bail!("{url} serves, but does not follow production: {trouble}"),
        None => Ok(format!("{url} serves {}", state["model_version"].as_str().unwrap_or("?"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_cannot_read_each_other_are_named_in_one_sentence() {
        let of = |keys: [&[&str]; 3]| {
            let parts = ["the worker", "the API", "this command"].into_iter().zip(keys);
            let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
            let parts: Vec<_> = parts.map(|(part, of)| Encrypting { part, keys: keys(of) }).collect();
            compare(&parts).map_err(|error| error.to_string())
        };
        assert_eq!(of([&[], &[], &[]]).unwrap(), "not encrypted in Temporal");
        assert!(of([&["k1:a"], &["k1:a"], &["k1:a"]]).unwrap().contains("with the key k1:a; worker, API and this"));
        assert!(of([&["k2:b", "k1:a"], &["k1:a", "k2:b"], &["k2:b", "k1:a"]]).unwrap().contains("not finished"));
        let error = of([&[], &["k1:a"], &["k1:a"]]).unwrap_err();
        assert!(
            error.starts_with("the API encrypts with the key k1:a, which the worker does not have (it has no keys)")
        );
        let error = of([&["k1:b"], &["k1:a"], &["k1:a"]]).unwrap_err();
        assert!(error.starts_with("the worker encrypts with the key k1:b, which the API does not have (it has k1:a)"));
        let error = of([&["k1:a"], &["k1:a"], &[]]).unwrap_err();
        assert!(
            error.contains("which this command does not have") && error.contains(names::PAYLOAD_KEY_FILE),
            "{error}"
        );
    }
}
