//! Compares the Docker stack's files with the code: variables, mounted paths, pinned images, published ports, logs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_norway::Value;

/// Compose's labels of a container that Docker writes beside each of its lines.
const LOG_LABELS: [&str; 2] = ["com.docker.compose.project", "com.docker.compose.service"];

fn compose() -> Value {
    read("docker-compose.temporal.yaml")
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut compose: Value = serde_norway::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    // Once for each level, because a merged-in block may merge others.
    for _ in 0..3 {
        compose.apply_merge().unwrap();
    }
    compose
}

fn services(compose: &Value) -> Vec<(String, &Value)> {
    let services = compose["services"].as_mapping().unwrap();
    services.iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), service)).collect()
}

#[test]
fn our_services_are_given_only_variables_that_the_binary_knows() {
    let compose = compose();
    let mut known = threatwatch::variables();
    known.insert("TEMPORAL_NAMESPACE".to_owned());
    for name in ["worker", "setup", "api"] {
        let environment = compose["services"][name]["environment"].as_mapping().unwrap();
        for variable in environment.keys().map(|key| key.as_str().unwrap()) {
            assert!(known.contains(variable), "{name} is given {variable}, which nothing reads");
        }
        for needed in ["TEMPORAL_ADDRESS", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            assert!(environment.contains_key(needed), "{name} is not given {needed}");
        }
    }
}

#[test]
fn every_mounted_path_is_in_the_tree() {
    let compose = compose();
    let mut mounted = 0;
    for (name, service) in services(&compose) {
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let source = volume["source"].as_str().or_else(|| volume.as_str()?.split(':').next());
            let Some(source) = source.filter(|source| source.starts_with('.')) else { continue };
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{name} mounts {source}");
            mounted += 1;
        }
    }
    assert!(mounted >= 5, "{mounted} paths");
}

#[test]
fn images_are_pinned_ports_are_local_and_services_are_checked_and_confined() {
    let compose = compose();
    let all = services(&compose);
    let names: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    for part in
        ["postgres", "temporal", "temporal-ui", "minio", "seaweedfs", "prometheus", "grafana", "setup", "worker", "api"]
    {
        assert!(names.contains(part), "{part} is missing");
    }
    for (name, service) in &all {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        assert!(!tag.is_empty() && tag != "latest", "{name}: {image} is not pinned");
        for port in service["ports"].as_sequence().into_iter().flatten() {
            let port = port.as_str().map_or_else(|| port["host_ip"].as_str().unwrap_or("").to_owned(), str::to_owned);
            assert!(port.starts_with("127.0.0.1"), "{name} is published on {port}");
        }
        assert_eq!(service["read_only"], true, "{name} may write to its image");
        assert_eq!(service["cap_drop"][0], "ALL", "{name} keeps capabilities");
        assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{name}");
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}: its log grows for ever");
        assert_eq!(service["logging"]["options"]["labels"], LOG_LABELS.join(","), "{name}: its lines name no service");
        assert!(service["deploy"]["resources"]["limits"]["memory"].is_string(), "{name} has no limit of memory");
        if service["restart"] == "unless-stopped" {
            assert!(service["healthcheck"]["test"].is_sequence(), "{name} has no health check");
        }
        assert!(service["container_name"].is_null(), "{name} could not be scaled");
    }
    assert!(compose["services"]["worker"]["ports"].is_null(), "a second worker could not have the same port");
}

#[test]
fn for_other_machines_the_api_has_tls_and_insists_on_keys() {
    let tls = read("docker-compose.tls.yaml");
    let api = &tls["services"]["api"];
    let environment = api["environment"].as_mapping().unwrap();
    let known = threatwatch::variables();
    for variable in environment.keys().map(|key| key.as_str().unwrap()) {
        assert!(known.contains(variable), "the API is given {variable}, which nothing reads");
    }
    assert_eq!(environment["THREATWATCH_INSECURE"], "false");
    for (variable, secret) in [("THREATWATCH_TLS_CERTIFICATE", "tls_certificate"), ("THREATWATCH_TLS_KEY", "tls_key")] {
        assert_eq!(environment[variable], format!("/run/secrets/{secret}"));
        assert!(api["secrets"].as_sequence().unwrap().contains(&secret.into()), "{secret}");
        assert!(tls["secrets"][secret]["file"].is_string(), "{secret}");
    }
    assert!(api["healthcheck"]["test"].as_sequence().unwrap().last().unwrap().as_str().unwrap().starts_with("https:"));
    // Nothing else is opened to other machines, and Prometheus still finds the API.
    let published: Vec<_> = services(&tls).into_iter().filter(|(_, service)| !service["ports"].is_null()).collect();
    assert_eq!(published.len(), 1);
    let scrape = &tls["services"]["prometheus"]["volumes"][0];
    let base = compose();
    let of_base = base["services"]["prometheus"]["volumes"].as_sequence().unwrap();
    assert!(of_base.iter().any(|volume| volume["target"] == scrape["target"]), "it takes the place of the one without");
    let file = read(scrape["source"].as_str().unwrap());
    assert_eq!(file[0]["labels"]["__scheme__"], "https");
}

/// Names and values between the braces that `start` opens.
fn members(config: &str, start: &str) -> BTreeMap<String, String> {
    let body = config.split(start).nth(1).unwrap().split('}').next().unwrap();
    let pairs = body.split([',', '\n']).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches('"').to_owned())).collect()
}

/// The block of `config` that begins with `start`.
fn block<'a>(config: &'a str, start: &str) -> &'a str {
    config.split(start).nth(1).unwrap().split("\n}").next().unwrap()
}

fn mounted<'a>(service: &'a Value, target: &str) -> &'a Value {
    let volumes = service["volumes"].as_sequence().unwrap();
    volumes.iter().find(|volume| volume["target"] == target).unwrap()
}

#[test]
fn the_profile_of_logs_reads_what_docker_writes_and_keeps_it_for_grafana() {
    let compose = compose();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (loki, alloy) = (&compose["services"]["loki"], &compose["services"]["alloy"]);
    for service in [loki, alloy] {
        assert_eq!(service["profiles"].as_sequence().unwrap(), &[Value::from("logs")]);
        assert!(service["ports"].is_null(), "lines are read through Grafana");
    }
    // What is mounted is the file that the command names.
    let file = mounted(loki, "/etc/loki/loki.yaml");
    assert_eq!(loki["command"][0], "-config.file=/etc/loki/loki.yaml");
    let settings = read(file["source"].as_str().unwrap());
    assert_eq!(settings["common"]["path_prefix"], "/loki");
    assert!(loki["volumes"].as_sequence().unwrap().contains(&"loki:/loki".into()));
    assert_eq!(settings["schema_config"]["configs"][0]["schema"], "v13");
    assert_eq!(settings["limits_config"]["retention_period"], "336h");
    assert_eq!(settings["compactor"]["retention_enabled"], true);
    assert_eq!(settings["analytics"]["reporting_enabled"], false);
    // `-health` asks this port, and Alloy and Grafana too.
    assert_eq!(settings["server"]["http_listen_port"], 3100);
    let sources = read("grafana/provisioning/datasources/loki.yml");
    let source = &sources["datasources"][0];
    assert_eq!((source["uid"].as_str(), source["type"].as_str()), (Some("loki"), Some("loki")));
    assert_eq!(source["url"], "http://loki:3100");
    assert_eq!(compose["services"]["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_DISABLED"], "true");

    let file = mounted(alloy, "/etc/alloy/config.alloy");
    assert_eq!(alloy["command"].as_sequence().unwrap().last().unwrap(), &file["target"]);
    let config = fs::read_to_string(root.join(file["source"].as_str().unwrap())).unwrap();
    assert!(config.contains("url = \"http://loki:3100/loki/api/v1/push\""));
    let logs = mounted(alloy, "/var/lib/docker/containers");
    assert_eq!(logs["read_only"], true);
    assert_eq!(logs["source"], "${DOCKER_CONTAINERS:-/var/lib/docker/containers}");
    assert!(config.contains("\"/var/lib/docker/containers/*/*-json.log\""));
    assert!(!fs::read_to_string(root.join("docker-compose.temporal.yaml")).unwrap().contains("docker.sock"));
    let stored =
        alloy["command"].as_sequence().unwrap().iter().find_map(|word| word.as_str()?.strip_prefix("--storage.path="));
    assert!(alloy["volumes"].as_sequence().unwrap().contains(&format!("alloy:{}", stored.unwrap()).into()));
    assert!(alloy["environment"].as_mapping().unwrap().contains_key("COMPOSE_PROJECT_NAME"));
    assert!(config.contains("sys.env(\"COMPOSE_PROJECT_NAME\")"));
    for volume in ["loki", "alloy"] {
        assert!(compose["volumes"].as_mapping().unwrap().contains_key(volume), "{volume}");
    }
    let example = fs::read_to_string(root.join(".env.example")).unwrap();
    assert!(example.contains("#DOCKER_CONTAINERS=/var/lib/docker/containers"));
    // A line belongs to a service by the labels that Docker writes beside it.
    for label in LOG_LABELS {
        assert!(config.contains(&format!("= \"attrs.\\\"{label}\\\"\"")), "{label}");
    }
}

#[test]
fn the_dashboard_of_logs_asks_for_labels_and_ids_that_lines_have() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let config = text("grafana/loki/config.alloy");
    let process = block(&config, "loki.process \"containers\"");
    let kept = process.split("stage.label_keep").nth(1).unwrap();
    let labels: BTreeSet<&str> = kept.split('"').skip(1).step_by(2).collect();
    assert_eq!(labels, BTreeSet::from(["level", "service"]));

    // Every id that a line may have: of requests and traces, and the fields of the span around an activity.
    let (log, span) = (text("src/telemetry/log.rs"), text("activities/src/named.rs"));
    let members_of_json = |name: &str| log.contains(&format!("\"{name}\":"));
    let fields_of_span = |name: &str| span.contains(&format!("            {name} = info."));
    let metadata = members(process.split("stage.structured_metadata").nth(1).unwrap(), "values = {");
    let ids: BTreeSet<&str> = metadata.keys().map(String::as_str).filter(|name| *name != "container").collect();
    for id in &ids {
        assert!(members_of_json(id) != fields_of_span(id), "no line has {id} once");
    }
    let parsed = members(process.split("// The ids and the level").nth(1).unwrap(), "expressions = {");
    assert!(parsed.iter().all(|(name, expression)| name == expression), "{parsed:?}");
    assert_eq!(parsed.keys().map(String::as_str).filter(|name| *name != "level").collect::<BTreeSet<_>>(), ids);
    let written = log.match_indices("_id\":").count() + span.matches(" = info.").count();
    assert_eq!(ids.len(), written, "an id that is written is not taken");

    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana/dashboards/logs.json")).unwrap();
    let listed = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<&str> = listed.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    for name in &variables {
        assert!(*name == "text" || labels.contains(name) || ids.contains(name), "no line has {name}");
    }
    let levels = listed.iter().find(|variable| variable["name"] == "level").unwrap()["query"].as_str().unwrap();
    let levelled = process.lines().find(|line| line.contains("$level :=")).unwrap();
    assert!(levels.split(',').all(|level| levelled.contains(level)), "{levels}");

    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut filtered = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        for query in targets.map(|target| target["expr"].as_str().unwrap()) {
            for variable in query.split('$').skip(1) {
                let name = variable.trim_start_matches('{').split(|c| !is_of_name(c)).next().unwrap();
                assert!(name == "__auto" || variables.contains(name), "{query}: {name}");
            }
            let selector = query.split_once('{').unwrap().1.split('}').next().unwrap();
            let selected = selector.split(',').map(|matcher| matcher.split("=~").next().unwrap());
            let grouped = query.split("by (").skip(1).flat_map(|by| by.split(')').next().unwrap().split(','));
            for label in selected.chain(grouped).map(str::trim) {
                assert!(labels.contains(label), "{query}: {label}");
            }
            for filter in query.split(" | ").skip(1) {
                let id = filter.split("=~").next().unwrap();
                assert!(ids.contains(id), "{query}: {id}");
                assert_eq!(filter, format!("{id}=~`${{{id}:regex}}.*`"), "an empty field matches every line");
                filtered.insert(id);
            }
        }
    }
    assert_eq!(filtered, variables.intersection(&ids).copied().collect(), "a field without effect");
}

#[test]
fn the_image_takes_the_base_weights_that_the_program_pins() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [image, program] = ["Dockerfile", "src/programs.rs"].map(|file| fs::read_to_string(root.join(file)).unwrap());
    let pinned = image.split('\'').find(|part| part.contains(" --hash=sha256:")).unwrap();
    let (package, sha256) = pinned.split_once(" --hash=sha256:").unwrap();
    let (package, version) = package.split_once("==").unwrap();
    let wheel = program.split("const ").find(|part| part.starts_with("ENCODER_BASE")).unwrap();
    for part in [package, version, sha256] {
        assert!(wheel.contains(&format!("\"{part}\"")), "{part} is not in src/programs.rs");
    }
}
