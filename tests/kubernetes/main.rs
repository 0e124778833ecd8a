//! `deploy/kubernetes` against the code: variables, commands, probes, ports, secrets, security, selectors, references.
//!
//! The files are read as they are. `.ci/kubernetes` builds them with kustomize and holds them against the schemas.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod manifests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_norway::Value;

use self::manifests::{
    BACKUPS, added, container, documents, environment, kustomizations, list, literals, name, objects, of_kind,
    overlays, patches, root, settings, source, text, workloads, yaml_files,
};

/// The Secrets that an operator makes, with their keys.
const SECRETS: [(&str, &[&str]); 6] = [
    ("threatwatch-s3", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
    ("threatwatch-temporal", &["TEMPORAL_API_KEY"]),
    ("threatwatch-temporal-client", &["tls.crt", "tls.key"]),
    ("threatwatch-tls", &["tls.crt", "tls.key"]),
    ("threatwatch-payload-keys", &["keys"]),
    ("threatwatch-doctor", &["THREATWATCH_API_KEY"]),
];
/// What Temporal's client reads by itself, of what the files use.
const TEMPORAL: [&str; 4] =
    ["TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"];
const GUIDE: &str = "docs/kubernetes.md";
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

#[test]
fn every_file_is_used_and_what_is_named_is_there() {
    let mut used = BTreeSet::from([root().join("prometheus-adapter.yaml")]);
    for (folder, kustomization) in kustomizations() {
        let here = root().join(&folder);
        used.insert(here.join("kustomization.yaml"));
        let named = ["resources", "components"].into_iter().flat_map(|key| list(&kustomization, key));
        let patches = list(&kustomization, "patches").into_iter().map(|patch| &patch["path"]);
        for path in named.chain(patches).filter_map(Value::as_str) {
            let path = here.join(path);
            assert!(path.exists(), "{folder} names {}, which is not there", path.display());
            if path.is_dir() {
                assert!(path.join("kustomization.yaml").is_file(), "{}", path.display());
            }
            used.insert(path);
        }
    }
    for file in yaml_files(&root()) {
        assert!(used.contains(&file), "nothing uses {}", file.display());
    }
}

#[test]
fn containers_are_given_only_variables_that_the_binary_knows() {
    let mut known = threatwatch::variables();
    known.extend(TEMPORAL.map(str::to_owned));
    let mut given: Vec<(String, String)> = Vec::new();
    for (folder, kustomization) in kustomizations() {
        given.extend(literals(&kustomization).into_iter().map(|(name, _)| (folder.clone(), name)));
    }
    let settings_of_base = settings(&["components/s3-minio".to_owned()]);
    for (workload, object, template) in workloads() {
        let container = container(&template);
        let variables = list(container, "env");
        if object["kind"] == "CronJob" {
            assert!(container["envFrom"].is_null(), "{workload}: the settings may name files that are not mounted");
        } else {
            assert_eq!(container["envFrom"][0]["configMapRef"]["name"], "threatwatch-settings", "{workload}");
        }
        for variable in &variables {
            let from = &variable["valueFrom"]["configMapKeyRef"];
            if !from.is_null() {
                assert_eq!(from["name"], "threatwatch-settings", "{workload}");
                assert_eq!(from["key"], variable["name"], "{workload}");
                assert!(settings_of_base.contains_key(text(from, "key")), "{workload}: {from:?}");
            }
        }
        // Kubernetes puts a variable that an argument names in its place.
        let arguments = serde_norway::to_string(&container["args"]).unwrap();
        let read = variables.into_iter().map(|variable| text(variable, "name"));
        let read = read.filter(|name| !arguments.contains(&format!("$({name})")));
        given.extend(read.map(|name| (workload.clone(), name.to_owned())));
    }
    given.extend(added("env").into_iter().map(|(folder, variable)| (folder, text(&variable, "name").to_owned())));
    for (by, variable) in &given {
        assert!(known.contains(variable), "{by} gives {variable}, which nothing reads");
    }
    assert!(given.len() > 30, "{}", given.len());
    for (overlay, components) in overlays() {
        let settings = settings(&components);
        for needed in ["TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "S3_ENDPOINT", "S3_BUCKET", "AWS_REGION"] {
            assert!(settings.contains_key(needed), "{overlay} does not give {needed}");
        }
        let (_, port) = settings["TEMPORAL_ADDRESS"].rsplit_once(':').unwrap();
        assert_eq!(port, "7233", "{overlay}: the network policy knows this port");
    }
}

/// The key file is read after the command line was understood and before anything is started.
#[test]
fn the_binary_understands_every_command_line() {
    for (overlay, components) in overlays() {
        for with_tls in [false, true] {
            for (workload, _, template) in workloads() {
                let container = container(&template);
                assert!(container["command"].is_null(), "{workload} does not start the image's entry point");
                let arguments = list(container, "args").into_iter().map(|argument| argument.as_str().unwrap());
                let mut command = Command::new(env!("CARGO_BIN_EXE_threatwatch"));
                command.args(arguments).env_clear().envs(settings(&components)).envs(environment(container));
                if with_tls && workload == "threatwatch-api" {
                    let added = added("env").into_iter().filter(|(folder, _)| folder == "components/tls");
                    for (_, variable) in added.filter(|(_, variable)| variable["value"].is_string()) {
                        command.env(text(&variable, "name"), text(&variable, "value"));
                    }
                }
                let output = command.env("THREATWATCH_PAYLOAD_KEY_FILE", "/nowhere/keys").output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                let is_understood = output.status.code() == Some(1) && said.contains("/nowhere/keys");
                assert!(is_understood, "{overlay}, {workload}: {} {said}", output.status);
            }
        }
    }
}

#[test]
fn probes_ask_for_paths_that_are_served_on_ports_that_are_listened_on() {
    let described: serde_json::Value = serde_json::from_str(&source("api/tests/openapi.json")).unwrap();
    let worker = source("src/commands/worker.rs");
    let mut ports = BTreeMap::new();
    for (workload, object, template) in workloads().into_iter().filter(|(_, object, _)| object["kind"] == "Deployment")
    {
        let (container, is_api) = (container(&template), workload == "threatwatch-api");
        let address = if is_api { "THREATWATCH_ADDRESS" } else { "THREATWATCH_WORKER_ADDRESS" };
        let environment = environment(container);
        let (ip, port) = environment[address].rsplit_once(':').unwrap();
        assert_eq!(ip, "0.0.0.0", "{workload}");
        let port: u64 = port.parse().unwrap();
        assert!(source("Dockerfile").contains(&format!("{address}=0.0.0.0:{port}")));
        let named = list(container, "ports");
        assert_eq!((named.len(), named[0]["containerPort"].as_u64()), (1, Some(port)), "{workload}");
        for (probe, path) in
            [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")]
        {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["path"], path, "{workload} {probe}");
            assert_eq!(get["port"], named[0]["name"], "{workload} {probe}");
            // Else the program would be asked under another name than its address, and refuse.
            assert!(get["host"].is_null() && get["httpHeaders"].is_null(), "{workload} {probe}");
            let is_served =
                if is_api { described["paths"][path].is_object() } else { worker.contains(&format!(".at(\"{path}\"")) };
            assert!(is_served, "{workload} does not serve {path}");
        }
        ports.insert(workload.clone(), (text(named[0], "name").to_owned(), port));
        assert_eq!(object["spec"]["replicas"].as_u64(), Some(if is_api { 2 } else { 1 }));
    }
    for (_, service) in of_kind("Service") {
        let (port_name, port) = &ports[name(&service)];
        let first = &service["spec"]["ports"][0];
        assert_eq!((first["port"].as_u64(), first["targetPort"].as_str()), (Some(*port), Some(&**port_name)));
    }
    // Metrics, the way from outside, and the ways that policies leave open.
    for (_, monitor) in of_kind("ServiceMonitor") {
        let endpoint = &monitor["spec"]["endpoints"][0];
        assert_eq!(
            (endpoint["port"].as_str(), endpoint["path"].as_str()),
            (Some(&*ports[name(&monitor)].0), Some("/metrics"))
        );
        assert_eq!(monitor["spec"]["jobLabel"], "app.kubernetes.io/component");
        let job = text(&monitor["metadata"]["labels"], "app.kubernetes.io/component");
        assert!(source("grafana/rules/alerts.yml").contains(&format!("job=\"{job}\"")) || job == "worker");
    }
    for served in ["api/src/lib.rs", "src/commands/worker.rs"] {
        assert!(source(served).contains(".at(\"/metrics\""), "{served}");
    }
    let (_, ingress) = of_kind("Ingress").remove(0);
    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(text(&backend["port"], "name"), ports[text(backend, "name")].0);
    let mut open = BTreeMap::<String, BTreeSet<u64>>::new();
    for (folder, policy) in of_kind("NetworkPolicy") {
        for way in ["ingress", "egress"].into_iter().flat_map(|way| list(&policy["spec"], way)) {
            let numbers = list(way, "ports").into_iter().map(|port| port["port"].as_u64().unwrap());
            assert!(!list(way, "ports").is_empty(), "{folder}: {} leaves every port open", name(&policy));
            open.entry(format!("{folder} {}", name(&policy))).or_default().extend(numbers);
        }
    }
    let expected = [
        ("base dns", vec![53]),
        ("base doctor", vec![ports["threatwatch-worker"].1]),
        ("base to-api", vec![ports["threatwatch-api"].1]),
        ("base to-worker", vec![ports["threatwatch-worker"].1]),
        ("components/s3-aws to-s3", vec![443]),
        ("components/s3-minio to-s3", vec![9000]),
        ("components/temporal-cloud to-temporal", vec![7233]),
        ("components/temporal-in-cluster to-temporal", vec![7233]),
        ("components/temporal-mtls to-temporal", vec![7233]),
        // The load balancer, and the pods where the cluster takes the short way.
        ("components/tls doctor-tls", vec![443, ports["threatwatch-api"].1]),
        ("components/traces to-collector", vec![4318]),
    ];
    let expected = expected.map(|(policy, ports)| (policy.to_owned(), ports.into_iter().collect::<BTreeSet<u64>>()));
    assert_eq!(open, BTreeMap::from(expected));
    let collector = &settings(&["components/traces".to_owned()])["OTEL_EXPORTER_OTLP_ENDPOINT"];
    assert!(collector.ends_with(".observability.svc.cluster.local:4318"), "{collector}");
    let endpoint = |component: &str| settings(&[component.to_owned()])["S3_ENDPOINT"].clone();
    assert!(
        endpoint("components/s3-minio").ends_with(":9000") && endpoint("components/s3-aws").starts_with("https://")
    );
    // `doctor` in a pod of the API.
    let (_, _, api) = workloads().into_iter().find(|(name, ..)| name == "threatwatch-api").unwrap();
    let environment = environment(container(&api));
    assert_eq!(
        environment["THREATWATCH_WORKER_URL"],
        format!("http://threatwatch-worker:{}", ports["threatwatch-worker"].1)
    );
    assert_eq!(environment["THREATWATCH_URL"], format!("http://127.0.0.1:{}", ports["threatwatch-api"].1));
}

#[test]
fn the_api_answers_under_the_names_of_its_service_and_of_its_users() {
    for (overlay, components) in overlays() {
        let settings = settings(&components);
        let hosts: Vec<&str> = settings["THREATWATCH_HOSTS"].split(',').collect();
        let namespace = kustomizations()[&overlay]["namespace"].as_str().unwrap().to_owned();
        for name in
            ["", &format!(".{namespace}"), &format!(".{namespace}.svc"), &format!(".{namespace}.svc.cluster.local")]
        {
            assert!(hosts.contains(&&*format!("threatwatch-api{name}")), "{overlay}: threatwatch-api{name}");
        }
        let url = settings["THREATWATCH_URL"].split_once("://").unwrap().1;
        assert!(url == hosts[0] || url.starts_with("127.0.0.1:"), "{overlay}: links lead to {url}");
        // What copies settings stands behind them.
        let at = |part: &str| components.iter().position(|component| component.contains(part));
        for copies in ["/ingress", "/autoscaling-worker"] {
            assert!(at(copies).is_none_or(|copies| at("/settings").unwrap() < copies), "{overlay}: {copies}");
        }
    }
    let all = kustomizations();
    let copied = |component: &str| {
        let copied = list(&all[component], "replacements").into_iter();
        copied.map(|from| text(&from["source"], "fieldPath").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(copied("components/ingress"), ["data.THREATWATCH_HOSTS"]);
    assert_eq!(copied("components/autoscaling-worker"), ["data.TEMPORAL_ADDRESS", "data.TEMPORAL_NAMESPACE"]);
}

#[test]
fn a_pod_has_time_to_end() {
    /// Milliseconds of a constant of the program.
    fn constant(file: &str, name: &str) -> u64 {
        let text = source(file);
        let line = text.lines().find(|line| line.contains(&format!("const {name}: Duration"))).unwrap().to_owned();
        let (unit, number) = line.split_once("Duration::from_").unwrap().1.split_once('(').unwrap();
        let number: u64 = number.split(')').next().unwrap().parse().unwrap();
        if unit == "millis" { number } else { 1000 * number }
    }
    for (workload, object, template) in workloads().into_iter().filter(|(_, object, _)| object["kind"] == "Deployment")
    {
        let grace = 1000 * template["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        let needed = if workload == "threatwatch-api" {
            let linger: u64 = environment(container(&template))["THREATWATCH_LINGER_SECONDS"].parse().unwrap();
            assert!(linger >= 5, "balancers need time to notice");
            assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
            let leave = constant("api/src/serving.rs", "LEAVE").max(constant("api/src/drift.rs", "LEAVE"));
            1000 * linger + constant("api/src/server.rs", "DRAIN") + leave
        } else {
            // An old version beside a new one could meet a run that it does not understand.
            assert_eq!(object["spec"]["strategy"]["type"], "Recreate");
            constant("activities/src/worker.rs", "GRACE")
        };
        assert!(grace >= needed + 5000, "{workload}: {grace} ms, and it may need {needed} ms");
    }
}

#[test]
fn pods_are_restricted_and_the_namespace_insists_on_it() {
    let (_, namespace) = of_kind("Namespace").remove(0);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let image = source("Dockerfile");
    let (user, group) = image.lines().find_map(|line| line.strip_prefix("USER ")?.split_once(':')).unwrap();
    assert_eq!(user, group);
    let user: u64 = user.parse().unwrap();
    let accounts = of_kind("ServiceAccount");
    assert_eq!((accounts.len(), &accounts[0].1["automountServiceAccountToken"]), (1, &Value::Bool(false)));
    let all = workloads();
    let names: Vec<&str> = all.iter().map(|(name, ..)| &**name).collect();
    let expected =
        ["threatwatch-api", "threatwatch-worker", "threatwatch-setup", "threatwatch-restore", "threatwatch-backup"];
    assert_eq!(names, expected);
    for (workload, _, template) in &all {
        let (pod, container) = (&template["spec"], container(template));
        assert_eq!(pod["serviceAccountName"].as_str(), Some(name(&accounts[0].1)), "{workload}");
        for (key, value) in [("automountServiceAccountToken", false), ("enableServiceLinks", false)] {
            assert_eq!(pod[key], value, "{workload}: {key}");
        }
        for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert!(pod[key].is_null(), "{workload}: {key}");
        }
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{workload}");
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{workload}");
        for key in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(security[key], user, "{workload}: {key}");
        }
        let security = container["securityContext"].as_mapping().unwrap();
        assert_eq!(security.len(), 3, "{workload}: {security:?}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{workload}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{workload}");
        assert_eq!(security["capabilities"], serde_norway::from_str::<Value>("drop: [ALL]").unwrap(), "{workload}");
        for (kind, of) in [("requests", "memory"), ("requests", "cpu"), ("limits", "memory"), ("limits", "cpu")] {
            assert!(container["resources"][kind][of].is_string(), "{workload}: {kind} of {of}");
        }
        for volume in list(pod, "volumes") {
            let is_limited = volume["emptyDir"]["sizeLimit"].is_string();
            assert!(is_limited || volume["persistentVolumeClaim"].is_mapping(), "{workload}: {volume:?}");
        }
        let mounts: BTreeSet<&str> =
            list(container, "volumeMounts").into_iter().map(|mount| text(mount, "name")).collect();
        let volumes: BTreeSet<&str> = list(pod, "volumes").into_iter().map(|volume| text(volume, "name")).collect();
        assert_eq!(mounts, volumes, "{workload}");
        if let Some(cache) = environment(container).get("THREATWATCH_CACHE_DIR") {
            assert!(list(container, "volumeMounts").into_iter().any(|mount| mount["mountPath"] == **cache));
            assert!(source("Dockerfile").contains(&**cache));
        }
    }
    // No patch makes it less.
    for (folder, patch) in patches() {
        let text = serde_norway::to_string(&patch).unwrap();
        for word in ["securityContext", "host", "serviceAccount"] {
            assert!(!text.contains(word), "{folder}: {word}");
        }
    }
}

#[test]
fn every_selector_matches_what_it_is_for() {
    let labels: BTreeMap<String, Value> = workloads()
        .into_iter()
        .map(|(name, object, template)| {
            let labels = template["metadata"]["labels"].clone();
            assert_eq!(object["metadata"]["labels"], labels);
            assert_eq!(labels["app.kubernetes.io/name"], "threatwatch", "{name}: the network policies select this");
            (name, labels)
        })
        .collect();
    let component = |labels: &Value| labels["app.kubernetes.io/component"].as_str().map(|c| format!("threatwatch-{c}"));
    let matches = |selector: &Value, labels: &Value| {
        selector.as_mapping().unwrap().iter().all(|(key, value)| labels[key] == *value)
    };
    for (workload, object, template) in workloads() {
        if object["kind"] == "Deployment" {
            assert_eq!(object["spec"]["selector"]["matchLabels"], labels[&workload]);
        }
        for spread in list(&template["spec"], "topologySpreadConstraints") {
            assert_eq!(spread["labelSelector"]["matchLabels"], labels[&workload]);
        }
    }
    for kind in ["Service", "PodDisruptionBudget", "ServiceMonitor"] {
        let all = of_kind(kind);
        assert!(!all.is_empty(), "{kind}");
        for (_, object) in all {
            let selector = &object["spec"]["selector"];
            let selector = if kind == "Service" { selector } else { &selector["matchLabels"] };
            assert_eq!(*selector, labels[name(&object)], "{kind} {}", name(&object));
            // A ServiceMonitor looks at the labels of Services.
            assert_eq!(object["metadata"]["labels"], labels[name(&object)], "{kind} {}", name(&object));
        }
    }
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        let (_, scaler) = of_kind(kind).remove(0);
        assert_eq!(text(&scaler["spec"]["scaleTargetRef"], "name"), name(&scaler));
        assert!(labels.contains_key(name(&scaler)), "{kind}");
    }
    let mut denied = false;
    for (folder, policy) in of_kind("NetworkPolicy") {
        let spec = &policy["spec"];
        if spec["podSelector"].as_mapping().unwrap().is_empty() {
            denied = list(spec, "policyTypes").len() == 2 && spec["ingress"].is_null() && spec["egress"].is_null();
            continue;
        }
        let selector = &spec["podSelector"]["matchLabels"];
        assert!(labels.values().any(|labels| matches(selector, labels)), "{folder}: {}", name(&policy));
        if let Some(component) = component(selector) {
            assert!(labels.contains_key(&component), "{folder}: {}", name(&policy));
        }
        for peer in ["ingress", "egress"]
            .into_iter()
            .flat_map(|way| list(spec, way))
            .flat_map(|way| ["from", "to"].into_iter().flat_map(move |key| list(way, key)))
        {
            let pods = &peer["podSelector"]["matchLabels"];
            if peer["namespaceSelector"].is_null() && !pods.is_null() {
                assert!(labels.values().any(|labels| matches(pods, labels)), "{folder}: {}", name(&policy));
            }
        }
    }
    assert!(denied, "nothing denies by default");
    // A patch for a missing name would change nothing, without an error.
    let names: BTreeSet<String> = objects().iter().map(|(_, o)| format!("{} {}", text(o, "kind"), name(o))).collect();
    for (folder, kustomization) in kustomizations() {
        for patch in list(&kustomization, "patches") {
            let (kinds, target) = (text(&patch["target"], "kind"), text(&patch["target"], "name"));
            let is_there = |target: &str| kinds.split('|').any(|kind| names.contains(&format!("{kind} {target}")));
            if target == "threatwatch-.*" {
                assert_eq!(kinds, "Deployment|Job", "{folder}");
                assert!(["threatwatch-api", "threatwatch-worker", "threatwatch-setup"].into_iter().all(is_there));
            } else {
                assert!(is_there(target), "{folder} patches {kinds} {target}");
            }
        }
    }
}

#[test]
fn what_scales_asks_for_what_is_measured() {
    let (_, scaler) = of_kind("HorizontalPodAutoscaler").remove(0);
    let metric = text(&scaler["spec"]["metrics"][0]["pods"]["metric"], "name").to_owned();
    assert!(source("api/src/metrics.rs").contains(&format!("r.register(\"{metric}\"")), "{metric}");
    let adapter = documents(&source("deploy/kubernetes/prometheus-adapter.yaml")).remove(0);
    let rules = documents(text(&adapter["data"], "config.yaml")).remove(0);
    let rule = &rules["rules"][0];
    assert_eq!(rule["name"]["as"], *metric);
    assert!(text(rule, "seriesQuery").starts_with(&format!("{metric}{{job=\"api\",")));
    let (_, scaler) = of_kind("ScaledObject").remove(0);
    let queues: Vec<&str> =
        list(&scaler["spec"], "triggers").into_iter().map(|trigger| text(&trigger["metadata"], "taskQueue")).collect();
    assert_eq!(queues, [workflows::TASK_QUEUE, workflows::FINE_TUNING_QUEUE]);
    assert!(scaler["spec"]["minReplicaCount"].as_u64().unwrap() >= 1);
    // Each trigger, for each way of authentication.
    for component in ["components/autoscaling-worker-api-key", "components/autoscaling-worker-mtls"] {
        let operations = patches().into_iter().filter(|(folder, _)| folder == component);
        let operations: Vec<Value> = operations.flat_map(|(_, patch)| patch.as_sequence().unwrap().clone()).collect();
        let all = of_kind("TriggerAuthentication");
        let (_, authentication) = all.iter().find(|(folder, _)| folder == component).unwrap();
        for (trigger, operation) in operations.iter().enumerate() {
            assert_eq!(text(operation, "path"), format!("/spec/triggers/{trigger}/authenticationRef"));
            assert_eq!(text(&operation["value"], "name"), name(authentication));
        }
        assert_eq!(operations.len(), queues.len());
    }
}

#[test]
fn secrets_are_those_that_the_guide_has_made_and_none_is_in_the_tree() {
    let mut asked = BTreeSet::new();
    let mut ask = |secret: &str, key: &str| {
        asked.insert((secret.to_owned(), key.to_owned()));
    };
    let of_env = |variable: &Value| {
        let from = &variable["valueFrom"]["secretKeyRef"];
        from.is_mapping().then(|| (text(from, "name").to_owned(), text(from, "key").to_owned()))
    };
    for (_, _, template) in workloads() {
        for (secret, key) in list(container(&template), "env").into_iter().filter_map(of_env) {
            ask(&secret, &key);
        }
    }
    for (secret, key) in added("env").iter().filter_map(|(_, variable)| of_env(variable)) {
        ask(&secret, &key);
    }
    // A file of a Secret is asked for by the variable that names it.
    let mounts = added("volumeMounts");
    let values = kustomizations().into_values().flat_map(|of| literals(&of)).map(|(_, value)| value);
    let values: BTreeSet<String> =
        values.chain(added("env").into_iter().filter_map(|(_, v)| Some(v["value"].as_str()?.to_owned()))).collect();
    let files: Vec<&String> = values.iter().filter(|value| value.starts_with("/run/")).collect();
    for (folder, volume) in added("volumes") {
        let secret = text(&volume["secret"], "secretName");
        // Kubernetes adds the right of the pod's group to read it: 0440, which `payload_keys` takes.
        assert_eq!(volume["secret"]["defaultMode"], 0o400, "{folder}");
        let mount = mounts.iter().find(|(of, mount)| *of == folder && mount["name"] == volume["name"]);
        let path = format!("{}/", text(&mount.unwrap().1, "mountPath"));
        let keys: Vec<&str> = files.iter().filter_map(|file| file.strip_prefix(&path)).collect();
        assert!(!keys.is_empty(), "{folder}: no variable names a file in {path}");
        for key in keys {
            ask(secret, key);
        }
    }
    for file in files {
        assert!(
            mounts.iter().any(|(_, m)| file.starts_with(&format!("{}/", text(m, "mountPath")))),
            "{file} is nowhere"
        );
    }
    for (_, object) in of_kind("TriggerAuthentication") {
        for from in list(&object["spec"], "secretTargetRef") {
            ask(text(from, "name"), text(from, "key"));
        }
    }
    for (_, ingress) in of_kind("Ingress") {
        let secret = text(&ingress["spec"]["tls"][0], "secretName");
        for key in ["tls.crt", "tls.key"] {
            ask(secret, key);
        }
    }
    let made =
        SECRETS.iter().flat_map(|(secret, keys)| keys.iter().map(move |key| ((*secret).to_owned(), (*key).to_owned())));
    assert_eq!(asked, made.collect::<BTreeSet<_>>());
    let guide = source(GUIDE);
    for (secret, keys) in SECRETS {
        let kind = if keys == ["tls.crt", "tls.key"] { "tls" } else { "generic" };
        let command = format!("create secret {kind} {secret} ");
        let (_, rest) = guide.split_once(&command).unwrap_or_else(|| panic!("{GUIDE} has no `{command}`"));
        let command = rest.split("\n\n").next().unwrap().split("kubectl").next().unwrap();
        for key in keys.iter().filter(|_| kind == "generic") {
            assert!(command.contains(&format!("={key}=")), "{GUIDE}: {secret} is made without {key}");
        }
    }
    for file in yaml_files(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.lines().any(|line| line.trim() == "kind: Secret"), "{}", file.display());
        let generates = text.lines().any(|line| line.trim_start().starts_with("secretGenerator"));
        assert!(!generates, "{}", file.display());
    }
}

#[test]
fn each_day_of_the_week_has_a_backup_and_a_restore_runs_only_when_it_is_made() {
    let (_, claim) = of_kind("PersistentVolumeClaim").remove(0);
    let all = workloads();
    let one = |wanted: &str| all.iter().find(|(name, ..)| name == wanted).unwrap();
    let (_, backup, backup_pod) = one("threatwatch-backup");
    let (_, restore, restore_pod) = one("threatwatch-restore");
    for (object, template) in [(backup, backup_pod), (restore, restore_pod)] {
        let spec = &object["spec"];
        assert_eq!(spec["concurrencyPolicy"], "Forbid");
        assert_eq!(spec["timeZone"], "Etc/UTC");
        assert!(spec["jobTemplate"]["spec"]["activeDeadlineSeconds"].is_u64());
        assert_eq!(template["spec"]["restartPolicy"], "Never");
        let volumes = list(&template["spec"], "volumes");
        let volume = volumes.into_iter().find(|volume| volume["name"] == "backups").unwrap();
        assert_eq!(text(&volume["persistentVolumeClaim"], "claimName"), name(&claim));
        let mounts = list(container(template), "volumeMounts");
        let mount = mounts.into_iter().find(|mount| mount["name"] == "backups").unwrap();
        assert_eq!(mount["mountPath"], "/backups");
        assert_eq!(mount["readOnly"] == true, object["metadata"]["name"] == "threatwatch-restore");
    }
    assert!(backup["spec"]["suspend"].is_null());
    assert_eq!(restore["spec"]["suspend"], true);
    let arguments = |template: &Value| {
        let arguments = list(container(template), "args").into_iter();
        arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(arguments(backup_pod)[..2], ["backup", "--force"]);
    assert_eq!(arguments(restore_pod), ["restore", "/backups/$(FILE)"]);
    let given = environment(container(restore_pod));
    assert_eq!(given.keys().map(String::as_str).collect::<Vec<_>>(), ["FILE", "S3_BUCKET"]);
    let kustomizations = kustomizations();
    for (number, day) in DAYS.into_iter().enumerate() {
        assert!(list(&kustomizations[BACKUPS], "resources").into_iter().any(|resource| resource == day), "{day}");
        let of_day = &kustomizations[&format!("{BACKUPS}/{day}")];
        assert_eq!(of_day["nameSuffix"], *format!("-{day}"));
        let patches = list(of_day, "patches");
        let operations = documents(text(patches[0], "patch")).remove(0);
        let operations = operations.as_sequence().unwrap();
        let set = |path: &str| {
            let operation = operations.iter().find(|operation| operation["path"] == path);
            let operation = operation.unwrap_or_else(|| panic!("{day} does not set {path}"));
            assert_eq!(operation["op"], "replace", "{day}: {path}");
            text(operation, "value").to_owned()
        };
        assert_eq!((patches.len(), operations.len()), (1, 2), "{day}");
        assert!(set("/spec/schedule").ends_with(&format!(" * * {number}")), "{day}");
        let last = "/spec/jobTemplate/spec/template/spec/containers/0/args/2";
        assert_eq!(set(last), format!("/backups/{day}.backup"));
    }
    // The page that says how to restore uses these names.
    let page = source("docs/backup.md");
    for name in ["FILE=", "S3_BUCKET=", "cronjob/threatwatch-restore", "cronjob/threatwatch-backup-monday", ".backup"] {
        assert!(page.contains(name), "docs/backup.md does not name {name}");
    }
}

#[test]
fn the_image_is_that_of_this_version() {
    for (workload, _, template) in workloads() {
        assert_eq!(text(container(&template), "image"), "threatwatch", "{workload}");
    }
    let with_image = kustomizations().into_iter().filter(|(folder, of)| {
        let is_of_backups = folder.starts_with(BACKUPS);
        assert!(!is_of_backups || of["images"].is_null(), "{folder}");
        of["kind"] == "Kustomization" && !is_of_backups
    });
    for (folder, kustomization) in with_image {
        let image = &kustomization["images"][0];
        let is_of_version = image["name"] == "threatwatch" && image["newTag"] == env!("CARGO_PKG_VERSION");
        assert!(is_of_version, "{folder}: {image:?}");
    }
}

#[test]
fn the_guide_names_what_is_there_and_nothing_else() {
    let guide = source(GUIDE);
    let mut named = 0;
    for path in
        guide.split('`').filter(|part| part.starts_with("deploy/kubernetes/") && !part.contains(char::is_whitespace))
    {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{GUIDE} names {path}");
        named += 1;
    }
    assert!(named > 3, "{named}");
    let components = kustomizations().into_iter().filter(|(_, of)| of["kind"] == "Component");
    for (folder, _) in components.filter(|(folder, _)| folder.starts_with("components/")) {
        let component = folder.strip_prefix("components/").unwrap();
        assert!(guide.contains(&format!("`{component}`")), "{GUIDE} does not say what {component} is");
    }
    for (secret, _) in SECRETS {
        assert!(guide.contains(&format!("`{secret}`")), "{GUIDE} does not say what {secret} is");
    }
    for workload in workloads() {
        assert!(guide.contains(&*workload.0), "{GUIDE} does not name {}", workload.0);
    }
}
