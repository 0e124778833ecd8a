//! The report of a backtest: numbers only, never a text.
//!
//! Intervals come from a thousand resamples. Commenters are resampled if they are known, because all comments of one
//! person are one piece of evidence; otherwise comments are. If the two versions never differ, no resample shows a
//! difference, and the interval is the exact one for a share with no case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Case;
use crate::{
    calibration::Decision,
    evaluation::bootstrap::{Interval, interval, most_of_none, resampled_sums},
    gate::chance_of_as_many,
};

/// A fixed seed: the same cases always give the same intervals.
const SEED: u64 = 0x6261_636b;

/// The differences between the decisions of a candidate and of another version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The number of comments that both judged.
    pub comments: u64,
    /// The number of comments with different labels.
    pub changed: u64,
    /// The changed comments that are threats for the candidate only.
    pub to_threat: u64,
    /// The changed comments that are threats for the other version only.
    pub to_harmless: u64,
    /// The share of changed comments.
    pub changed_share: f64,
    /// The 95% interval of this share.
    pub changed_interval: Interval,
    /// The number of comments by the other version's decision, then by the candidate's.
    pub decisions: ByDecision<ByDecision<u64>>,
    /// Whether commenters are resampled for intervals; if none is known, comments are.
    pub by_commenter: bool,
    /// Labelled comments that are left out because either version has learnt from them.
    pub learnt: u64,
    /// The comparison with the labels; `None` if no labelled comment is left.
    pub labelled: Option<Labelled>,
}

/// Both versions on the labelled comments that neither has learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The number of comments.
    pub comments: u64,
    /// The number of threats.
    pub threats: u64,
    /// Comments that only the candidate labels correctly.
    pub corrected: u64,
    /// Comments that only the other version labels correctly.
    pub broken: u64,
    /// The p-value of the difference by McNemar's exact test, two-sided.
    pub p_value: f64,
    /// The share of correctly labelled comments.
    pub accuracy: Compared,
    /// The share of the threats that are found; `None` without a threat.
    pub recall: Option<Compared>,
    /// The share of harmless comments that are called threats; `None` without one.
    pub false_alarm_rate: Option<Compared>,
}

/// One share for both versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The share for the candidate.
    pub candidate: f64,
    /// The share for the other version.
    pub incumbent: f64,
    /// The candidate's share less the other's.
    pub difference: f64,
    /// The 95% interval of the difference.
    pub interval: Interval,
}

/// One value for each decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByDecision<T> {
    /// For [`Decision::Flag`].
    pub flag: T,
    /// For [`Decision::Review`].
    pub review: T,
    /// For [`Decision::Pass`].
    pub pass: T,
}

impl<T> ByDecision<T> {
    /// The value for a decision.
    pub fn of(&self, decision: Decision) -> &T {
        match decision {
            Decision::Flag => &self.flag,
            Decision::Review => &self.review,
            Decision::Pass => &self.pass,
        }
    }

    fn of_mut(&mut self, decision: Decision) -> &mut T {
        match decision {
            Decision::Flag => &mut self.flag,
            Decision::Review => &mut self.review,
            Decision::Pass => &mut self.pass,
        }
    }
}

impl Report {
    /// Makes the report of cases. Their order does not matter.
    ///
    /// ```
    /// use model::{backtest::{self, Comment, Report}, corpus, trainers::{self, Preset}};
    ///
    /// let rows = corpus::sample().rows;
    /// let fit = |preset| trainers::fit(trainers::find("multinomial_nb")?, &rows, preset);
    /// let (candidate, incumbent) = (fit(Preset::Default)?, fit(Preset::Sklearn)?);
    /// let comment = |text: &str, label| Comment { text: text.to_owned(), label, commenter: None };
    /// let comments = [comment("Nice song.", Some(false)), comment("I will find you.", None)];
    /// let report = Report::of(&backtest::judge(&candidate, &incumbent, &comments, 1));
    /// assert_eq!((report.comments, report.labelled.map(|labelled| labelled.comments)), (2, Some(1)));
    /// # Ok::<(), trainers::Error>(())
    /// ```
    #[must_use]
    pub fn of(cases: &[Case]) -> Self {
        let mut decisions = ByDecision::<ByDecision<u64>>::default();
        for Case { candidate, incumbent, .. } in cases {
            *decisions.of_mut(incumbent.decision).of_mut(candidate.decision) += 1;
        }
        let count = |is: fn(&&Case) -> bool| cases.iter().filter(is).count() as u64;
        let to_threat = count(|case| case.candidate.is_threat && !case.incumbent.is_threat);
        let to_harmless = count(|case| !case.candidate.is_threat && case.incumbent.is_threat);
        let (comments, changed) = (cases.len() as u64, to_threat + to_harmless);
        let clusters = clusters(cases);
        let mut resampled: Vec<Sums> = Vec::new();
        resampled_sums(clusters.clone(), SEED, |sums| resampled.push(Sums(sums)));
        let shares = resampled.iter().filter_map(|sums| share(sums.0[CHANGED], sums.0[COMMENTS]));
        let rare = most_of_none(clusters.len() as u64);
        let changed_interval = match changed {
            0 => [0.0, rare],
            all if all == comments => [1.0 - rare, 1.0],
            _ => interval(shares.collect()),
        };
        Self {
            comments,
            changed,
            to_threat,
            to_harmless,
            changed_share: share(changed, comments).unwrap_or(0.0),
            changed_interval,
            decisions,
            by_commenter: cases.iter().any(|case| case.commenter.is_some()),
            learnt: count(|case| case.label.is_some() && case.learnt),
            labelled: labelled(cases, &clusters, &resampled),
        }
    }

    /// The number of comments with another decision: flag, review or pass.
    #[must_use]
    pub fn handled_otherwise(&self) -> u64 {
        let same: u64 = Decision::ALL.iter().map(|&decision| *self.decisions.of(decision).of(decision)).sum();
        self.comments.saturating_sub(same)
    }
}

/// The number of counts for each commenter, or for each comment.
const COUNTS: usize = 10;
const COMMENTS: usize = 0;
const CHANGED: usize = 1;
const LABELLED: usize = 2;
/// Labelled correctly: by the candidate, by the other.
const RIGHT: [usize; 2] = [3, 4];
const THREATS: usize = 5;
/// Threats found: by the candidate, by the other.
const HITS: [usize; 2] = [6, 7];
/// Harmless comments called threats: by the candidate, by the other.
const ALARMS: [usize; 2] = [8, 9];

/// Counts of a set of cases.
#[derive(Clone, Copy)]
struct Sums([u64; COUNTS]);

impl Sums {
    fn accuracy(&self) -> Option<[f64; 2]> {
        both(RIGHT.map(|at| share(self.0[at], self.0[LABELLED])))
    }

    fn recall(&self) -> Option<[f64; 2]> {
        both(HITS.map(|at| share(self.0[at], self.0[THREATS])))
    }

    fn false_alarm_rate(&self) -> Option<[f64; 2]> {
        both(ALARMS.map(|at| share(self.0[at], self.0[LABELLED] - self.0[THREATS])))
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn both([candidate, incumbent]: [Option<f64>; 2]) -> Option<[f64; 2]> {
    Some([candidate?, incumbent?])
}

/// The counts of each commenter; a comment without a known commenter counts alone.
fn clusters(cases: &[Case]) -> Vec<[u32; COUNTS]> {
    let mut of_commenters: BTreeMap<u64, [u32; COUNTS]> = BTreeMap::new();
    let mut found = Vec::new();
    for case in cases {
        let counts = counts(case);
        match case.commenter {
            None => found.push(counts),
            Some(commenter) => {
                let sums = of_commenters.entry(commenter).or_default();
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }
    found.extend(of_commenters.into_values());
    found
}

fn counts(case: &Case) -> [u32; COUNTS] {
    let mut counts = [0; COUNTS];
    counts[COMMENTS] = 1;
    counts[CHANGED] = u32::from(case.candidate.is_threat != case.incumbent.is_threat);
    let Some(is_threat) = case.label.filter(|_| !case.learnt) else { return counts };
    counts[LABELLED] = 1;
    counts[THREATS] = u32::from(is_threat);
    for (at, said) in [case.candidate, case.incumbent].into_iter().enumerate() {
        counts[RIGHT[at]] = u32::from(said.is_threat == is_threat);
        counts[HITS[at]] = u32::from(said.is_threat && is_threat);
        counts[ALARMS[at]] = u32::from(said.is_threat && !is_threat);
    }
    counts
}

fn labelled(cases: &[Case], clusters: &[[u32; COUNTS]], resampled: &[Sums]) -> Option<Labelled> {
    let judged_by = || cases.iter().filter(|case| !case.learnt).filter_map(|case| Some((case, case.label?)));
    let corrected =
        |(case, label): &(&Case, bool)| case.candidate.is_threat == *label && case.incumbent.is_threat != *label;
    let broken =
        |(case, label): &(&Case, bool)| case.candidate.is_threat != *label && case.incumbent.is_threat == *label;
    let differ = |of: Option<bool>| {
        let of_class = judged_by().filter(|(_, label)| of.is_none_or(|of| of == *label));
        of_class.filter(|both| corrected(both) || broken(both)).count() as u64
    };
    let with = |is: fn(&&[u32; COUNTS]) -> bool| clusters.iter().filter(is).count() as u64;
    let mut sums = Sums([0; COUNTS]);
    for counts in clusters {
        sums.0.iter_mut().zip(counts).for_each(|(sum, &count)| *sum += u64::from(count));
    }
    let compare = |figure: fn(&Sums) -> Option<[f64; 2]>, differ: u64, clusters: u64| {
        let [candidate, incumbent] = figure(&sums)?;
        let differences = resampled.iter().filter_map(figure).map(|[candidate, incumbent]| candidate - incumbent);
        let rare = most_of_none(clusters);
        let difference = candidate - incumbent;
        let [low, high] = if differ == 0 { [0.0; 2] } else { interval(differences.collect()) };
        // If all resamples are equal, unseen cases may still exist.
        let interval = if low < high { [low, high] } else { [(low - rare).max(-1.0), (high + rare).min(1.0)] };
        Some(Compared { candidate, incumbent, difference, interval })
    };
    let accuracy = compare(Sums::accuracy, differ(None), with(|counts| counts[LABELLED] > 0))?;
    let recall = compare(Sums::recall, differ(Some(true)), with(|counts| counts[THREATS] > 0));
    let others = with(|counts| counts[LABELLED] > counts[THREATS]);
    let false_alarm_rate = compare(Sums::false_alarm_rate, differ(Some(false)), others);
    let corrected = judged_by().filter(corrected).count() as u64;
    let broken = judged_by().filter(broken).count() as u64;
    let p_value = (2.0 * chance_of_as_many(corrected.max(broken), corrected + broken)).min(1.0);
    let (comments, threats) = (sums.0[LABELLED], sums.0[THREATS]);
    Some(Labelled { comments, threats, corrected, broken, p_value, accuracy, recall, false_alarm_rate })
}

#[cfg(test)]
mod tests {
    use super::{super::Said, *};

    fn said(is_threat: bool, decision: Decision) -> Said {
        Said { is_threat, decision }
    }

    fn case(candidate: bool, incumbent: bool, label: Option<bool>) -> Case {
        let decide = |is_threat| if is_threat { Decision::Flag } else { Decision::Pass };
        let [candidate, incumbent] = [candidate, incumbent].map(|is_threat| said(is_threat, decide(is_threat)));
        Case { candidate, incumbent, label, commenter: None, sentences: Vec::new(), learnt: false }
    }

    /// 100 comments, 20 of them threats.
    ///
    /// The candidate finds 15 threats with 6 false alarms; the other version finds 10 with 2.
    fn hundred() -> Vec<Case> {
        let mut cases = vec![case(true, true, Some(true)); 8];
        cases.extend(vec![case(true, false, Some(true)); 7]);
        cases.extend(vec![case(false, true, Some(true)); 2]);
        cases.extend(vec![case(false, false, Some(true)); 3]);
        cases.extend(vec![case(true, true, Some(false)); 1]);
        cases.extend(vec![case(true, false, Some(false)); 5]);
        cases.extend(vec![case(false, true, Some(false)); 1]);
        cases.extend(vec![case(false, false, Some(false)); 73]);
        cases
    }

    #[test]
    fn the_counts_are_those_of_the_cases() {
        let report = Report::of(&hundred());
        assert_eq!((report.comments, report.changed, report.to_threat, report.to_harmless), (100, 15, 12, 3));
        assert_eq!((report.changed_share, report.by_commenter, report.learnt), (0.15, false, 0));
        let [low, high] = report.changed_interval;
        // 0.15 plus and minus 1.96 standard errors of 0.0357.
        assert!((low - 0.08).abs() < 0.02 && (high - 0.22).abs() < 0.02, "{low} {high}");
        let table = report.decisions;
        assert_eq!((table.flag.flag, table.flag.pass, table.pass.flag, table.pass.pass), (9, 3, 12, 76));
        assert_eq!((table.review, report.handled_otherwise()), (ByDecision::default(), 15));
        let labelled = report.labelled.unwrap();
        assert_eq!((labelled.comments, labelled.threats, labelled.corrected, labelled.broken), (100, 20, 8, 7));
        assert!((labelled.p_value - 1.0).abs() < 1e-9, "{}", labelled.p_value);
        let told = [Some(labelled.accuracy), labelled.recall, labelled.false_alarm_rate].map(|figure| {
            let Compared { candidate, incumbent, difference, interval: [low, high] } = figure.unwrap();
            assert!(low <= difference && difference <= high && low < high, "{figure:?}");
            [candidate, incumbent]
        });
        assert_eq!(told, [[0.89, 0.88], [0.75, 0.5], [0.075, 0.025]]);
        let [low, high] = labelled.recall.unwrap().interval;
        // 0.25 plus and minus 1.96 standard errors of 0.139.
        assert!((low + 0.02).abs() < 0.05 && (high - 0.52).abs() < 0.05, "{low} {high}");
        let mut turned = hundred();
        turned.reverse();
        assert_eq!(Report::of(&turned), Report::of(&hundred()));
    }

    #[test]
    fn the_test_is_mcnemars_two_sided() {
        let mut cases = vec![case(true, false, Some(true)); 9];
        cases.extend(vec![case(false, true, Some(true)); 2]);
        // scipy.stats.binomtest(9, 11, 0.5).pvalue
        let labelled = Report::of(&cases).labelled.unwrap();
        assert!((labelled.p_value - 0.065_429_687_5).abs() < 1e-9, "{}", labelled.p_value);
        assert_eq!(labelled.false_alarm_rate, None);
    }

    #[test]
    fn what_one_person_wrote_is_one_piece_of_evidence() {
        let mut cases = hundred();
        let width = |cases: &[Case]| {
            let [low, high] = Report::of(cases).changed_interval;
            high - low
        };
        let by_comment = width(&cases);
        // The changed comments are adjacent: four in five comments of a few people.
        cases.sort_by_key(|case| case.candidate.is_threat == case.incumbent.is_threat);
        for (at, case) in (0..).zip(&mut cases) {
            case.commenter = Some(at / 5);
        }
        assert!(Report::of(&cases).by_commenter && width(&cases) > 1.5 * by_comment, "{}", width(&cases));
    }

    #[test]
    fn without_a_difference_the_interval_says_how_much_there_may_be() {
        let report = Report::of(&vec![case(false, false, Some(false)); 300]);
        assert_eq!((report.changed, report.changed_interval[0]), (0, 0.0));
        assert!((report.changed_interval[1] - 0.0122).abs() < 1e-4, "{report:?}");
        let labelled = report.labelled.unwrap();
        assert_eq!((labelled.accuracy.difference, labelled.p_value, labelled.recall), (0.0, 1.0, None));
        assert!((labelled.accuracy.interval[0] + 0.0122).abs() < 1e-4, "{labelled:?}");
        let all = Report::of(&vec![case(true, false, None); 10]);
        assert!((all.changed_interval[0] - 0.6915).abs() < 1e-4 && all.labelled.is_none(), "{all:?}");
        let none = Report::of(&[]);
        assert_eq!((none.comments, none.changed_share, none.changed_interval), (0, 0.0, [0.0, 1.0]));
    }

    #[test]
    fn what_was_learnt_is_no_evidence() {
        let mut cases = hundred();
        for case in cases.iter_mut().filter(|case| case.label == Some(true)) {
            case.learnt = true;
        }
        let report = Report::of(&cases);
        assert_eq!((report.comments, report.changed, report.learnt), (100, 15, 20));
        let labelled = report.labelled.unwrap();
        assert_eq!((labelled.comments, labelled.threats, labelled.corrected, labelled.broken), (80, 0, 1, 5));
        for case in &mut cases {
            case.learnt = true;
        }
        assert_eq!(Report::of(&cases).labelled, None);
    }

    #[test]
    fn the_stored_form_is_fixed() {
        let report = Report::of(&hundred());
        let json = serde_json::to_value(&report).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "by_commenter",
                "changed",
                "changed_interval",
                "changed_share",
                "comments",
                "decisions",
                "labelled",
                "learnt",
                "to_harmless",
                "to_threat"
            ]
        );
        assert_eq!(json["decisions"]["pass"]["flag"], 12);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
