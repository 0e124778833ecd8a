//! API keys: the time that a check takes, how soon a revocation works, and that other texts are refused.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use registry::{S3Settings, S3Store, Store as _};

use crate::{
    Stage,
    client::{COMMENT, Connection, ask, request},
    common::{BINARY, block_on, both, wait_for},
    process::{Plan, Serve, store_variables},
    wrk::{Load, wrk},
};

/// The status of the answer to a request with a key, sent as these bytes.
fn status_with(connection: &mut Connection, header: &[u8]) -> u16 {
    let mut bytes = request("POST", "/predict", "KEY", COMMENT);
    let at = bytes.windows(3).position(|window| window == b"KEY").unwrap();
    bytes.splice(at..at + 3, header.iter().copied());
    connection.exchange(&bytes).unwrap().status
}

fn bearer(key: &[u8]) -> Vec<u8> {
    [b"Authorization: Bearer ", key, b"\r\n"].concat()
}

fn status(serve: &Serve, key: &str) -> u16 {
    status_with(&mut Connection::open(serve.port).unwrap(), &bearer(key.as_bytes()))
}

/// Copies the bucket of `up` into another bucket. Keys are needed only there.
fn copy_of_the_bucket(stage: &Stage, name: &str) {
    let ours = stage.up.settings().s3().unwrap();
    let copy = S3Store::new(&S3Settings { bucket: name.to_owned(), ..ours.clone() });
    let ours = S3Store::new(&ours);
    block_on(async {
        copy.ensure_bucket().await.unwrap();
        for object in ours.list("").await.unwrap() {
            // An object that was deleted after the listing is not copied.
            if let Some(bytes) = ours.get(&object).await.unwrap() {
                copy.create(&object, bytes).await.unwrap();
            }
        }
    });
}

/// Runs a command on a bucket and returns its output.
fn run_on(stage: &Stage, bucket: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--state-dir").arg(stage.up.state_dir());
    command.envs(store_variables(&stage.up, stage.up.ports.s3_url(), bucket));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A service on a bucket with one key.
struct Guarded {
    bucket: String,
    serve: Serve,
    key: String,
}

impl Guarded {
    fn start(stage: &Stage, bucket: &str) -> Self {
        copy_of_the_bucket(stage, bucket);
        let key = run_on(stage, bucket, &["keys", "new", "reader", "--role", "predict"]);
        let plan = Plan::new(&stage.up).on_bucket(&stage.up, bucket).with(&["--max-requests-per-second", "0"]);
        let serve = plan.start_ready();
        let is_needed = || ask(serve.port, &request("POST", "/predict", "", COMMENT)).unwrap().status == 401;
        assert!(wait_for(Duration::from_secs(5), is_needed), "a key is not needed");
        assert_eq!(status(&serve, &key), 200);
        Self { bucket: bucket.to_owned(), serve, key }
    }
}

#[test]
fn a_key_takes_less_than_a_tenth_of_the_rate() {
    const ROUNDS: usize = 9;
    let Some(wrk) = wrk() else { return };
    let stage = Stage::enter();
    let guarded = Guarded::start(&stage, "rate-of-keys");
    let open = Plan::new(&stage.up).with(&["--max-requests-per-second", "0"]).start_ready();
    let without = || Load::start(&wrk, open.port, 1, None).end().rate();
    let with = || Load::start(&wrk, guarded.serve.port, 1, Some(&guarded.key)).end().rate();
    // The order alternates, so that other work on the machine affects both alike.
    let mut shares: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let (with, without) = if round % 2 == 0 {
                let without = without();
                (with(), without)
            } else {
                (with(), without())
            };
            with / without
        })
        .collect();
    shares.sort_unstable_by(f64::total_cmp);
    let share = shares[ROUNDS / 2];
    eprintln!("keys: {:.1}% of the rate with a key, from {:.3} to {:.3}", share * 100.0, shares[0], shares[ROUNDS - 1]);
    assert!(share >= 0.9, "{shares:?}");
}

#[test]
fn a_revoked_key_is_refused_within_five_seconds() {
    let stage = Stage::enter();
    let guarded = Guarded::start(&stage, "revoked-keys");
    run_on(&stage, &guarded.bucket, &["keys", "revoke", "reader"]);
    let revoked = Instant::now();
    let is_refused = || status(&guarded.serve, &guarded.key) == 401;
    assert!(wait_for(Duration::from_secs(5), is_refused), "the key goes on");
    eprintln!("keys: refused {:?} after it was revoked", revoked.elapsed());
}

/// A text with the length of a key that is not a key.
fn random_key(like: &str) -> String {
    format!("tw_{:0>1$.1$}", hex::encode(rand::random::<[u8; 32]>()), like.len() - 3)
}

/// The key with another last character.
fn near_miss(key: &str) -> String {
    let (most, last) = key.split_at(key.len() - 1);
    let others: Vec<char> = "0123456789abcdef".chars().filter(|other| !last.starts_with(*other)).collect();
    format!("{most}{}", others[rand::random_range(0..others.len())])
}

/// Welch's t of two samples, without the slowest tenth of both together, which was interrupted.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let mut all = [a, b].concat();
    all.sort_unstable_by(f64::total_cmp);
    let slowest = all[all.len() * 9 / 10];
    let [(mean_a, error_a), (mean_b, error_b)] = [a, b].map(|sample| {
        let kept: Vec<f64> = sample.iter().copied().filter(|took| *took < slowest).collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let variance = kept.iter().map(|took| (took - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}

/// Tries wrong keys and checks that none is accepted.
///
/// Returns Welch's t of the times of keys near the right one and of random keys.
fn try_wrong_keys(guarded: &Guarded) -> f64 {
    const ROUNDS: usize = 500;
    const PAIRS: usize = 4;
    let key = &guarded.key;
    let mut connection = Connection::open(guarded.serve.port).unwrap();
    let (mut near, mut random) = (Vec::new(), Vec::new());
    let mut refuse = |header: &[u8]| {
        let started = Instant::now();
        let status = status_with(&mut connection, header);
        assert_eq!(status, 401, "{}", String::from_utf8_lossy(&header[..header.len().min(200)]));
        started.elapsed().as_secs_f64()
    };
    for round in 0..ROUNDS {
        let huge = "a".repeat(60_000);
        for header in [
            b"Authorization: Bearer \r\n".to_vec(),
            b"Authorization: Bearer\r\n".to_vec(),
            b"X-API-Key: \r\n".to_vec(),
            bearer(huge.as_bytes()),
            bearer(format!("{key}{huge}").as_bytes()),
            bearer("ключ 🔑".as_bytes()),
            bearer(&[key.as_bytes(), &[0xff]].concat()),
            bearer(&key.as_bytes()[..key.len() - 1]),
            bearer(key.to_uppercase().as_bytes()),
            format!("Authorization: Basic {key}\r\n").into_bytes(),
        ] {
            refuse(&header);
        }
        for pair in 0..PAIRS {
            let (near_one, random_one) = (bearer(near_miss(key).as_bytes()), bearer(random_key(key).as_bytes()));
            // The order alternates.
            if (round + pair) % 2 == 0 {
                near.push(refuse(&near_one));
                random.push(refuse(&random_one));
            } else {
                random.push(refuse(&random_one));
                near.push(refuse(&near_one));
            }
        }
    }
    welch(&near, &random)
}

#[test]
fn no_wrong_key_gets_in_and_a_near_one_is_refused_as_fast_as_any() {
    const MOST: f64 = 4.5;
    let stage = Stage::enter();
    let guarded = Guarded::start(&stage, "wrong-keys");
    let t = try_wrong_keys(&guarded);
    eprintln!("keys: Welch's t of near ones and random ones is {t:.2}");
    if t.abs() >= MOST {
        // One measurement may differ by chance, but not two.
        let again = try_wrong_keys(&guarded);
        assert!(again.abs() < MOST, "near keys are told from random ones by time: t = {t:.2}, then {again:.2}");
    }
    assert_eq!(status(&guarded.serve, &guarded.key), 200, "the key itself");
}
