//! The work of people and schedules: training, promotions, rollbacks, races, retention, feedback.

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use model::{
    Generation, Version,
    protocol::{PromoteInput, PruneInput},
    random::SplitMix,
};
use registry::{Error, Key};
use serde_json::{Value, json};
use workflows::steps::{AutoPromote, RetentionRequest, TrainRequest};

use crate::{
    invariants::ROLLBACK,
    ledger::{End, Ledger, Race, Racer},
    objects::KEEP,
    plan::{Bag, Clock, Plan, between},
    stack::Stack,
};

/// The time from one training run to the next.
const TRAIN_EVERY: Duration = Duration::from_mins(1);
/// The time from one action to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// A promotion waits ten seconds for a replica that was killed, and its route 25 s for the promotion.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a racer tries again while the store is away.
const RACE: Duration = Duration::from_secs(40);
/// How many of the newest versions a promotion chooses from.
const CANDIDATES: usize = 4;
/// The length of a day for retention while everything runs. A promotion takes less from its checks to its write.
const SHORT_DAY: Duration = Duration::from_mins(2);
const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy)]
enum Deed {
    Promote,
    RollBack,
    RaceRegistry,
    RaceApis,
    Retention,
    Feedback,
}

const DEEDS: [Deed; 6] =
    [Deed::Promote, Deed::RollBack, Deed::RaceRegistry, Deed::RaceApis, Deed::Retention, Deed::Feedback];

/// Does one thing after the other until the time is over, and each at least once.
pub(crate) fn run(stack: &Stack, plan: &Plan, clock: Clock) -> Ledger {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let mut operator = Operator { stack, http, chance: plan.chance("operator"), ledger: Ledger::default(), turn: 0 };
    let mut bag = Bag::new(&DEEDS);
    let (mut next_training, mut is_hurried) = (Duration::ZERO, false);
    while !clock.is_over() || operator.turn < DEEDS.len() || operator.ledger.trainings.is_empty() {
        if clock.elapsed() >= next_training && operator.train() {
            next_training += TRAIN_EVERY;
        }
        operator.turn += 1;
        match bag.draw(&mut operator.chance) {
            Deed::Promote => operator.promote(),
            Deed::RollBack => operator.roll_back(),
            Deed::RaceRegistry => operator.race_at_the_registry(),
            Deed::RaceApis => operator.race_at_the_apis(),
            Deed::Retention if is_hurried && plan.is_long() => operator.prune_by_a_hurried_clock(),
            Deed::Retention => operator.prune(),
            Deed::Feedback => operator.say(),
        }
        is_hurried = operator.turn / DEEDS.len() % 2 == 1;
        let pause = between(&mut operator.chance, PAUSE.0, PAUSE.1);
        clock.sleep(pause);
    }
    operator.ledger
}

struct Operator<'a> {
    stack: &'a Stack,
    http: reqwest::Client,
    chance: SplitMix,
    ledger: Ledger,
    turn: usize,
}

impl Operator<'_> {
    /// Starts a training run; `false` if Temporal is away. Half of the runs promote their version.
    fn train(&mut self) -> bool {
        let number = self.ledger.trainings.len();
        let trainer = ["multinomial_nb", "linear_svc", "stacked"][self.chance.below(3)];
        let request = TrainRequest {
            trainers: vec![trainer.to_owned()],
            seed: self.chance.below(1000) as u64,
            auto_promote: if number % 2 == 1 { AutoPromote::IfGatePasses } else { AutoPromote::Never },
            actor: Some("soak".to_owned()),
            reason: Some("every minute".to_owned()),
            ..TrainRequest::default()
        };
        let id = format!("soak-{number}");
        let started = self
            .stack
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.stack.orchestrator.train(request, &id)).await });
        let Ok(Ok(started)) = started else { return false };
        self.ledger.trainings.push(started);
        true
    }

    /// One of the newest versions that is not in production, and the generation. `None` while the store is away.
    fn candidate(&mut self) -> Option<(Version, u64)> {
        let (versions, live) = self.stack.runtime.block_on(async {
            let paths = self.stack.store.list(Key::MODELS).await.ok()?;
            let live = self.stack.registry.production().await.ok()??;
            Some((paths.iter().filter_map(|path| Key::version_of(path)).collect::<Vec<_>>(), live))
        })?;
        let newest = versions.into_iter().rev().filter(|version| *version != live.record.version);
        // Half of them are never promoted if there are others, so that retention has something to delete.
        let (to_go_live, others): (Vec<Version>, Vec<Version>) = newest.partition(is_to_go_live);
        let choice = if to_go_live.is_empty() { others } else { to_go_live };
        let newest: Vec<Version> = choice.into_iter().take(CANDIDATES).collect();
        Some((newest.get(self.chance.below(newest.len().max(1)))?.clone(), live.record.generation.0))
    }

    /// The port of one of the APIs.
    fn api(&mut self) -> u16 {
        self.stack.apis[self.chance.below(2)]
    }

    fn promote(&mut self) {
        let Some((version, _)) = self.candidate() else { return };
        let body = json!({ "version": version.as_str(), "force": true, "reason": "soak", "actor": "operator" });
        let answer = self.post_in_turn("/promote", &body);
        self.note("promote", &[200, 202, 404, 409, 503], answer);
    }

    fn roll_back(&mut self) {
        let answer = self.post_in_turn("/rollback", &json!({ "reason": ROLLBACK, "actor": "operator" }));
        self.note("rollback", &[200, 202, 409, 503], answer);
    }

    /// Races at the registry directly, as the worker does, with several registries at once.
    fn race_at_the_registry(&mut self) {
        let Some((version, expected)) = self.candidate() else { return };
        let (stack, race) = (self.stack, self.ledger.races.len());
        let racers = 2 + self.chance.below(3);
        let racers = thread::scope(|scope| {
            let start = |number| {
                let input = PromoteInput {
                    version: version.clone(),
                    change_id: format!("soak-race-{race}/{number}"),
                    expected_generation: Some(Generation(expected)),
                    actor: "racer".to_owned(),
                    reason: "soak: race".to_owned(),
                    gate: None,
                    forced: true,
                };
                scope.spawn(move || stack.runtime.block_on(race_once(stack, input)))
            };
            let racing: Vec<_> = (0..racers).map(start).collect();
            racing.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        self.ledger.races.push(Race { expected, racers });
    }

    /// One racer at each API.
    fn race_at_the_apis(&mut self) {
        let Some((version, expected)) = self.candidate() else { return };
        let body = json!({
            "version": version.as_str(), "force": true, "reason": "soak: race", "actor": "racer",
            "expected_generation": expected,
        });
        let (this, body) = (&*self, &body);
        let answers = thread::scope(|scope| {
            let racing = this.stack.apis.map(|api| scope.spawn(move || this.post(api, "/promote", body)));
            racing.map(|racer| racer.join().unwrap())
        });
        let racers = answers.into_iter().map(|answer| {
            let end = match self.note("race", &[200, 202, 404, 409, 503], answer) {
                (200, body) if body["outcome"] == "promoted" => End::Won(body["generation"].as_u64().unwrap_or(0)),
                (409, body) if body["type"] == "/problems/conflict" => End::Lost,
                _ => End::Undecided,
            };
            Racer { change_id: None, end }
        });
        let racers = racers.collect();
        self.ledger.races.push(Race { expected, racers });
    }

    /// Runs retention as a workflow. No object is a day old, so it reads everything and deletes nothing.
    fn prune(&mut self) {
        let pruning = self.stack.orchestrator.prune(RetentionRequest { keep: KEEP, dry_run: false });
        let pruned = self.stack.runtime.block_on(async { tokio::time::timeout(PATIENCE, pruning).await });
        if let Ok(Ok(pruned)) = pruned {
            self.ledger.retentions += 1;
            self.ledger.deleted.extend(pruned.versions.iter().map(ToString::to_string));
        }
    }

    /// Runs retention as its activity does, by a clock for which two minutes ago was yesterday.
    ///
    /// It marks and deletes while everything runs.
    fn prune_by_a_hurried_clock(&mut self) {
        let pruning = async {
            let running = workflows::running(&self.stack.orchestrator.client().await.ok()?).await.ok()?;
            let in_use = running.iter().flat_map(|run| run.status.versions.iter().cloned()).collect();
            let is_busy = running.iter().any(workflows::Running::makes_models);
            let input = PruneInput { keep: KEEP, in_use, is_busy, ..PruneInput::default() };
            self.stack.registry.prune(&input, now() + DAY.saturating_sub(SHORT_DAY).as_millis() as i64).await.ok()
        };
        let pruned = self.stack.runtime.block_on(async { tokio::time::timeout(PATIENCE, pruning).await });
        if let Ok(Some(pruned)) = pruned {
            self.ledger.retentions += 1;
            self.ledger.deleted.extend(pruned.versions.iter().map(ToString::to_string));
        }
    }

    fn say(&mut self) {
        let text = format!("Comment number {} of a soak, which is harmless.", self.turn);
        let body = json!({ "text": text, "label": "harmless", "reviewer": "soak" });
        let api = self.api();
        let answer = self.post(api, "/feedback", &body);
        if let (200 | 201, body) = self.note("feedback", &[200, 201, 503], answer) {
            self.ledger.feedback.push(body["id"].as_str().unwrap_or_default().to_owned());
        }
    }

    /// Sends the request again while another promotion is running, as a person does.
    fn post_in_turn(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let started = Instant::now();
        loop {
            let api = self.api();
            let answer = self.post(api, path, body);
            let is_busy =
                |(status, body): &(u16, Value)| *status == 409 && body["type"] == "/problems/operation-in-progress";
            if !answer.as_ref().is_some_and(is_busy) || started.elapsed() > PATIENCE {
                return answer;
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn post(&self, api: u16, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.stack.runtime.block_on(async {
            let answer = self.http.post(format!("http://127.0.0.1:{api}{path}")).json(body).send().await.ok()?;
            Some((answer.status().as_u16(), answer.json().await.ok()?))
        })
    }

    /// Records an answer. A missing answer of a killed API is expected.
    fn note(&mut self, what: &'static str, expected: &[u16], answer: Option<(u16, Value)>) -> (u16, Value) {
        let (status, body) = answer.unwrap_or((0, Value::Null));
        *self.ledger.answers.entry((what, status)).or_default() += 1;
        if status != 0 && !expected.contains(&status) {
            self.ledger.unexpected.push(format!("{what}: {status}: {body}"));
        }
        if status == 200 && body["outcome"] == "promoted" {
            let version = body["version"].as_str().unwrap_or_default();
            self.ledger.told.push((body["generation"].as_u64().unwrap_or(0), version.to_owned()));
        }
        (status, body)
    }
}

/// Promotes as a retried activity does: with the same change id until the result is certain.
async fn race_once(stack: &Stack, input: PromoteInput) -> Racer {
    let started = Instant::now();
    let end = loop {
        match stack.registry.promote(&input, now()).await {
            Ok(promoted) if promoted.is_new => break End::Won(promoted.generation.0),
            Err(Error::Conflict { .. }) => break End::Lost,
            Err(error) if error.is_transient() && started.elapsed() < RACE => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            _ => break End::Undecided,
        }
    };
    Racer { change_id: Some(input.change_id), end }
}

/// Decided by the last digit of the name, which is a digit of a digest.
fn is_to_go_live(version: &Version) -> bool {
    version.as_str().bytes().last().is_some_and(|digit| digit % 2 == 0)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
