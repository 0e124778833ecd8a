//! Records requests and answers, which are compared with the final state.

use std::collections::BTreeMap;

use workflows::orchestrator::Started;

/// What the operator did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Training runs that Temporal took.
    pub(crate) trainings: Vec<Started>,
    /// Promotions and rollbacks that an API answered with `promoted`: the generation and its version.
    pub(crate) told: Vec<(u64, String)>,
    pub(crate) races: Vec<Race>,
    /// Decisions that an API said it keeps: their ids.
    pub(crate) feedback: Vec<String>,
    /// Versions that retention said it deleted.
    pub(crate) deleted: Vec<String>,
    pub(crate) retentions: u64,
    /// Answers by what was asked for and status; 0 where nobody answered.
    pub(crate) answers: BTreeMap<(&'static str, u16), u64>,
    /// Answers that nothing explains: neither a fault nor somebody else.
    pub(crate) unexpected: Vec<String>,
}

/// Promotions at once that all expect the same generation in production.
#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) expected: u64,
    pub(crate) racers: Vec<Racer>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Racer {
    /// Of one that asked the registry itself; an API makes its own.
    pub(crate) change_id: Option<String>,
    pub(crate) end: End,
}

/// What a racer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Won(u64),
    /// Somebody was quicker.
    Lost,
    /// It was not even tried, or nobody knows: a part was away.
    Undecided,
}
