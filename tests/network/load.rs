//! F18 and promotions: the service stops, and its model changes, under load.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Stage,
    client::{self, Connection, predict},
    common::wait_for,
    process::Plan,
    wrk::{self, wrk},
};

/// The number of concurrent clients.
const CLIENTS: usize = 8;

/// The results of a client until no connection was accepted any more.
#[derive(Default)]
struct Met {
    answered: usize,
    /// The errors: what, when, and after how many answers on the same connection.
    unanswered: Vec<(String, Instant, usize)>,
    last: Option<Instant>,
}

impl Met {
    /// Sends requests on one connection until an answer closes it, then on a new one.
    ///
    /// It ends when no connection is accepted.
    fn until_the_end(port: u16) -> Self {
        let mut met = Self::default();
        while let Ok(mut connection) = Connection::open(port) {
            met.ask(&mut connection);
        }
        met
    }

    fn ask(&mut self, connection: &mut Connection) {
        let bytes = predict();
        for before in 0.. {
            // A request that cannot be sent is sent again on a new connection.
            if connection.send(&bytes).is_err() {
                return;
            }
            let wrong = match connection.receive() {
                Ok(answer) if answer.status == 200 => {
                    self.answered += 1;
                    self.last = Some(Instant::now());
                    if answer.closes() {
                        return;
                    }
                    continue;
                }
                Ok(answer) => format!("{answer:?}"),
                Err(error) => error.to_string(),
            };
            self.unanswered.push((wrong, Instant::now(), before));
            return;
        }
    }
}

/// The time at which readiness first failed, because the service stops.
fn stopping_is_told(port: u16) -> Option<Instant> {
    let mut told = None;
    while let Ok(mut connection) = Connection::open(port) {
        let asked = connection.exchange(&client::request("GET", "/health/ready", "", ""));
        let Ok(answer) = asked else { break };
        if answer.status != 200 {
            assert_eq!((answer.status, &*answer.problem()), (503, "/problems/stopping"), "{answer:?}");
            told.get_or_insert_with(Instant::now);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    told
}

#[test]
fn f18_a_service_that_is_told_to_stop_answers_every_request_that_was_sent() {
    let stage = Stage::enter();
    let mut serve = Plan::new(&stage.up).lingering(1).start_ready();
    let port = serve.port;
    let (met, told, code, stop) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| Met::until_the_end(port))).collect();
        let watching = scope.spawn(|| stopping_is_told(port));
        std::thread::sleep(Duration::from_secs(1));
        serve.terminate();
        let stop = Instant::now();
        let code = serve.ends_within(Duration::from_secs(10));
        eprintln!("F18: ended {:?} after SIGTERM", stop.elapsed());
        let met: Vec<Met> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        (met, watching.join().unwrap(), code, stop)
    });
    let answered: usize = met.iter().map(|met| met.answered).sum();
    let unanswered = met.iter().flat_map(|met| &met.unanswered).map(|(wrong, at, before)| {
        format!("{wrong}, {:?} after SIGTERM, after {before} answers", at.duration_since(stop))
    });
    let unanswered: Vec<String> = unanswered.collect();
    eprintln!("F18: {answered} answered, {} not", unanswered.len());
    assert!(unanswered.is_empty(), "beside {answered} that were: {unanswered:#?}");
    assert!(answered > 500, "{answered} are no load");
    let last = met.iter().filter_map(|met| met.last).max().unwrap();
    assert!(told.is_some_and(|told| told < last), "readiness failed {told:?}, the last verdict came {last:?}");
    assert_eq!(code, Some(0), "{}", serve.log());
}

/// `THREATWATCH_PROMOTIONS=10` for fewer.
#[test]
fn promotions_back_and_forth_under_load_fail_no_request() {
    let Some(wrk) = wrk() else { return };
    let promotions: u64 = std::env::var("THREATWATCH_PROMOTIONS").map_or(100, |number| number.parse().unwrap());
    let stage = Stage::enter();
    // A second version is needed for rollbacks.
    stage.promote_the_other();
    let (mut live, first) = stage.production();
    let mut other = stage.other_version();
    let load = wrk::Load::start(&wrk, stage.up.ports.api, 1000, None);
    let (started, mut slowest) = (Instant::now(), Duration::ZERO);
    for promotion in 1..=promotions {
        let began = Instant::now();
        let body = json!({ "to": other, "reason": "back and forth" });
        // On a busy machine, a rollback may still be running when its answer comes.
        let mut answer = (0, json!(null));
        let is_done = wait_for(Duration::from_mins(1), || {
            answer = stage.up.post_json("/rollback", &body);
            answer.0 != 409
        });
        let (status, done) = answer;
        assert!(is_done && matches!(status, 200 | 202), "{status}: {done}");
        let serves = || stage.up.get_json("/health/ready")["generation"].as_u64();
        let is_served = wait_for(Duration::from_mins(1), || serves() == Some(first + promotion));
        assert!(is_served, "{:?} serves, not {}: {done}", serves(), first + promotion);
        slowest = slowest.max(began.elapsed());
        std::mem::swap(&mut live, &mut other);
    }
    let took = started.elapsed();
    let rate = load.stop().rate();
    eprintln!("promotions: {promotions} in {took:?}, one {slowest:?} at most, beside {rate:.0} verdicts a second");
}
