//! Requests of other services' clients, and the answers that these clients read.

use std::time::Duration;

use model::Generation;
use registry::{MemoryStore, Registry, Role};
use reqwest::Response;
use serde_json::{Value, json};

use crate::{Preset, Running, service_on, start, start_with};

const THREAT: &str = "I will kill you.";
const ANALYZE: &str = "/v1alpha1/comments:analyze";

async fn serving() -> Running {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    service
}

async fn json_of(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/json"));
    response.json().await.unwrap()
}

fn analyze(text: &str) -> Value {
    json!({ "comment": { "text": text }, "requestedAttributes": { "THREAT": {} } })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Checks that an answer is a Google error with this status and `errorType`.
fn assert_google(error: &Value, code: u16, status: &str, kind: Option<&str>) {
    let error = &error["error"];
    assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)), "{error}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert_eq!(error["details"][0]["errorType"].as_str(), kind, "{error}");
}

#[tokio::test]
async fn perspective_scores_threats_as_predict_does() {
    let service = serving().await;
    let text = "\u{1F600}\u{e9} Nice song. I will kill you.";
    let own = service.predict(text).await;
    let asked = json!({
        "comment": { "text": text, "type": "PLAIN_TEXT" },
        "requestedAttributes": { "THREAT": { "scoreType": "PROBABILITY", "scoreThreshold": 0.0 } },
        "languages": ["en-GB"],
        "spanAnnotations": true,
        "doNotStore": true,
        "clientToken": "mine",
        "sessionId": "s",
        "communityId": "c",
        "context": { "entries": [{ "text": "before", "type": "PLAIN_TEXT" }] },
    });
    let answer = json_of(service.post(ANALYZE, &asked).await, 200).await;
    assert_eq!((&answer["clientToken"], &answer["languages"]), (&json!("mine"), &json!(["en-GB"])));
    let threat = &answer["attributeScores"]["THREAT"];
    assert_eq!(threat["summaryScore"], json!({ "value": own["probability"], "type": "PROBABILITY" }));
    // A smiling face is two UTF-16 code units, one code point, four bytes.
    let utf16: Vec<u16> = text.encode_utf16().collect();
    let spans = threat["spanScores"].as_array().unwrap();
    let told: Vec<String> = spans
        .iter()
        .map(|span| {
            let at = |end: &str| span[end].as_u64().unwrap() as usize;
            String::from_utf16(&utf16[at("begin")..at("end")]).unwrap()
        })
        .collect();
    assert_eq!(told, ["\u{1F600}\u{e9} Nice song.", "I will kill you."]);
    for (span, sentence) in spans.iter().zip(own["sentences"].as_array().unwrap()) {
        assert_eq!(span["score"]["value"], sentence["probability"]);
    }

    let plain = json_of(service.post(ANALYZE, &analyze(text)).await, 200).await;
    let span = &plain["attributeScores"]["THREAT"]["spanScores"];
    let whole =
        json!([{ "begin": 0, "end": utf16.len(), "score": { "value": own["probability"], "type": "PROBABILITY" } }]);
    assert_eq!((span, &plain["languages"]), (&whole, &json!(["en"])));

    let high =
        json!({ "comment": { "text": "Nice song." }, "requestedAttributes": { "THREAT": { "scoreThreshold": 0.9 } } });
    assert_eq!(json_of(service.post(ANALYZE, &high).await, 200).await, json!({ "languages": ["en"] }));
    let several = json!({
        "comment": { "text": text }, "requestedAttributes": { "THREAT": {}, "TOXICITY": {} }, "dropUnsupportedAttributes": true,
    });
    let answer = json_of(service.post(ANALYZE, &several).await, 200).await;
    assert_eq!(answer["attributeScores"].as_object().unwrap().keys().collect::<Vec<_>>(), ["THREAT"]);
    // Some clients escape the colon.
    json_of(service.post("/v1alpha1/comments%3Aanalyze?key=any&alt=json", &analyze(text)).await, 200).await;

    let suggestion = json!({
        "comment": { "text": text },
        "attributeScores": { "APPROVED": { "summaryScore": { "value": 1.0 } } },
        "clientToken": "mine",
    });
    let taken = json_of(service.post("/v1alpha1/comments:suggestscore", &suggestion).await, 200).await;
    assert_eq!(taken, json!({ "clientToken": "mine", "requestedLanguages": ["en"] }));
}

#[tokio::test]
async fn perspective_says_what_is_wrong_in_googles_words() {
    let service = serving().await;
    let attributes = |value: Value| with(analyze(THREAT), "requestedAttributes", value);
    let cases = [
        (analyze(" "), "COMMENT_EMPTY", "Comment must be non-empty."),
        (json!({ "requestedAttributes": { "THREAT": {} } }), "COMMENT_EMPTY", "Comment must be non-empty."),
        (analyze(&"a".repeat(20_481)), "COMMENT_TOO_LONG", "Comment text too long."),
        (attributes(json!({})), "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (
            attributes(json!({ "TOXICITY": {} })),
            "INVALID_REQUEST",
            "Unknown requested attribute: TOXICITY. This service serves THREAT",
        ),
        (
            attributes(json!({ "canary": {} })),
            "INVALID_REQUEST",
            "Unknown requested attribute:. This service serves THREAT",
        ),
        (
            attributes(json!({ "THREAT": { "scoreType": "RAW" } })),
            "INVALID_REQUEST",
            "Requested score type is not supported by attribute THREAT: PROBABILITY is",
        ),
        (
            with(analyze(THREAT), "languages", json!(["de", "canary"])),
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute THREAT does not support request languages; it supports: en",
        ),
        (
            with(analyze(THREAT), "comment", json!({ "text": THREAT, "type": "HTML" })),
            "INVALID_REQUEST",
            "Currently, only 'PLAIN_TEXT' comments are supported",
        ),
        (
            with(analyze(THREAT), "context", json!({ "entries": [], "articleAndParentComment": {} })),
            "INVALID_REQUEST",
            "Context can have either entries or article_and_parent_comment, but both fields were populated.",
        ),
    ];
    for (body, kind, message) in cases {
        let error = json_of(service.post(ANALYZE, &body).await, 400).await;
        assert_google(&error, 400, "INVALID_ARGUMENT", Some(kind));
        assert_eq!(error["error"]["message"], message);
    }
    for body in [json!({ "canary": 1 }), with(analyze(THREAT), "comment", json!({ "text": 5 })), json!([])] {
        let error = json_of(service.post(ANALYZE, &body).await, 400).await;
        assert_google(&error, 400, "INVALID_ARGUMENT", Some("INVALID_REQUEST"));
        assert!(!error.to_string().contains("canary"));
    }
    assert_google(&json_of(service.get("/v1alpha1/nothing").await, 404).await, 404, "NOT_FOUND", None);
    assert_google(&json_of(service.get(ANALYZE).await, 400).await, 400, "INVALID_ARGUMENT", Some("INVALID_REQUEST"));
    let huge = with(analyze(THREAT), "clientToken", json!("a".repeat(300_000)));
    assert_google(
        &json_of(service.post(ANALYZE, &huge).await, 400).await,
        400,
        "INVALID_ARGUMENT",
        Some("INVALID_REQUEST"),
    );

    // No model is in production.
    let empty = start().await;
    let error = empty.post(ANALYZE, &analyze(THREAT)).await;
    assert!(error.headers().contains_key("retry-after"));
    assert_google(&json_of(error, 503).await, 503, "UNAVAILABLE", None);
}

#[tokio::test]
async fn perspectives_key_comes_in_the_address_or_in_googles_header() {
    let service = serving().await;
    let right = {
        let (_, secret) = service.registry.create_key(&"bot".parse().unwrap(), &[Role::Predict], "test").await.unwrap();
        secret.expose().to_owned()
    };
    let address = |key: &str| format!("{ANALYZE}?alt=json&key={key}");
    let mut tries = 0;
    while service.post(ANALYZE, &analyze(THREAT)).await.status() == 200 {
        tries += 1;
        assert!(tries < 250, "the first key takes effect within five seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    json_of(service.post(&address(&right), &analyze(THREAT)).await, 200).await;
    let by_header = service.client.post(format!("{}{ANALYZE}", service.url)).header("x-goog-api-key", &right);
    json_of(by_header.json(&analyze(THREAT)).send().await.unwrap(), 200).await;
    for path in [ANALYZE.to_owned(), address("canary")] {
        let error = json_of(service.post(&path, &analyze(THREAT)).await, 403).await;
        assert_eq!(error["error"]["status"], "PERMISSION_DENIED");
        assert_eq!(error["error"]["details"][0]["reason"], "API_KEY_INVALID");
        assert!(!error.to_string().contains("canary"));
    }
    // Other routes do not read it.
    assert_eq!(service.post(&format!("/predict?key={right}"), &json!({ "text": THREAT })).await.status(), 401);
    let openai = json_of(service.post("/v1/moderations", &json!({ "input": THREAT })).await, 401).await;
    assert_eq!(openai["error"]["code"], "invalid_api_key");
    let by_bearer = service.client.post(format!("{}/v1/moderations", service.url)).bearer_auth(&right);
    json_of(by_bearer.json(&json!({ "input": THREAT })).send().await.unwrap(), 200).await;
}

#[tokio::test]
async fn an_alias_is_answered_with_the_threat_score_and_says_so() {
    let store = std::sync::Arc::new(MemoryStore::default());
    let registry = Registry::new(store.clone());
    let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let unknown = api::PerspectiveSettings::new(&words(&["VIOLENCE"]), &[]);
    assert!(unknown.unwrap_err().contains("`VIOLENCE`"));
    let empty = api::PerspectiveSettings::new(&words(&[""]), &words(&[" "])).unwrap();
    assert_eq!((empty.aliases, empty.languages), (words(&[]), words(&["en"])));
    let perspective = api::PerspectiveSettings::new(&words(&["TOXICITY"]), &words(&["EN", "no-NO"])).unwrap();
    let service = start_with(store, api::Service { perspective, ..service_on(&registry) }).await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let asked = with(analyze(THREAT), "requestedAttributes", json!({ "THREAT": {}, "TOXICITY": {} }));
    let answer = json_of(service.post(ANALYZE, &with(asked, "languages", json!(["no"]))).await, 200).await;
    assert_eq!(answer["attributeScores"]["TOXICITY"], answer["attributeScores"]["THREAT"]);
    assert_eq!(answer["aliases"], json!({ "TOXICITY": "THREAT" }));
    let other = with(analyze(THREAT), "requestedAttributes", json!({ "INSULT": {} }));
    json_of(service.post(ANALYZE, &other).await, 400).await;
}

#[tokio::test]
async fn what_is_refused_before_any_route_has_the_dialects_shape_too() {
    let service = serving().await;
    for (path, pointer) in
        [(ANALYZE, "/error/status"), ("/v1/moderations", "/error/type"), ("/v2/models/threatwatch/infer", "/error")]
    {
        let elsewhere = service.client.post(format!("{}{path}", service.url)).header("host", "evil.example");
        let error: Value = elsewhere.json(&json!({})).send().await.unwrap().json().await.unwrap();
        assert!(error.pointer(pointer).is_some_and(Value::is_string), "{path}: {error}");
        let foreign = service.client.post(format!("{}{path}", service.url)).header("origin", "https://evil.example");
        let error: Value = foreign.json(&json!({})).send().await.unwrap().json().await.unwrap();
        assert!(error.pointer(pointer).is_some_and(Value::is_string), "{path}: {error}");
    }
}

#[tokio::test]
async fn the_discovery_document_leads_to_the_address_that_was_asked() {
    let service = serving().await;
    let document = json_of(service.get("/$discovery/rest?version=v1alpha1").await, 200).await;
    assert_eq!(document["rootUrl"], format!("{}/", service.url));
    let analyze = &document["resources"]["comments"]["methods"]["analyze"];
    assert_eq!((&analyze["path"], &analyze["httpMethod"]), (&json!("v1alpha1/comments:analyze"), &json!("POST")));
    // Every referenced schema exists.
    let text = document.to_string();
    let named = text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert!(named.clone().count() > 10);
    for name in named {
        assert!(document["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn swagger_has_the_paths_that_callers_write() {
    let service = start().await;
    for path in ["/docs", "/openapi.json"] {
        let text = service.get(path).await.text().await.unwrap();
        assert!(text.contains("/v1alpha1/comments:analyze") && !text.contains("comments/analyze"), "{path}");
    }
    let document = api::openapi();
    assert!(!document.contains("allOf"), "some client generators do not read `allOf`");
}

#[tokio::test]
async fn moderations_have_openais_shape_and_only_threats() {
    let service = serving().await;
    let own = service.predict(THREAT).await;
    let post = async |body: &Value, status: u16| json_of(service.post("/v1/moderations", body).await, status).await;
    let one = post(&json!({ "input": THREAT, "model": "omni-moderation-latest" }), 200).await;
    assert!(one["id"].as_str().unwrap().starts_with("modr-"));
    assert_eq!(one["model"], own["model_version"]);
    let result = &one["results"][0];
    assert_eq!(result["flagged"], true);
    for (name, score) in result["category_scores"].as_object().unwrap() {
        let is_threat = ["violence", "harassment/threatening", "hate/threatening"].contains(&name.as_str());
        assert_eq!(*score, if is_threat { own["probability"].clone() } else { json!(0.0) }, "{name}");
        assert_eq!(result["categories"][name], is_threat, "{name}");
        assert_eq!(result["category_applied_input_types"][name], if is_threat { json!(["text"]) } else { json!([]) });
    }
    assert_eq!(result["categories"].as_object().unwrap().len(), 13);

    let several = post(&json!({ "input": [THREAT, "Nice song."] }), 200).await;
    let flagged: Vec<&Value> = several["results"].as_array().unwrap().iter().map(|result| &result["flagged"]).collect();
    assert_eq!(flagged, [true, false]);
    let parts = json!({ "input": [{ "type": "text", "text": "Nice song." }, { "type": "text", "text": THREAT }] });
    assert_eq!(post(&parts, 200).await["results"].as_array().unwrap().len(), 1, "parts of one comment");

    let picture = json!({ "input": [{ "type": "image_url", "image_url": { "url": "http://canary" } }] });
    for body in [
        json!({}),
        json!({ "input": 5 }),
        json!({ "input": [] }),
        json!({ "input": ["a", ""] }),
        json!({ "input": "" }),
        picture,
    ] {
        let error = post(&body, 400).await;
        assert_eq!(error["error"]["type"], "invalid_request_error");
        for member in ["message", "param", "code"] {
            assert!(error["error"].as_object().unwrap().contains_key(member));
        }
        assert!(!error.to_string().contains("canary"));
    }
    let gone = post(&json!({ "input": "a", "model": "20200101T000000Z-00000000" }), 404).await;
    assert_eq!(gone["error"]["type"], "invalid_request_error");
}

/// A request with tensors after the JSON, in the form of the binary tensor extension.
fn binary(texts: &[&[u8]], outputs: &Value) -> (usize, Vec<u8>) {
    let tensor: Vec<u8> =
        texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text].concat()).collect();
    let input = json!({
        "name": "text", "shape": [texts.len()], "datatype": "BYTES",
        "parameters": { "binary_data_size": tensor.len() },
    });
    let mut request = json!({ "id": "mine", "inputs": [input] });
    for (name, value) in outputs.as_object().unwrap() {
        request[name] = value.clone();
    }
    let mut body = request.to_string().into_bytes();
    let length = body.len();
    body.extend(tensor);
    (length, body)
}

#[tokio::test]
async fn inference_speaks_json_and_binary_tensors() {
    let service = serving().await;
    let own = service.predict(THREAT).await;
    let version = own["model_version"].as_str().unwrap();
    for (path, member, value) in [
        ("/v2", "name", json!("threatwatch")),
        ("/v2/health/live", "live", json!(true)),
        ("/v2/health/ready", "ready", json!(true)),
        ("/v2/models/threatwatch", "versions", json!([version])),
        ("/v2/models/threatwatch/ready", "ready", json!(true)),
        (&format!("/v2/models/threatwatch/versions/{version}"), "versions", json!([version])),
        (&format!("/v2/models/threatwatch/versions/{version}/ready"), "ready", json!(true)),
    ] {
        assert_eq!(json_of(service.get(path).await, 200).await[member], value, "{path}");
    }
    let infer = "/v2/models/threatwatch/infer";
    let input = |shape: Value, data: Value| json!({ "inputs": [{ "name": "text", "shape": shape, "datatype": "BYTES", "data": data }] });
    let answer =
        json_of(service.post(infer, &input(json!([2, 1]), json!([[THREAT], ["Nice song."]]))).await, 200).await;
    let tensor = |answer: &Value, name: &str| {
        answer["outputs"].as_array().unwrap().iter().find(|output| output["name"] == name).unwrap().clone()
    };
    let probability = tensor(&answer, "probability");
    assert_eq!((&probability["datatype"], &probability["shape"]), (&json!("FP64"), &json!([2, 1])));
    assert_eq!(probability["data"][0], own["probability"]);
    assert_eq!(tensor(&answer, "label")["data"], json!(["threat", "harmless"]));

    let (length, body) = binary(
        &[THREAT.as_bytes(), "h\u{e9}llo".as_bytes()],
        &json!({ "outputs": [{ "name": "label", "parameters": { "binary_data": true } }, { "name": "probability", "parameters": { "binary_data": true } }, { "name": "decision" }] }),
    );
    let send = |length: String, body: Vec<u8>| {
        let request = service.client.post(format!("{}/v2/models/threatwatch/versions/{version}/infer", service.url));
        request.header("inference-header-content-length", length).body(body).send()
    };
    let answer = send(length.to_string(), body.clone()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/octet-stream".parse().unwrap())
    );
    let length: usize = answer.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let bytes = answer.bytes().await.unwrap();
    let told: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!((&told["id"], &told["model_version"]), (&json!("mine"), &json!(version)));
    let (labels, rest) =
        bytes[length..].split_at(tensor(&told, "label")["parameters"]["binary_data_size"].as_u64().unwrap() as usize);
    assert_eq!(labels, b"\x06\0\0\0threat\x08\0\0\0harmless");
    assert_eq!(rest.len(), 16);
    assert_eq!(f64::from_le_bytes(rest[..8].try_into().unwrap()), own["probability"].as_f64().unwrap());
    assert_eq!(tensor(&told, "decision")["data"][0], own["decision"]);

    // Errors have the protocol's form.
    for (body, status) in [
        (input(json!([3]), json!([THREAT])), 422),
        (input(json!([]), json!([THREAT])), 422),
        (input(json!([u64::MAX, 2]), json!([THREAT])), 422),
        (input(json!([1]), json!([5])), 422),
        (input(json!([1]), json!([" "])), 422),
        (with(input(json!([1]), json!([THREAT])), "outputs", json!([{ "name": "canary" }])), 422),
        (json!({ "inputs": [{ "name": "canary", "shape": [1], "datatype": "BYTES", "data": ["a"] }] }), 422),
        (json!({ "inputs": [] }), 400),
        (json!({ "canary": 1 }), 400),
    ] {
        let error = json_of(service.post(infer, &body).await, status).await;
        assert!(!error["error"].as_str().unwrap().contains("canary"), "{error}");
    }
    let (length, body) = binary(&[b"\xff canary"], &json!({}));
    for (length, body, status) in [
        (length.to_string(), body.clone(), 422),
        ("99999".to_owned(), body.clone(), 400),
        ("canary".to_owned(), body.clone(), 400),
        (length.to_string(), body[..body.len() - 1].to_vec(), 422),
    ] {
        let error = json_of(send(length, body).await.unwrap(), status).await;
        assert!(error["error"].is_string() && !error.to_string().contains("canary"), "{error}");
    }
    for path in ["/v2/models/other", "/v2/models/threatwatch/versions/20200101T000000Z-00000000/ready", "/v2/nothing"] {
        assert!(json_of(service.get(path).await, 404).await["error"].is_string(), "{path}");
    }
    let empty = start().await;
    assert!(json_of(empty.get("/v2/health/ready").await, 503).await["error"].is_string());
}
