//! Predictions at a steady rate, as behind a load balancer. No prediction waits for the answer of an earlier one.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Connection, request},
    plan::Clock,
    verdicts::{COMMENTS, Verdicts, Wrong},
};

/// Requested predictions per second, of all clients together.
pub(crate) const RATE: u64 = 1000;
/// Clients, each with a connection to each replica.
const CLIENTS: u64 = 16;

/// The results of the predictions.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Predictions that were due.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    /// Predictions that both replicas failed.
    pub(crate) failed: Wrong,
    /// Predictions that one replica failed and the other answered.
    pub(crate) failed_over: u64,
    /// Measured from the time at which a prediction was due, so that the wait for earlier ones counts.
    pub(crate) latencies: Latencies,
    pub(crate) verdicts: Verdicts,
    /// I10: a connection on which the generation fell.
    pub(crate) fallen: Wrong,
}

/// Sends predictions to both replicas until the time is over.
pub(crate) fn run(apis: [u16; 2], clock: Clock) -> Load {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number, apis, clock))).collect();
        let mut all = Load::default();
        for client in clients {
            all.merge(client.join().unwrap());
        }
        all
    })
}

fn client(number: u64, apis: [u16; 2], clock: Clock) -> Load {
    let mut load = Load::default();
    let mut lines = apis.map(Line::to);
    let bytes = COMMENTS.map(|comment| request("POST", "/predict", "", comment));
    for turn in 0.. {
        let due = Duration::from_nanos((turn * CLIENTS + number) * 1_000_000_000 / RATE);
        if due >= clock.length {
            break;
        }
        load.asked += 1;
        if clock.is_over() {
            // Too late: the soak is over.
            continue;
        }
        thread::sleep(due.saturating_sub(clock.elapsed()));
        let (comment, first) = (turn as usize % 2, (turn / 2 + number) as usize % 2);
        match ask(&mut lines, first, comment, &bytes[comment], &mut load) {
            Ok(()) => {
                load.answered += 1;
                load.latencies.add(Instant::now().duration_since(clock.started + due));
            }
            Err(words) => load.failed.add(|| format!("{:.1?}: {words}", clock.elapsed())),
        }
    }
    load
}

/// Asks one replica, and if that fails, the other.
fn ask(lines: &mut [Line; 2], first: usize, comment: usize, bytes: &[u8], load: &mut Load) -> Result<(), String> {
    let failure = match lines[first].ask(comment, bytes, load) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    let answer = lines[1 - first].ask(comment, bytes, load);
    load.failed_over += u64::from(answer.is_ok());
    answer.map_err(|other| format!("{} said: {failure}; {} said: {other}", lines[first].port, lines[1 - first].port))
}

/// A connection to one replica, which is kept open, and the newest generation that came over it.
struct Line {
    port: u16,
    connection: Option<(Connection, u64)>,
}

impl Line {
    fn to(port: u16) -> Self {
        Self { port, connection: None }
    }

    /// Asks on the open connection; if that is broken, on a new one.
    fn ask(&mut self, comment: usize, bytes: &[u8], load: &mut Load) -> Result<(), String> {
        if self.connection.is_some() && self.exchange(comment, bytes, load).is_ok() {
            return Ok(());
        }
        let connection = Connection::open(self.port).map_err(|error| error.to_string())?;
        self.connection = Some((connection, 0));
        self.exchange(comment, bytes, load)
    }

    fn exchange(&mut self, comment: usize, bytes: &[u8], load: &mut Load) -> Result<(), String> {
        let (mut connection, newest) = self.connection.take().expect("the caller has opened it");
        let answer = connection.exchange(bytes).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        let Some(generation) = load.verdicts.take(comment, &answer.body) else { return Ok(()) };
        if generation < newest {
            load.fallen.add(|| format!("generation {generation} after {newest} on one connection to {}", self.port));
        }
        if !answer.closes() {
            self.connection = Some((connection, generation.max(newest)));
        }
        Ok(())
    }
}

impl Load {
    fn merge(&mut self, other: Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.failed.merge(other.failed);
        self.failed_over += other.failed_over;
        self.latencies.merge(&other.latencies);
        self.verdicts.merge(other.verdicts);
        self.fallen.merge(other.fallen);
    }

    /// The share of requested predictions that was answered.
    pub(crate) fn held(&self) -> f64 {
        self.answered as f64 / self.asked.max(1) as f64
    }
}

/// How long answers took, in steps of 9%, so that the memory does not grow with the time.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u64>);

/// The number of steps in which a time doubles.
const STEPS: f64 = 8.0;

impl Latencies {
    fn add(&mut self, took: Duration) {
        let step = ((took.as_micros().max(1) as f64).log2() * STEPS) as usize;
        if self.0.len() <= step {
            self.0.resize(step + 1, 0);
        }
        self.0[step] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(ours, theirs)| *ours += theirs);
    }

    /// The time that this share of answers did not exceed, rounded up to a step.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * share).ceil() as u64;
        let mut counted = 0;
        let step = self.0.iter().position(|count| {
            counted += count;
            counted >= wanted
        });
        let step = step.map_or(0.0, |step| (step + 1) as f64);
        Duration::from_secs_f64((step / STEPS).exp2() / 1e6)
    }
}

#[test]
fn quantiles_are_within_a_step() {
    let mut latencies = Latencies::default();
    (1..=1000).for_each(|millis| latencies.add(Duration::from_millis(millis)));
    for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
        let found = latencies.quantile(share).as_secs_f64() * 1000.0;
        assert!(found >= millis && found <= millis * 1.1, "{share}: {found}");
    }
}
