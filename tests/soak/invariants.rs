//! The invariants I1 to I11. Each is checked against the evidence, and violations are named.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, Generation, Version};
use registry::{AuditEntry, Key, Promotion};

use crate::{
    evidence::{Evidence, Made, Run},
    ledger::{End, Race},
    report::Finding,
};

/// The reason of rollbacks without a named target.
pub(crate) const ROLLBACK: &str = "soak: back to the version before";

/// I1 to I7 and I9 to I11. I8 is checked after retention has run.
pub(crate) fn all(evidence: &Evidence) -> Vec<Finding> {
    let Evidence { verified, history, runs, ledger, seen, load, .. } = evidence;
    let promotions = runs.iter().filter(|run| run.generation.is_some()).count();
    let rollbacks = history.iter().filter(|promotion| promotion.record.reason == ROLLBACK).count();
    let racers: usize = ledger.races.iter().map(|race| race.racers.len()).sum();
    vec![
        Finding::new("I1", "production names a version whose bytes verify")
            .figures(format!("{} generations, {} versions loaded", verified.generations, verified.versions))
            .broken(verified.problems.clone()),
        Finding::new("I2", "generations go up by one, without a gap")
            .figures(format!("{} records", evidence.records.len()))
            .broken(gaps(&evidence.records)),
        Finding::new("I3", "every generation has one reported promotion, and every reported promotion its generation")
            .figures(format!(
                "{promotions} by workflows, {} by racers at the registry, {} told by an API",
                won_past_workflows(&ledger.races).len(),
                ledger.told.len()
            ))
            .broken(unexplained(history, runs, &ledger.races))
            .broken(untold(history, &ledger.told)),
        Finding::new("I4", "every record and every entry of the audit trail names the one before")
            .figures(format!("{} records, {} entries", history.len(), evidence.audit.len()))
            .broken(broken_links(history))
            .broken(broken_audit(&evidence.audit)),
        Finding::new("I5", "a manifest or record never changes")
            .figures(format!("{} objects, each read at first sight and at the end", seen.objects.len()))
            .broken(evidence.changed.clone()),
        Finding::new("I6", "a run makes one version a trainer, however often its steps ran")
            .figures(format!("{} runs, {} versions there", runs.len(), evidence.made.len()))
            .broken(misnamed(&evidence.made))
            .broken(runs_apart(runs)),
        Finding::new("I7", "of racing promotions that expect the same generation, one wins")
            .figures(format!("{} races, {racers} racers", ledger.races.len()))
            .broken(wrong_races(history, &ledger.races)),
        Finding::new("I9", "a rollback leads to the version before")
            .figures(format!("{rollbacks} rollbacks"))
            .broken(wrong_rollbacks(history)),
        Finding::new("I10", "readers see generations in order, and none that was never written")
            .figures(format!(
                "{} verdicts, {} looks, {} generations served",
                load.answered,
                seen.looks,
                load.verdicts.served.len()
            ))
            .broken(load.fallen.shown.clone())
            .broken(seen.fallen.shown.clone())
            .broken(never_written(history, &load.verdicts.served)),
        Finding::new("I11", "the same holds between the kills")
            .figures(format!("{} checks, {} more while the store was away", seen.checks, seen.unchecked))
            .broken(seen.problems.clone()),
    ]
}

/// I2.
fn gaps(records: &[String]) -> Vec<String> {
    let there: BTreeSet<Option<Generation>> = records.iter().map(|path| Key::generation_of(path)).collect();
    let wanted = (1..=records.len() as u64).map(Generation);
    wanted.filter(|generation| !there.contains(&Some(*generation))).map(|g| format!("no record of {g:?}")).collect()
}

/// I3: generations and the promotions that report them, one to one.
fn unexplained(history: &[Promotion], runs: &[Run], races: &[Race]) -> Vec<String> {
    let mut written: BTreeMap<u64, String> = won_past_workflows(races);
    let mut broken = Vec::new();
    for run in runs {
        let Some(generation) = run.generation else { continue };
        if let Some(other) = written.insert(generation, run.change_id()) {
            broken.push(format!("{} and {other} both wrote generation {generation}", run.change_id()));
        }
    }
    for promotion in history {
        let generation = promotion.record.generation.0;
        match written.remove(&generation) {
            Some(change) if change == promotion.record.change_id => {}
            Some(change) => broken.push(format!("{change} says that it wrote generation {generation}")),
            None => broken.push(format!("nobody says that they wrote generation {generation}")),
        }
    }
    broken.extend(written.into_iter().map(|(generation, who)| format!("{who} wrote {generation}, which is not there")));
    broken
}

/// Generations of racers that called the registry directly.
fn won_past_workflows(races: &[Race]) -> BTreeMap<u64, String> {
    let racers = races.iter().flat_map(|race| &race.racers);
    let won = racers.filter_map(|racer| match racer.end {
        End::Won(generation) => Some((generation, racer.change_id.clone()?)),
        End::Lost | End::Undecided => None,
    });
    won.collect()
}

/// I3: every promotion that was reported as done is in the history, and no two reports name the same generation.
fn untold(history: &[Promotion], told: &[(u64, String)]) -> Vec<String> {
    let mut heard = BTreeSet::new();
    let is_wrong = |(generation, version): &&(u64, String)| {
        !heard.insert(*generation) || version_at(history, *generation).as_ref() != Some(version)
    };
    told.iter().filter(is_wrong).map(|(g, version)| format!("{version} was reported as generation {g}")).collect()
}

fn version_at(history: &[Promotion], generation: u64) -> Option<String> {
    let found = history.iter().find(|promotion| promotion.record.generation.0 == generation);
    found.map(|promotion| promotion.record.version.to_string())
}

/// I4.
fn broken_links(history: &[Promotion]) -> Vec<String> {
    let mut before: Option<&Promotion> = None;
    let mut broken = Vec::new();
    for promotion in history {
        let record = &promotion.record;
        if record.previous_record.as_ref() != before.map(|before| &before.digest)
            || record.previous.as_ref() != before.map(|before| &before.record.version)
        {
            broken.push(format!("generation {} does not follow from the one before", record.generation));
        }
        before = Some(promotion);
    }
    broken
}

/// I4.
fn broken_audit(audit: &[(AuditEntry, Digest)]) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, (entry, _)) in audit.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &audit[before].1);
        if entry.sequence != at as u64 + 1 || entry.previous_entry.as_ref() != before {
            broken.push(format!("entry {} does not follow from the one before", entry.sequence));
        }
    }
    broken
}

/// I6: a version's name is derived from its run and trainer, and no run and trainer have two versions.
fn misnamed(made: &[Made]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let is_wrong = |made: &&Made| {
        let Made { version, workflow_id, run_id, trainer, started } = made;
        Version::derive(*started, workflow_id, run_id, trainer).as_str() != version
            || !known.insert((workflow_id.clone(), run_id.clone(), trainer.clone()))
    };
    let words = |made: &Made| format!("{} of {}/{}, {}", made.version, made.workflow_id, made.run_id, made.trainer);
    made.iter().filter(is_wrong).map(words).collect()
}

/// I6: a run names as many versions as trainers, and no other run names one of them.
fn runs_apart(runs: &[Run]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let mut broken = Vec::new();
    for run in runs {
        let trainers: BTreeSet<&String> = run.versions.iter().map(|(_, trainer)| trainer).collect();
        if trainers.len() != run.versions.len() || !run.versions.iter().all(|(version, _)| known.insert(version)) {
            broken.push(format!("{} made {:?}", run.change_id(), run.versions));
        }
    }
    broken
}

/// I7: at most one racer won, and if one lost, another one won.
fn wrong_races(history: &[Promotion], races: &[Race]) -> Vec<String> {
    let by_change: BTreeMap<&str, u64> =
        history.iter().map(|promotion| (&*promotion.record.change_id, promotion.record.generation.0)).collect();
    let is_wrong = |race: &&Race| {
        let won = race.racers.iter().filter(|racer| matches!(racer.end, End::Won(_))).count();
        let in_history = |racer: &&crate::ledger::Racer| {
            racer.change_id.as_ref().is_some_and(|change| by_change.contains_key(&**change))
        };
        let as_told = race.racers.iter().all(|racer| match racer.end {
            End::Won(generation) => {
                let at = racer.change_id.as_ref().map(|change| by_change.get(&**change).copied());
                generation == race.expected + 1 && at.is_none_or(|at| at == Some(generation))
            }
            End::Lost => !in_history(&racer),
            End::Undecided => true,
        });
        let somebody_lost = race.racers.iter().any(|racer| racer.end == End::Lost);
        let is_written = version_at(history, race.expected + 1).is_some();
        won > 1 || race.racers.iter().filter(in_history).count() > 1 || !as_told || (somebody_lost && !is_written)
    };
    races.iter().filter(is_wrong).map(|race| format!("{race:?}")).collect()
}

/// I9: the target is the newest version of the history that was not in production before the rollback.
fn wrong_rollbacks(history: &[Promotion]) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, promotion) in history.iter().enumerate().filter(|(_, promotion)| promotion.record.reason == ROLLBACK) {
        let mut before = history[..at].iter().rev().map(|promotion| &promotion.record.version);
        let left = before.next();
        let expected = before.find(|version| Some(*version) != left);
        if expected != Some(&promotion.record.version) {
            broken
                .push(format!("generation {} went back to {}", promotion.record.generation, promotion.record.version));
        }
    }
    broken
}

/// I10: what served must be what the history says.
fn never_written(history: &[Promotion], served: &BTreeSet<(u64, String)>) -> Vec<String> {
    let is_wrong = |(generation, version): &&(u64, String)| version_at(history, *generation).as_ref() != Some(version);
    served.iter().filter(is_wrong).map(|(g, version)| format!("{version} served as generation {g}")).collect()
}

#[cfg(test)]
#[path = "wrong_histories.rs"]
mod tests;
