//! A small client for the API and the worker.

use std::{fs, time::Duration};

use anyhow::{Context, bail};
use registry::Secret;
use serde_json::Value;

use crate::settings::{Settings, from_environment, names};

/// Services on this machine answer at once; a promotion may wait half a minute.
const TIMEOUT: Duration = Duration::from_secs(40);
/// A healthy service answers health checks and metrics within this time.
const SHORT: Duration = Duration::from_secs(2);
/// Attempts before the last one. The pause after each grows from 0.5 to 10 s.
const TRIES: u32 = 6;

/// Whether a service answers a URL with success.
pub(crate) async fn is_ok(url: &str) -> bool {
    answers(url, client(SHORT)).await
}

/// Whether a service answers a URL with success. Accepts any certificate.
pub(crate) async fn is_ok_whoever_it_is(url: &str) -> bool {
    answers(url, client(SHORT).map(|builder| builder.tls_danger_accept_invalid_certs(true))).await
}

async fn answers(url: &str, builder: anyhow::Result<reqwest::ClientBuilder>) -> bool {
    let Ok(client) = builder.and_then(|builder| Ok(builder.build()?)) else { return false };
    client.get(url).send().await.is_ok_and(|response| response.status().is_success())
}

/// The JSON of a service's answer, also of an error; none without an answer or without JSON.
pub(crate) async fn get_json(url: &str) -> Option<Value> {
    client(SHORT).ok()?.build().ok()?.get(url).send().await.ok()?.json().await.ok()
}

/// The text of the answer of a server in this process.
pub(crate) async fn get_text(url: &str) -> anyhow::Result<String> {
    let response = client(SHORT)?.build()?.get(url).send().await.with_context(|| format!("ask {url}"))?;
    Ok(response.error_for_status()?.text().await?)
}

/// A client of the API. It sends the key in `THREATWATCH_API_KEY` if there is one.
pub(crate) struct Api {
    url: String,
    client: reqwest::Client,
    key: Option<Secret>,
}

impl Api {
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let key = from_environment(names::API_KEY).map(Secret::new);
        Ok(Self { url: settings.api_url(), client: client(TIMEOUT)?.build()?, key })
    }

    /// The JSON of the answer to a GET. A problem body becomes the error.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        answer(&url, self.with_key(self.client.get(&url))).await
    }

    /// The JSON of the answer to a POST with a JSON body.
    ///
    /// A problem body becomes the error.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        answer(&url, self.with_key(self.client.post(&url)).json(body)).await
    }

    /// Like [`Self::post`], repeated while the service is busy or away, with pauses of half a minute in all.
    pub(crate) async fn post_patiently(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut pause = Duration::from_millis(500);
        for _ in 0..TRIES {
            let sent = self.with_key(self.client.post(&url)).json(body).send().await;
            let is_passing = match &sent {
                Ok(response) => matches!(response.status().as_u16(), 429 | 503 | 504),
                Err(_) => true,
            };
            if !is_passing {
                return read(&url, sent?).await;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(Duration::from_secs(10));
        }
        self.post(path, body).await
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}

fn client(timeout: Duration) -> anyhow::Result<reqwest::ClientBuilder> {
    let mut builder = reqwest::Client::builder().timeout(timeout).no_proxy();
    if let Some(path) = from_environment(names::CA_FILE) {
        let pem = fs::read(&path).with_context(|| format!("read {path} ({})", names::CA_FILE))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem);
        builder = builder.tls_certs_merge(certificates.with_context(|| format!("use {path} ({})", names::CA_FILE))?);
    }
    Ok(builder)
}

async fn answer(url: &str, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.with_context(|| format!("ask {url}: is the API running?"))?;
    read(url, response).await
}

async fn read(url: &str, response: reqwest::Response) -> anyhow::Result<Value> {
    let status = response.status();
    let body: Value = response.json().await.with_context(|| format!("{url} answered {status} without JSON"))?;
    if status.is_success() {
        return Ok(body);
    }
    match (body["title"].as_str(), body["detail"].as_str()) {
        (Some(title), Some(detail)) if status == reqwest::StatusCode::UNAUTHORIZED => {
            bail!("{title}: {detail} Set the key in {} for this command.", names::API_KEY)
        }
        (Some(title), Some(detail)) => bail!("{title}: {detail}"),
        _ => bail!("{url} answered {status}"),
    }
}
