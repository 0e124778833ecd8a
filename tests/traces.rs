//! Traces and logs of a running system, as a collector and a log store receive them.
//!
//! The collector is the test's own: it takes OTLP as protobuf over HTTP, as any collector does.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as Attribute, trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::common::{Up, block_on, free_ports, wait_for};

/// A word that only the comments of this test contain.
const COMMENT: &str = "I will find you behind the zanzibarian gate.";
/// The trace of a caller, as W3C Trace Context has it.
const CALLERS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

#[test]
fn a_promotion_is_one_trace_from_the_request_to_the_store_and_no_text_is_in_it() {
    let collector = Collector::start();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("THREATWATCH_LOG_FORMAT", "json"),
    ];
    let up = Up::start_with(tempfile::tempdir().unwrap(), free_ports(), &[], &environment);
    let models = up.get_json("/models");
    let serving = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    let versions = models["models"].as_array().unwrap().iter().map(|model| model["version"].as_str().unwrap());
    let other = versions.into_iter().find(|version| *version != serving).unwrap().to_owned();

    // A verdict: its span belongs to the caller's trace, and has no word of the comment.
    let (status, _) = traced(&up, "/predict", &json!({"text": COMMENT}));
    assert_eq!(status, 200);
    for path in ["/predict?text=I%20will%20find%20you%20behind%20the%20zanzibarian%20gate.", "/zanzibarian"] {
        up.get(path);
    }
    // A promotion goes through every part.
    let body = json!({"version": other, "reason": "the test says so", "force": true});
    let (status, answer) = traced(&up, "/promote", &body);
    assert_eq!(status, 200, "{answer}");

    let wanted = [
        ("threatwatch-api", "POST /predict"),
        ("threatwatch-api", "POST /promote"),
        ("threatwatch-api", "StartWorkflow:PromoteWorkflow"),
        ("threatwatch-worker", "RunWorkflow:PromoteWorkflow"),
        ("threatwatch-worker", "RunActivity:gate"),
        ("threatwatch-worker", "RunActivity:promote"),
    ];
    let mut spans = Vec::new();
    let came = wait_for(Duration::from_secs(20), || {
        spans = collector.spans(CALLERS_TRACE);
        wanted.iter().all(|(service, name)| spans.iter().any(|s| s.service == *service && s.span.name == *name))
    });
    let names = || spans.iter().map(|s| format!("{} {}", s.service, s.span.name)).collect::<Vec<_>>();
    assert!(came, "{:#?}", names());

    // Every span descends from the caller's span, through parents that are all there.
    let by_id: HashMap<&[u8], &Received> = spans.iter().map(|s| (&s.span.span_id[..], s)).collect();
    for span in &spans {
        let mut at = span;
        let mut seen = HashSet::new();
        while hex::encode(&at.span.parent_span_id) != CALLERS_SPAN {
            assert!(seen.insert(&at.span.span_id), "{} is its own ancestor", span.span.name);
            at = by_id.get(&at.span.parent_span_id[..]).unwrap_or_else(|| panic!("{} has no parent", at.span.name));
        }
    }
    // The record of the promotion was written below the activity that promotes.
    let promote = spans.iter().find(|s| s.span.name == "RunActivity:promote").unwrap();
    let below = |s: &&Received| s.span.parent_span_id == promote.span.span_id && s.span.name == "S3.PutObject";
    let keys: Vec<String> = spans.iter().filter(below).map(|s| s.attribute("aws.s3.key")).collect();
    assert!(keys.iter().any(|key| key.starts_with("history/production/")), "{keys:?}");
    let predict = spans.iter().find(|s| s.span.name == "POST /predict").unwrap();
    assert_eq!(predict.attribute("http.response.status_code"), "200");
    // Health checks leave no trace, and neither do requests that the service makes by itself.
    for received in collector.all() {
        let name = &received.span.name;
        assert!(!name.contains("/health") && !name.contains("/metrics"), "{name}");
        assert!(!name.starts_with("S3.") || !received.span.parent_span_id.is_empty(), "{name} stands alone");
    }
    assert!(!collector.received("zanzibarian"), "a comment is in a trace");
    let history = up.temporal(&["workflow", "show", "--workflow-id", "promote-production", "--output", "json"]);
    assert!(history.status.success() && !common::both(&history).contains("zanzibarian"));

    // A failed activity gives a failed span without the error message, which may hold words that payload encryption
    // hides.
    let missing = "20200101T000000Z-00000000";
    let (status, _) = traced(&up, "/promote", &json!({"version": missing, "reason": "there is none"}));
    assert_eq!(status, 404);
    let failed =
        |s: &Received| s.span.name == "RunActivity:gate" && s.span.status.as_ref().is_some_and(|s| s.code == 2);
    assert!(wait_for(Duration::from_secs(20), || collector.spans(CALLERS_TRACE).iter().any(failed)));
    for Received { span, .. } in collector.all() {
        let message = span.status.as_ref().map_or("", |status| &status.message);
        assert!(span.events.is_empty() && message.is_empty(), "{}: {message}, {:?}", span.name, span.events);
    }

    // The log lines name trace, request, workflow and run.
    let api = lines(&up, "api.log");
    let answered = api.iter().find(|line| line["fields"]["handler"] == "/promote").expect("the request is logged");
    assert_eq!(answered["trace_id"], CALLERS_TRACE, "{answered}");
    assert_eq!(answered["request_id"], answered["fields"]["request.id"], "{answered}");
    assert!(answered["request_id"].is_string(), "{answered}");
    let worker = lines(&up, "worker.log");
    let promoted = worker.iter().find(|line| line["fields"]["message"] == "promoted").expect("it is logged");
    let gated = worker.iter().rfind(|line| line["fields"]["message"] == "gated").expect("it is logged");
    for line in [promoted, gated] {
        assert!(line["run_id"].is_string() && line["workflow_id"].is_string(), "{line}");
    }
    assert_eq!(gated["trace_id"], CALLERS_TRACE, "{gated}");
    assert_eq!(gated["workflow_id"], "promote-production", "{gated}");

    // A collector that is away costs no request.
    drop(collector);
    for _ in 0..20 {
        assert_eq!(up.post("/predict", &json!({"text": COMMENT})).0, 200);
    }
}

#[test]
fn a_setting_of_the_collector_that_makes_no_sense_is_named() {
    for (name, value) in [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")] {
        let mut command = std::process::Command::new(common::BINARY);
        command.args(["serve", "--state-dir"]).arg(tempfile::tempdir().unwrap().path());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env(name, value);
        let output = command.output().unwrap();
        let words = common::both(&output);
        assert!(!output.status.success() && words.contains(name), "{name}: {words}");
    }
}

/// A request of a caller that sends a trace context.
fn traced(up: &Up, path: &str, body: &Value) -> (u16, String) {
    let url = format!("{}{path}", up.ports.api_url());
    block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        let request =
            client.post(url).json(body).header("traceparent", format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"));
        // Free text from the caller, which must not be taken over.
        let request = request.header("tracestate", "vendor=zanzibarian");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

/// The lines of a part's log; each must be JSON.
fn lines(up: &Up, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(up.state_dir().join("logs").join(file)).unwrap();
    let json = text.lines().filter(|line| line.starts_with('{'));
    json.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A span and the service that sent it.
#[derive(Clone)]
struct Received {
    service: String,
    span: Span,
}

impl Received {
    fn attribute(&self, key: &str) -> String {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == key).unwrap();
        text(found.value.as_ref().and_then(|value| value.value.as_ref()).unwrap())
    }
}

fn text(value: &Attribute) -> String {
    match value {
        Attribute::StringValue(text) => text.clone(),
        Attribute::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Receives spans and answers as a collector does, until it is dropped.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    is_over: Arc<AtomicBool>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (bodies, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (received, over) = (Arc::clone(&bodies), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                received.lock().unwrap().extend(take(stream.unwrap()));
            }
        });
        Self { url, bodies, is_over }
    }

    fn all(&self) -> Vec<Received> {
        let bodies = self.bodies.lock().unwrap();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(&body[..]).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        let spans = resources.flat_map(|of_resource| {
            let attributes = of_resource.resource.unwrap().attributes;
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
            let service = text(service.value.as_ref().unwrap().value.as_ref().unwrap());
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| Received { service: service.clone(), span }).collect::<Vec<_>>()
        });
        spans.collect()
    }

    fn spans(&self, trace: &str) -> Vec<Received> {
        self.all().into_iter().filter(|received| hex::encode(&received.span.trace_id) == trace).collect()
    }

    fn received(&self, word: &str) -> bool {
        self.bodies.lock().unwrap().iter().any(|body| String::from_utf8_lossy(body).contains(word))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// One request: its body, if it is of spans. The connection ends with the answer.
fn take(mut stream: TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let head = loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend(&buffer[..n]),
        }
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    while bytes.len() < head + length {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend(&buffer[..n]),
        }
    }
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    text.starts_with("post /v1/traces").then(|| bytes.split_off(head))
}
