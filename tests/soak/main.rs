//! Soak: a whole system under load, work and kills for a given time.
//!
//! Afterwards all invariants are checked.
//!
//! `THREATWATCH_SOAK_MINUTES=10` sets the time, half a minute without it. `THREATWATCH_SOAK_SEED` repeats the random
//! choices of an earlier run. docs/soak.md describes the actions and the checks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chaos;
#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod evidence;
mod findings;
mod invariants;
mod leaks;
mod ledger;
mod load;
mod objects;
mod operator;
mod plan;
mod report;
mod stack;
mod verdicts;
mod witness;

use std::{io::Write as _, thread};

use common::processes_with;
use evidence::Evidence;
use findings::Course;
use plan::{Clock, Plan};
use report::Report;
use stack::Stack;

#[test]
fn a_system_under_load_and_kills_keeps_its_invariants_and_leaks_nothing() {
    let plan = Plan::from_environment();
    say(&format!("soak: {:?}, THREATWATCH_SOAK_SEED={}", plan.length, plan.seed));
    let stack = Stack::start();
    objects::litter(&stack);
    let before = objects::counts(&stack);

    let clock = Clock::start(plan.length);
    let (load, strikes, lives, seen, ledger) = thread::scope(|scope| {
        let (stack, plan) = (&stack, &plan);
        let load = scope.spawn(move || load::run(stack.apis, clock));
        let strikes = scope.spawn(move || chaos::run(stack, plan, clock));
        let lives = scope.spawn(move || leaks::watch(stack, clock));
        let seen = scope.spawn(move || witness::run(stack, clock));
        let ledger = operator::run(stack, plan, clock);
        (load.join().unwrap(), strikes.join().unwrap(), lives.join().unwrap(), seen.join().unwrap(), ledger)
    });
    stack.come_to_rest();

    let evidence = Evidence::gather(&stack, ledger, seen, load);
    let mut found = invariants::all(&evidence);
    let course = Course { plan: &plan, stack: &stack, evidence: &evidence, strikes: &strikes };
    found.extend(course.predictions());
    found.extend(course.deeds());
    found.extend(course.leaks(&lives));
    found.push(course.processes());
    found.extend(course.objects(&before));

    let dir = stack.up.dir.path().display().to_string();
    drop(stack);
    found.push(findings::end(processes_with(&dir)));
    let title = format!("A soak of {:.1} minutes, seed {}", plan.length.as_secs_f64() / 60.0, plan.seed);
    Report { title, findings: found }.conclude();
}

/// Prints past the test's captured output, so that the progress is visible during a long soak.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
