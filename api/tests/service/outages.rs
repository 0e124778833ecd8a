//! The store goes away; the service starts without it; the service stops.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use model::Generation;
use registry::{Cache, MemoryStore, Registry, Store};
use serde_json::{Value, json};

use crate::{
    Preset, Running, problem, service_on, start_with,
    store::{Mood, Moody},
};

/// Time limit of a request while a part is away.
const BOUND: Duration = Duration::from_secs(3);

async fn start_moody(inner: &Arc<MemoryStore>, mood: Mood, cache: Option<&Path>) -> (Running, Arc<Moody>) {
    let store = Moody::new(Arc::clone(inner), mood);
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.cache = cache.map(|folder| Cache::new(folder, "a bucket"));
    (start_with(Arc::clone(inner), service).await, store)
}

impl Running {
    async fn ready_says(&self, patience: Duration, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let ready: Value = self.get("/health/ready").await.json().await.unwrap();
            if is_so(&ready) || started.elapsed() > patience {
                return ready;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_version_in_memory_judges_without_the_store() {
    let (service, store) = start_moody(&Arc::default(), Mood::Answers, None).await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    let first = service.predict("hello").await["model_version"].clone();
    service.promote(Preset::Sklearn).await;
    assert!(service.serves(Generation(2), Duration::from_secs(2)).await);
    let asked = json!({ "text": "hello", "version": first });
    let before: Value = service.post("/predict", &asked).await.json().await.unwrap();
    store.be(Mood::Refuses);
    service.ready_says(BOUND, |ready| ready["stale"] == true).await;
    let after: Value = service.post("/predict", &asked).await.json().await.unwrap();
    assert_eq!((&after["model_version"], &after["probability"]), (&first, &before["probability"]), "{after}");
    let other = json!({ "text": "hello", "version": "20200101T000000Z-00000000" });
    problem(service.post("/predict", &other).await, 503).await;
}

#[tokio::test]
async fn a_store_that_is_away_is_told_at_once_and_verdicts_go_on() {
    for mood in [Mood::Refuses, Mood::IsSilent] {
        let (service, store) = start_moody(&Arc::default(), Mood::Answers, None).await;
        service.promote(Preset::Default).await;
        assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
        let ready: Value = service.get("/health/ready").await.json().await.unwrap();
        assert_eq!(ready["stale"], Value::Null, "{ready}");
        store.be(mood);
        for path in ["/models", "/models/history", "/models/production", "/audit"] {
            let started = Instant::now();
            let response = service.get(path).await;
            assert_eq!(response.headers()["retry-after"], "2");
            let body = problem(response, 503).await;
            assert_eq!(body["type"], "/problems/store-unavailable", "{path}: {body}");
            assert!(started.elapsed() < BOUND, "{mood:?} {path}: {:?}", started.elapsed());
        }
        let ready = service.ready_says(BOUND, |ready| ready["stale"] == true).await;
        assert!(ready["stale"] == true && ready["stale_since"].is_string(), "{mood:?} {ready}");
        assert!(ready["trouble"].is_string() && ready["generation"] == 1, "{ready}");
        // The outage is known by now, so requests do not wait.
        let started = Instant::now();
        problem(service.get("/models").await, 503).await;
        assert!(started.elapsed() < Duration::from_millis(300), "{mood:?}: {:?}", started.elapsed());
        // Temporal is away as well. The answer names the store, which is needed first.
        let promoting = json!({ "version": "20200101T000000Z-00000000" });
        for response in [service.post("/rollback", &json!({})).await, service.post("/promote", &promoting).await] {
            assert_eq!(problem(response, 503).await["type"], "/problems/store-unavailable");
        }
        assert_eq!(service.predict("hello").await["generation"], 1);

        store.be(Mood::Answers);
        let back = Duration::from_secs(2);
        let ready = service.ready_says(back, |ready| ready["stale"].is_null()).await;
        assert_eq!(ready["stale"], Value::Null, "{mood:?} {ready}");
        assert_eq!(service.get("/models").await.status(), 200);
    }
}

#[tokio::test]
async fn a_service_that_starts_without_its_store_serves_the_model_on_its_disk() {
    let (folder, inner) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::default()));
    {
        let (service, _) = start_moody(&inner, Mood::Answers, Some(folder.path())).await;
        service.promote(Preset::Default).await;
        assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
        service.promote(Preset::Sklearn).await;
        assert!(service.serves(Generation(2), Duration::from_secs(2)).await);
        service.stop().await;
    }
    let started = Instant::now();
    let (service, store) = start_moody(&inner, Mood::IsSilent, Some(folder.path())).await;
    assert!(service.serves(Generation(2), Duration::from_secs(2)).await);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(service.predict("I will kill you").await["generation"], 2);
    let ready = service.ready_says(BOUND, |ready| ready["trouble"].is_string()).await;
    assert!(ready["stale"] == true && ready["status"] == "ready", "{ready}");
    store.be(Mood::Answers);
    let ready = service.ready_says(Duration::from_secs(2), |ready| ready["stale"].is_null()).await;
    assert!(ready["stale"].is_null() && ready["generation"] == 2, "{ready}");
    service.stop().await;

    // A flipped bit in the newest generation: the previous one serves.
    let newest = newest_artifact(folder.path());
    let mut bytes = fs::read(&newest).unwrap();
    bytes[100] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let (service, store) = start_moody(&inner, Mood::Refuses, Some(folder.path())).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    store.be(Mood::Answers);
    assert!(service.serves(Generation(2), Duration::from_secs(2)).await, "the store has the right one");
    service.stop().await;
    let (service, _) = start_moody(&inner, Mood::Refuses, Some(folder.path())).await;
    assert!(service.serves(Generation(2), Duration::from_secs(2)).await, "and the disk again");
}

fn newest_artifact(folder: &Path) -> std::path::PathBuf {
    let store = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.is_dir()).max().unwrap().join("artifact")
}

#[tokio::test]
async fn without_a_store_and_a_disk_the_problem_is_the_store() {
    let inner = Arc::new(MemoryStore::default());
    let (service, store) = start_moody(&inner, Mood::Refuses, None).await;
    assert_eq!(service.get("/health/live").await.status(), 200);
    for response in [service.get("/health/ready").await, service.post("/predict", &json!({ "text": "a" })).await] {
        let body = problem(response, 503).await;
        assert_eq!(body["type"], "/problems/store-unavailable", "{body}");
    }
    store.be(Mood::Answers);
    let started = Instant::now();
    while service.post("/predict", &json!({ "text": "a" })).await.json::<Value>().await.unwrap()["type"]
        != "/problems/no-model"
    {
        assert!(started.elapsed() < Duration::from_secs(3), "the store answers, and nothing is in production");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_cached_model_of_another_bucket_is_not_served_and_one_that_is_out_of_production_goes() {
    let (folder, inner) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::default()));
    let (service, _) = start_moody(&inner, Mood::Answers, Some(folder.path())).await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    service.stop().await;
    // The same store, emptied: the model from disk serves until the store says that nothing is in production.
    let (service, _) = start_moody(&Arc::default(), Mood::Answers, Some(folder.path())).await;
    let ready = service.ready_says(BOUND, |ready| ready["type"] == "/problems/no-model").await;
    assert_eq!(ready["type"], "/problems/no-model", "{ready}");
    let metrics = service.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nthreatwatch_model_generation 0\n"), "an alert looks for it: {metrics}");
    assert!(!metrics.contains("threatwatch_model_info{"), "{metrics}");
    assert!(Cache::new(folder.path(), "a bucket").production().is_some());
    assert!(Cache::new(folder.path(), "another bucket").production().is_none());
}

impl Running {
    /// Tells the service to stop and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.ended).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_service_that_stops_fails_readiness_first_and_answers_what_comes() {
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.linger = Duration::from_secs(1);
    let mut service = start_with(store, service).await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    service.stop.take().unwrap().send(()).unwrap();
    let ready = service.ready_says(Duration::from_millis(900), |ready| ready["type"] == "/problems/stopping").await;
    assert_eq!(ready["type"], "/problems/stopping", "{ready}");
    let answered = service.post("/predict", &json!({ "text": "hello" })).await;
    assert_eq!((answered.status().as_u16(), &answered.headers()["connection"]), (200, &"close".parse().unwrap()));
    service.ended.await.unwrap().unwrap();
    assert!(service.client.get(&service.url).send().await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_newest_model_that_is_corrupt_is_no_outage_of_the_store() {
    let (folder, inner) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::default()));
    let (service, _) = start_moody(&inner, Mood::Answers, Some(folder.path())).await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    service.stop().await;
    // Promoted and broken while no service runs.
    let (service, store) = start_moody(&inner, Mood::Refuses, None).await;
    let blob = service.promote_on(&Registry::new(Arc::clone(&inner) as Arc<dyn Store>), Preset::Sklearn).await;
    inner.corrupt(&blob, |bytes| bytes[100] ^= 1);
    service.stop().await;
    drop(store);
    let (service, _) = start_moody(&inner, Mood::Answers, Some(folder.path())).await;
    let is_told = |ready: &Value| ready["trouble"].as_str().is_some_and(|trouble| trouble.contains("corrupt"));
    let ready = service.ready_says(BOUND, is_told).await;
    assert!(is_told(&ready) && ready["stale"].is_null() && ready["generation"] == 1, "{ready}");
    service.stop().await;
    // Without a model on disk, the problem is still the broken model, not the store.
    let (service, _) = start_moody(&inner, Mood::Answers, None).await;
    let ready = service.ready_says(BOUND, |ready| ready["type"] == "/problems/no-model").await;
    assert!(ready["detail"].as_str().unwrap().contains("corrupt"), "{ready}");
}
