//! Records requests and answers, which are compared with the final state.

use std::collections::BTreeMap;

use workflows::orchestrator::Started;

/// The operator's actions.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Training runs that Temporal accepted.
    pub(crate) trainings: Vec<Started>,
    /// Promotions and rollbacks that an API answered with `promoted`: the generation and its version.
    pub(crate) told: Vec<(u64, String)>,
    pub(crate) races: Vec<Race>,
    /// Ids of decisions that an API reported as stored.
    pub(crate) feedback: Vec<String>,
    /// Versions that retention reported as deleted.
    pub(crate) deleted: Vec<String>,
    pub(crate) retentions: u64,
    /// Answers by request and status; status 0 if there was no answer.
    pub(crate) answers: BTreeMap<(&'static str, u16), u64>,
    /// Answers that neither a fault nor another request explains.
    pub(crate) unexpected: Vec<String>,
}

/// Simultaneous promotions that all expect the same generation in production.
#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) expected: u64,
    pub(crate) racers: Vec<Racer>,
}

/// One promotion of a race.
#[derive(Debug)]
pub(crate) struct Racer {
    /// The change id of a racer that called the registry directly. An API makes its own.
    pub(crate) change_id: Option<String>,
    pub(crate) end: End,
}

/// The result that a racer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Won(u64),
    /// Another racer was faster.
    Lost,
    /// Not tried, or unknown, because a part was away.
    Undecided,
}
