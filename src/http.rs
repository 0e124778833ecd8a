//! A small client for our own services.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// Services on this machine answer at once; a promotion may wait half a minute.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Whether a service answers a path with success.
pub(crate) async fn is_ok(url: &str) -> bool {
    let Ok(client) = client(Duration::from_secs(2)) else { return false };
    client.get(url).send().await.is_ok_and(|response| response.status().is_success())
}

/// The text that a service of this process answers.
pub(crate) async fn get_text(url: &str) -> anyhow::Result<String> {
    let response = client(Duration::from_secs(2))?.get(url).send().await.with_context(|| format!("ask {url}"))?;
    Ok(response.error_for_status()?.text().await?)
}

/// The JSON that a service answers; a problem body becomes the error.
pub(crate) async fn get(url: &str) -> anyhow::Result<Value> {
    answer(url, client(TIMEOUT)?.get(url)).await
}

/// The JSON that a service answers to a JSON body; a problem body becomes the error.
pub(crate) async fn post(url: &str, body: &Value) -> anyhow::Result<Value> {
    answer(url, client(TIMEOUT)?.post(url).json(body)).await
}

fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(timeout).no_proxy().build()?)
}

async fn answer(url: &str, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.with_context(|| format!("ask {url}: is the API running?"))?;
    let status = response.status();
    let body: Value = response.json().await.with_context(|| format!("{url} answered {status} without JSON"))?;
    if status.is_success() {
        return Ok(body);
    }
    match (body["title"].as_str(), body["detail"].as_str()) {
        (Some(title), Some(detail)) => bail!("{title}: {detail}"),
        _ => bail!("{url} answered {status}"),
    }
}
