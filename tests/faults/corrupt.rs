//! F8 and F17: bytes damaged on the store's disk, and malicious artifacts.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Digest, Version};
use registry::{Key, ModelManifest, Registry, S3Store, Store};
use serde_json::{Value, json};

use crate::{
    Stage, block_on,
    common::{Up, both, wait_for},
};

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A flipped bit on the store's disk. It is flipped back on drop.
struct Rot(Vec<(PathBuf, usize)>);

impl Rot {
    /// Flips a bit in the middle of these bytes, in every file of the bucket that has them.
    fn in_the_middle_of(bytes: &[u8], up: &Up) -> Self {
        let middle = bytes.len() / 2;
        let needle = &bytes[middle..middle + 64];
        let of_bucket = files(&up.state_dir().join("s3"));
        let of_bucket = of_bucket.into_iter().filter(|path| path.to_string_lossy().contains("threatwatch"));
        let places = of_bucket.flat_map(|path| {
            let bytes = fs::read(&path).unwrap_or_default();
            let starts = (0..bytes.len()).filter(|&at| bytes[at] == needle[0] && bytes[at..].starts_with(needle));
            starts.map(|at| (path.clone(), at)).collect::<Vec<_>>()
        });
        let rot = Self(places.collect());
        assert!(!rot.0.is_empty(), "the store's files do not have the artifact as it is");
        rot.flip();
        rot
    }

    fn flip(&self) {
        for (path, at) in &self.0 {
            let mut byte = [0];
            let file = fs::File::options().read(true).write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, *at as u64).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 4], *at as u64).unwrap();
        }
    }
}

impl Drop for Rot {
    fn drop(&mut self) {
        self.flip();
    }
}

/// The result of a promotion through the API. A long promotion is followed to its end.
fn promote(up: &Up, body: &Value) -> (u16, String) {
    let (status, answer) = up.post_json("/promote", body);
    if status != 202 {
        return (status, answer.to_string());
    }
    (status, up.result("promote-production"))
}

#[test]
fn f8_a_bit_that_rots_on_the_stores_disk_is_told_and_not_promoted() {
    let stage = Stage::enter();
    let up = &stage.up;
    let registry = Registry::new(Arc::new(S3Store::new(&up.settings().s3().unwrap())));
    let (live, generation) = stage.production();
    let other = Version::parse(&stage.other_version()).unwrap();
    let (manifest, _) = block_on(registry.manifest(&other)).unwrap();
    let artifact = block_on(registry.artifact(&manifest.artifact)).unwrap();
    let rot = Rot::in_the_middle_of(&artifact, up);

    let started = Instant::now();
    let read = block_on(registry.load(&other));
    let told = started.elapsed();
    assert!(matches!(read, Err(registry::Error::Corrupt { .. })), "{read:?}");
    let verified = up.run(&["models", "verify"]);
    let words = both(&verified);
    assert!(!verified.status.success() && words.contains("is corrupt"), "{words}");
    let body = json!({ "version": other, "force": true, "reason": "it rots" });
    let started = Instant::now();
    let (status, answer) = promote(up, &body);
    let refused = started.elapsed();
    assert!(
        status == 422 && answer.contains("/problems/corrupt") || answer.contains("is corrupt"),
        "{status} {answer}"
    );
    assert_eq!(stage.production(), (live, generation), "nothing changed");
    assert_eq!(up.post("/predict", &json!({ "text": "hello" })).0, 200);

    drop(rot);
    block_on(registry.load(&other)).unwrap();
    eprintln!(
        "F8: told to be corrupt after {told:.1?}; /promote answers {status} after {refused:.1?}; then whole again"
    );
    // The tries of the store's client take 15 s, then four more make sure that the object is corrupt.
    assert!(told < Duration::from_secs(40) && refused < Duration::from_mins(1), "{told:?} {refused:?}");
}

/// Artifacts with a correct digest at their end, each with one error.
fn poisoned(artifact: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let length = u32::from_le_bytes(artifact[8..12].try_into().unwrap()) as usize;
    let (spec, features) = (12..12 + length, 12 + length..20 + length);
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = artifact[..artifact.len() - 32].to_vec();
        change(&mut bytes);
        let digest = Digest::of(&bytes).to_string();
        bytes.extend(hex::decode(digest).unwrap());
        bytes
    };
    let with_spec = |change: &dyn Fn(&str) -> String| {
        let text = change(std::str::from_utf8(&artifact[spec.clone()]).unwrap());
        sealed(&|bytes| {
            drop(bytes.splice(8..12 + length, (text.len() as u32).to_le_bytes().into_iter().chain(text.bytes())));
        })
    };
    let last_number = |text: &str, by: &str| {
        let end = text.rfind(|c: char| c.is_ascii_digit()).unwrap() + 1;
        let start = text[..end].rfind(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap() + 1;
        format!("{}{by}{}", &text[..start], &text[end..])
    };
    vec![
        ("a billion features", sealed(&|b| b[features.clone()].copy_from_slice(&1_000_000_000_u64.to_le_bytes()))),
        ("2^64 features", sealed(&|b| b[features.clone()].fill(0xff))),
        ("a specification of 4 GB", sealed(&|b| b[8..12].fill(0xff))),
        ("an unknown format", sealed(&|b| b[7] = 9)),
        ("a weight that is no number", with_spec(&|text| last_number(text, "NaN"))),
        ("a weight that is infinite", with_spec(&|text| last_number(text, "1e999"))),
        ("keys that are not in order", sealed(&|b| b[features.end..features.end + 8].fill(0xff))),
        ("an encoder that is not there", sealed(&|b| b[7] = 2)),
        ("cut in the middle", sealed(&|b| b.truncate(b.len() / 2))),
        ("zeros", vec![0; 8 << 20]),
    ]
}

#[test]
fn f17_poisoned_artifacts_are_refused_at_promotion_and_cost_no_memory() {
    let stage = Stage::enter();
    let up = &stage.up;
    let store = S3Store::new(&up.settings().s3().unwrap());
    let registry = Registry::new(Arc::new(store.clone()));
    let before = stage.production();
    let (sound, _) = block_on(registry.manifest(&Version::parse(&stage.other_version()).unwrap())).unwrap();
    let artifact = block_on(registry.artifact(&sound.artifact)).unwrap();
    let worker = up.pids("threatwatch worker")[0];
    let memory = |name: &str| {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    fs::write(format!("/proc/{worker}/clear_refs"), "5").unwrap();
    let resident = memory("VmRSS");
    let poisoned = poisoned(&artifact);
    let kinds = poisoned.len();
    for (what, bytes) in poisoned {
        let version = Version::derive(1_800_000_000, what, "a run", "nobody");
        let manifest = ModelManifest {
            version: version.clone(),
            artifact_bytes: bytes.len() as u64,
            artifact: block_on(registry.put_artifact(bytes)).unwrap(),
            ..sound.clone()
        };
        block_on(registry.register(&manifest)).unwrap();
        let body = json!({ "version": version, "force": true, "reason": what });
        let (status, problem) = up.post_json("/promote", &body);
        for path in [Key::Model(&version).path(), Key::Blob(&manifest.artifact).path()] {
            block_on(store.delete(&path)).unwrap();
        }
        assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/corrupt")), "{what}: {problem}");
    }
    let grown = memory("VmHWM").saturating_sub(resident);
    eprintln!("F17: {kinds} of {kinds} poisoned artifacts answered with 422; {grown} KB more memory in the worker");
    assert!(grown < 128 << 10, "{grown} KB");
    assert_eq!(stage.production(), before);
    assert!(!up.pids("threatwatch worker").is_empty());
    assert!(wait_for(Duration::from_secs(5), || up.get("/health/ready").0 == 200));
}
