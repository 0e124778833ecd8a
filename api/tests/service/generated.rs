//! Ten thousand generated calls per dialect, good and bad. Each answer has a form that the dialect's clients read.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use model::{Generation, random::SplitMix};
use serde_json::{Value, json};

use crate::{Preset, start};

const CALLS: usize = 10_000;

/// Values that a caller may send in the wrong place.
fn anything(random: &mut SplitMix) -> Value {
    let texts =
        ["", " ", "a", "I will kill you.", "\u{1F600}\u{202E}\u{0}", "THREAT", "TOXICITY", "en", "PLAIN_TEXT", "-1"];
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.below(1000)),
        3 => json!(-1.5e300),
        4 => json!([]),
        5 => json!({}),
        6 => json!("long ".repeat(random.below(6000))),
        _ => json!(texts[random.below(texts.len())]),
    }
}

/// Makes a random change: a value, a field's name, one field more or fewer.
fn mutate(value: &mut Value, random: &mut SplitMix) {
    let goes_deeper = random.below(4) > 0;
    match value {
        Value::Object(fields) if goes_deeper && !fields.is_empty() => {
            let at = random.below(fields.len());
            let name = fields.keys().nth(at).unwrap().clone();
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert("other".to_owned(), anything(random))),
                2 => {
                    let moved = fields.remove(&name).unwrap();
                    fields.insert(name.to_uppercase(), moved);
                }
                _ => mutate(&mut fields[&name], random),
            }
        }
        Value::Array(items) if goes_deeper && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(4) {
                0 => drop(items.remove(at)),
                1 => items.push(anything(random)),
                _ => mutate(&mut items[at], random),
            }
        }
        _ => *value = anything(random),
    }
}

/// Whether an answer has the form that the dialect's clients read.
type HasShape = fn(u16, &Value) -> bool;

fn perspective(status: u16, body: &Value) -> bool {
    let error = &body["error"];
    if status != 200 {
        let name = match status {
            400 => "INVALID_ARGUMENT",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            _ => return false,
        };
        return error["code"] == status && error["status"] == name && error["message"].is_string();
    }
    let scores = body.get("attributeScores").map_or(Value::Null, |scores| scores["THREAT"].clone());
    let is_score = |score: &Value| {
        score["type"] == "PROBABILITY" && score["value"].as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))
    };
    let is_span = |span: &Value| span["begin"].as_u64() < span["end"].as_u64() && is_score(&span["score"]);
    let has_spans =
        || scores["spanScores"].as_array().is_some_and(|spans| !spans.is_empty() && spans.iter().all(is_span));
    body["languages"].is_array() && (scores.is_null() || is_score(&scores["summaryScore"]) && has_spans())
}

fn suggestion(status: u16, body: &Value) -> bool {
    if status == 200 { body["requestedLanguages"].is_array() } else { perspective(status, body) }
}

fn moderations(status: u16, body: &Value) -> bool {
    if status != 200 {
        let error = &body["error"];
        let has = |name| error.as_object().is_some_and(|error| error.contains_key(name));
        let is_known = [400, 404, 413].contains(&status);
        return is_known
            && error["type"] == "invalid_request_error"
            && ["message", "param", "code"].into_iter().all(has);
    }
    let is_result = |result: &Value| {
        result["flagged"].is_boolean()
            && result["categories"]
                .as_object()
                .is_some_and(|all| all.len() == 13 && all.values().all(Value::is_boolean))
            && result["category_scores"]
                .as_object()
                .is_some_and(|all| all.len() == 13 && all.values().all(Value::is_f64))
    };
    body["results"].as_array().is_some_and(|results| !results.is_empty() && results.iter().all(is_result))
}

fn inference(status: u16, body: &Value) -> bool {
    if status != 200 {
        return [400, 404, 413, 422].contains(&status) && body["error"].is_string();
    }
    let is_output = |output: &Value| {
        let shape: Option<Vec<u64>> =
            output["shape"].as_array().map(|all| all.iter().filter_map(Value::as_u64).collect());
        let elements = shape.map(|shape| shape.iter().product::<u64>());
        let size = output["parameters"]["binary_data_size"].as_u64();
        elements.is_some() && (size.is_some() || output["data"].as_array().map(|data| data.len() as u64) == elements)
    };
    body["model_name"] == "threatwatch" && body["outputs"].as_array().is_some_and(|all| all.iter().all(is_output))
}

#[tokio::test]
async fn every_generated_call_gets_an_answer_of_its_dialects_shape() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let analyze = json!({
        "comment": { "text": "I will kill you. \u{1F600} Nice.", "type": "PLAIN_TEXT" },
        "requestedAttributes": { "THREAT": { "scoreType": "PROBABILITY", "scoreThreshold": 0.1 } },
        "languages": ["en"], "spanAnnotations": true, "doNotStore": true, "clientToken": "a", "sessionId": "b",
        "communityId": "c", "context": { "entries": [{ "text": "before" }] },
    });
    let suggest = json!({
        "comment": { "text": "I will kill you." }, "clientToken": "a", "languages": ["en"],
        "attributeScores": { "THREAT": { "summaryScore": { "value": 1.0, "type": "PROBABILITY" }, "spanScores": [{ "begin": 0, "end": 1, "score": { "value": 0.5 } }] } },
    });
    let moderate = json!({ "input": ["I will kill you.", "Nice."], "model": "omni-moderation-latest" });
    let parts = json!({ "input": [{ "type": "text", "text": "I will kill you." }] });
    let infer = json!({
        "id": "a", "parameters": { "binary_data_output": false },
        "inputs": [{ "name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["I will kill you."], ["Nice."]] }],
        "outputs": [{ "name": "probability", "parameters": { "binary_data": false } }, { "name": "label" }],
    });
    let dialects: [(&str, &[&Value], HasShape, usize); 4] = [
        ("/v1alpha1/comments:analyze", &[&analyze], perspective, CALLS),
        ("/v1alpha1/comments:suggestscore", &[&suggest], suggestion, CALLS / 10),
        ("/v1/moderations", &[&moderate, &parts], moderations, CALLS),
        ("/v2/models/threatwatch/infer", &[&infer], inference, CALLS),
    ];
    for (path, models, has_shape, calls) in dialects {
        let mut random = SplitMix(1);
        let bodies: Vec<Value> = (0..calls)
            .map(|i| {
                let mut body = models[i % models.len()].clone();
                (0..random.below(4)).for_each(|_| mutate(&mut body, &mut random));
                body
            })
            .collect();
        let call = |body: Value| {
            let service = &service;
            async move {
                let response = service.post(path, &body).await;
                let status = response.status().as_u16();
                let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
                let is_binary = content_type == "application/octet-stream"
                    && std::ptr::fn_addr_eq(has_shape, inference as HasShape);
                let is_json = is_binary || content_type.starts_with("application/json");
                let length = response.headers().get("inference-header-content-length");
                let length: Option<usize> = length.map(|length| length.to_str().unwrap().parse().unwrap());
                let has_id = response.headers().contains_key("x-request-id");
                let bytes = response.bytes().await.unwrap();
                let answer: Value = serde_json::from_slice(&bytes[..length.unwrap_or(bytes.len())]).unwrap();
                assert!(is_json && has_id && has_shape(status, &answer), "{path} {body}: {status} {answer}");
                status
            }
        };
        let statuses: Vec<u16> = stream::iter(bodies).map(call).buffer_unordered(8).collect().await;
        let good = statuses.iter().filter(|status| **status == 200).count();
        assert!(good > calls / 5 && good < 4 * calls / 5, "{path}: {good} of {calls} are good: too alike");
    }
}
