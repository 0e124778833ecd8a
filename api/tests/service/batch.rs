//! Many comments in one request, as a list and as a stream; versions that are requested by name.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use model::Generation;
use reqwest::{Body, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{Preset, Running, problem, start};

const LINES: &str = "application/x-ndjson";

async fn serving() -> Running {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    service
}

impl Running {
    async fn stream(&self, query: &str, body: impl Into<Body>) -> Response {
        let request = self.client.post(format!("{}/predict/batch{query}", self.url)).header("content-type", LINES);
        request.body(body).send().await.unwrap()
    }
}

/// A body that arrives in pieces.
fn flowing(body: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Body {
    Body::wrap(StreamBody::new(body.map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes)))))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_list_is_judged_in_its_order_and_what_is_wrong_stands_alone() {
    let service = serving().await;
    let texts = ["I will kill you.", "Nice song.", "We will find you. Then we kill you.", "\u{1F600} I kill you"];
    let comments: Vec<Value> =
        (0..300).map(|i| json!({ "id": i.to_string(), "text": format!("{} {i}", texts[i % 4]) })).collect();
    let answer = service.post("/predict/batch", &json!({ "comments": comments, "explain": true })).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 300);
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result["id"], i.to_string());
        if i < 8 {
            let alone = json!({ "text": comments[i]["text"], "explain": true });
            let alone: Value = service.post("/predict", &alone).await.json().await.unwrap();
            assert_eq!(result["verdict"], alone, "a verdict does not depend on the other comments");
        }
    }

    let too_long = "a".repeat(20_001);
    let mixed = json!({ "comments": [
        { "id": "good", "text": texts[0] },
        { "id": "empty", "text": " " },
        { "id": "long", "text": too_long },
        { "id": "field", "text": "a", "txt": "canary" },
        { "id": 5, "text": "a" },
        "canary",
        { "text": texts[1] },
    ] });
    let text = service.post("/predict/batch", &mixed).await.text().await.unwrap();
    assert!(!text.contains("canary"), "invalid input is not repeated: {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let told = |at: usize| (answer["results"][at]["id"].clone(), answer["results"][at]["problem"]["status"].clone());
    let expected = [("good", 0), ("empty", 422), ("long", 422), ("field", 400), ("", 400), ("", 400), ("", 0)];
    for (at, (id, status)) in expected.into_iter().enumerate() {
        let id = if id.is_empty() { Value::Null } else { json!(id) };
        assert_eq!(told(at), (id, if status == 0 { Value::Null } else { json!(status) }), "{at}");
        assert_eq!(answer["results"][at]["verdict"].is_object(), status == 0, "{at}");
    }
}

#[tokio::test]
async fn a_batch_that_is_wrong_as_a_whole_is_refused() {
    let service = serving().await;
    let many: Vec<Value> = (0..1001).map(|_| json!({ "text": "a" })).collect();
    for (body, detail) in [
        (json!({}), "`comments` is missing."),
        (json!({ "comments": "canary" }), "`comments` must be a list."),
        (json!({ "comments": [] }), "`comments` has 0 entries; 1 to 1000 are allowed."),
        (json!({ "comments": many }), "`comments` has 1001 entries; 1 to 1000 are allowed."),
        (json!({ "comments": [{ "text": "a" }], "explain": 1 }), "`explain` must be true or false."),
        (
            json!({ "comments": [{ "text": "a" }], "canary": 1 }),
            "A field is unknown. The known fields are `comments`, `explain`, `version`.",
        ),
    ] {
        let refused = problem(service.post("/predict/batch", &body).await, 400).await;
        assert_eq!(refused["detail"], detail);
    }
    // A batch may be longer than a comment, and has its own limit.
    let comment = json!({ "text": "a ".repeat(9_000) });
    let large: Vec<&Value> = (0..100).map(|_| &comment).collect();
    let answer = service.post("/predict/batch", &json!({ "comments": large })).await;
    assert_eq!(answer.status(), 200);
    let larger: Vec<&Value> = (0..600).map(|_| &comment).collect();
    problem(service.post("/predict/batch", &json!({ "comments": larger })).await, 413).await;
}

#[tokio::test]
async fn a_stream_is_answered_line_by_line_while_it_still_comes() {
    let service = serving().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async {
        let bytes = receiver.recv().await?;
        Some((bytes, receiver))
    });
    let send = async |text: &'static str| sender.send(Bytes::from_static(text.as_bytes())).await.unwrap();
    let asking = tokio::spawn({
        let request = service.client.post(format!("{}/predict/batch", service.url)).header("content-type", LINES);
        request.body(flowing(body)).send()
    });
    send("{\"id\":\"a\",\"text\":\"I will kill you.\"}\n{\"id\":\"b\",").await;
    let mut answer = asking.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &LINES.parse().unwrap()));
    let first = lines(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
    assert_eq!((first.len(), &first[0]["id"]), (1, &json!("a")), "before the second line is complete");
    // A line may arrive in pieces, and the last line needs no line break.
    send("\"text\":\"Nice song.\"}\r\n\n  \n").await;
    send("{\"id\":\"c\",\"text\":\"\"}").await;
    drop(sender);
    let mut rest = String::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        rest += std::str::from_utf8(&chunk).unwrap();
    }
    let rest = lines(&rest);
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert_eq!((&rest[0]["id"], &rest[0]["verdict"]["label"]), (&json!("b"), &json!("harmless")));
    assert_eq!((&rest[1]["id"], &rest[1]["problem"]["status"]), (&json!("c"), &json!(422)));
}

#[tokio::test]
async fn a_stream_is_counted_when_it_has_ended_with_all_its_bytes() {
    let service = serving().await;
    let metric = async |name: &str| -> f64 {
        let series = format!("{name}{{method=\"POST\",handler=\"/predict/batch\"}} ");
        let metrics = service.get("/metrics").await.text().await.unwrap();
        metrics.lines().find_map(|line| line.strip_prefix(&series)).map_or(0.0, |value| value.parse().unwrap())
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let line = || Bytes::from_static(b"{\"text\":\"I will kill you\"}\n");
    sender.send(line()).await.unwrap();
    let answer = service.stream("", flowing(body)).await;
    assert_eq!(metric("http_response_size_bytes_count").await, 0.0, "it is still being answered");
    for _ in 0..2 {
        sender.send(line()).await.unwrap();
    }
    drop(sender);
    let answer = answer.text().await.unwrap();
    assert_eq!(lines(&answer).len(), 3);
    assert_eq!(metric("http_response_size_bytes_count").await, 1.0);
    assert_eq!(metric("http_response_size_bytes_sum").await, answer.len() as f64);
    assert_eq!(metric("http_request_size_bytes_sum").await, 3.0 * 27.0);
    assert!(metric("http_request_duration_seconds_sum").await > 0.0);
}

#[tokio::test]
async fn a_stream_may_last_longer_than_a_request() {
    let service = serving().await;
    // The time limit of a head is ten seconds.
    let body = stream::unfold(0, |sent| async move {
        if sent == 13 {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Bytes::from_static(b"{\"text\":\"I will kill you\"}\n"), sent + 1))
    });
    let answer = service.stream("", flowing(body)).await.text().await.unwrap();
    let results = lines(&answer);
    assert_eq!(results.len(), 13, "{answer}");
    assert!(results.iter().all(|result| result["verdict"]["label"] == "threat"), "{answer}");
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_key_is_revoked() {
    let service = serving().await;
    let name = "bot".parse().unwrap();
    let (_, secret) = service.registry.create_key(&name, &[registry::Role::Predict], "test").await.unwrap();
    let mut tries = 0;
    while service.get("/models").await.status() != 401 {
        tries += 1;
        assert!(tries < 250);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let body = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Bytes::from_static(b"{\"text\":\"I will kill you\"}\n"), ()))
    });
    let request = service.client.post(format!("{}/predict/batch", service.url)).header("content-type", LINES);
    let mut answer = request.bearer_auth(secret.expose()).body(flowing(body)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.chunk().await.unwrap().is_some());
    service.registry.revoke_keys(&name, None, "test").await.unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(8), answer.text()).await.unwrap().unwrap();
    assert_eq!(lines(&rest).last().unwrap()["problem"]["type"], "/problems/unauthorized", "{rest}");
}

#[tokio::test]
async fn an_explained_list_has_a_bound_of_its_own() {
    let service = serving().await;
    let words = json!({ "text": "a ".repeat(9_000) });
    let comments: Vec<&Value> = (0..20).map(|_| &words).collect();
    let list = |explain| json!({ "comments": comments, "explain": explain });
    assert_eq!(service.post("/predict/batch", &list(false)).await.status(), 200);
    let refused = problem(service.post("/predict/batch", &list(true)).await, 422).await;
    assert!(refused["detail"].as_str().unwrap().contains("Use a stream"), "{refused}");
}

#[tokio::test]
async fn a_stream_outlives_its_wrong_lines() {
    let service = serving().await;
    let mut body = Vec::new();
    for i in 0..200 {
        body.extend(format!("{{\"id\":\"{i}\",\"text\":\"I will kill you {i}\"}}\n").into_bytes());
        match i % 5 {
            0 => body.extend(b"{\"canary\n"),
            1 => body.extend(b"{\"text\":\"\xff canary\"}\n"),
            2 => body.extend([b"x".repeat(300_000), b"\n".to_vec()].concat()),
            _ => {}
        }
    }
    let answer = service.stream("?explain=true", body).await.text().await.unwrap();
    assert!(!answer.contains("canary"));
    let results = lines(&answer);
    let (good, wrong): (Vec<&Value>, Vec<&Value>) = results.iter().partition(|result| result["verdict"].is_object());
    assert_eq!((good.len(), wrong.len()), (200, 120));
    assert!(good.iter().enumerate().all(|(i, result)| result["id"].as_str() == Some(&*i.to_string())), "in order");
    assert!(good.iter().all(|result| result["verdict"]["sentences"][0]["tokens"].is_array()), "explained");
    assert_eq!(wrong.iter().filter(|result| result["problem"]["status"] == 413).count(), 40);
    assert_eq!(service.stream("", "").await.text().await.unwrap(), "");
}

#[tokio::test]
async fn streams_have_a_bound_and_end_when_the_service_stops() {
    let mut service = serving().await;
    let open = |_: usize| {
        let body = stream::unfold(false, |was_sent| async move {
            if was_sent {
                std::future::pending::<()>().await;
            }
            Some((Bytes::from_static(b"{\"text\":\"I will kill you\"}\n"), true))
        });
        service.stream("", flowing(body))
    };
    let mut streams = futures_util::future::join_all((0..8).map(open)).await;
    for stream in &mut streams {
        assert!(stream.chunk().await.unwrap().is_some());
    }
    assert_eq!(problem(service.stream("", "{}").await, 429).await["type"], "/problems/too-many-requests");
    streams.truncate(1);
    // A client that goes away frees its slot.
    let mut tries = 0;
    while service.stream("", "{}").await.status() != 200 {
        tries += 1;
        assert!(tries < 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.stop.take().unwrap().send(()).unwrap();
    let last = streams.remove(0).text().await.unwrap();
    assert_eq!(lines(&last).last().unwrap()["problem"]["type"], "/problems/stopping", "{last}");
    service.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_version_that_is_asked_for_judges_though_another_is_in_production() {
    let service = serving().await;
    let text = "I will find you";
    let first = service.predict(text).await;
    service.promote(Preset::Sklearn).await;
    assert!(service.serves(Generation(2), Duration::from_secs(5)).await);
    let second = service.predict(text).await;
    assert_ne!(first["model_version"], second["model_version"]);
    assert_ne!(first["probability"], second["probability"]);

    let version = first["model_version"].as_str().unwrap();
    let asked = service.post("/predict", &json!({ "text": text, "version": version })).await;
    assert_eq!(asked.headers()["x-model-version"], version);
    let asked: Value = asked.json().await.unwrap();
    assert_eq!((&asked["probability"], &asked["generation"]), (&first["probability"], &json!(0)));
    let current = second["model_version"].as_str().unwrap();
    let same: Value =
        service.post("/predict", &json!({ "text": text, "version": current })).await.json().await.unwrap();
    assert_eq!(same, second);
    let batch = json!({ "comments": [{ "text": text }], "version": version });
    let batch: Value = service.post("/predict/batch", &batch).await.json().await.unwrap();
    assert_eq!(batch["results"][0]["verdict"], asked);
    let line = json!({ "text": text }).to_string();
    let line = service.stream(&format!("?version={version}"), line).await.text().await.unwrap();
    assert_eq!(lines(&line)[0]["verdict"], asked);
    let model: Value =
        service.post("/v1/moderations", &json!({ "input": text, "model": version })).await.json().await.unwrap();
    assert_eq!(
        (&model["model"], &model["results"][0]["category_scores"]["violence"]),
        (&json!(version), &asked["probability"])
    );

    problem(service.post("/predict", &json!({ "text": text, "version": "canary" })).await, 422).await;
    // The version in the URL counts if the list names none.
    let list = json!({ "comments": [{ "text": text }, { "text": text }] });
    let listed: Value = service.post(&format!("/predict/batch?version={version}"), &list).await.json().await.unwrap();
    assert_eq!(listed["results"][1]["verdict"], asked);
    let unknown = json!({ "text": text, "version": "20200101T000000Z-00000000" });
    problem(service.post("/predict", &unknown).await, 404).await;
    let metrics = service.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("model_version=\"pinned\""), "{metrics}");
}

#[tokio::test]
async fn who_waits_before_sending_is_told_to_go_on() {
    let service = serving().await;
    let address = service.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let line = "{\"text\":\"I will kill you\"}\n";
    let head = format!(
        "POST /predict/batch HTTP/1.1\r\nHost: {address}\r\nContent-Type: {LINES}\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n",
        line.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    let reading = tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut told));
    reading.await.expect("the client gets `100 Continue` at once").unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"label\":\"threat\""), "{answer}");
}
