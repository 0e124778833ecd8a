//! Backtests: which comments are judged, which labels count, and how long reports stay.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use common::{TEMPLATE, block_on, manifest, registered, version};
use model::{
    Model, artifact,
    backtest::{self, Backtest, BacktestId, Case, Comment, Piece, Report, Source},
    corpus::split,
    protocol::PruneInput,
};
use registry::{Error, Feedback, Key, Label, MemoryStore, ModelManifest, Registry, Store};

const DAY: i64 = 24 * 3600 * 1000;

fn world() -> (Arc<MemoryStore>, Registry) {
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    (store, registry)
}

fn template() -> Model {
    artifact::decode(&TEMPLATE.0).unwrap()
}

fn id(number: i64) -> BacktestId {
    BacktestId::derive(number, "backtest", "run")
}

async fn say(registry: &Registry, reviewer: &str, text: &str, label: Label) {
    let (text, reviewer) = (text.to_owned(), reviewer.parse().unwrap());
    let feedback =
        Feedback { text, label, sentences: BTreeSet::new(), reviewer, note: None, model: None, request_id: None };
    registry.put_feedback(feedback).await.unwrap();
}

fn report_of(number: usize, run: i64, at: i64) -> Backtest {
    Backtest {
        id: id(run),
        candidate: version(number),
        incumbent: version(9),
        source: Source::Feedback,
        at,
        code_version: "test".to_owned(),
        report: Report::of(&[]),
    }
}

#[test]
fn reviewed_comments_are_judged_once_with_what_most_say() {
    block_on(async {
        let (_, registry) = world();
        assert_eq!(registry.backtest_pieces(&Source::Feedback).await.unwrap(), []);
        for (reviewer, text, label) in [
            ("anna", "first", Label::Threat),
            ("ben", "first", Label::Harmless),
            ("anna", "second", Label::Threat),
            ("ben", "second", Label::Threat),
            ("cleo", "second", Label::Harmless),
            ("anna", "third", Label::Harmless),
            ("anna", "fourth", Label::Threat),
        ] {
            say(&registry, reviewer, text, label).await;
        }
        registry.delete_feedback(&registry::FeedbackId::new("fourth", &"anna".parse().unwrap())).await.unwrap();
        let pieces = registry.backtest_pieces(&Source::Feedback).await.unwrap();
        assert_eq!(pieces, [Piece::Feedback { digits: String::new() }]);
        let told = |comments: Vec<Comment>| {
            let mut told: Vec<(String, Option<bool>)> = comments.into_iter().map(|c| (c.text, c.label)).collect();
            told.sort();
            told
        };
        let whole = told(registry.comments(&pieces[0]).await.unwrap());
        let expected = [("first", None), ("second", Some(true)), ("third", Some(false))];
        assert_eq!(whole, expected.map(|(text, label)| (text.to_owned(), label)));
        let mut parts = Vec::new();
        for digit in "0123456789abcdef".chars() {
            parts.extend(registry.comments(&Piece::Feedback { digits: digit.to_string() }).await.unwrap());
        }
        assert_eq!(told(parts), whole, "by digits nothing is lost or doubled");
    });
}

#[test]
fn a_dataset_in_pieces_has_the_comments_of_the_whole() {
    block_on(async {
        let (_, registry) = world();
        let mut file = String::from("text,label,commenter,comment\n");
        for row in 0..45_000 {
            writeln!(file, "sentence {row},{},{},{}", u8::from(row % 9 == 0), row / 21, row / 7).unwrap();
        }
        let dataset = registry.put_dataset("rows.csv", file.into_bytes()).await.unwrap();
        assert_eq!(dataset.shards.len(), 3);
        let piece = |from, to| Piece::Shards { dataset: dataset.digest.clone(), from, to };
        assert_eq!(
            registry.backtest_pieces(&Source::Dataset(dataset.digest.clone())).await.unwrap(),
            [piece(0, 3)],
            "so few are one piece"
        );
        let whole = registry.comments(&piece(0, 3)).await.unwrap();
        let mut parts = Vec::new();
        for from in 0..3 {
            parts.extend(registry.comments(&piece(from, from + 1)).await.unwrap());
        }
        assert_eq!((whole.len(), &parts), (45_000_usize.div_ceil(7), &whole));
        assert_eq!(whole[1].text.lines().count(), 7);
    });
}

#[test]
fn what_a_version_was_trained_on_is_told() {
    block_on(async {
        let (_, registry) = world();
        let dataset = registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap();
        let manifest = ModelManifest { dataset: dataset.digest.clone(), ..manifest(0) };
        let rows = model::corpus::sample().rows;
        let row = |held_out| {
            let is_on_side = |row: &&model::Row| split::is_held_out(manifest.seed, &row.commenter) == held_out;
            rows.iter().filter(is_on_side).max_by_key(|row| row.text.len()).unwrap().text.clone()
        };
        let comment = |text: String, label| Comment { text, label, commenter: None };
        let comments = [
            comment(row(false).to_uppercase(), Some(true)),
            comment(row(true), Some(false)),
            comment("Nobody ever said this".to_owned(), Some(false)),
            comment(row(false), None),
        ];
        let model = template();
        let cases = backtest::judge(&model, &model, &comments, 1);
        let marked = registry.mark_learnt(cases.clone(), [&manifest, &manifest]).await.unwrap();
        assert_eq!(marked.iter().map(|case| case.learnt).collect::<Vec<_>>(), [true, false, false, false]);
        let gone = ModelManifest { dataset: model::Digest::of(b"gone"), ..manifest.clone() };
        let refused = registry.mark_learnt(cases.clone(), [&manifest, &gone]).await;
        assert!(matches!(refused, Err(Error::NotFound { what: "dataset", .. })), "{refused:?}");
        let unlabelled = cases.into_iter().map(|case| Case { label: None, sentences: Vec::new(), ..case }).collect();
        assert!(registry.mark_learnt(unlabelled, [&gone, &gone]).await.is_ok(), "nothing has to be known");
    });
}

#[test]
fn a_report_is_written_once_and_the_newest_comes_first() {
    block_on(async {
        let (store, registry) = world();
        assert_eq!(registry.backtests(&version(0)).await.unwrap(), []);
        let first = report_of(0, 1, 2000);
        assert_eq!(registry.put_backtest(&first).await.unwrap(), first);
        let again = Backtest { at: 9000, ..first.clone() };
        assert_eq!(registry.put_backtest(&again).await.unwrap(), first, "a run that tries again finds its own");
        // The second run began earlier and ended later.
        let second = registry.put_backtest(&report_of(0, 0, 3000)).await.unwrap();
        registry.put_backtest(&report_of(1, 7, 9000)).await.unwrap();
        assert_eq!(registry.backtests(&version(0)).await.unwrap(), [second, first.clone()]);
        let path = Key::Backtest(&version(0), &id(0)).path();
        store.corrupt(&path, |bytes| bytes.truncate(10));
        assert_eq!(registry.backtests(&version(0)).await.unwrap(), [first]);

        let comment = Comment { text: "a".to_owned(), label: Some(true), commenter: Some(u64::MAX) };
        let cases = backtest::judge(&template(), &template(), &vec![comment; 3], 1);
        registry.put_cases(&version(0), &id(0), 4, cases.clone()).await.unwrap();
        registry.put_cases(&version(0), &id(0), 4, Vec::new()).await.unwrap();
        assert_eq!(registry.cases(&version(0), &id(0), 4).await.unwrap(), cases);
        assert_eq!(registry.backtests(&version(0)).await.unwrap().len(), 1, "parts are no report");
        registry.drop_cases(&version(0), &id(0)).await.unwrap();
        assert!(matches!(registry.cases(&version(0), &id(0), 4).await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn retention_deletes_the_backtests_of_a_deleted_version_and_parts_that_were_left() {
    block_on(async {
        let (store, registry) = world();
        for number in 0..2 {
            registered(&registry, number).await;
            registry.put_backtest(&report_of(number, 1, 0)).await.unwrap();
            registry.put_cases(&version(number), &id(2), 0, Vec::new()).await.unwrap();
        }
        let left = || async { store.list(Key::BACKTESTS).await.unwrap() };
        let [of_old, of_new] = [0, 1].map(|number| Key::Backtest(&version(number), &id(1)).path());
        let keep_one = PruneInput { keep: 1, ..PruneInput::default() };
        registry.prune(&keep_one, DAY - 1).await.unwrap();
        assert_eq!(left().await.len(), 4, "all is younger than a day");
        store.set_clock(DAY);
        registry.prune(&keep_one, DAY).await.unwrap();
        assert_eq!(left().await, [of_old, of_new.clone()], "the version is marked, and there still");
        store.set_clock(2 * DAY);
        let dry = PruneInput { dry_run: true, ..keep_one.clone() };
        let would = registry.prune(&dry, 2 * DAY).await.unwrap();
        let did = registry.prune(&keep_one, 2 * DAY).await.unwrap();
        assert_eq!((did.versions.len(), did.bytes), (1, would.bytes));
        assert_eq!(left().await, [of_new]);
    });
}
