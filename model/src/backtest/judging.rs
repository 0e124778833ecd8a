//! Judges comments by both models.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Model, Row, Verdict, calibration::Decision, corpus::near::plain, corpus::split::is_held_out, experiment::parallel,
    text,
};

/// Comments per unit of work; a model is faster after some thousand comments.
const SHARE: usize = 2000;

/// A comment to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The text.
    pub text: String,
    /// Whether it is a threat, if it has a label.
    pub label: Option<bool>,
    /// The [`trace`] of the commenter's name, if known.
    pub commenter: Option<u64>,
}

/// The answers of both models for one comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The answer of the tested version.
    pub candidate: Said,
    /// The answer of the version that it is compared with.
    pub incumbent: Said,
    /// Whether the comment is a threat, if it has a label.
    pub label: Option<bool>,
    /// The [`trace`] of the commenter's name, if known.
    pub commenter: Option<u64>,
    /// The [`trace`] of each sentence of a labelled comment; empty without a label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sentences: Vec<u64>,
    /// Whether either version was trained on any of its sentences.
    ///
    /// The label then proves nothing. All sentences count, not only the deciding one, because which sentence decides
    /// depends on the verdict, and the choice of evidence must not.
    #[serde(default)]
    pub learnt: bool,
}

/// A model's answer for a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Whether it is a threat.
    pub is_threat: bool,
    /// What to do with it.
    pub decision: Decision,
}

impl Said {
    /// The answer from a verdict.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        Self { is_threat: verdict.is_threat, decision: verdict.band.decide(verdict.probability) }
    }
}

/// A 64-bit hash of a text that ignores case and punctuation.
///
/// Anyone who guesses a text can check the guess against its trace. Traces are therefore deleted after the backtest.
#[must_use]
pub fn trace(text: &str) -> u64 {
    let digest = Sha256::digest(plain(text).as_bytes());
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The traces of a row's sentences; none if the commenter is held out.
#[must_use]
pub fn traces(seed: u64, row: &Row) -> Vec<u64> {
    if is_held_out(seed, &row.commenter) {
        return Vec::new();
    }
    sentences(&row.text)
}

/// The trace of each sentence.
fn sentences(text: &str) -> Vec<u64> {
    text::sentences(text).into_iter().map(|place| trace(&text[place])).collect()
}

/// Joins rows to comments. The rows of a comment must follow each other.
///
/// The text has one line for each sentence. A comment is a threat if any of its sentences is one.
#[must_use]
pub fn comments(rows: &[Row]) -> Vec<Comment> {
    let of_one = |a: &Row, b: &Row| (a.comment, &a.commenter) == (b.comment, &b.commenter);
    let comment = |rows: &[Row]| Comment {
        text: rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n"),
        label: Some(rows.iter().any(Row::is_threat)),
        commenter: rows.first().map(|row| trace(&row.commenter)),
    };
    rows.chunk_by(of_one).map(comment).collect()
}

/// Judges comments by both models on several threads; the cases keep the comments' order.
#[must_use]
pub fn judge(candidate: &Model, incumbent: &Model, comments: &[Comment], threads: usize) -> Vec<Case> {
    let shares: Vec<&[Comment]> = comments.chunks(SHARE).collect();
    let judge = |share: &&[Comment]| -> Vec<Case> {
        // One model after the other, because a thread's cache holds only one model.
        let [candidate, incumbent] = [candidate, incumbent]
            .map(|model| share.iter().map(|comment| Said::of(&model.judge(&comment.text))).collect::<Vec<_>>());
        let said = candidate.into_iter().zip(incumbent).zip(*share);
        said.map(|((candidate, incumbent), comment)| Case {
            candidate,
            incumbent,
            label: comment.label,
            commenter: comment.commenter,
            sentences: if comment.label.is_some() { sentences(&comment.text) } else { Vec::new() },
            learnt: false,
        })
        .collect()
    };
    parallel::map(&shares, threads, judge, &|_, _| {}).concat()
}

/// The traces of the sentences of labelled cases.
#[must_use]
pub fn labelled_sentences(cases: &[Case]) -> BTreeSet<u64> {
    cases.iter().flat_map(|case| case.sentences.iter().copied()).collect()
}

/// Marks the cases with a sentence that either version has learnt; removes all traces.
pub fn mark_learnt(cases: &mut [Case], learnt: &BTreeSet<u64>) {
    for case in cases {
        case.learnt |= std::mem::take(&mut case.sentences).iter().any(|sentence| learnt.contains(sentence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        corpus,
        experiment::{self, Config},
        trainers::{self, Preset},
    };

    fn model(preset: Preset) -> Model {
        let trainer = trainers::find("multinomial_nb").unwrap();
        let config = Config { preset, ..Config::default() };
        experiment::train(trainer, &corpus::sample().rows, &config, &|_, _| {}).unwrap().model
    }

    #[test]
    fn comments_are_the_rows_of_one_and_judged_alike_on_any_number_of_threads() {
        let rows = corpus::sample().rows;
        let comments: Vec<Comment> = comments(&rows).into_iter().cycle().take(2 * SHARE + 7).collect();
        let [one, other] = [model(Preset::Default), model(Preset::Sklearn)];
        let cases = judge(&one, &other, &comments, 1);
        assert_eq!(cases, judge(&one, &other, &comments, 3));
        assert_eq!(cases.len(), comments.len());
        for (case, comment) in cases.iter().zip(&comments) {
            let [by_one, by_other] = [one.judge(&comment.text), other.judge(&comment.text)];
            assert_eq!((case.candidate.is_threat, case.incumbent.is_threat), (by_one.is_threat, by_other.is_threat));
            assert_eq!(case.candidate.decision, by_one.band.decide(by_one.probability));
            assert_eq!((case.label, case.commenter), (comment.label, comment.commenter));
        }
        assert!(cases.iter().any(|case| case.candidate.is_threat != case.incumbent.is_threat), "they differ");
    }

    #[test]
    fn the_rows_of_a_comment_make_one_and_two_commenters_never_do() {
        let row = |comment, commenter: &str, label, text: &str| Row {
            comment,
            commenter: commenter.to_owned(),
            label,
            text: text.to_owned(),
        };
        let rows = [row(1, "a", 0, "One."), row(1, "a", 1, "Two!"), row(1, "b", 2, "Three"), row(2, "b", 0, "Four")];
        let found = comments(&rows);
        let told: Vec<_> = found.iter().map(|c| (c.text.as_str(), c.label)).collect();
        assert_eq!(told, [("One.\nTwo!", Some(true)), ("Three", Some(false)), ("Four", Some(false))]);
        assert_eq!(found[1].commenter, found[2].commenter);
        assert_ne!(found[0].commenter, found[1].commenter);
    }

    #[test]
    fn a_comment_is_learnt_by_any_of_its_sentences_whatever_a_model_says_of_them() {
        let model = model(Preset::Default);
        let text = "Nice song. I will KILL you!".to_owned();
        let comment = Comment { text, label: Some(true), commenter: None };
        let mut cases = judge(&model, &model, &[comment.clone(), comment], 1);
        let [mut harmless_part, mut other] = [cases[0].clone(), cases[0].clone()];
        mark_learnt(std::slice::from_mut(&mut harmless_part), &BTreeSet::from([trace("nice song")]));
        mark_learnt(std::slice::from_mut(&mut other), &BTreeSet::from([trace("another song")]));
        assert_eq!((harmless_part.learnt, other.learnt), (true, false));
        assert!(harmless_part.sentences.is_empty());
        let seed = (0..100).find(|&seed| !is_held_out(seed, "a")).unwrap();
        let row = |commenter: &str| Row {
            comment: 1,
            commenter: commenter.to_owned(),
            label: 1,
            text: "Who are you? I will kill you.".to_owned(),
        };
        let learnt: BTreeSet<u64> = traces(seed, &row("a")).into_iter().collect();
        mark_learnt(&mut cases[..1], &learnt);
        assert_eq!((learnt.len(), cases[0].learnt, cases[1].learnt), (2, true, false));
        let held_out = (0..100).find(|&seed| is_held_out(seed, "a")).unwrap();
        assert_eq!(traces(held_out, &row("a")), [0_u64; 0]);
    }
}
