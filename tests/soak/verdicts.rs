//! Checks that answers of `/predict` are those of the version that they name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::COMMENT;

/// A threat and a harmless comment, as bodies of `POST /predict`.
pub(crate) const COMMENTS: [&str; 2] = [COMMENT, r#"{"text":"What a lovely song, thank you for sharing it."}"#];

/// The most wrong answers that are shown. All are counted.
const SHOWN: usize = 20;

/// The contents of the answers.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// By comment and version: the answer, without the generation.
    said: BTreeMap<(usize, String), String>,
    /// Every generation in an answer, with its versions.
    pub(crate) served: BTreeSet<(u64, String)>,
    /// Answers that are no verdict, or differ from an earlier answer of the same version.
    pub(crate) wrong: Wrong,
}

/// Violations: their number, and the first ones in words.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) count: u64,
    pub(crate) shown: Vec<String>,
}

impl Wrong {
    pub(crate) fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(words());
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.shown.extend(other.shown);
        self.shown.truncate(SHOWN);
    }
}

impl Verdicts {
    /// Checks an answer's body and returns the generation that it names.
    pub(crate) fn take(&mut self, comment: usize, body: &str) -> Option<u64> {
        let Some((version, generation, rest)) = parts(body) else {
            self.wrong.add(|| format!("no verdict: {body}"));
            return None;
        };
        if !self.served.contains(&(generation, version.to_owned())) {
            self.served.insert((generation, version.to_owned()));
        }
        self.compare(comment, version, rest);
        Some(generation)
    }

    fn compare(&mut self, comment: usize, version: &str, rest: String) {
        match self.said.get(&(comment, version.to_owned())) {
            None => drop(self.said.insert((comment, version.to_owned()), rest)),
            Some(before) if *before == rest => {}
            Some(before) => {
                let words = format!("{version} said {before}, and then {rest}");
                self.wrong.add(|| words);
            }
        }
    }

    /// Merges the answers of another client, which must be the same.
    pub(crate) fn merge(&mut self, other: Self) {
        self.wrong.merge(other.wrong);
        self.served.extend(other.served);
        for ((comment, version), rest) in other.said {
            self.compare(comment, &version, rest);
        }
    }

    /// Versions that judged both comments and do not rank the threat first.
    pub(crate) fn misjudging(&self) -> Vec<String> {
        let probability = |comment: usize, version: &str| {
            let said = self.said.get(&(comment, version.to_owned()))?;
            serde_json::from_str::<Value>(said).ok()?["probability"].as_f64()
        };
        let versions: BTreeSet<&String> = self.said.keys().map(|(_, version)| version).collect();
        let is_wrong = |version: &&&String| {
            let (threat, harmless) = (probability(0, version), probability(1, version));
            threat.zip(harmless).is_some_and(|(threat, harmless)| threat <= harmless)
        };
        versions.iter().filter(is_wrong).map(|version| format!("{version} ranks the harmless comment first")).collect()
    }
}

/// The version and generation of an answer, and the answer with 0 in the generation's place.
fn parts(body: &str) -> Option<(&str, u64, String)> {
    const VERSION: &str = r#""model_version":""#;
    const GENERATION: &str = r#""generation":"#;
    let version = &body[body.find(VERSION)? + VERSION.len()..];
    let version = &version[..version.find('"')?];
    let from = body.find(GENERATION)? + GENERATION.len();
    let digits = body[from..].bytes().take_while(u8::is_ascii_digit).count();
    let generation = body[from..from + digits].parse().ok()?;
    Some((version, generation, format!("{}0{}", &body[..from], &body[from + digits..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: &str, generation: u64, probability: f64) -> String {
        format!(
            r#"{{"probability":{probability},"model_version":"{version}","generation":{generation},"trainer":"t"}}"#
        )
    }

    #[test]
    fn the_same_version_must_say_the_same_under_any_generation() {
        let mut verdicts = Verdicts::default();
        for generation in [1, 3] {
            assert_eq!(verdicts.take(0, &answer("a", generation, 0.9)), Some(generation));
        }
        verdicts.take(0, &answer("b", 2, 0.8));
        assert_eq!((verdicts.wrong.count, verdicts.served.len()), (0, 3));
        verdicts.take(0, &answer("a", 4, 0.900_000_1));
        assert_eq!(verdicts.wrong.count, 1, "other numbers");
        let mut of_another_client = Verdicts::default();
        of_another_client.take(0, &answer("b", 2, 0.7));
        verdicts.merge(of_another_client);
        assert_eq!(verdicts.wrong.count, 2, "another client heard other numbers");
        verdicts.take(0, "{}");
        assert_eq!(verdicts.wrong.count, 3, "no verdict at all");
    }

    #[test]
    fn a_version_that_ranks_the_harmless_comment_first_is_told() {
        let mut verdicts = Verdicts::default();
        for (version, threat, harmless) in [("a", 0.9, 0.1), ("b", 0.1, 0.2)] {
            verdicts.take(0, &answer(version, 1, threat));
            verdicts.take(1, &answer(version, 1, harmless));
        }
        assert_eq!(verdicts.misjudging(), ["b ranks the harmless comment first"]);
    }
}
