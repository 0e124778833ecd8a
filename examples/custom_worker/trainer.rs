//! A trainer: naive Bayes on words and words in capitals, small enough for a phone.

use model::{
    Row,
    counts::Counts,
    features::FeatureSet,
    linear::{Component, Normalisation, table::Table},
    text::WordRule,
    trainers::{AdditiveLearner, Error, Fitted, Learner, Preset, Trainer},
};
use serde_json::json;

pub(crate) struct ForumOdds;

impl Trainer for ForumOdds {
    fn name(&self) -> &'static str {
        "forum_odds"
    }

    fn summary(&self) -> &'static str {
        "log-odds of words and shouted words"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&ForumOdds]
    }
}

impl Learner for ForumOdds {
    fn fit(&self, rows: &[&Row], preset: Preset) -> Result<Fitted, Error> {
        self.fit_counted(rows, preset)
    }

    fn as_additive(&self) -> Option<&dyn AdditiveLearner> {
        Some(self)
    }
}

/// It needs only sums of counts, so it can learn from a corpus that is larger than memory.
impl AdditiveLearner for ForumOdds {
    fn features(&self, _: Preset) -> FeatureSet {
        FeatureSet::new(WordRule::Word, &["unigrams", "shouted_words"])
    }

    fn fit_counts(&self, counts: &Counts, preset: Preset) -> Result<Fitted, Error> {
        const SMOOTHING: f64 = 1.0;
        let [others, threats] = counts.sentences;
        if others == 0 || threats == 0 {
            return Err(Error::Empty("threats and other sentences are both needed"));
        }
        let known = counts.frequent(2);
        let seen = |class: usize| known.iter().map(|(_, count)| f64::from(count.occurrences[class])).sum::<f64>();
        let total = [seen(0), seen(1)].map(|sum| sum + SMOOTHING * known.len() as f64);
        let weight = |of: [u32; 2]| {
            let share = |class: usize| (f64::from(of[class]) + SMOOTHING) / total[class];
            (share(1) / share(0)).ln()
        };
        let cells = known.iter().map(|(_, count)| Table::quantise(weight(count.occurrences))).collect();
        let component = Component {
            learner: self.name().to_owned(),
            parameters: json!({ "smoothing": SMOOTHING }),
            bias: (threats as f64 / others as f64).ln(),
            normalisation: Normalisation::Length { exponent: 0.5 },
            weight: 1.0,
        };
        let table = Table::new(known.into_iter().map(|(key, _)| key).collect(), 1, cells)?;
        Ok(Fitted { component, features: self.features(preset), table })
    }
}
