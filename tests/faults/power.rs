//! Power loss of the store: data not yet on its disk is lost, and the remaining data is never silently wrong.
//!
//! The store's data are on a file system in a file. Pages that the system has not written yet are not in that file, so
//! a copy of it is the disk after a power loss. The store is halted during the copy and killed afterwards.

use std::{
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use model::Digest;
use registry::{Created, Registry, S3Store, Store};
use serde_json::json;

use crate::{
    block_on,
    common::{Up, both, free_ports, signal},
    disk::{Mounted, image},
};

/// The number of objects written before the disk is synchronised, and after.
const BEFORE: usize = 60;
const AFTER: usize = 120;

/// An object whose name has the digest of its body.
fn body(number: usize) -> (String, Bytes) {
    let bytes: Vec<u8> =
        (0..40_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) ^ number as u32).to_le_bytes()).collect();
    (format!("faults/power/{number:04}-{}", Digest::of(&bytes)), bytes.into())
}

/// The state of acknowledged objects after the power loss.
#[derive(Debug, Default)]
struct Found {
    whole: usize,
    lost: usize,
    unreadable: usize,
    wrong: Vec<String>,
}

async fn look(store: &S3Store, numbers: impl Iterator<Item = usize>) -> Found {
    let read = |number| async move {
        let (name, bytes) = body(number);
        (store.get(&name).await, name, bytes)
    };
    let mut found = Found::default();
    let mut reads = stream::iter(numbers).map(read).buffer_unordered(32);
    while let Some((read, name, bytes)) = reads.next().await {
        match read {
            Ok(Some(read)) if read == bytes => found.whole += 1,
            Ok(Some(_)) => found.wrong.push(name),
            Ok(None) => found.lost += 1,
            Err(_) => found.unreadable += 1,
        }
    }
    found
}

#[test]
fn a_power_loss_under_the_store_leaves_every_synchronised_object_whole_and_none_silently_wrong() {
    let files = tempfile::tempdir().unwrap();
    let disk = image(&files, 512);
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("state/s3");
    let Some(mounted) = Mounted::image(&place, &disk) else { return };
    let mut up = Up::start_in(dir, free_ports(), &[]);
    let production = up.get_json("/models/production");
    let store = S3Store::new(&up.settings().s3().unwrap());
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let is_over = Arc::new(AtomicBool::new(false));
    let write = |number: usize| {
        let (store, acknowledged, is_over) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&is_over));
        async move {
            let (name, bytes) = body(number);
            if !is_over.load(Ordering::SeqCst) && matches!(store.create(&name, bytes).await, Ok(Created::New)) {
                acknowledged.lock().unwrap().push(number);
            }
        }
    };
    block_on(stream::iter(0..BEFORE).map(&write).buffered(8).collect::<Vec<()>>());
    let written = std::mem::take(&mut *acknowledged.lock().unwrap()).len();
    assert_eq!(written, BEFORE);
    let synchronised = Command::new("sync").arg("--file-system").arg(&place).output().unwrap();
    assert!(synchronised.status.success(), "{}", both(&synchronised));

    // The power fails in the middle of writes.
    let after = std::thread::scope(|scope| {
        scope.spawn(|| block_on(stream::iter(BEFORE..BEFORE + AFTER).map(&write).buffered(8).collect::<Vec<()>>()));
        let started = Instant::now();
        while acknowledged.lock().unwrap().len() < AFTER / 2 {
            assert!(started.elapsed() < Duration::from_mins(1), "writes take too long");
            std::thread::sleep(Duration::from_millis(1));
        }
        let servers = [up.pids("weed mini"), up.pids("minio server")].concat();
        for &pid in &servers {
            signal("-STOP", pid);
        }
        let after = acknowledged.lock().unwrap().clone();
        let copied = Command::new("cp").arg("--sparse=always").arg(&disk).arg(files.path().join("crash")).status();
        assert!(copied.unwrap().success());
        is_over.store(true, Ordering::SeqCst);
        up.stop("-KILL");
        after
    });
    drop(mounted);
    fs::remove_file(&disk).unwrap();
    let (dir, ports) = up.left_behind();
    let mounted = Mounted::image(&place, &files.path().join("crash")).unwrap();

    let started = Instant::now();
    let up = Up::start_in(dir, ports, &[]);
    let again = started.elapsed();
    let (before, after) = block_on(async { (look(&store, 0..BEFORE).await, look(&store, after.into_iter()).await) });
    eprintln!(
        "power loss: of {BEFORE} objects before the last synchronisation: {before:?}; after it: {after:?}; up in {again:.1?}"
    );
    assert_eq!((before.whole, &before.wrong, &after.wrong), (BEFORE, &Vec::new(), &Vec::new()));
    assert_eq!(up.get_json("/models/production")["version"], production["version"]);
    let found = block_on(Registry::new(Arc::new(store)).verify()).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(up.post("/predict", &json!({ "text": "hello" })).0, 200);
    drop(mounted);
}
