//! A small plug-in of each kind, outside of our crates: the public traits are enough to write one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../model/registry/tests/common/mod.rs"]
mod models;

use std::{collections::BTreeMap, sync::Arc, sync::Mutex};

use activities::sources::{self, SOURCES, Source};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use model::{
    Digest, Row, artifact,
    counts::Counter,
    experiment::{self, Config},
    features::{self, Analyser, Extractor, Feature, FeatureSet},
    gate::{self, Answer, Bound, Check, Evidence},
    linear::{Component, Normalisation, table::Table},
    text::{Word, WordRule},
    trainers::{self, Fitted, Learner, Preset, Trainer},
};
use registry::{Created, DatasetManifest, Entry, Registry, Store, StoreError};

/// A feature: how many exclamation marks a sentence ends with.
struct Exclamations;

impl Extractor for Exclamations {
    fn name(&self) -> &'static str {
        "exclamations"
    }

    fn extract(&self, sentence: &str, _: &[Word], features: &mut Vec<Feature>) {
        let start = sentence.trim_end_matches('!').len() as u32;
        let end = sentence.len() as u32;
        features.push(Feature { key: u64::from(end - start).wrapping_mul(0x9e37_79b9_7f4a_7c15), start, end });
    }
}

#[test]
fn a_feature() {
    let analyser = Analyser::new(WordRule::Word, vec![&Exclamations]);
    let (mut counter, mut scratch) = (Counter::default(), features::Scratch::default());
    for (text, is_threat) in [("I come for you!!", true), ("Nice!!", false), ("Nice", false)] {
        counter.add(&analyser, text, is_threat, &mut scratch);
    }
    let counts = counter.finish();
    assert_eq!((counts.len(), counts.sentences), (2, [2, 1]), "two endings are told apart");
    assert_eq!(counts.frequent(2)[0].1.occurrences, [1, 1]);
}

/// A trainer: a word that stands in a threat votes for one, every other word against.
struct WordList;

impl Trainer for WordList {
    fn name(&self) -> &'static str {
        "word_list"
    }

    fn summary(&self) -> &'static str {
        "words of threats"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&WordList]
    }
}

impl Learner for WordList {
    fn fit(&self, rows: &[&Row], _: Preset) -> Result<Fitted, trainers::Error> {
        let features = FeatureSet::new(WordRule::Word, &["unigrams"]);
        let (mut counter, mut scratch) = (Counter::default(), features::Scratch::default());
        let analyser = features.analyser()?;
        for row in rows {
            counter.add(&analyser, &row.text, row.is_threat(), &mut scratch);
        }
        let known = counter.finish().frequent(1);
        let vote = |of: [u32; 2]| if of[1] > 0 { f64::from(of[1]) / f64::from(of[0] + of[1]) } else { -0.2 };
        let cells = known.iter().map(|(_, count)| Table::quantise(vote(count.occurrences))).collect();
        let table = Table::new(known.into_iter().map(|(key, _)| key).collect(), 1, cells)?;
        let component = Component {
            learner: "word_list".to_owned(),
            parameters: serde_json::Value::Null,
            bias: 0.0,
            normalisation: Normalisation::Length { exponent: 1.0 },
            weight: 1.0,
        };
        Ok(Fitted { component, features, table })
    }
}

#[test]
fn a_trainer() {
    let rows = model::corpus::sample().rows;
    let trained = experiment::train(&WordList, &rows, &Config::default(), &|_, _| {}).unwrap();
    assert!(trained.cross_validation.sentence.roc_auc > 0.7, "{:?}", trained.cross_validation.sentence);
    // Artifact, explanation and verdict come by themselves.
    let again = artifact::decode(&artifact::encode(&trained.model)).unwrap();
    let mut scratch = model::linear::Scratch::default();
    let text = "i will kill you";
    let explanation = again.explain(text, &mut scratch);
    let sum = explanation.tokens.iter().fold(explanation.bias, |sum, token| sum + token.contribution);
    assert_eq!(sum, again.score(text, &mut scratch).logit);
    assert!(again.judge(text).probability > again.judge("what a nice day").probability);
}

/// A gate check: a model of few words explains itself.
struct FewFeatures(usize);

impl Check for FewFeatures {
    fn name(&self) -> &'static str {
        "few_features"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.candidate.model.table().len() as f64;
        Answer { value, bound: Bound::AtMost(self.0 as f64), meaning: format!("It knows {value} features.") }
    }
}

#[test]
fn a_gate_check() {
    let rows = model::corpus::sample().rows;
    let model = trainers::fit(&WordList, &rows, Preset::Sklearn).unwrap();
    let digest = Digest::of(&artifact::encode(&model));
    let evidence = Evidence::gather(&model, &digest, None, &rows, 1e6);
    let known = model.table().len();
    let found = gate::ask(&[&FewFeatures(known), &FewFeatures(known - 1)], &evidence);
    assert_eq!(found.iter().map(|finding| finding.passed).collect::<Vec<_>>(), [true, false]);
    assert_eq!((found[1].check.as_str(), found[1].at_most), ("few_features", Some(known as f64 - 1.0)));
}

/// A source: a file in memory, as another program may have left it.
struct Inbox(Option<&'static [u8]>);

impl Source for Inbox {
    fn name(&self) -> &'static str {
        "inbox"
    }

    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, registry::Error>> {
        async move {
            match self.0 {
                Some(file) => Ok(Some(registry.put_dataset("inbox.txt", file).await?)),
                None => Ok(None),
            }
        }
        .boxed()
    }
}

/// A store: a map, and a list of who wrote.
#[derive(Debug, Default)]
struct Map(Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl Store for Map {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let mut objects = self.0.lock().unwrap();
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), body);
        Ok(Created::New)
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let objects = self.0.lock().unwrap();
        let found = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, body)| Entry { name: name.clone(), written: 0, bytes: body.len() as u64 }).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    async fn refuses_a_wrong_checksum(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }
}

#[test]
fn a_source_and_a_store() {
    models::block_on(async {
        let registry = Registry::new(Arc::new(Map::default()));
        assert_eq!(registry.probe().await.unwrap(), None, "the toy keeps the promises");
        let table: &[&dyn Source] = &[&Inbox(None), &Inbox(Some(model::SAMPLE_CORPUS)), SOURCES[0]];
        let (dataset, source) = sources::first(table, &registry).await.unwrap().unwrap();
        assert_eq!(source, "inbox");
        assert_eq!(registry.rows(&dataset).await.unwrap(), model::corpus::sample().rows);
        assert!(sources::first(&[&Inbox(None)], &registry).await.unwrap().is_none());
        let version = models::registered(&registry, 0).await;
        let promoted = registry.promote(&models::promotion(&version, "change", Some(0)), 0).await.unwrap();
        assert_eq!(promoted.generation.0, 1);
        assert_eq!(registry.verify().await.unwrap().problems, Vec::<String>::new());
    });
}
