//! A model with an encoder: which part judges, how answers name it, and what happens if the encoder has no time.

use std::time::{Duration, Instant};

use encoder::{Base, BaseFiles, Recipe};
use model::{
    Generation,
    experiment::{self, Config},
    trainers::{self, Preset},
};
use registry::MemoryStore;
use serde_json::{Value, json};

use super::{Running, promote_trained, service_on, start_with};

/// A service with these limits, and a small encoder of random weights in production.
async fn start(limits: api::CascadeLimits) -> Running {
    let store = std::sync::Arc::new(MemoryStore::default());
    let registry = registry::Registry::new(store.clone());
    let service = api::Service { cascade: limits, ..service_on(&registry) };
    let running = start_with(store, service).await;
    let (train, _) = model::corpus::split::held_out(1, model::corpus::sample().rows);
    let config = Config::default();
    let base = Base::read(&BaseFiles::random(1, 16, 1)).unwrap();
    let recipe = Recipe { rate: 3e-3, head_rate: 1e-2, ..Recipe::default() };
    let fits = experiment::fit_encoder(&base, &train, recipe, &config, &mut |_, _| {});
    let trainer = trainers::find("stacked_encoder").unwrap();
    let trained = experiment::train_with_encoder(trainer, &train, Some(fits), &config, &|_, _| {}).unwrap();
    promote_trained(&running.registry, trainer, Preset::Default, trained).await;
    assert!(running.serves(Generation(1), Duration::from_secs(10)).await);
    running
}

const THREAT: &str = "Nice song. I will find you and kill you.";

#[tokio::test]
async fn the_encoder_judges_what_is_passed_to_it_and_both_are_explained_apart() {
    let patient = api::CascadeLimits { deadline: Duration::from_secs(20), ..api::CascadeLimits::default() };
    let service = start(patient).await;
    let verdict = service.predict(THREAT).await;
    assert_eq!((&verdict["judged_by"], &verdict["fallback"]), (&json!("encoder"), &Value::Null), "{verdict}");
    assert_eq!(verdict["sentences"][1]["judged_by"], "encoder", "{verdict}");
    assert_eq!(verdict["sentences"][1]["encoder_logit"], Value::Null, "no explanation unless it is requested");

    let asked = json!({ "text": THREAT, "explain": true });
    let explained: Value = service.post("/predict", &asked).await.json().await.unwrap();
    assert_eq!(explained["probability"], verdict["probability"]);
    let sentence = &explained["sentences"][1];
    let parts = |name: &str| -> Vec<f64> {
        sentence[name].as_array().unwrap().iter().map(|token| token["contribution"].as_f64().unwrap()).collect()
    };
    let exact = parts("tokens").iter().sum::<f64>() + sentence["bias"].as_f64().unwrap();
    assert_eq!(exact, sentence["logit"].as_f64().unwrap(), "the fast part's stay exact");
    assert_eq!(parts("encoder_tokens").len(), parts("tokens").len());
    assert!(parts("encoder_tokens").iter().any(|fall| *fall != 0.0), "{sentence}");
    assert!(sentence["encoder_logit"].is_f64());

    let metrics = service.get("/metrics").await.text().await.unwrap();
    let judged = |line: &str| {
        let line = metrics.lines().find(|found| found.starts_with(line)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(judged(r#"threatwatch_sentences_total{judged_by="encoder"}"#) >= 2.0);
    assert_eq!(judged(r#"threatwatch_encoder_fallbacks_total{reason="deadline"}"#), 0.0);
    assert!(judged("threatwatch_encoder_batch_sentences_count") >= 2.0);
}

#[tokio::test]
async fn without_time_or_room_for_the_encoder_the_fast_verdict_is_given_and_says_so() {
    // There are no encoder threads.
    let late = api::CascadeLimits { threads: 0, ..api::CascadeLimits::default() };
    let full = api::CascadeLimits { queue: 0, ..api::CascadeLimits::default() };
    for (limits, reason) in [(late, "deadline"), (full, "queue_full")] {
        let service = start(limits).await;
        let verdict = service.predict(THREAT).await;
        assert_eq!((&verdict["judged_by"], &verdict["fallback"]), (&json!("fast"), &json!(reason)), "{verdict}");
        assert_eq!(verdict["label"], "threat", "{verdict}");
        assert!(verdict["sentences"].as_array().unwrap().iter().all(|sentence| sentence["judged_by"] == "fast"));
        let metrics = service.get("/metrics").await.text().await.unwrap();
        let counted = format!(r#"threatwatch_encoder_fallbacks_total{{reason="{reason}"}} 1"#);
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[tokio::test]
async fn who_asks_for_one_verdict_waits_as_with_predict_and_who_asks_for_many_gets_them_all() {
    // There are no encoder threads.
    let limits = api::CascadeLimits { threads: 0, deadline: Duration::from_millis(100), ..Default::default() };
    let mut service = start(limits).await;
    let infer = json!({ "inputs": [{ "name": "text", "shape": [1], "datatype": "BYTES", "data": [THREAT] }] });
    for (path, body) in [
        ("/predict/batch", json!({ "comments": [{ "text": THREAT }] })),
        ("/v1/moderations", json!({ "input": THREAT })),
        ("/v2/models/threatwatch/infer", infer),
    ] {
        let started = Instant::now();
        assert_eq!(service.post(path, &body).await.status(), 200, "{path}");
        assert!(started.elapsed() < Duration::from_secs(3), "{path}");
    }
    // A list waits longer, but not when the service stops: then every comment gets the fast part's verdict.
    let comments: Vec<Value> = (0..200).map(|i| json!({ "text": format!("{THREAT} {i}") })).collect();
    let list = json!({ "comments": comments });
    let (client, url) = (service.client.clone(), format!("{}/predict/batch", service.url));
    let asking = tokio::spawn(async move { client.post(url).json(&list).send().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!asking.is_finished(), "it waits for its turn");
    service.stop.take().unwrap().send(()).unwrap();
    let answer: Value = asking.await.unwrap().json().await.unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 200);
    assert!(results.iter().all(|result| result["verdict"]["fallback"] == "deadline"), "{}", results[0]);
    service.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_list_is_judged_by_the_encoder_however_many_sentences_wait() {
    let limits = api::CascadeLimits { queue: 8, deadline: Duration::from_millis(1), ..Default::default() };
    let service = start(limits).await;
    let comments: Vec<Value> = (0..300).map(|i| json!({ "text": format!("{THREAT} {i}") })).collect();
    let answer = service.post("/predict/batch", &json!({ "comments": comments })).await;
    let answer: Value = answer.json().await.unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 300);
    assert!(results.iter().all(|result| result["verdict"]["judged_by"] == "encoder"), "{}", results[0]);
}

#[tokio::test]
async fn which_sentences_are_passed_can_be_set() {
    let set = |pass_from| api::CascadeLimits {
        pass_from: Some(pass_from),
        deadline: Duration::from_secs(20),
        ..api::CascadeLimits::default()
    };
    for (pass_from, judged_by) in [(0.0, "encoder"), (1.0, "fast")] {
        let service = start(set(pass_from)).await;
        let verdict = service.predict("What a lovely day.").await;
        assert_eq!((&verdict["judged_by"], &verdict["fallback"]), (&json!(judged_by), &Value::Null), "{verdict}");
    }
}
