//! Reviewers' decisions: stored once, listed, deleted, and built into datasets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use common::block_on;
use model::{
    Row,
    corpus::{self, split},
    protocol::Resolve,
};
use registry::{Choice, DatasetManifest, Fate, Feedback, FeedbackId, Key, Label, MemoryStore, Registry, Store};

const SEED: u64 = 42;
const MAJORITY: Choice = Choice { since: None, resolve: Resolve::Majority, seed: SEED };

fn says(reviewer: &str, text: &str, label: Label) -> Feedback {
    Feedback {
        text: text.to_owned(),
        label,
        sentences: BTreeSet::new(),
        reviewer: reviewer.parse().unwrap(),
        note: None,
        model: None,
        request_id: None,
    }
}

fn threat(reviewer: &str, text: &str) -> Feedback {
    says(reviewer, text, Label::Threat)
}

fn harmless(reviewer: &str, text: &str) -> Feedback {
    says(reviewer, text, Label::Harmless)
}

struct World {
    store: Arc<MemoryStore>,
    registry: Registry,
    base: DatasetManifest,
}

async fn world() -> World {
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let base = registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap();
    World { store, registry, base }
}

impl World {
    async fn say(&self, feedback: impl IntoIterator<Item = Feedback>) {
        for feedback in feedback {
            self.registry.put_feedback(feedback).await.unwrap();
        }
    }

    /// The fates of the comments, and the rows that are built.
    async fn build(&self, choice: &Choice) -> (BTreeMap<Fate, u64>, Vec<Row>) {
        let built = self.registry.build_dataset(&self.base.digest, choice).await.unwrap();
        (built.fates, self.registry.rows(&built.dataset).await.unwrap())
    }
}

/// A sample row, held out or not, threat or not, with at least `words` words.
fn row(is_held_out: bool, is_threat: bool, words: usize) -> Row {
    let rows = corpus::sample().rows;
    let fits = |row: &&Row| {
        split::is_held_out(SEED, &row.commenter) == is_held_out
            && row.is_threat() == is_threat
            && row.text.split(' ').count() >= words
            && model::text::sentences(&row.text).len() == 1
    };
    rows.iter().find(fits).unwrap().clone()
}

#[test]
fn a_decision_is_kept_once_by_comment_and_reviewer_and_the_last_revision_counts() {
    block_on(async {
        let World { registry, .. } = world().await;
        let put = async |feedback| {
            let (item, is_new) = registry.put_feedback(feedback).await.unwrap();
            (item.revision, is_new)
        };
        assert_eq!(put(threat("anna", "You will pay.")).await, (1, true));
        assert_eq!(put(threat("anna", "You will pay.")).await, (1, false));
        assert_eq!(put(harmless("ben", "You will pay.")).await, (1, true), "reviewers may differ");
        assert_eq!(put(harmless("anna", "You will pay.")).await, (2, true));
        assert_eq!(put(threat("anna", "You will pay!")).await, (1, true), "another comment");
        let noted = Feedback { note: Some("a debt".to_owned()), ..harmless("anna", "You will pay.") };
        assert_eq!(put(noted).await, (3, true));

        let list = registry.feedback().await.unwrap();
        assert_eq!(list.len(), 3);
        let anna = FeedbackId::new("You will pay.", &"anna".parse().unwrap());
        assert_eq!((list[&anna].revision, list[&anna].feedback.label), (3, Label::Harmless));
        assert_eq!(anna.to_string().parse(), Ok(anna.clone()));

        assert!(registry.delete_feedback(&anna).await.unwrap());
        assert!(!registry.delete_feedback(&anna).await.unwrap());
        let mut left = list.clone();
        registry.follow_feedback(&mut left).await.unwrap();
        assert_eq!(left.len(), 2);
        assert!(!left.contains_key(&anna));
        // A number is never used again: a reader of the old revision must see that this is another one.
        assert_eq!(put(harmless("anna", "You will pay.")).await, (4, true));
        registry.follow_feedback(&mut left).await.unwrap();
        assert_eq!((left[&anna].revision, left[&anna].feedback.label), (4, Label::Harmless));
    });
}

#[test]
fn nothing_of_a_deleted_decision_is_left_in_the_store() {
    block_on(async {
        let World { registry, store, .. } = world().await;
        registry.put_feedback(threat("anna", "a canary of a comment")).await.unwrap();
        let (item, _) = registry.put_feedback(harmless("anna", "a canary of a comment")).await.unwrap();
        assert!(registry.delete_feedback(&item.id).await.unwrap());
        for entry in store.entries("").await.unwrap() {
            let bytes = store.get(&entry.name).await.unwrap().unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("canary"), "{}", entry.name);
        }
    });
}

#[test]
fn what_a_deletion_that_was_cut_short_left_behind_counts_for_nothing() {
    block_on(async {
        let World { registry, store, .. } = world().await;
        let (item, _) = registry.put_feedback(threat("anna", "You will pay.")).await.unwrap();
        // The deletion was interrupted: the mark is there, and the decision too.
        let mark = Key::FeedbackDeleted(item.id.comment(), "anna", 1).path();
        store.create(&mark, Bytes::new()).await.unwrap();
        assert!(registry.feedback().await.unwrap().is_empty());
        let (again, is_new) = registry.put_feedback(threat("anna", "You will pay.")).await.unwrap();
        assert_eq!((again.revision, is_new), (2, true), "the one that was deleted is not what was said before");
        assert_eq!(registry.feedback().await.unwrap().len(), 1);
        assert!(registry.delete_feedback(&item.id).await.unwrap(), "and is done again");
        let left: Vec<_> = store.list(Key::FEEDBACK).await.unwrap();
        assert!(left.iter().all(|path| path.ends_with(".deleted")), "{left:?}");
    });
}

#[test]
fn ten_reviewers_at_once_lose_and_double_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let World { registry, .. } = world().await;
        let reviewing = (0..10).map(|reviewer| {
            let registry = registry.clone();
            tokio::spawn(async move {
                for comment in 0..50 {
                    // Each reviewer has two sessions, and each session says it twice.
                    for label in [Label::Threat, Label::Threat] {
                        let (name, text) = (format!("r{}", reviewer / 2), format!("comment {comment}"));
                        registry.put_feedback(says(&name, &text, label)).await.unwrap();
                    }
                }
            })
        });
        for reviewed in reviewing.collect::<Vec<_>>() {
            reviewed.await.unwrap();
        }
        let list = registry.feedback().await.unwrap();
        assert_eq!(list.len(), 5 * 50);
        assert!(list.values().all(|item| item.revision == 1));
    });
}

#[test]
fn a_dataset_has_what_was_reviewed_and_its_held_out_commenters_are_as_they_were() {
    block_on(async {
        let world = world().await;
        let before = world.registry.rows(&world.base).await.unwrap();
        let (held_out, known, wrong) = (row(true, true, 6), row(false, true, 4), row(false, false, 4));
        world
            .say([
                threat("anna", "I am going to burn your barn down tonight."),
                harmless("anna", "What a lovely barn. I would like to paint it."),
                // A held-out sentence cannot be corrected.
                harmless("anna", &format!("{} ", held_out.text.to_uppercase())),
                threat("anna", &known.text),
                threat("anna", &wrong.text),
            ])
            .await;
        let (fates, rows) = world.build(&MAJORITY).await;
        let expected = [(Fate::Added, 2), (Fate::Corrected, 1), (Fate::Known, 1), (Fate::NearHeldOut, 1)];
        assert_eq!(fates, BTreeMap::from(expected));
        let changed: Vec<&Row> = rows.iter().filter(|row| !before.contains(row)).collect();
        let corrected = Row { label: 1, ..wrong };
        assert_eq!((changed.len(), changed[0]), (4, &corrected));
        let added: Vec<(&str, u8)> = changed[1..].iter().map(|row| (row.text.as_str(), row.label)).collect();
        for expected in [
            ("I am going to burn your barn down tonight.", 1),
            ("What a lovely barn.", 0),
            ("I would like to paint it.", 0),
        ] {
            assert!(added.contains(&expected), "{added:?}");
        }
        let held_out = |rows: &[Row]| split::held_out(SEED, rows.to_vec()).1;
        assert_eq!(held_out(&rows), held_out(&before));
        let last = before.last().unwrap().comment;
        assert!(changed[1..].iter().all(|row| row.comment > last && row.commenter.starts_with(split::FEEDBACK)));
    });
}

#[test]
fn the_same_decisions_make_the_same_dataset_and_it_says_from_what_it_was_built() {
    block_on(async {
        let world = world().await;
        world.say([threat("anna", "I will burn your barn."), threat("ben", "I will burn your barn.")]).await;
        let build = async || world.registry.build_dataset(&world.base.digest, &MAJORITY).await.unwrap();
        let (first, second) = (build().await, build().await);
        assert_eq!(first.dataset.digest, second.dataset.digest);
        assert_eq!((first.added, first.threats, first.corrected), (1, 1, 0));
        assert_eq!(first.dataset.built_on.as_ref(), Some(&world.base.digest));
        let provenance = world.registry.provenance(&first.dataset.digest).await.unwrap().unwrap();
        assert_eq!(provenance, first.provenance);
        assert_eq!(provenance.reviewers.iter().map(String::as_str).collect::<Vec<_>>(), ["anna", "ben"]);
        assert!(provenance.items.values().all(|item| *item == (1, Fate::Added)));
        // Deleted decisions are not in datasets that are built later.
        for id in first.provenance.items.keys() {
            world.registry.delete_feedback(id).await.unwrap();
        }
        assert_eq!(build().await.dataset.digest, world.base.digest);
    });
}

#[test]
fn reviewers_who_differ_are_resolved_as_was_asked() {
    block_on(async {
        let world = world().await;
        let text = "You had better lock your doors tonight.";
        world.say([threat("anna", text), harmless("ben", text)]).await;
        // Later, by the clock of this machine.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        world.say([threat("carl", "You had better not."), harmless("carl", text)]).await;
        let label = async |resolve| {
            let (_, rows) = world.build(&Choice { resolve, ..MAJORITY }).await;
            rows.iter().find(|row| row.text == text).map(|row| row.label)
        };
        assert_eq!(label(Resolve::Majority).await, Some(0));
        assert_eq!(label(Resolve::Latest).await, Some(0));
        assert_eq!(label(Resolve::Drop).await, None);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let dora = Feedback { note: Some("sure".to_owned()), ..threat("dora", text) };
        world.say([dora]).await;
        assert_eq!(label(Resolve::Latest).await, Some(1));
        assert_eq!(label(Resolve::Majority).await, None, "two against two");
        let list = world.registry.feedback().await.unwrap();
        let since = list.values().map(|item| item.at).max();
        let (fates, _) = world.build(&Choice { since, ..MAJORITY }).await;
        assert_eq!(fates, BTreeMap::from([(Fate::Added, 1)]));
    });
}

#[test]
fn of_a_threat_with_several_sentences_those_that_were_named_are_threats_and_the_others_harmless() {
    block_on(async {
        let world = world().await;
        let text = "I saw your show. I will set your house on fire. See you soon.";
        world.say([threat("anna", text)]).await;
        let (fates, rows) = world.build(&MAJORITY).await;
        assert_eq!(fates, BTreeMap::from([(Fate::NoSentence, 1)]));
        assert_eq!(rows, world.registry.rows(&world.base).await.unwrap());
        let before = rows.len();
        let added = async || {
            let (_, rows) = world.build(&MAJORITY).await;
            assert!(rows[before..].iter().all(|row| row.comment == rows[before].comment), "they stay one comment");
            rows[before..].iter().map(|row| (row.text.clone(), row.label)).collect::<Vec<_>>()
        };
        let labelled = |labels: [u8; 3]| {
            let texts = ["I saw your show.", "I will set your house on fire.", "See you soon."].map(str::to_owned);
            texts.into_iter().zip(labels).collect::<Vec<_>>()
        };
        world.say([Feedback { sentences: [1].into(), ..threat("anna", text) }]).await;
        assert_eq!(added().await, labelled([0, 1, 0]));
        world.say([Feedback { sentences: [1, 2].into(), ..threat("anna", text) }]).await;
        assert_eq!(added().await, labelled([0, 1, 1]));
        // A sentence that any reviewer named is a threat.
        world.say([Feedback { sentences: [0].into(), ..threat("ben", text) }]).await;
        assert_eq!(added().await, labelled([1, 1, 1]));
        // A number that the comment does not have names nothing.
        for reviewer in ["anna", "ben"] {
            world.say([Feedback { sentences: [7].into(), ..threat(reviewer, text) }]).await;
        }
        assert_eq!(world.build(&MAJORITY).await.0, BTreeMap::from([(Fate::NoSentence, 1)]));
    });
}

#[test]
fn a_row_of_several_sentences_is_seen_as_a_whole_and_by_its_sentences() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let name = |is_held_out| {
            let names = (0..).map(|number| format!("writer-{number}"));
            names.into_iter().find(|name| split::is_held_out(SEED, name) == is_held_out).unwrap()
        };
        let line = |label: u8, text: &str, commenter: &str| {
            format!("{}\n", serde_json::json!({ "text": text, "label": label, "commenter": commenter }))
        };
        let held_out = "I saw a dog by the lake today. It was chasing all of the ducks.";
        let wrong = "You will be sorry for that one. We know the street that you live in.";
        let mut lines: String =
            corpus::sample().rows.iter().map(|row| line(row.label, &row.text, &row.commenter)).collect();
        lines += &line(0, held_out, &name(true));
        lines += &line(0, wrong, &name(false));
        let base = registry.put_dataset("base.jsonl", lines.into_bytes()).await.unwrap();
        let world = World { store, registry, base };
        world
            .say([
                harmless("anna", held_out),
                Feedback { sentences: [1].into(), ..threat("ben", "It was chasing all the ducks.") },
                Feedback { sentences: [1].into(), ..threat("anna", wrong) },
            ])
            .await;
        let before = world.registry.rows(&world.base).await.unwrap();
        let (fates, rows) = world.build(&MAJORITY).await;
        assert_eq!(fates, BTreeMap::from([(Fate::Corrected, 1), (Fate::NearHeldOut, 2)]));
        assert_eq!(rows.len(), before.len(), "neither half of the held-out row is learnt");
        let changed: Vec<&Row> = rows.iter().filter(|row| !before.contains(row)).collect();
        assert_eq!((changed.len(), changed[0].text.as_str(), changed[0].label), (1, wrong, 1));
    });
}

#[test]
fn a_decision_that_names_one_sentence_in_the_old_way_is_read() {
    let old = r#"{"text":"a","label":"threat","sentence":2,"reviewer":"anna",
        "model":{"version":"20261123T021009Z-3f9c2a1b","probability":0.5,"label":"threat","sentence":1}}"#;
    let read: Feedback = serde_json::from_str(old).unwrap();
    assert_eq!((&read.sentences, &read.model.as_ref().unwrap().sentences), (&[2].into(), &[1].into()));
    assert_eq!(read.threats(), [2].into());
    let unnamed = Feedback { sentences: BTreeSet::new(), ..read.clone() };
    assert_eq!(unnamed.threats(), [1].into(), "what the model found");
    assert_eq!(Feedback { label: Label::Harmless, ..unnamed }.threats(), BTreeSet::new());
    assert_eq!(serde_json::from_value::<Feedback>(serde_json::to_value(&read).unwrap()).unwrap(), read);
}
