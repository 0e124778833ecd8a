//! All checks other than the invariants: predictions, actions, leaks, processes, objects.

use std::collections::BTreeSet;

use crate::{
    chaos::Strikes,
    evidence::{Evidence, Run},
    invariants::ROLLBACK,
    leaks::{Life, MEASURES, OURS},
    ledger::{End, Race},
    load::RATE,
    objects::{self, Counts},
    plan::Plan,
    report::Finding,
    stack::{Part, Stack},
};

/// The least share of the requested rate. A machine that also builds is slow.
const HELD: f64 = 0.5;

/// A soak that is over.
pub(crate) struct Course<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) stack: &'a Stack,
    pub(crate) evidence: &'a Evidence,
    pub(crate) strikes: &'a Strikes,
}

impl Course<'_> {
    pub(crate) fn predictions(&self) -> Vec<Finding> {
        let load = &self.evidence.load;
        let quantile = |share| format!("{:.1} ms", load.latencies.quantile(share).as_secs_f64() * 1000.0);
        let rate = load.answered as f64 / self.plan.length.as_secs_f64();
        vec![
            Finding::new("predictions", "none failed: one replica or the other gave each")
                .figures(format!(
                    "{} of {} answered, {} by the other replica",
                    load.answered, load.asked, load.failed_over
                ))
                .broken(load.failed.shown.clone()),
            Finding::new("verdicts", "a version says the same each time, to the byte, and ranks the threat first")
                .figures(format!("{} wrong, {} generations", load.verdicts.wrong.count, load.verdicts.served.len()))
                .broken(load.verdicts.wrong.shown.clone())
                .broken(load.verdicts.misjudging()),
            Finding::new("rate", format!("at least {HELD} of {RATE} a second"))
                .figures(format!(
                    "{rate:.0} a second, {:.3} of what was asked; from when it was due 50%: {}, 99%: {}, 99.9%: {}",
                    load.held(),
                    quantile(0.5),
                    quantile(0.99),
                    quantile(0.999)
                ))
                .broken_if(load.held() < HELD, format!("{:.3}", load.held())),
        ]
    }

    /// The operator's actions: none may be missing, and every error must be explained by a fault.
    pub(crate) fn deeds(&self) -> Vec<Finding> {
        let Evidence { ledger, runs, .. } = self.evidence;
        let answers: Vec<String> =
            ledger.answers.iter().map(|((what, status), count)| format!("{what} {status}: {count}")).collect();
        let failed: Vec<&Run> = runs.iter().filter(|run| run.failure.is_some()).collect();
        // The version was still registered. Only the promotion failed, because production had changed since the gate.
        let is_late = |run: &&&Run| run.failure.as_ref().is_some_and(|(kind, _)| kind == workflows::failure::CONFLICT);
        let late = failed.iter().filter(is_late).count();
        let kept = self.stack.runtime.block_on(self.stack.registry.feedback()).unwrap();
        let kept: BTreeSet<String> = kept.keys().map(ToString::to_string).collect();
        let lost = ledger.feedback.iter().filter(|id| !kept.contains(*id)).cloned().collect();
        // Half a minute may be too short for an action that meets a fault.
        let idle = Deed::ALL.into_iter().filter(|deed| self.plan.is_long() && deed.done(self.evidence) == 0);
        let idle = idle.map(|deed| format!("there are no {}", deed.name())).collect();
        let kill = |part: Part| {
            let missed = self.strikes.missed(part).map_or_else(String::new, |(median, most)| {
                format!(" (missed {:.1} s, {:.1} s at most)", median.as_secs_f64(), most.as_secs_f64())
            });
            format!("{} {}{missed}", part.name(), self.strikes.of(part))
        };
        vec![
            Finding::new("training", "every run is completed, or was late with its promotion")
                .figures(format!("{} runs, {late} late", ledger.trainings.len()))
                .broken(failed.iter().filter(|run| !is_late(run)).map(|run| format!("{run:?}")).collect())
                .broken_if(ledger.trainings.is_empty(), "none was started"),
            Finding::new("promotions", "promotions, rollbacks, races, training and retention all took place")
                .figures(Deed::ALL.map(|deed| format!("{} {}", deed.done(self.evidence), deed.name())).join(", "))
                .broken(idle),
            Finding::new("answers", "none but what a fault or somebody else explains; 0: the API was killed")
                .figures(answers.join(", "))
                .broken(ledger.unexpected.clone()),
            Finding::new("feedback", "what was said to be kept is there")
                .figures(format!("{} decisions", ledger.feedback.len()))
                .broken(lost),
            Finding::new("kills", "every part that was killed came back")
                .figures(Part::ALL.map(kill).join(", "))
                .broken_if(self.strikes.count() == 0, "nothing was killed"),
        ]
    }

    /// By part, the life that grew the most; see the rule in `leaks.rs`.
    pub(crate) fn leaks(&self, lives: &[Life]) -> Vec<Finding> {
        let of_part = |part: Part| {
            let judged: Vec<_> =
                lives.iter().filter(|life| life.part == part).filter_map(|life| Some((life, life.growth()?))).collect();
            let finding = Finding::new("leaks", format!("the {} does not grow", part.name()));
            let Some(longest) = judged.iter().map(|(life, _)| life.window()).max() else {
                let is_missing = self.plan.is_long() && part != Part::Api;
                return finding
                    .figures("no life was long enough to tell")
                    .broken_if(is_missing, "a soak of five minutes leaves it a life that is long enough");
            };
            let mut figures = vec![format!("{} lives, the longest looked at for {longest:.0?}", judged.len())];
            let mut broken = Vec::new();
            for (at, (name, ..)) in MEASURES.iter().enumerate() {
                let all = judged.iter().map(|(life, grown)| (life.window(), grown[at]));
                let excess = |growth: &crate::leaks::Growth| growth.growth - growth.allowed;
                let worst = all.max_by(|a, b| excess(&a.1).total_cmp(&excess(&b.1)));
                let (window, worst) = worst.expect("there is a life");
                let words = format!(
                    "{name}: {:.0}, {:+.1} in {window:.0?} ({:.1} allowed)",
                    worst.median, worst.growth, worst.allowed
                );
                if excess(&worst) > 0.0 {
                    broken.push(words.clone());
                }
                figures.push(words);
            }
            finding.figures(figures.join("; ")).broken(broken)
        };
        OURS.map(of_part).into()
    }

    pub(crate) fn processes(&self) -> Finding {
        let (count, mut strays) = self.stack.strays();
        // Every end of a part that `up` reports was one of our kills.
        let output = self.stack.up.output();
        for part in Part::ALL {
            let Some(name) = part.name_of_up() else { continue };
            let ended = output.matches(&format!("! {name} ended (")).count();
            if ended != self.strikes.of(part) {
                strays.push(format!("{name} ended {ended} times and was killed {} times", self.strikes.of(part)));
            }
        }
        let deaths = self.evidence.seen.deaths;
        Finding::new("processes", "no orphan, no zombie, no process that ended by itself")
            .figures(format!("{count} processes, {} kills", self.strikes.count()))
            .broken(strays)
            .broken_if(deaths > 0, format!("the second API ended {deaths} times by itself"))
    }

    /// I8, and the objects after retention.
    pub(crate) fn objects(&self, before: &Counts) -> Vec<Finding> {
        let at_rest = objects::counts(self.stack);
        let deleted = objects::prune(self.stack);
        let after = objects::counts(self.stack);
        let count = |counts: &Counts, prefix: &String| counts.get(prefix).copied().unwrap_or(0);
        let line = |prefix: &String| {
            let [before, at_rest, after] = [before, &at_rest, &after].map(|counts| count(counts, prefix));
            format!("{prefix} {before} -> {at_rest} -> {after}")
        };
        let prefixes: BTreeSet<&String> = before.keys().chain(at_rest.keys()).chain(after.keys()).collect();
        let lines: Vec<String> = prefixes.into_iter().map(line).collect();
        let history = &self.evidence.history;
        let promoted = history.iter().map(|promotion| promotion.record.version.to_string()).collect();
        let verified = self.stack.runtime.block_on(self.stack.registry.verify()).unwrap();
        let ledger = &self.evidence.ledger;
        vec![
            Finding::new("I8", "retention leaves everything whole that the history names, at any moment")
                .figures(format!(
                    "{} times beside everything, {} versions gone; four times at rest, {} versions gone; {} generations verified",
                    ledger.retentions,
                    ledger.deleted.len(),
                    deleted.len(),
                    verified.generations
                ))
                .broken(verified.problems),
            Finding::new("objects", "after retention, every object that is left is needed")
                .figures(format!("before -> at rest -> after retention: {}", lines.join(", ")))
                .broken(objects::unneeded(self.stack, &promoted)),
        ]
    }
}

/// An action that must have happened. Otherwise the checks say nothing.
#[derive(Clone, Copy)]
enum Deed {
    Promotions,
    Rollbacks,
    Races,
    Retentions,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Promotions, Self::Rollbacks, Self::Races, Self::Retentions];

    fn name(self) -> &'static str {
        match self {
            Self::Promotions => "promotions that an API reported",
            Self::Rollbacks => "rollbacks in the history",
            Self::Races => "races with a winner",
            Self::Retentions => "times retention",
        }
    }

    fn done(self, evidence: &Evidence) -> usize {
        let Evidence { ledger, history, .. } = evidence;
        let is_won = |race: &&Race| race.racers.iter().any(|racer| matches!(racer.end, End::Won(_)));
        match self {
            Self::Promotions => ledger.told.len(),
            Self::Rollbacks => history.iter().filter(|promotion| promotion.record.reason == ROLLBACK).count(),
            Self::Races => ledger.races.iter().filter(is_won).count(),
            Self::Retentions => ledger.retentions as usize,
        }
    }
}

/// After `up` has stopped, no process is left.
pub(crate) fn end(left: Vec<(u32, String)>) -> Finding {
    Finding::new("end", "no process is left when `up` has stopped")
        .figures(format!("{} processes", left.len()))
        .broken(left.into_iter().map(|(pid, line)| format!("{pid}: {line}")).collect())
}
