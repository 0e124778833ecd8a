//! API keys: what each role may do, and the names that are recorded.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use model::Generation;
use registry::{Key, Keys, MemoryStore, Registry, Role, Store};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    Preset, Running, problem, service_on, start, start_with,
    store::{Mood, Moody},
};

impl Running {
    pub(crate) async fn make_key(&self, name: &str, roles: &[Role]) -> String {
        let (_, secret) = self.registry.create_key(&name.parse().unwrap(), roles, "test").await.unwrap();
        let key = secret.expose().to_owned();
        let started = Instant::now();
        while self.with_key(Method::GET, "/whoami", &key).await.status() != 200 {
            assert!(started.elapsed() < Duration::from_secs(5), "a new key counts within five seconds");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        key
    }

    async fn with_key(&self, method: Method, path: &str, key: &str) -> Response {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(key);
        if method == Method::POST {
            request = request.json(&body_of(path));
        }
        request.send().await.unwrap()
    }
}

fn body_of(path: &str) -> Value {
    match path {
        "/predict" => json!({ "text": "hello" }),
        "/feedback" => json!({ "text": "hello", "label": "harmless" }),
        "/label" => json!({ "comments": [{ "id": "1", "text": "hello" }], "take": 1 }),
        "/predict/batch" => json!({ "comments": [{ "text": "hello" }] }),
        "/shadow" => json!({ "version": "20200101T000000Z-00000000", "share": 0.5, "actor": "mallory" }),
        "/promote" => json!({ "version": "20200101T000000Z-00000000", "actor": "mallory" }),
        "/runs/approve" | "/runs/reject" => json!({ "workflow_id": "train-1", "reason": "good", "actor": "mallory" }),
        _ => json!({}),
    }
}

#[tokio::test]
async fn every_route_asks_for_its_role_once_there_is_a_key() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(2)).await);
    assert_eq!(service.get("/models").await.status(), 200, "no key was made yet");
    let keys = [
        ("predict", service.make_key("bot", &[Role::Predict]).await),
        ("review", service.make_key("moderator", &[Role::Review]).await),
        ("operate", service.make_key("operator", &[Role::Operate]).await),
    ];
    let routes = [
        (Method::POST, "/predict", Some("predict")),
        (Method::GET, "/predict?text=a", Some("predict")),
        (Method::POST, "/predict/batch", Some("predict")),
        (Method::POST, "/v1alpha1/comments:analyze", Some("predict")),
        (Method::POST, "/v1alpha1/comments:suggestscore", Some("predict")),
        (Method::POST, "/v1/moderations", Some("predict")),
        (Method::POST, "/v2/models/threatwatch/infer", Some("predict")),
        (Method::POST, "/v2/models/threatwatch/versions/a/infer", Some("predict")),
        (Method::GET, "/v2/models/threatwatch", None),
        (Method::GET, "/v2/models/threatwatch/ready", None),
        (Method::GET, "/v2/models/threatwatch/versions/a", None),
        (Method::GET, "/v2/models/threatwatch/versions/a/ready", None),
        (Method::POST, "/train", Some("operate")),
        (Method::POST, "/promote", Some("operate")),
        (Method::POST, "/rollback", Some("operate")),
        (Method::GET, "/audit", Some("operate")),
        (Method::POST, "/codec/encode", Some("operate")),
        (Method::POST, "/codec/decode", Some("operate")),
        (Method::POST, "/runs/approve", Some("review")),
        (Method::POST, "/runs/reject", Some("review")),
        (Method::GET, "/runs/status?workflow_id=a", None),
        (Method::POST, "/feedback", Some("review")),
        (Method::GET, "/feedback", Some("review")),
        (Method::DELETE, "/feedback/a", Some("review operate")),
        (Method::POST, "/label", Some("review")),
        (Method::GET, "/models/20200101T000000Z-00000000/curves", None),
        (Method::GET, "/models/flips?a=20200101T000000Z-00000000&b=20200101T000000Z-00000000", Some("review")),
        (Method::GET, "/drift", None),
        (Method::GET, "/models", None),
        (Method::GET, "/models/history", None),
        (Method::GET, "/models/production", None),
        (Method::GET, "/models/compare?a=b&b=c", None),
        (Method::GET, "/models/20200101T000000Z-00000000", None),
        (Method::GET, "/models/20200101T000000Z-00000000/card", None),
        (Method::GET, "/models/20200101T000000Z-00000000/backtests", None),
        (Method::GET, "/shadow", None),
        (Method::POST, "/shadow", Some("operate")),
        (Method::POST, "/shadow/stop", Some("operate")),
        (Method::GET, "/about", None),
    ];
    for (method, path, role) in &routes {
        let nobody = service.client.request(method.clone(), format!("{}{path}", service.url)).json(&body_of(path));
        let refused = nobody.send().await.unwrap();
        assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"threatwatch\"", "{path}");
        if path.starts_with("/v") {
            // Clients of other services: see `dialects.rs`.
            assert_eq!(refused.status(), if path.starts_with("/v1alpha1/") { 403 } else { 401 }, "{path}");
        } else {
            assert_eq!(problem(refused, 401).await["type"], "/problems/unauthorized", "{path}");
        }
        for (of, key) in &keys {
            let status = service.with_key(method.clone(), path, key).await.status().as_u16();
            let is_allowed = role.is_none_or(|role| role.split(' ').any(|role| role == *of));
            assert_eq!(status == 403, !is_allowed, "{method} {path} with {of}: {status}");
            assert_ne!(status, 401, "{method} {path} with {of}");
        }
    }
    let documented = documented_routes();
    let tried = |path: &str| routes.iter().any(|(_, tried, _)| pattern_fits(path, tried));
    let open = ["/health/live", "/health/ready", "/whoami", "/v2", "/v2/health/live", "/v2/health/ready"];
    let left_out: Vec<&String> = documented.iter().filter(|path| !tried(path) && !open.contains(&&***path)).collect();
    assert!(left_out.is_empty(), "routes that this test does not try: {left_out:?}");
    for path in ["/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/problems", "/whoami"] {
        assert_eq!(service.get(path).await.status(), 200, "{path} needs no key");
    }
}

fn documented_routes() -> Vec<String> {
    let document: Value = serde_json::from_str(&api::openapi()).unwrap();
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

fn pattern_fits(pattern: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let parts = |text: &str| text.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, path) = (parts(pattern), parts(path));
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(a, b)| a == b || a.starts_with('{'))
}

#[tokio::test]
async fn a_key_says_who_it_is_and_what_was_not_tried_is_not_on_record() {
    let service = start().await;
    let operator = service.make_key("operator", &[Role::Operate]).await;
    let alice = service.make_key("alice", &[Role::Review]).await;
    let who: Value = service.with_key(Method::GET, "/whoami", &alice).await.json().await.unwrap();
    assert_eq!(who, json!({ "keys_required": true, "name": "alice", "roles": ["review"] }));
    let anonymous: Value = service.get("/whoami").await.json().await.unwrap();
    assert_eq!(anonymous, json!({ "keys_required": true }));
    // Temporal is away, and known to be.
    let started = Instant::now();
    let is_known = |body: &Value| body["type"] == "/problems/orchestrator-unavailable";
    while !is_known(&service.with_key(Method::POST, "/train", &operator).await.json().await.unwrap()) {
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    let before: Value = service.with_key(Method::GET, "/audit", &operator).await.json().await.unwrap();
    assert!(is_known(&service.with_key(Method::POST, "/train", &operator).await.json().await.unwrap()));
    let after: Value = service.with_key(Method::GET, "/audit", &operator).await.json().await.unwrap();
    assert_eq!(before, after);
    problem(service.with_key(Method::GET, "/audit?limit=0", &operator).await, 422).await;
}

#[tokio::test]
async fn keys_come_in_either_header_and_wrong_ones_never_count() {
    let service = start().await;
    let key = service.make_key("bot", &[Role::Predict]).await;
    let send = |name: &'static str, value: String| {
        let request = service.client.get(format!("{}/models", service.url)).header(name, value);
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(send("x-api-key", key.clone()).await, 200);
    assert_eq!(send("authorization", format!("bearer {key}")).await, 200);
    let wrong = [
        key.clone(),
        "Bearer ".to_owned(),
        format!("Bearer {key}x"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer {}", "a".repeat(10_000)),
    ];
    for value in wrong {
        assert_eq!(send("authorization", value).await, 401);
    }
    let body: Value = service
        .client
        .get(format!("{}/whoami", service.url))
        .bearer_auth("x")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["status"], 401, "a wrong key is refused, even where no key is required: {body}");
}

#[tokio::test]
async fn a_revocation_counts_within_five_seconds_and_the_last_key_leaves_the_door_closed() {
    let service = start().await;
    let key = service.make_key("bot", &[Role::Predict]).await;
    let name = "bot".parse().unwrap();
    assert_eq!(service.registry.revoke_keys(&name, None, "test").await.unwrap().len(), 1);
    assert!(
        service.registry.revoke_keys(&name, None, "test").await.unwrap().is_empty(),
        "revoking again changes nothing"
    );
    let started = Instant::now();
    while service.with_key(Method::GET, "/models", &key).await.status() != 401 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.get("/models").await.status(), 401, "keys were made here once");
    let keys = service.registry.keys(&Keys::default()).await.unwrap();
    assert_eq!((keys.all().count(), keys.active().count()), (1, 0));
    let bucket = format!("{:?}", service.store);
    assert!(!bucket.contains(&key), "the store must not know a key");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.limits.requests_per_second = NonZeroU32::new(5);
    let service = start_with(store, service).await;
    let key = service.make_key("bot", &[Role::Predict]).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let response = service.with_key(Method::GET, "/models", &key).await;
        statuses.push(response.status().as_u16());
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(problem(response, 429).await["type"], "/problems/too-many-requests");
        }
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // In the form of each dialect.
    for (path, pointer, told) in [
        ("/v1alpha1/comments:analyze", "/error/status", "RESOURCE_EXHAUSTED"),
        ("/v1/moderations", "/error/type", "rate_limit_error"),
        ("/v2/models/threatwatch/infer", "/error", "Too many requests: This key is over its rate limit."),
    ] {
        let mut refused = service.with_key(Method::POST, path, &key).await;
        while refused.status() != 429 {
            refused = service.with_key(Method::POST, path, &key).await;
        }
        assert_eq!(refused.headers()["retry-after"], "1", "{path}");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body.pointer(pointer).and_then(Value::as_str), Some(told), "{path}: {body}");
    }
    let started = Instant::now();
    while service.with_key(Method::GET, "/models", &key).await.status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(3), "after a second it is under its limit again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn keys_that_are_not_known_yet_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(MemoryStore::default());
    let on = |mood| {
        let store = Moody::new(Arc::clone(&inner), mood);
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let mut service = service_on(&registry);
        service.cache = Some(registry::Cache::new(folder.path(), "a bucket"));
        (start_with(Arc::clone(&inner), service), store)
    };
    let (service, store) = on(Mood::Refuses);
    let service = service.await;
    let refused = problem(service.get("/models").await, 503).await;
    assert_eq!(refused["type"], "/problems/store-unavailable", "{refused}");
    store.be(Mood::Answers);
    let key = service.make_key("bot", &[Role::Predict]).await;
    service.promote(Preset::Default).await;
    let started = Instant::now();
    while service.with_key(Method::POST, "/predict", &key).await.status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.stop().await;
    // The keys are known from the disk, even without the store.
    let (service, _store) = on(Mood::Refuses);
    let service = service.await;
    let started = Instant::now();
    while service.with_key(Method::POST, "/predict", &key).await.status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    problem(service.post("/predict", &json!({ "text": "a" })).await, 401).await;
}

#[tokio::test]
async fn an_address_that_needs_keys_is_not_served_without_one() {
    let registry = Registry::new(Arc::new(MemoryStore::default()));
    let serve = |registry: &Registry| {
        let mut service = service_on(registry);
        service.needs_keys = true;
        api::serve(service, "127.0.0.1:0".parse().unwrap(), |_| (), std::future::ready(()))
    };
    let error = serve(&registry).await.unwrap_err().to_string();
    assert!(error.contains("threatwatch keys new"), "{error}");
    // The cache of an earlier run on a loopback address has no key either.
    let folder = tempfile::tempdir().unwrap();
    let cache = registry::Cache::new(folder.path(), "a bucket");
    cache.keep_keys(&Keys::default()).unwrap();
    let mut service = service_on(&registry);
    (service.needs_keys, service.cache) = (true, Some(cache));
    let address = "127.0.0.1:0".parse().unwrap();
    assert!(api::serve(service, address, |_| (), std::future::ready(())).await.is_err());
    registry.create_key(&"operator".parse().unwrap(), &[Role::Operate], "test").await.unwrap();
    serve(&registry).await.unwrap();
}

#[tokio::test]
async fn many_keys_on_a_slow_store_count_and_are_revoked_in_time() {
    let inner = Arc::new(MemoryStore::default());
    let quick = Registry::new(Arc::clone(&inner) as Arc<dyn Store>);
    let name = "bot".parse().unwrap();
    let mut keys = Vec::new();
    for _ in 0..200 {
        let (_, secret) = quick.create_key(&name, &[Role::Predict], "test").await.unwrap();
        keys.push(secret.expose().to_owned());
    }
    let registry = Registry::new(Moody::new(Arc::clone(&inner), Mood::IsSlow) as Arc<dyn Store>);
    let service = start_with(inner, service_on(&registry)).await;
    let started = Instant::now();
    while service.with_key(Method::GET, "/whoami", &keys[199]).await.status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(quick.revoke_keys(&name, None, "test").await.unwrap().len(), 200);
    let started = Instant::now();
    while service.with_key(Method::GET, "/models", &keys[0]).await.status() != 401 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_closed_stays_closed_when_its_keys_are_lost_or_unreadable() {
    let service = start().await;
    let key = service.make_key("bot", &[Role::Predict]).await;
    for path in service.store.list(Key::API_KEYS).await.unwrap() {
        service.store.delete(&path).await.unwrap();
    }
    let started = Instant::now();
    while service.with_key(Method::GET, "/models", &key).await.status() != 401 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.get("/models").await.status(), 401);
    // The only key is of a future release.
    let store = Arc::new(MemoryStore::default());
    store.corrupt(&Key::ApiKey("bot", "00000000").path(), |bytes| bytes.extend(b"{\"roles\":[\"dance\"]}"));
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let service = start_with(store, service_on(&registry)).await;
    assert_eq!(service.get("/models").await.status(), 401);
}

#[tokio::test]
async fn a_disk_that_does_not_take_the_keys_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("cache");
    std::fs::write(&in_the_way, "a file").unwrap();
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.cache = Some(registry::Cache::new(&in_the_way, "a bucket"));
    let service = start_with(store, service).await;
    service.make_key("bot", &[Role::Predict]).await;
    std::fs::remove_file(&in_the_way).unwrap();
    let started = Instant::now();
    while registry::Cache::new(&in_the_way, "a bucket").keys().is_none_or(|keys| keys.active().count() != 1) {
        assert!(started.elapsed() < Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn strangers_are_told_that_something_is_wrong_and_not_what() {
    let service = start().await;
    service.promote(Preset::Default).await;
    let key = service.make_key("bot", &[Role::Predict]).await;
    let trouble = |ready: Value| ready["temporal_trouble"].as_str().unwrap_or_default().to_owned();
    let started = Instant::now();
    let known = loop {
        let known = trouble(service.with_key(Method::GET, "/health/ready", &key).await.json().await.unwrap());
        if !known.is_empty() {
            break known;
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    };
    assert!(known.contains("onnection refused"), "{known}");
    assert_eq!(trouble(service.get("/health/ready").await.json().await.unwrap()), "send an API key to see the reason");
}

#[tokio::test]
async fn a_reviewer_takes_back_what_he_said_and_only_an_operator_what_others_said() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let mona = service.make_key("mona", &[Role::Review]).await;
    let ben = service.make_key("ben", &[Role::Review]).await;
    let olga = service.make_key("olga", &[Role::Operate]).await;
    let say = async |key: &str| -> String {
        let said: Value = service.with_key(Method::POST, "/feedback", key).await.json().await.unwrap();
        format!("/feedback/{}", said["id"].as_str().unwrap())
    };
    let of_mona = say(&mona).await;
    let refused = problem(service.with_key(Method::DELETE, &of_mona, &ben).await, 403).await;
    assert!(refused["detail"].as_str().unwrap().contains("operate"), "{refused}");
    assert_eq!(service.with_key(Method::DELETE, &of_mona, &mona).await.status(), 204);
    let of_ben = say(&ben).await;
    assert_eq!(service.with_key(Method::DELETE, &of_ben, &olga).await.status(), 204);
}
