//! Checks on every request: host names, limits, request ids, errors.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::Generation;
use registry::{MemoryStore, Registry, Store};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Preset, Running, problem, service_on, start, start_with,
    store::{Mood, Moody},
};

impl Running {
    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Sends raw bytes. Returns everything that arrives until the connection is closed.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await;
        answer
    }
}

async fn start_serving(change: impl FnOnce(&mut api::Service)) -> Running {
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    change(&mut service);
    start_with(store, service).await
}

fn names(host: &str, origin: &str) -> api::Names {
    api::Names::new(&[host.to_owned()], &[origin.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused() {
    let service = start_serving(|service| service.names = names("threatwatch.example", "")).await;
    let port = service.address().rsplit_once(':').unwrap().1.to_owned();
    let own =
        ["localhost".to_owned(), format!("localhost:{port}"), "[::1]".to_owned(), "threatwatch.example".to_owned()];
    for host in own {
        let answer = service.raw(&format!("GET /models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    for host in ["evil.example", "threatwatch.example.evil.example", "10.9.8.7"] {
        let head = format!("POST /promote HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let answer = service.raw(&head).await;
        assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("/problems/misdirected"), "{host}: {answer}");
        assert!(!answer.contains("evil"), "{answer}");
    }
    let absolute = "GET http://evil.example/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(service.raw(absolute).await.starts_with("HTTP/1.1 421"), "the host in the request line is checked");
    let both = "GET http://localhost/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(service.raw(both).await.starts_with("HTTP/1.1 421"), "and so is the header");
    let without = service.raw("GET /models HTTP/1.0\r\n\r\n").await;
    assert!(without.starts_with("HTTP/1.0 400") || without.starts_with("HTTP/1.1 400"), "{without}");
}

#[tokio::test]
async fn a_change_that_another_sites_page_asks_for_is_refused() {
    let service = start_serving(|service| service.names = names("", "https://forum.example")).await;
    let send = |method: Method, path: &str, origin: &str| {
        let request = service.client.request(method.clone(), format!("{}{path}", service.url)).header("origin", origin);
        let request = if method == Method::POST { request.json(&json!({ "text": "a" })) } else { request };
        async { request.send().await.unwrap() }
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "https://forum.example.evil.example"] {
        let refused = send(Method::POST, "/predict", origin).await;
        assert!(!refused.headers().contains_key("access-control-allow-origin"));
        assert_eq!(problem(refused, 403).await["type"], "/problems/foreign-origin", "{origin}");
        let read = send(Method::GET, "/models", origin).await;
        assert_eq!(read.status(), 200);
        assert!(!read.headers().contains_key("access-control-allow-origin"), "that page cannot read the answer");
        let preflight = send(Method::OPTIONS, "/predict", origin).await;
        assert!(!preflight.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let own = service.url.clone();
    assert_ne!(send(Method::POST, "/predict", &own).await.status(), 403);
    let named = send(Method::POST, "/predict", "https://forum.example").await;
    assert_ne!(named.status(), 403);
    assert_eq!(named.headers()["access-control-allow-origin"], "https://forum.example");
    assert_eq!(named.headers()["vary"], "origin");
    let preflight = service
        .client
        .request(Method::OPTIONS, format!("{}/predict", service.url))
        .header("origin", "https://forum.example")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
}

#[tokio::test]
async fn an_error_says_what_to_change() {
    let service = start().await;
    let cases = [
        ("/predict", "{}", "`text` is missing."),
        ("/predict", r#"{"text":5}"#, "`text` must be a string."),
        ("/predict", r#"{"text":"a","explain":"yes"}"#, "`explain` must be true or false."),
        ("/predict", "{\"text\":\n\"a\",}", "The JSON is broken at line 2, column 5."),
        ("/predict", r#"{"comment":"a"}"#, "A field is unknown. The known fields are `text`, `explain`, `version`."),
        ("/train", r#"{"trainers":"x"}"#, "`trainers` must be a list."),
        (
            "/train",
            r#"{"auto_promote":"x"}"#,
            "`auto_promote` must be one of `never`, `if_gate_passes`, `after_approval`.",
        ),
        ("/runs/approve", r#"{"workflow_id":"a","reason":"b"}"#, "`actor` is missing."),
    ];
    for (path, body, detail) in cases {
        let request = service.client.post(format!("{}{path}", service.url)).header("content-type", "application/json");
        let answer = problem(request.body(body).send().await.unwrap(), 400).await;
        assert_eq!(answer["detail"], detail, "{path} {body}");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/predict", "GET, POST, HEAD"),
        (Method::GET, "/promote", "POST"),
        (Method::POST, "/models", "GET, HEAD"),
        (Method::POST, "/models/20200101T000000Z-00000000", "GET, HEAD"),
        (Method::PUT, "/docs", "GET, HEAD"),
        (Method::POST, "/", "GET, HEAD"),
        (Method::POST, "/metrics", "GET, HEAD"),
    ] {
        let answer = service.client.request(method.clone(), format!("{}{path}", service.url)).send().await.unwrap();
        assert_eq!(answer.headers().get("allow").map(|a| a.to_str().unwrap()), Some(allow), "{method} {path}");
        // The problem's `type` is the path of a page that explains it.
        let kind = problem(answer, 405).await["type"].as_str().unwrap().to_owned();
        let page = service.get(&kind).await;
        assert_eq!(
            (page.status().as_u16(), page.headers()["content-type"].to_str().unwrap()),
            (200, "text/html; charset=utf-8")
        );
        assert!(page.text().await.unwrap().contains("The method is not allowed here"));
    }
    let index = service.get("/problems").await.text().await.unwrap();
    for name in index.split("href=\"/problems/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(service.get(&format!("/problems/{name}")).await.status(), 200, "{name}");
    }
}

#[tokio::test]
async fn every_answer_has_the_requests_id() {
    let service = start().await;
    let ask = |id: &str| {
        let request = service.client.get(format!("{}/nothing", service.url)).header("x-request-id", id);
        async { request.send().await.unwrap() }
    };
    let taken = ask("abc-1.2_3").await;
    assert_eq!(taken.headers()["x-request-id"], "abc-1.2_3");
    assert_eq!(problem(taken, 404).await["request_id"], "abc-1.2_3");
    for strange in ["", "a b", "<script>", &"a".repeat(129)] {
        let made = ask(strange).await;
        let id = made.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(problem(made, 404).await["request_id"], id);
    }
    assert!(service.get("/health/live").await.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn a_verdict_says_which_model_took_how_long() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    let verdict = service.post("/predict", &json!({ "text": "hello" })).await;
    let timing = verdict.headers()["server-timing"].to_str().unwrap().to_owned();
    let took: f64 = timing.strip_prefix("model;dur=").unwrap().parse().unwrap();
    assert!(took >= 0.0, "{timing}");
    let version = verdict.headers()["x-model-version"].to_str().unwrap().to_owned();
    assert_eq!(verdict.json::<Value>().await.unwrap()["model_version"], version);
    let long = |characters: usize| json!({ "text": "é".repeat(characters) });
    assert_eq!(service.post("/predict", &long(20_000)).await.status(), 200);
    let refused = problem(service.post("/predict", &long(20_001)).await, 422).await;
    assert_eq!(refused["detail"], "`text` has more than 20000 characters.");
    // A character takes at most twelve bytes, so the longest text fits into a body.
    let escaped = format!("{{\"text\":\"{}\"}}", "\\ud83d\\ude00".repeat(20_000));
    let request = service.client.post(format!("{}/predict", service.url)).header("content-type", "application/json");
    assert_eq!(request.body(escaped).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn beyond_its_places_the_service_says_so_and_health_checks_go_on() {
    let inner = Arc::new(MemoryStore::default());
    let store = Moody::new(Arc::clone(&inner), Mood::Answers);
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.limits.requests = 1;
    let service = start_with(inner, service).await;
    // A request whose body does not arrive takes no slot.
    let mut slow = TcpStream::connect(service.address()).await.unwrap();
    let head =
        "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..10 {
        assert_eq!(service.get("/models").await.status(), 200);
    }
    // A request that waits for the store takes the only slot.
    store.be(Mood::IsSilent);
    let waiting = tokio::spawn(service.client.get(format!("{}/models", service.url)).send());
    let started = Instant::now();
    let refused = loop {
        let response = service.get("/about").await;
        if response.status() == 429 {
            break response;
        }
        assert!(started.elapsed() < Duration::from_secs(1));
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused, 429).await["type"], "/problems/too-many-requests");
    for path in ["/health/live", "/v2/health/live", "/metrics"] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    assert_ne!(service.get("/v2/health/ready").await.status(), 429);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert_eq!(service.get("/about").await.status(), 200, "the slot is free again");
}

#[tokio::test]
async fn what_a_stranger_sends_is_not_read() {
    let service = start().await;
    service.registry.create_key(&"bot".parse().unwrap(), &[registry::Role::Predict], "test").await.unwrap();
    let started = Instant::now();
    while service.get("/models").await.status() != 401 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The body never arrives. The answer is sent all the same.
    let head =
        "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n";
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[tokio::test]
async fn a_body_that_no_route_reads_is_not_waited_for() {
    let service = start().await;
    let head = "GET /models HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn beyond_its_connections_the_service_refuses_and_recovers() {
    let service = start_serving(|service| service.limits.connections = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    }
    let refused = service.raw("").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    drop(open);
    let started = Instant::now();
    while !service
        .raw("GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .starts_with("HTTP/1.1 200")
    {
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
