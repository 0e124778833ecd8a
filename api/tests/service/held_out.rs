//! Versions on the held-out commenters, pages of versions, and the choice of comments to label.

use std::time::Duration;

use model::{
    Digest, Generation, Version,
    corpus::{self, split},
};
use registry::ModelManifest;
use serde_json::{Value, json};

use crate::{Preset, Running, problem, start};

async fn serving() -> Running {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    service
}

impl Running {
    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Copies the version in production under new names, as if it was trained on a stored dataset.
    async fn copies(&self, of: &str, names: std::ops::Range<i64>, dataset: &Digest) -> Vec<Version> {
        let (manifest, _) = self.registry.manifest(&Version::parse(of).unwrap()).await.unwrap();
        let mut versions = Vec::new();
        for started in names {
            let version = Version::derive(started, &started.to_string(), "run", "copy");
            let copy = ModelManifest { version, started, dataset: dataset.clone(), ..manifest.clone() };
            versions.push(self.registry.register(&copy).await.unwrap().0.version);
        }
        versions
    }

    async fn production(&self) -> String {
        self.json("/models/production").await["version"].as_str().unwrap().to_owned()
    }

    async fn sample(&self) -> Digest {
        let manifest = self.registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap();
        manifest.digest
    }
}

#[tokio::test]
async fn curves_are_of_the_held_out_sentences() {
    let service = serving().await;
    let live = service.production().await;
    // The dataset of this version was never stored.
    problem(service.get(&format!("/models/{live}/curves")).await, 404).await;
    let dataset = service.sample().await;
    let version = &service.copies(&live, 10..11, &dataset).await[0];
    let curves = service.json(&format!("/models/{version}/curves")).await;
    let (_, rows) = split::held_out(1, corpus::sample().rows);
    assert_eq!(curves["sentences"], rows.len());
    assert_eq!(curves["threats"], rows.iter().filter(|row| row.is_threat()).count());
    let points = curves["precision_recall"].as_array().unwrap();
    assert!((10..=201).contains(&points.len()), "{}", points.len());
    assert_eq!(points.last().unwrap()["recall"], 1.0);
    let bars = |name: &str| -> u64 {
        curves["probability"][name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()
    };
    assert_eq!(json!(bars("threats") + bars("harmless")), curves["sentences"]);
    problem(service.get("/models/20200101T000000Z-00000000/curves").await, 404).await;
    problem(service.get("/models/canary/curves").await, 422).await;
}

#[tokio::test]
async fn flips_are_the_sentences_that_two_versions_decide_differently() {
    let service = serving().await;
    let live = service.production().await;
    service.promote(Preset::Sklearn).await;
    let other = service.production().await;
    assert_ne!(live, other);
    let dataset = service.sample().await;
    let a = service.copies(&live, 10..11, &dataset).await[0].clone();
    let b = service.copies(&other, 20..21, &dataset).await[0].clone();
    let flips = service.json(&format!("/models/flips?a={a}&b={b}&limit=5")).await;
    let count = |name: &str| flips[name].as_u64().unwrap();
    assert!(count("flips") > 0, "{flips}");
    assert_eq!(count("better") + count("worse"), count("flips"));
    let items = flips["items"].as_array().unwrap();
    assert!(items.len() as u64 == count("flips").min(5));
    let rows = corpus::sample().rows;
    for item in items {
        let row = &rows[item["row"].as_u64().unwrap() as usize];
        assert_eq!(
            (item["text"].as_str(), item["is_threat"].as_bool()),
            (Some(row.text.as_str()), Some(row.is_threat()))
        );
        assert!(split::is_held_out(1, &row.commenter));
    }
    let turned = service.json(&format!("/models/flips?a={b}&b={a}&limit=1000")).await;
    assert_eq!((&turned["flips"], &turned["better"]), (&flips["flips"], &flips["worse"]));
    let same = service.json(&format!("/models/flips?a={a}&b={a}")).await;
    assert_eq!((&same["flips"], &same["items"]), (&json!(0), &json!([])));
    problem(service.get(&format!("/models/flips?a={a}&b={b}&limit=0")).await, 422).await;
}

#[tokio::test]
async fn pages_of_versions_have_each_once_newest_first() {
    let service = serving().await;
    let live = service.production().await;
    let digest = Digest::of(b"sample");
    service.copies(&live, 100..107, &digest).await;
    let all = service.json("/models").await;
    let names = |list: &Value| -> Vec<String> {
        list["models"].as_array().unwrap().iter().map(|model| model["version"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&all).len(), &all["total"], all.get("next")), (8, &json!(8), None));
    let mut paged = Vec::new();
    let mut path = "/models?limit=3".to_owned();
    loop {
        let page = service.json(&path).await;
        assert_eq!(page["total"], 8);
        paged.push(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/models?limit=3&after={next}");
    }
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2]);
    assert_eq!(paged.concat(), names(&all));
    assert!(names(&all).is_sorted_by(|a, b| a > b));
    // A deleted version is not in the list.
    let gone = names(&all)[0].clone();
    registry::Store::delete(&*service.store, &format!("models/{gone}.json")).await.unwrap();
    assert!(!names(&service.json("/models").await).contains(&gone));
    problem(service.get("/models?limit=0").await, 422).await;
    problem(service.get("/models?after=canary").await, 422).await;
}

#[tokio::test]
async fn what_to_label_is_uncertain_and_new() {
    let service = serving().await;
    let comment = |id: usize, text: &str| json!({ "id": id.to_string(), "text": text });
    let rows = corpus::sample().rows;
    let mut comments: Vec<Value> = rows.iter().take(300).enumerate().map(|(i, row)| comment(i, &row.text)).collect();
    let answer = service.post("/label", &json!({ "comments": comments, "take": 20 })).await;
    let chosen: Value = answer.json().await.unwrap();
    let items = chosen["chosen"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    let first = &items[0];
    assert!(items.iter().all(|item| item["uncertainty"].as_f64() <= first["uncertainty"].as_f64()), "{chosen}");
    // A duplicate comment is not chosen while there is another one.
    let at: usize = first["id"].as_str().unwrap().parse().unwrap();
    comments.push(comment(9999, &rows[at].text));
    let answer = service.post("/label", &json!({ "comments": comments, "take": 20 })).await;
    let again: Value = answer.json().await.unwrap();
    let ids: Vec<&str> = again["chosen"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert!(!(ids.contains(&"9999") && ids.contains(&first["id"].as_str().unwrap())), "{again}");
    let metrics = service.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("threatwatch_inference_seconds_count 0\n"), "it does not count as traffic");
    let told = problem(service.post("/label", &json!({ "comments": [comment(1, " ")], "take": 1 })).await, 422).await;
    assert!(told["detail"].as_str().unwrap().contains("position 1"), "{told}");
    problem(service.post("/label", &json!({ "comments": [], "take": 1 })).await, 400).await;
}
