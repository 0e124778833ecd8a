//! The service over HTTP, with a registry in memory and without Temporal.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod backtests;
mod batch;
mod cascade;
mod dialects;
mod drift;
mod feedback;
mod generated;
mod held_out;
mod outages;
mod requests;
mod shadow;
mod store;
mod tls;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    Generation, Version, artifact,
    corpus::split,
    experiment::{self, Config},
    trainers::{self, Preset},
};
use registry::{Key, MemoryStore, ModelManifest, Registry, Store};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use workflows::{Orchestrator, steps::PromoteInput};

struct Running {
    url: String,
    client: Client,
    store: Arc<MemoryStore>,
    registry: Registry,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

async fn start() -> Running {
    start_on(MemoryStore::default()).await
}

async fn start_on(store: MemoryStore) -> Running {
    let store = Arc::new(store);
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    start_with(store, service_on(&registry)).await
}

/// A service without Temporal: nothing listens on port 1.
fn service_on(registry: &Registry) -> api::Service {
    let orchestrator = Orchestrator::new(Some("127.0.0.1:1".to_owned()), "test".to_owned(), None);
    api::Service::new(registry.clone(), orchestrator, registry::ReplicaId::new("test"))
}

async fn start_with(store: Arc<MemoryStore>, service: api::Service) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = service.registry.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let stop_or_drop = async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let serving = api::serve(service, address, |bound| sender.send(bound).unwrap(), stop_or_drop);
    let ended = tokio::spawn(serving);
    let url = format!("http://{}", receiver.await.unwrap());
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    Running { url, client, store, registry, stop: Some(stop), ended }
}

impl Running {
    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap()
    }

    async fn predict(&self, text: &str) -> Value {
        self.post("/predict", &json!({ "text": text })).await.json().await.unwrap()
    }

    /// Puts a model into production directly in the registry. Returns the path of its artifact.
    async fn promote(&self, preset: Preset) -> String {
        self.promote_on(&self.registry, preset).await
    }

    async fn promote_on(&self, registry: &Registry, preset: Preset) -> String {
        let (train, _) = split::held_out(1, model::corpus::sample().rows);
        let trainer = trainers::find("multinomial_nb").unwrap();
        let trained = experiment::train(trainer, &train, &Config { preset, ..Config::default() }, &|_, _| {}).unwrap();
        promote_trained(registry, trainer, preset, trained).await
    }

    async fn serves(&self, generation: Generation, patience: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < patience {
            let ready: Value = self.get("/health/ready").await.json().await.unwrap();
            if ready["generation"] == generation.0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// Registers and promotes a trained model. Returns the path of its artifact.
async fn promote_trained(
    registry: &Registry,
    trainer: &dyn trainers::Trainer,
    preset: Preset,
    trained: experiment::Trained,
) -> String {
    let (_, test) = split::held_out(1, model::corpus::sample().rows);
    let bytes = artifact::encode(&trained.model);
    let id = format!("{}-{preset:?}", trainer.name());
    let manifest = ModelManifest {
        version: Version::derive(0, &id, "run", trainer.name()),
        artifact_bytes: bytes.len() as u64,
        artifact: registry.put_artifact(bytes).await.unwrap(),
        features: 1,
        sample: None,
        operation: model::calibration::Operation::default(),
        dataset: model::Digest::of(b"sample"),
        trainer: trainer.name().to_owned(),
        preset,
        seed: 1,
        held_out: experiment::evaluate(&trained.model, &test),
        reference: experiment::reference(&trained.model, &test).map(Box::new),
        cross_validation: trained.cross_validation,
        encoder: None,
        code_version: "test".to_owned(),
        workflow_id: id.clone(),
        run_id: "run".to_owned(),
        started: 0,
    };
    registry.register(&manifest).await.unwrap();
    let input = PromoteInput {
        version: manifest.version,
        change_id: id,
        expected_generation: None,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        gate: None,
        forced: false,
    };
    registry.promote(&input, 0).await.unwrap();
    Key::Blob(&manifest.artifact).path()
}

/// A problem body with this status. Checks every member of RFC 9457 that the API promises.
async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(!body[member].as_str().unwrap().is_empty(), "{member}: {body}");
    }
    body
}

#[tokio::test]
async fn a_store_that_cannot_be_trusted_is_told_everywhere_and_nothing_is_promoted() {
    let store = MemoryStore::default();
    store.keep_wrong_checksums();
    let running = start_on(store).await;
    // Even before there is a model.
    let started = Instant::now();
    loop {
        let problem: Value = running.get("/health/ready").await.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/no-model", "{problem}");
        if problem["detail"].as_str().unwrap().contains("checksum") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{problem}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.promote(Preset::Default).await;
    let refusal = |state: &Value| state["promotion_refused"].as_str().is_some_and(|reason| reason.contains("checksum"));
    let body = json!({ "version": "20200101T000000Z-00000000" });
    for path in ["/promote", "/rollback"] {
        let body = if path == "/promote" { &body } else { &json!({}) };
        let answer = running.post(path, body).await;
        assert_eq!(answer.status(), 503);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/store-unsafe", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("checksum"), "{problem}");
    }
    let started = Instant::now();
    while running.get("/health/ready").await.status() != 200 && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready: Value = running.get("/health/ready").await.json().await.unwrap();
    assert!(refusal(&ready), "{ready}");
    let models: Value = running.get("/models").await.json().await.unwrap();
    assert!(refusal(&models), "{models}");
    // Verdicts continue.
    assert_eq!(running.predict("I will kill you").await["generation"], 1);
}

#[tokio::test]
async fn without_a_model_the_answer_says_what_to_do() {
    let service = start().await;
    for response in
        [service.post("/predict", &json!({ "text": "hello" })).await, service.get("/predict?text=hello").await]
    {
        assert_eq!(response.headers()["retry-after"], "2");
        let body = problem(response, 503).await;
        assert!(body["detail"].as_str().unwrap().contains("POST /train"), "{body}");
    }
    problem(service.get("/health/ready").await, 503).await;
    assert_eq!(service.get("/health/live").await.status(), 200);
    let models: Value = service.get("/models").await.json().await.unwrap();
    assert_eq!(models, json!({ "total": 0, "models": [] }));
}

#[tokio::test]
async fn a_promotion_is_live_within_two_seconds_and_a_corrupt_one_never() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    let verdict = service.predict("Nice song! I will kill you. 😀 Bye.").await;
    assert_eq!((verdict["label"].as_str(), verdict["generation"].as_u64()), (Some("threat"), Some(1)), "{verdict}");
    let places: Vec<(u64, u64)> = verdict["sentences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["start"].as_u64().unwrap(), s["end"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(0, 10), (11, 27), (28, 34)], "offsets are code points");
    assert_eq!(service.predict("What a nice day").await["label"], "harmless");
    let body = json!({ "text": "Über 😀 all. I will kill you.", "explain": true });
    let explained: Value = service.post("/predict", &body).await.json().await.unwrap();
    let sentence = &explained["sentences"][1];
    let tokens = sentence["tokens"].as_array().unwrap();
    let places: Vec<u64> = tokens.iter().map(|t| t["start"].as_u64().unwrap()).collect();
    assert_eq!(places, [12, 14, 19, 24], "{explained}");
    let parts = tokens.iter().map(|t| t["contribution"].as_f64().unwrap());
    assert_eq!(parts.fold(sentence["bias"].as_f64().unwrap(), |a, b| a + b), sentence["logit"].as_f64().unwrap());

    // The blob of the next generation is broken on disk before any service loads it.
    let blob = service.promote(Preset::Sklearn).await;
    service.store.corrupt(&blob, |bytes| bytes[100] ^= 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let started = Instant::now();
    let mut metrics = String::new();
    while started.elapsed() < Duration::from_secs(5) && !metrics.contains("load_failures_total 1") {
        // Either the broken blob was seen, or the model was loaded in the instant before it broke.
        metrics = service.get("/metrics").await.text().await.unwrap();
        if metrics.contains("model_generation 2") {
            return;
        }
    }
    assert!(metrics.contains("threatwatch_model_load_failures_total 1"), "{metrics}");
    assert_eq!(service.predict("hello").await["generation"], 1, "the old model still serves");
    let ready: Value = service.get("/health/ready").await.json().await.unwrap();
    assert!(ready["trouble"].as_str().unwrap().contains("corrupt"), "{ready}");
    service.store.corrupt(&blob, |bytes| bytes[100] ^= 1);
    assert!(service.serves(Generation(2), Duration::from_secs(7)).await, "it recovers without a restart");
}

#[tokio::test]
async fn every_error_is_a_problem_and_repeats_nothing_of_the_request() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    let url = |path: &str| format!("{}{path}", service.url);
    let client = &service.client;
    let json_body =
        |body: &'static str| client.post(url("/predict")).header("content-type", "application/json").body(body);
    let cases = [
        (json_body("{\"text\":{\"canary\":1}}"), 400),
        (json_body("{\"text\":\"canary\",\"canary\":1}"), 400),
        (json_body("{\"text\":\"canary"), 400),
        (json_body("\u{feff}canary"), 400),
        (json_body("{\"text\":\"  \"}"), 422),
        (client.post(url("/predict")).body("canary"), 415),
        (client.post(url("/predict")).json(&json!({ "text": "canary ".repeat(3000) })), 422),
        (json_body("{\"text\":5,\"explain\":\"canary\"}"), 400),
        (json_body("{\"text\":\"canary\\u0000\"}"), 400),
        (json_body("{\"text\":\"canary\",\"text\":\"canary\"}"), 400),
        (json_body("canary").header("content-encoding", "gzip"), 415),
        (client.post(url("/predict")).json(&json!({ "text": "canary".repeat(60_000) })), 413),
        (client.get(url("/predict?canary=1")), 400),
        (client.get(url("/canary")), 404),
        (client.delete(url("/predict")), 405),
        (client.post(url("/docs")), 405),
        (client.get(url("/problems/canary")), 404),
        (client.post(url("/")), 405),
        (client.get(url("/models/canary")), 422),
        (client.get(url("/models/20200101T000000Z-00000000")), 404),
        (client.post(url("/promote")).json(&json!({ "version": "canary" })), 422),
        (client.post(url("/train")).json(&json!({ "trainers": [] })), 422),
    ];
    for (request, status) in cases {
        let response = request.send().await.unwrap();
        let at = response.url().clone();
        assert_eq!(response.status(), status, "{at}");
        let body = problem(response, status).await.to_string();
        assert!(!body.contains("canary"), "{at}: {body}");
    }
    let metrics = service.get("/metrics").await.text().await.unwrap();
    assert!(!metrics.contains("canary"), "{metrics}");
    assert!(metrics.contains(r#"handler="none""#) && metrics.contains(r#"status="4xx""#), "{metrics}");
}

#[tokio::test]
async fn without_temporal_operations_say_so_in_time_and_predictions_go_on() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    for (path, body) in [
        ("/train", json!({})),
        ("/promote", json!({ "version": "20200101T000000Z-00000000" })),
        ("/rollback", json!({})),
    ] {
        let started = Instant::now();
        let body = problem(service.post(path, &body).await, 503).await;
        assert_eq!(body["type"], "/problems/orchestrator-unavailable");
        assert!(started.elapsed() < Duration::from_secs(5), "{path} took {:?}", started.elapsed());
    }
    assert_eq!(service.predict("hello").await["label"], "harmless");
}

#[tokio::test]
async fn the_page_and_swagger_need_nothing_from_outside() {
    let service = start().await;
    let mut paths: Vec<String> = ["/", "/docs", "/openapi.json"].map(str::to_owned).to_vec();
    for folder in ["", "vendor/"] {
        for file in std::fs::read_dir(format!("{}/../ui-static/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            if file.file_type().unwrap().is_file() && name != "index.html" {
                paths.push(format!("/{folder}{name}"));
            }
        }
    }
    for path in paths {
        let response = service.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let text = response.text().await.unwrap();
        for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!text.contains(outside), "{path} loads from outside: {outside}");
        }
    }
}

#[test]
fn the_openapi_document_is_the_one_that_was_agreed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi.json");
    let document: Value = serde_json::from_str(&api::openapi()).unwrap();
    let now = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        now == agreed,
        "the API changed: look at the difference after UPDATE_SNAPSHOTS=1 cargo test --workspace --test service the_openapi"
    );
}
