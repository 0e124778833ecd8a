//! Histories with one error each: the check for that error must find it.

use registry::{Deed, PromotionRecord};

use super::*;
use crate::ledger::Racer;

/// A name of a version.
fn version(number: u64) -> Version {
    Version::parse(&format!("20261123T021009Z-{number:08x}")).unwrap()
}

/// A whole history: a promotion of each version, by a workflow `w` of the run of that number.
fn history(versions: &[u64]) -> Vec<Promotion> {
    let mut history: Vec<Promotion> = Vec::new();
    for (at, number) in versions.iter().enumerate() {
        let generation = at as u64 + 1;
        let before = history.last();
        let record = PromotionRecord {
            generation: Generation(generation),
            version: version(*number),
            manifest: Digest::of(b"manifest"),
            change_id: format!("w/{generation}"),
            previous_record: before.map(|before| before.digest.clone()),
            previous: before.map(|before| before.record.version.clone()),
            actor: "operator".to_owned(),
            reason: "soak".to_owned(),
            gate: None,
            forced: true,
            at: 0,
        };
        let digest = Digest::of(&serde_json::to_vec(&record).unwrap());
        history.push(Promotion { record, digest });
    }
    history
}

fn run(number: u64, generation: Option<u64>) -> Run {
    let (workflow_id, run_id) = ("w".to_owned(), number.to_string());
    Run { workflow_id, run_id, generation, ..Run::default() }
}

#[test]
fn i2_a_gap_is_told() {
    let path = |generation| Key::Record(Generation(generation)).path();
    assert_eq!(gaps(&[path(1), path(2)]), [""; 0]);
    assert_eq!(gaps(&[path(1), path(3)]).len(), 1);
}

#[test]
fn i3_a_generation_that_nobody_wrote_and_one_that_two_wrote_are_told() {
    let there = history(&[1, 2]);
    assert_eq!(unexplained(&there, &[run(1, Some(1)), run(2, Some(2)), run(3, None)], &[]), [""; 0]);
    for wrong in [
        vec![run(1, Some(1))],
        vec![run(1, Some(1)), run(2, Some(2)), run(3, Some(3))],
        vec![run(1, Some(1)), run(2, Some(2)), run(3, Some(2))],
        vec![run(1, Some(1)), run(7, Some(2))],
    ] {
        assert!(!unexplained(&there, &wrong, &[]).is_empty(), "{wrong:?}");
    }
    let told = |generation: u64, number| (generation, version(number).to_string());
    assert_eq!(untold(&there, &[told(1, 1), told(2, 2)]), [""; 0]);
    assert_eq!(untold(&there, &[told(2, 1)]).len(), 1, "another version");
    assert_eq!(untold(&there, &[told(2, 2), told(2, 2)]).len(), 1, "two reports name one generation");
    assert_eq!(untold(&there, &[told(3, 2)]).len(), 1, "it is not there");
}

#[test]
fn i4_a_broken_link_is_told() {
    let mut there = history(&[1, 2, 3]);
    assert_eq!(broken_links(&there), [""; 0]);
    there[1].digest = Digest::of(b"other bytes");
    assert_eq!(broken_links(&there).len(), 1);
    let entry = |sequence, previous_entry| {
        let deed = Deed {
            actor: "operator".to_owned(),
            key: None,
            action: "promote".to_owned(),
            subject: None,
            reason: None,
            request_id: None,
        };
        (AuditEntry { sequence, at: 0, deed, previous_entry }, Digest::of(&[sequence as u8]))
    };
    let whole = [entry(1, None), entry(2, Some(Digest::of(&[1])))];
    assert_eq!(broken_audit(&whole), [""; 0]);
    assert_eq!(broken_audit(&[entry(1, None), entry(3, Some(Digest::of(&[1])))]).len(), 1);
    assert_eq!(broken_audit(&[entry(1, None), entry(2, None)]).len(), 1);
}

#[test]
fn i6_two_versions_of_one_run_and_trainer_are_told() {
    let made = |run_id: &str, started| Made {
        version: Version::derive(started, "w", run_id, "stacked").to_string(),
        workflow_id: "w".to_owned(),
        run_id: run_id.to_owned(),
        trainer: "stacked".to_owned(),
        started,
    };
    assert_eq!(misnamed(&[made("1", 5), made("2", 6)]), [""; 0]);
    assert_eq!(misnamed(&[made("1", 5), made("1", 6)]).len(), 1);
    let of_another_run = Made { run_id: "3".to_owned(), ..made("1", 5) };
    assert_eq!(misnamed(&[of_another_run]).len(), 1);
    let naming = |number, versions: &[(&str, &str)]| {
        let versions = versions.iter().map(|(version, trainer)| ((*version).to_owned(), (*trainer).to_owned()));
        Run { versions: versions.collect(), ..run(number, None) }
    };
    assert_eq!(runs_apart(&[naming(1, &[("a", "x"), ("b", "y")]), naming(2, &[("c", "x")])]), [""; 0]);
    assert_eq!(runs_apart(&[naming(1, &[("a", "x"), ("b", "x")])]).len(), 1);
    assert_eq!(runs_apart(&[naming(1, &[("a", "x")]), naming(2, &[("a", "x")])]).len(), 1);
}

#[test]
fn i7_a_race_with_two_winners_or_none_is_told() {
    let mut there = history(&[1, 2]);
    there[1].record.change_id = "r/0".to_owned();
    let race = |expected, ends: &[End]| {
        let racer = |(number, end): (usize, &End)| Racer { change_id: Some(format!("r/{number}")), end: *end };
        [Race { expected, racers: ends.iter().enumerate().map(racer).collect() }]
    };
    assert_eq!(wrong_races(&there, &race(1, &[End::Won(2), End::Lost, End::Undecided])), [""; 0]);
    for (expected, wrong) in [
        (1, [End::Won(2), End::Won(2)]),
        (1, [End::Lost, End::Lost]),
        (1, [End::Undecided, End::Won(2)]),
        (2, [End::Won(3), End::Lost]),
        (5, [End::Undecided, End::Lost]),
    ] {
        assert_eq!(wrong_races(&there, &race(expected, &wrong)).len(), 1, "{wrong:?}");
    }
    there.extend(history(&[1, 2, 3]).split_off(2));
    there[2].record.change_id = "r/1".to_owned();
    assert_eq!(wrong_races(&there, &race(1, &[End::Won(2), End::Undecided])).len(), 1, "both are in the history");
}

#[test]
fn i9_a_rollback_to_another_version_is_told() {
    let back_to = |number| {
        let mut there = history(&[1, 2, 2, number]);
        there[3].record.reason = ROLLBACK.to_owned();
        wrong_rollbacks(&there)
    };
    assert_eq!(back_to(1), [""; 0]);
    assert_eq!(back_to(2).len(), 1);
    assert_eq!(back_to(3).len(), 1);
}

#[test]
fn i10_a_version_that_served_and_was_never_promoted_is_told() {
    let there = history(&[1, 2]);
    let served = |generation: u64, number| BTreeSet::from([(generation, version(number).to_string())]);
    assert_eq!(never_written(&there, &served(2, 2)), [""; 0]);
    assert_eq!(never_written(&there, &served(2, 1)).len(), 1);
    assert_eq!(never_written(&there, &served(0, 2)).len(), 1);
}
