//! A shadow version: its verdicts are never shown, only counted, and requests do not wait for it.

use std::time::{Duration, Instant};

use model::Generation;
use serde_json::{Value, json};

use crate::{Preset, Running, problem, start};

impl Running {
    async fn shadow(&self) -> Value {
        self.get("/shadow").await.json().await.unwrap()
    }

    /// Waits until the state meets a condition.
    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let state = self.shadow().await;
            if is_so(&state) {
                return state;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_second_version_is_compared_and_never_shown() {
    let service = start().await;
    service.promote(Preset::Sklearn).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let second = service.predict("a").await["model_version"].clone();
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(2), Duration::from_secs(5)).await);
    assert_eq!(service.shadow().await["compared"], 0);

    let texts: Vec<String> = model::corpus::sample().rows.iter().take(200).map(|row| row.text.clone()).collect();
    let mut before = Vec::new();
    for text in &texts {
        before.push(service.predict(text).await);
    }
    assert_eq!(service.shadow().await["compared"], 0, "nothing was ordered");
    let order = json!({ "version": second, "share": 1.0, "actor": "alice", "reason": "a try" });
    assert_eq!(service.post("/shadow", &order).await.status(), 200);
    let state = service.until(|state| state["version"] == second).await;
    assert_eq!((&state["share"], &state["actor"]), (&json!(1.0), &json!("alice")));
    let (mut only_second, mut only_production, mut difference) = (0, 0, 0.0);
    for (text, before) in texts.iter().zip(&before) {
        assert_eq!(service.predict(text).await, *before, "production's verdict is shown, as before");
        let asked = json!({ "text": text, "version": second });
        let other: Value = service.post("/predict", &asked).await.json().await.unwrap();
        let is_threat = |verdict: &Value| verdict["label"] == "threat";
        only_second += u64::from(is_threat(&other) && !is_threat(before));
        only_production += u64::from(!is_threat(&other) && is_threat(before));
        difference += other["probability"].as_f64().unwrap() - before["probability"].as_f64().unwrap();
    }
    assert!(only_second + only_production > 0, "the two differ");
    // Verdicts of versions requested by name do not count as traffic.
    let state = service.until(|state| state["compared"] == 200).await;
    assert_eq!((&state["only_shadow"], &state["only_production"]), (&json!(only_second), &json!(only_production)));
    assert!((state["mean_difference"].as_f64().unwrap() - difference / 200.0).abs() < 1e-9, "{state}");
    let metrics = service.get("/metrics").await.text().await.unwrap();
    for line in [
        "threatwatch_shadow_share 1.0".to_owned(),
        format!("threatwatch_shadow_comments_total{{outcome=\"only_shadow\"}} {only_second}"),
        "threatwatch_shadow_difference_count 200".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is missing:\n{metrics}");
    }

    // A share of the traffic: far from none and far from all.
    service.post("/shadow", &json!({ "version": second, "share": 0.5 })).await;
    service.until(|state| state["share"] == 0.5).await;
    let batch: Vec<Value> = (0..400).map(|i| json!({ "text": texts[i % texts.len()] })).collect();
    assert_eq!(service.post("/predict/batch", &json!({ "comments": batch })).await.status(), 200);
    let seen = |state: &Value| state["compared"].as_u64().unwrap() + state["dropped"].as_u64().unwrap();
    let state = service.until(|state| seen(state) > 100).await;
    assert!(seen(&state) < 300, "{state}");

    assert_eq!(service.post("/shadow/stop", &json!({})).await.status(), 200);
    let state = service.until(|state| state["version"].is_null()).await;
    assert_eq!(state["compared"], 0, "{state}");
    let trail: Value = service.get("/audit").await.json().await.unwrap();
    let actions: Vec<&Value> = trail["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["shadow_stop", "shadow_start", "shadow_start"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_followed_is_refused_or_told() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let version = service.predict("a").await["model_version"].clone();
    for share in [0.0, -0.1, 1.1] {
        problem(service.post("/shadow", &json!({ "version": version, "share": share })).await, 422).await;
    }
    let unknown = json!({ "version": "20200101T000000Z-00000000", "share": 0.5 });
    problem(service.post("/shadow", &unknown).await, 404).await;
    problem(service.post("/shadow", &json!({ "version": "canary", "share": 0.5 })).await, 422).await;
    assert!(service.shadow().await["version"].is_null());

    // A version whose artifact is lost afterwards.
    let artifact = service.promote(Preset::Sklearn).await;
    assert!(service.serves(Generation(2), Duration::from_secs(5)).await);
    let second = service.predict("a").await["model_version"].clone();
    registry::Store::delete(&*service.store, &artifact).await.unwrap();
    assert_eq!(service.post("/shadow", &json!({ "version": second, "share": 0.5 })).await.status(), 200);
    let state = service.until(|state| state["trouble"].is_string()).await;
    assert_eq!(state["version"], second);
    assert_eq!(service.predict("I will kill you").await["generation"], 2, "verdicts go on");
}
