//! Decisions of reviewers: stored, listed, deleted for good.

use model::Generation;
use registry::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{Preset, Running, problem, start};

const THREAT: &str = "I will kill you. Nice song.";

impl Running {
    async fn say(&self, body: &Value) -> (u16, Value) {
        let answer = self.post("/feedback", body).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn decisions(&self, query: &str) -> Value {
        let answer = self.get(&format!("/feedback{query}")).await;
        assert_eq!(answer.status(), 200, "{query}");
        answer.json().await.unwrap()
    }

    async fn delete(&self, id: &str) -> reqwest::Response {
        self.client.delete(format!("{}/feedback/{id}", self.url)).send().await.unwrap()
    }
}

async fn serving() -> Running {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    service
}

fn by(reviewer: &str, text: &str, label: &str) -> Value {
    json!({ "text": text, "label": label, "reviewer": reviewer })
}

#[tokio::test]
async fn a_decision_is_kept_with_what_production_said() {
    let service = serving().await;
    let verdict = service.predict(THREAT).await;
    let body = json!({ "text": THREAT, "label": "threat", "note": "plain", "request_id": "abc" });
    let (status, first) = service.say(&body).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!((&first["reviewer"], &first["revision"]), (&json!("anonymous"), &json!(1)));
    assert_eq!(
        (&first["note"], &first["request_id"], &first["text"]),
        (&json!("plain"), &json!("abc"), &json!(THREAT))
    );
    let model =
        json!({ "version": verdict["model_version"], "probability": verdict["probability"], "label": "threat" });
    assert_eq!(first["model"], model);
    assert_eq!((&first["sentence"], &first["sentences"]), (&json!(0), &json!([0])), "what the model finds");
    let named = json!({ "text": THREAT, "label": "threat", "sentences": [1, 0], "reviewer": "ben" });
    assert_eq!(service.say(&named).await.1["sentences"], json!([0, 1]));
    let (status, again) = service.say(&body).await;
    assert_eq!((status, &again), (200, &first));
    let (status, changed) = service.say(&by("anonymous", THREAT, "harmless")).await;
    assert_eq!((status, &changed["revision"], &changed["id"]), (201, &json!(2), &first["id"]));
    let list = service.decisions("").await;
    assert_eq!((&list["total"], &list["items"][0]["label"]), (&json!(2), &json!("harmless")));
    assert_eq!((&list["production_agreed"], &list["production_judged"]), (&json!(1), &json!(2)));
    // Feedback does not count as traffic.
    let metrics = service.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("threatwatch_inference_seconds_count 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_decision_that_is_wrong_is_refused_and_named() {
    let service = serving().await;
    for (body, status, word) in [
        (json!({ "text": " ", "label": "threat" }), 422, "empty"),
        (json!({ "text": "a", "label": "maybe" }), 400, "`label` must be one of `threat`, `harmless`"),
        (json!({ "text": "a" }), 400, "`label` is missing"),
        (json!({ "text": THREAT, "label": "threat", "sentence": 2 }), 422, "below 2"),
        (json!({ "text": THREAT, "label": "threat", "sentences": [0, 2] }), 422, "below 2"),
        (by("Anna B", "a", "threat"), 422, "`reviewer`"),
        (json!({ "text": "a", "label": "threat", "note": "n".repeat(501) }), 400, "`note` has more than 500"),
    ] {
        let told = problem(service.post("/feedback", &body).await, status).await;
        assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
    }
    for query in ["?since=yesterday", "?limit=0", "?limit=1001", "?after=a", "?label=maybe"] {
        let status = service.get(&format!("/feedback{query}")).await.status();
        assert!(status.is_client_error(), "{query}: {status}");
    }
    assert_eq!(service.decisions("").await["total"], 0, "nothing was stored");
}

#[tokio::test]
async fn decisions_are_listed_by_page_filtered_and_compared() {
    let service = serving().await;
    // Both reviewers label ten comments and disagree on two.
    for comment in 0..10 {
        let text = format!("comment {comment}");
        let label = |is_threat| if is_threat { "threat" } else { "harmless" };
        service.say(&by("anna", &text, label(comment < 5))).await;
        service.say(&by("ben", &text, label(comment < 5 && comment != 3 || comment == 7))).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = service.decisions(&format!("?limit=6{after}")).await;
        assert_eq!((&page["total"], &page["comments"], &page["disputed"]), (&json!(20), &json!(10), &json!(2)));
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (20, 20));
    let agreement = &service.decisions("").await["agreement"];
    let expected = json!({ "reviewers": ["anna", "ben"], "comments": 10, "agreed": 8 });
    for name in ["reviewers", "comments", "agreed"] {
        assert_eq!(agreement[0][name], expected[name], "{agreement}");
    }
    assert!((agreement[0]["kappa"].as_f64().unwrap() - 0.6).abs() < 1e-9, "{agreement}");
    let total = async |query: &str| service.decisions(query).await["total"].as_u64().unwrap();
    assert_eq!((total("?label=threat").await, total("?reviewer=anna").await), (10, 10));
    assert_eq!((total("?disputed=true").await, total("?disputed=true&reviewer=ben").await), (4, 2));
    assert_eq!((total("?since=2020-01-01T00:00:00Z").await, total("?until=2020-01-01T00:00:00Z").await), (20, 0));
}

#[tokio::test]
async fn a_deleted_decision_is_gone_and_on_the_audit_trail() {
    let service = serving().await;
    let (_, item) = service.say(&by("anna", "a canary of a comment", "threat")).await;
    let id = item["id"].as_str().unwrap();
    assert_eq!(service.delete(id).await.status(), StatusCode::NO_CONTENT);
    problem(service.delete(id).await, 404).await;
    problem(service.delete("canary").await, 422).await;
    assert_eq!(service.decisions("").await["total"], 0);
    let trail: Value = service.get("/audit").await.json().await.unwrap();
    let told = |at: usize| (trail["entries"][at]["action"].clone(), trail["entries"][at]["outcome"].clone());
    assert_eq!(told(1), (json!("feedback_delete"), json!("done")), "{trail}");
    assert_eq!(told(0), (json!("feedback_delete"), json!("refused")), "{trail}");
    assert_eq!(trail["entries"][1]["subject"], id);
    assert!(!trail.to_string().contains("canary"), "{trail}");
}

#[tokio::test]
async fn the_reviewer_is_the_keys_name() {
    let service = serving().await;
    let key = service.make_key("moderator", &[Role::Review, Role::Predict]).await;
    let bot = service.make_key("bot", &[Role::Predict]).await;
    let send = async |path: &str, key: &str, body: &Value| {
        let request = service.client.request(Method::POST, format!("{}{path}", service.url)).bearer_auth(key);
        request.json(body).send().await.unwrap()
    };
    let stored: Value = send("/feedback", &key, &by("mallory", "a", "threat")).await.json().await.unwrap();
    assert_eq!(stored["reviewer"], "moderator");

    // Perspective's suggestions become feedback if the key has the role `review` and the attribute is served.
    let suggest = |text: &str, attribute: &str, value: f64| {
        let scores = json!({ attribute: { "summaryScore": { "value": value } } });
        json!({ "comment": { "text": text }, "attributeScores": scores })
    };
    for (key, text, attribute, value) in [
        (&key, "b", "THREAT", 0.9),
        (&key, "c", "THREAT", 0.1),
        (&key, "d", "TOXICITY", 0.9),
        (&bot, "e", "THREAT", 0.9),
    ] {
        let answer = send("/v1alpha1/comments:suggestscore", key, &suggest(text, attribute, value)).await;
        assert_eq!(answer.status(), 200, "{text}");
    }
    let refused = send("/v1alpha1/comments:suggestscore", &key, &suggest("f", "THREAT", 2.0)).await;
    assert_eq!(refused.status(), 400);
    let list = service.client.get(format!("{}/feedback", service.url)).bearer_auth(&key).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let mut said: Vec<(&str, &str)> =
        items.map(|item| (item["text"].as_str().unwrap(), item["label"].as_str().unwrap())).collect();
    said.sort_unstable();
    assert_eq!(said, [("a", "threat"), ("b", "threat"), ("c", "harmless")], "{list}");
}
