//! The files of the stack against the code: variables, mounted paths, pinned images, published ports.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_norway::Value;

fn compose() -> Value {
    read("docker-compose.temporal.yaml")
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut compose: Value = serde_norway::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    // Once a level: what is merged in merges others.
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
