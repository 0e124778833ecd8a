//! Readers of the files in `deploy/kubernetes`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_norway::Value;

pub(crate) const BACKUPS: &str = "components/backup";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

pub(crate) fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of a text in YAML.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_norway::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

pub(crate) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every folder with a kustomization, by its path below the root.
pub(crate) fn kustomizations() -> BTreeMap<String, Value> {
    let files = yaml_files(&root()).into_iter().filter(|path| path.ends_with("kustomization.yaml"));
    let named = files.map(|path| {
        let folder = path.parent().unwrap().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (folder, documents(&fs::read_to_string(path).unwrap()).remove(0))
    });
    named.collect()
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    value[key].as_sequence().into_iter().flatten().collect()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value:?}"))
}

/// Every object of every kustomization's `resources`, with the folder that has it.
pub(crate) fn objects() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (folder, kustomization) in kustomizations() {
        for resource in list(&kustomization, "resources") {
            let path = root().join(&folder).join(resource.as_str().unwrap());
            if path.is_file() {
                let all = documents(&fs::read_to_string(path).unwrap());
                found.extend(all.into_iter().map(|object| (folder.clone(), object)));
            }
        }
    }
    found
}

pub(crate) fn of_kind(kind: &str) -> Vec<(String, Value)> {
    objects().into_iter().filter(|(_, object)| object["kind"] == kind).collect()
}

pub(crate) fn name(object: &Value) -> &str {
    text(&object["metadata"], "name")
}

/// Everything that makes pods: name, object, template of its pods.
pub(crate) fn workloads() -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    for (folder, object) in objects() {
        let is_cron_job = object["kind"] == "CronJob";
        let spec = if is_cron_job { &object["spec"]["jobTemplate"]["spec"] } else { &object["spec"] };
        if spec["template"].is_null() {
            continue;
        }
        // Components patch Deployments and Jobs. What a component adds itself must not need those patches.
        assert!(if is_cron_job { folder.starts_with(BACKUPS) } else { folder == "base" }, "{folder}");
        let template = spec["template"].clone();
        found.push((name(&object).to_owned(), object, template));
    }
    found
}

/// Every patch of every component and overlay, as it is written: lists of operations, or parts of objects.
pub(crate) fn patches() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (folder, kustomization) in kustomizations() {
        for patch in list(&kustomization, "patches") {
            let text = match patch["path"].as_str() {
                Some(path) => fs::read_to_string(root().join(&folder).join(path)).unwrap(),
                None => text(patch, "patch").to_owned(),
            };
            found.extend(documents(&text).into_iter().map(|document| (folder.clone(), document)));
        }
    }
    found
}

/// What patches add to lists of pods: operations that end in `LIST/-`, and the lists of parts of objects.
pub(crate) fn added(what: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (folder, patch) in patches() {
        for operation in patch.as_sequence().into_iter().flatten() {
            if text(operation, "path").ends_with(&format!("/{what}/-")) {
                found.push((folder.clone(), operation["value"].clone()));
            }
        }
        let pod = &patch["spec"]["template"]["spec"];
        for of in [pod, &pod["containers"][0]] {
            found.extend(list(of, what).into_iter().map(|value| (folder.clone(), value.clone())));
        }
    }
    found
}

/// The settings that a kustomization makes or merges in.
pub(crate) fn literals(kustomization: &Value) -> Vec<(String, String)> {
    let generators = list(kustomization, "configMapGenerator");
    let pairs = generators.into_iter().flat_map(|generator| {
        assert_eq!(generator["name"], "threatwatch-settings");
        list(generator, "literals")
    });
    pairs
        .map(|pair| pair.as_str().unwrap().split_once('=').unwrap())
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

/// What a list of components makes of the settings, over the base.
pub(crate) fn settings(components: &[String]) -> BTreeMap<String, String> {
    let all = kustomizations();
    let folders = ["base".to_owned()].into_iter().chain(components.iter().cloned());
    folders.flat_map(|folder| literals(&all[&folder])).collect()
}

/// The overlays, with the components of each in order, and itself at the end.
pub(crate) fn overlays() -> Vec<(String, Vec<String>)> {
    let all = kustomizations();
    let overlays = all.iter().filter(|(folder, of)| folder.starts_with("overlays/") && of["kind"] == "Kustomization");
    let named = overlays.map(|(folder, of)| {
        let components = list(of, "components").into_iter().map(|component| {
            let component = component.as_str().unwrap();
            component.strip_prefix("../../").map_or_else(|| format!("{folder}/{component}"), str::to_owned)
        });
        (folder.clone(), components.chain([folder.clone()]).collect())
    });
    let named: Vec<_> = named.collect();
    assert_eq!(named.len(), 2);
    named
}

pub(crate) fn container(template: &Value) -> &Value {
    let containers = template["spec"]["containers"].as_sequence().unwrap();
    assert_eq!(containers.len(), 1);
    assert!(template["spec"]["initContainers"].is_null());
    &containers[0]
}

/// Variables of a container that have a value here.
pub(crate) fn environment(container: &Value) -> BTreeMap<String, String> {
    let all = list(container, "env").into_iter();
    all.filter_map(|variable| Some((text(variable, "name").to_owned(), variable["value"].as_str()?.to_owned())))
        .collect()
}
