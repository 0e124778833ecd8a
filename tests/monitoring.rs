//! The dashboards and alert rules on a real Prometheus with our configuration, a running system and known traffic.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use model::{
    corpus::{self, split},
    experiment::DEFAULT_SEED,
};
use serde_json::{Value, json};
use serde_norway::Value as Yaml;

use common::{Up, both, wait_for};

/// Appear only after a fault that this test does not make; their names are the SDK's.
const AFTER_A_FAULT: [&str; 4] = [
    "temporal_activity_execution_failed_total",
    "temporal_request_failure_total",
    "temporal_workflow_canceled_total",
    "temporal_workflow_task_execution_failed_total",
];

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// A program of Debian's package `prometheus`; without it the test is not run, and fails under CI.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs {name}");
        eprintln!("not run: there is no {name} on PATH");
    }
    found
}

/// Uids of the data sources, as provisioned.
const PROMETHEUS: &str = "prometheus";
const LOKI: &str = "loki";

/// The query of each panel and annotation that asks Prometheus, with its dashboard's name. Those that ask Loki are left out;
/// `tests/stack.rs` has them.
fn queries() -> Vec<(String, String)> {
    fn panels<'a>(of: &'a Value, found: &mut Vec<&'a Value>) {
        for panel in of["panels"].as_array().into_iter().flatten() {
            found.push(panel);
            panels(panel, found);
        }
    }
    let (mut found, mut of_loki) = (Vec::new(), Vec::new());
    for file in fs::read_dir(grafana().join("dashboards")).unwrap() {
        let path = file.unwrap().path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut all = Vec::new();
        panels(&dashboard, &mut all);
        for panel in all.iter().filter(|panel| panel["type"] != "row") {
            let name = format!("{}: {}", dashboard["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
            let kind = panel["type"].as_str().unwrap();
            assert!(!panel["description"].as_str().unwrap_or("").is_empty(), "{name} has no description");
            if kind == "text" {
                assert!(panel["targets"].is_null(), "{name} shows no answer");
                continue;
            }
            assert!(["timeseries", "stat", "heatmap", "table", "logs"].contains(&kind), "{name}");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{name} asks nothing");
            for target in targets {
                let source = target["datasource"]["uid"].as_str().unwrap();
                assert_eq!(panel["datasource"]["uid"], source, "{name}");
                let query = target["expr"].as_str().unwrap();
                match source {
                    PROMETHEUS => found.push((name.clone(), query.to_owned())),
                    LOKI => of_loki.push(name.clone()),
                    _ => panic!("{name} asks {source}"),
                }
                assert!(kind != "logs" || source == LOKI, "{name}");
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
            if let Some(expression) = annotation["expr"].as_str() {
                assert_eq!(annotation["datasource"]["uid"], PROMETHEUS, "annotation {}", annotation["name"]);
                found.push((format!("annotation {}", annotation["name"]), expression.to_owned()));
            }
        }
    }
    assert!(found.len() > 30, "{} queries", found.len());
    assert!(of_loki.len() >= 3 && of_loki.iter().all(|name| name.starts_with("Logs: ")), "{of_loki:?}");
    found
}

/// Names of metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = |word: &&str| ["http_", "threatwatch_", "temporal_", "process_"].iter().any(|p| word.starts_with(p));
    words.filter(ours).filter(|word| !word.contains(':')).map(str::to_owned).collect()
}

struct Prometheus {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &Path, up: &Up) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        fs::write(&config, local_configuration(up)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, url: format!("http://127.0.0.1:{port}"), _dir: dir }
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        common::block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("{}/api/v1/{path}", self.url);
            let form: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={}", percent_encoded(v))).collect();
            let request = client.post(&url).header("content-type", "application/x-www-form-urlencoded");
            let response = if parameters.is_empty() {
                client.get(&url).send().await
            } else {
                request.body(form.join("&")).send().await
            };
            response.ok()?.json().await.ok()
        })
    }

    /// The vector or scalar that a query gives now.
    fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.ask("query", &[("query", query)]).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let number = |value: &Value| value[1].as_str().unwrap().parse::<f64>().unwrap();
        let data = &answer["data"];
        match data["resultType"].as_str().unwrap() {
            "vector" => data["result"].as_array().unwrap().iter().map(|series| number(&series["value"])).collect(),
            _ => vec![number(&data["result"])],
        }
    }

    fn one(&self, query: &str) -> f64 {
        self.query(query).first().copied().unwrap_or(0.0)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// `grafana/prometheus.yml` with its targets on local ports, its rules in the tree, and a faster pulse.
fn local_configuration(up: &Up) -> String {
    let text = fs::read_to_string(grafana().join("prometheus.yml")).unwrap();
    let mut config: Yaml = serde_norway::from_str(&text).unwrap();
    for (name, pulse) in [("scrape_interval", "1s"), ("scrape_timeout", "1s"), ("evaluation_interval", "1s")] {
        config["global"][name] = Yaml::from(pulse);
    }
    let rules = config["rule_files"].as_sequence_mut().unwrap();
    for rule in rules.iter_mut() {
        let name = Path::new(rule.as_str().unwrap()).file_name().unwrap().to_owned();
        *rule = Yaml::from(grafana().join("rules").join(name).display().to_string());
    }
    let jobs = config["scrape_configs"].as_sequence_mut().unwrap();
    jobs.retain(|job| ["api", "worker"].contains(&job["job_name"].as_str().unwrap()));
    for job in jobs.iter_mut() {
        let port = if job["job_name"] == "api" { up.ports.api } else { up.ports.worker };
        let job = job.as_mapping_mut().unwrap();
        job.remove("dns_sd_configs").or_else(|| job.remove("file_sd_configs")).unwrap();
        let targets = format!("[{{\"targets\": [\"127.0.0.1:{port}\"]}}]");
        job.insert(Yaml::from("static_configs"), serde_norway::from_str(&targets).unwrap());
    }
    serde_norway::to_string(&config).unwrap()
}

#[test]
fn the_rules_are_sound_and_every_alert_fires_and_stays_quiet_when_it_should() {
    let Some(promtool) = program("promtool") else { return };
    let rules = grafana().join("rules");
    for arguments in [
        vec!["check", "rules", "recording.yml", "alerts.yml"],
        vec!["test", "rules", "tests.yml"],
        vec!["check", "config", "--syntax-only", "../prometheus.yml"],
    ] {
        let output = Command::new(&promtool).args(&arguments).current_dir(&rules).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", both(&output));
    }
    let tests = fs::read_to_string(rules.join("tests.yml")).unwrap();
    let alerts: Yaml = serde_norway::from_str(&fs::read_to_string(rules.join("alerts.yml")).unwrap()).unwrap();
    let mut count = 0;
    for rule in alerts["groups"].as_sequence().unwrap().iter().flat_map(|g| g["rules"].as_sequence().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        for annotation in ["summary", "description", "runbook"] {
            assert!(rule["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        assert!(tests.matches(&format!("alertname: {name}")).count() >= 2, "{name} has no firing and quiet case");
        count += 1;
    }
    assert!(count >= 7, "{count} alerts");
}

#[test]
fn every_query_has_data_and_the_numbers_are_those_of_the_traffic() {
    let Some(program) = program("prometheus") else { return };
    let up = Up::start();
    let prometheus = Prometheus::start(&program, &up);
    let is_watching =
        || prometheus.ask("query", &[("query", "sum(up)")]).is_some_and(|a| a["data"]["result"][0]["value"][1] == "2");
    assert!(wait_for(Duration::from_secs(30), is_watching), "Prometheus does not reach both targets");

    let version = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    up.succeed(&["shadow", "start", &version, "--share", "1"]);
    let is_followed = || up.get_json("/shadow")["version"] == *version;
    assert!(wait_for(Duration::from_secs(10), is_followed), "the shadow is not followed");

    let alone = make_traffic(&up, &prometheus);
    let mut decisions = judge_strangers(&up);
    let judged_alone: f64 = alone.values().sum();
    for (decision, count) in alone {
        *decisions.entry(decision).or_insert(0.0) += count;
    }
    let generation = up.get_json("/models/production")["generation"].as_f64().unwrap();
    let is_seen = || prometheus.one("sum(threatwatch_predictions_total)") == decisions.values().sum::<f64>();
    assert!(wait_for(Duration::from_secs(20), is_seen), "the last predictions were not scraped");
    // Rates need a few samples on either side of the traffic.
    std::thread::sleep(Duration::from_secs(4));

    assert_eq!(generation, 3.0);
    assert_eq!(prometheus.one("threatwatch_model_generation"), generation);
    for (decision, count) in &decisions {
        assert_eq!(prometheus.one(&format!("sum(threatwatch_predictions_total{{decision=\"{decision}\"}})")), *count);
    }
    let requests = |selector: &str| prometheus.one(&format!("sum(http_requests_total{{{selector}}})"));
    assert_eq!(requests("handler=\"/predict\",status=\"2xx\""), judged_alone);
    assert_eq!(requests("handler=\"/predict\",status=\"4xx\""), 5.0, "bad requests");
    assert_eq!(requests("handler=\"none\",status=\"4xx\""), 7.0, "unknown paths");
    let seen = prometheus.one("sum(http_request_duration_seconds_count{handler=\"/predict\"})");
    assert_eq!(seen, judged_alone + 5.0);
    // The first model's run, two more, and the one that a wrong input ended.
    assert_eq!(prometheus.one("sum(temporal_workflow_failed_total{workflow_type=\"TrainWorkflow\"})"), 1.0);
    assert_eq!(prometheus.one("sum(temporal_workflow_completed_total{workflow_type=\"PromoteWorkflow\"})"), 2.0);
    assert_eq!(prometheus.one("threatwatch_activity_outcomes_total{activity=\"promote\",outcome=\"completed\"}"), 3.0);

    let is_told = || prometheus.query("threatwatch_drift_psi").len() == 3;
    assert!(wait_for(Duration::from_secs(20), is_told), "drift is not told");
    assert!(prometheus.one("max(threatwatch_drift_psi)") < 0.25);

    every_panel_has_data(&prometheus);
    every_rule_is_healthy(&prometheus);
    the_queries_of_old_still_work(&prometheus);
    a_run_that_hangs_is_noticed(&up, &prometheus);
}

/// A workflow of a type that no worker has stays `Running` for ever. Only the alert shows it.
fn a_run_that_hangs_is_noticed(up: &Up, prometheus: &Prometheus) {
    let started =
        up.temporal(&["workflow", "start", "--type", "NoSuchWorkflow", "--task-queue", "threatwatch", "-w", "x"]);
    assert!(started.status.success(), "{}", both(&started));
    let rule = "workflow_type_failure_reason:temporal_workflow_task_execution_failed:increase15m";
    let is_noticed = || {
        !prometheus.query(rule).is_empty() && !prometheus.query("ALERTS{alertname=\"WorkflowTaskFailures\"}").is_empty()
    };
    assert!(wait_for(Duration::from_mins(1), is_noticed), "no alert");
}

/// Comments, errors, a run that fails, two trainings, two promotions. Returns the decisions on the comments.
fn make_traffic(up: &Up, prometheus: &Prometheus) -> BTreeMap<String, f64> {
    const TEXTS: [&str; 2] = ["I will find you and kill you.", "Thanks for the video, see you soon."];
    let mut decisions = BTreeMap::new();
    let mut made = 0.0;
    let mut judge = |text: &str| {
        let (status, verdict) = up.post_json("/predict", &json!({ "text": text }));
        assert_eq!(status, 200);
        *decisions.entry(verdict["label"].as_str().unwrap().to_owned()).or_insert(0.0) += 1.0;
    };
    for round in 0..2 {
        for half in 0..2 {
            for n in 0..8 {
                judge(TEXTS[n % 2]);
            }
            // A rate needs a growth that is seen: the second half comes after the first was.
            made += 8.0;
            let is_seen = || prometheus.one("sum(threatwatch_predictions_total)") == made;
            assert!(wait_for(Duration::from_secs(10), is_seen), "half {half} of round {round} was not scraped");
        }
        up.succeed(&["train", "--wait", "--trainer", "stacked"]);
        let models = up.get_json("/models");
        let (status, answer) = up.post_json("/promote", &json!({ "version": models["models"][0]["version"] }));
        assert_eq!(status, 200, "round {round}: {answer}");
    }
    for _ in 0..5 {
        assert_eq!(up.post("/predict", &json!({ "words": 1 })).0, 400);
    }
    for n in 0..7 {
        assert_eq!(up.get(&format!("/nothing/{n}")).0, 404);
    }
    assert!(up.train_by_cli("wrong", &[r#"{"trainerz":1}"#]).contains("FAILED"));
    judge("One more.");
    decisions
}

/// Enough comments to tell whether they drift: of commenters whom no model saw.
fn judge_strangers(up: &Up) -> BTreeMap<String, f64> {
    let (_, rows) = split::held_out(DEFAULT_SEED, corpus::sample().rows);
    let comments: Vec<Value> = rows
        .chunk_by(|a, b| a.comment == b.comment && a.commenter == b.commenter)
        .map(|rows| rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n"))
        .map(|text| json!({ "text": text }))
        .collect();
    let comments: Vec<&Value> = comments.iter().cycle().take(600).collect();
    let (status, answer) = up.post_json("/predict/batch", &json!({ "comments": comments }));
    assert_eq!(status, 200);
    let mut decisions = BTreeMap::new();
    for result in answer["results"].as_array().unwrap() {
        *decisions.entry(result["verdict"]["label"].as_str().unwrap().to_owned()).or_insert(0.0) += 1.0;
    }
    decisions
}

fn every_panel_has_data(prometheus: &Prometheus) {
    let mut empty = Vec::new();
    let mut unknown = BTreeSet::new();
    for (panel, expression) in queries() {
        let expression =
            expression.replace("$__rate_interval", "1m").replace("$__range", "5m").replace("$__interval", "15s");
        assert!(!expression.contains('$'), "{panel} has a variable that is not replaced: {expression}");
        for metric in metrics(&expression) {
            if prometheus.query(&format!("count({{__name__=\"{metric}\"}})")).is_empty()
                && !AFTER_A_FAULT.contains(&&*metric)
            {
                unknown.insert(metric);
            }
        }
        // An annotation stands at moments that are past by now; latencies of the last minute may be of nothing.
        let may_be_of_nothing = expression.contains("schedule_to_start");
        let is_annotation = panel.starts_with("annotation");
        let asked = if is_annotation { format!("max_over_time(({expression})[5m:1s])") } else { expression };
        let values = prometheus.query(&asked);
        if values.is_empty() || (!may_be_of_nothing && values.iter().all(|value| value.is_nan())) {
            empty.push(format!("{panel}: {asked}"));
        }
    }
    assert_eq!(unknown, BTreeSet::new(), "metrics that no process exports");
    assert_eq!(empty, Vec::<String>::new(), "panels without data");
}

fn every_rule_is_healthy(prometheus: &Prometheus) {
    let answer = prometheus.ask("rules", &[]).unwrap();
    let mut rules = 0;
    for rule in answer["data"]["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()) {
        let name = rule["name"].as_str().unwrap();
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        rules += 1;
        if rule["type"] == "recording" {
            let is_of_faults =
                metrics(rule["query"].as_str().unwrap()).iter().all(|m| AFTER_A_FAULT.contains(&m.as_str()));
            assert!(is_of_faults || !prometheus.query(name).is_empty(), "{name} has no data");
            continue;
        }
        let is_known = |metric: &String| {
            let there = || !prometheus.query(&format!("count({{__name__=\"{metric}\"}})")).is_empty();
            AFTER_A_FAULT.contains(&metric.as_str()) || there()
        };
        let looked_at = metrics(rule["query"].as_str().unwrap());
        assert!(looked_at.iter().all(is_known), "{name} looks at a metric that no process exports");
        assert_eq!(rule["state"], "inactive", "{name} is not quiet on a healthy system");
    }
    assert!(rules >= 12, "{rules} rules");
}

/// What the dashboard of the system that this one rebuilds asked.
fn the_queries_of_old_still_work(prometheus: &Prometheus) {
    for query in [
        "sum by (status) (rate(http_requests_total[1m]))",
        "histogram_quantile(0.5, rate(http_request_duration_seconds_bucket{handler!=\"none\"}[30s]))",
        "increase(http_request_duration_seconds_bucket{le=\"0.1\"}[1m]) / ignoring (le) increase(http_request_duration_seconds_count[1m])",
        "histogram_quantile(0.9, rate(http_request_duration_seconds_bucket{handler!=\"none\"}[30s]))",
    ] {
        assert!(!prometheus.query(query).is_empty(), "{query}");
    }
}
