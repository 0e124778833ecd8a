//! Drift: not reported for similar comments, reported for different ones; counts by hour survive a restart.

use std::time::Duration;

use model::{
    Generation, Row,
    corpus::{self, split},
};
use serde_json::{Value, json};

use crate::{Preset, Running, service_on, start, start_with};

impl Running {
    async fn drift(&self) -> Value {
        self.get("/drift").await.json().await.unwrap()
    }

    async fn judge_all(&self, comments: &[String]) {
        for list in comments.chunks(500) {
            let list: Vec<Value> = list.iter().map(|text| json!({ "text": text })).collect();
            let answer = self.post("/predict/batch", &json!({ "comments": list })).await;
            assert_eq!(answer.status(), 200);
        }
    }
}

/// Comments of the held-out commenters of the test model, repeated until there are enough.
fn of_held_out() -> Vec<String> {
    let (_, rows) = split::held_out(1, corpus::sample().rows);
    let comments: Vec<String> = rows
        .chunk_by(|a, b| a.comment == b.comment && a.commenter == b.commenter)
        .map(|rows: &[Row]| rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n"))
        .collect();
    comments.iter().cycle().take(600).cloned().collect()
}

async fn serving() -> Running {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    service
}

fn measure<'a>(state: &'a Value, name: &str) -> &'a Value {
    state["measures"].as_array().unwrap().iter().find(|measure| measure["measure"] == name).unwrap()
}

#[tokio::test]
async fn more_of_the_same_is_quiet_and_something_else_is_told() {
    let service = serving().await;
    let before = service.drift().await;
    assert_eq!((&before["comments"], &before["measures"]), (&json!(0), &json!([])), "{before}");
    assert!(before["reason"].as_str().unwrap().contains("a comparison needs 500"), "{before}");

    service.judge_all(&of_held_out()).await;
    let same = service.drift().await;
    assert_eq!(same["comments"], 600);
    assert!(same["reference_comments"].as_u64().unwrap() >= 100, "{same}");
    for name in ["probability", "unknown_share", "length"] {
        let found = measure(&same, name);
        assert_eq!(found["drifted"], false, "{found}");
        assert!(found["psi"].as_f64().unwrap() < 0.1, "{found}");
        let shares: f64 = found["seen"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{found}");
    }

    let service = serving().await;
    let other: Vec<String> = (0..600)
        .map(|i| format!("Lorem ipsum dolor sit amet consectetur {i} adipiscing elit sed do eiusmod ").repeat(4))
        .collect();
    service.judge_all(&other).await;
    let other = service.drift().await;
    for name in ["unknown_share", "length"] {
        let found = measure(&other, name);
        assert_eq!(found["drifted"], true, "{found}");
    }
    let hour = &other["history"][0];
    assert_eq!(hour["comments"], 600);
    assert!(hour["psi"]["length"].as_f64().unwrap() > 0.25, "{hour}");
    assert!(!other.to_string().contains("Lorem"));
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let metrics = service.get("/metrics").await.text().await.unwrap();
            if let Some(line) =
                metrics.lines().find(|line| line.starts_with("threatwatch_drift_psi{measure=\"length\"}"))
            {
                assert!(line.split(' ').next_back().unwrap().parse::<f64>().unwrap() > 0.25, "{line}");
                assert!(metrics.contains("threatwatch_drift_comments 600\n"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_was_seen_outlives_a_restart() {
    let service = serving().await;
    let comments = of_held_out();
    service.judge_all(&comments[..300]).await;
    let (store, registry) = (service.store.clone(), service.registry.clone());
    service.stop().await;
    let again = start_with(store, service_on(&registry)).await;
    assert!(again.serves(Generation(1), Duration::from_secs(5)).await);
    again.judge_all(&comments[300..]).await;
    tokio::time::timeout(Duration::from_secs(15), async {
        while again.drift().await["comments"] != 600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(measure(&again.drift().await, "probability")["drifted"], false);
}
