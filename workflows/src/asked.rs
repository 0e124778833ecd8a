//! The request of a run in words: its static summary and details in the Temporal Web UI.

use crate::{
    details::{list, plain},
    steps::{
        AutoPromote, BacktestRequest, DatasetChoice, FeedbackRequest, PromoteRequest, ReproduceRequest,
        RetentionRequest, RollbackRequest, TrainRequest,
    },
};

/// A workflow's input that can be described in words.
pub(crate) trait Asked {
    /// One line without markup.
    fn summary(&self) -> String;

    /// Further facts by name, as Markdown.
    fn facts(&self) -> Vec<(&'static str, String)>;

    /// All of it, as Markdown.
    fn told(&self) -> String {
        format!("Asked to {}:\n\n{}", plain(&self.summary()), list(&self.facts()))
    }

    /// A description without actor and reason, for fields of a run that no codec encrypts.
    fn told_in_the_clear(&self) -> String {
        let facts: Vec<_> = self.facts().into_iter().filter(|(name, _)| !OF_PEOPLE.contains(name)).collect();
        format!("Asked to {}:\n\n{}", plain(&self.summary()), list(&facts))
    }
}

impl Asked for TrainRequest {
    fn summary(&self) -> String {
        format!("train {}", self.trainers.join(", "))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let dataset = match &self.dataset {
            None => self.source.as_deref().map_or_else(
                || "the newest imported one, else the sample".to_owned(),
                |source| format!("from the source {}", plain(source)),
            ),
            Some(DatasetChoice::Stored(digest)) => format!("`{}`", digest.short()),
            Some(DatasetChoice::LatestWithFeedback) => "the newest, with reviewers' decisions".to_owned(),
        };
        let promotion = match self.auto_promote {
            AutoPromote::Never => "by hand, later".to_owned(),
            AutoPromote::IfGatePasses => "at once if the gate passes".to_owned(),
            AutoPromote::AfterApproval => {
                format!("if the gate passes and an approval comes within {}", span(self.approval_seconds))
            }
        };
        let mut facts = vec![
            ("dataset", dataset),
            ("promotion", promotion),
            ("threshold", format!("`{}`", plain(&self.operation.point))),
            ("preset", format!("{:?}", self.preset).to_lowercase()),
            ("seed", self.seed.to_string()),
        ];
        facts.extend(by(self.actor.as_deref(), self.reason.as_deref()));
        facts
    }
}

impl Asked for PromoteRequest {
    fn summary(&self) -> String {
        let how = match (self.dry_run, self.force) {
            (true, _) => " (dry run)",
            (false, true) => " by force",
            (false, false) => "",
        };
        format!("promote {}{how}", self.version)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let expected = self.expected_generation.map_or_else(|| "any".to_owned(), |generation| generation.to_string());
        let mut facts = vec![("generation in production before", expected)];
        facts.extend(by(self.actor.as_deref(), self.reason.as_deref()));
        facts
    }
}

impl Asked for RollbackRequest {
    fn summary(&self) -> String {
        self.to.as_ref().map_or_else(|| "roll back".to_owned(), |version| format!("roll back to {version}"))
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let target = match &self.to {
            Some(version) => format!("`{version}`"),
            None => "the newest version in the history that is not in production".to_owned(),
        };
        let mut facts = vec![("target", target)];
        facts.extend(by(self.actor.as_deref(), self.reason.as_deref()));
        facts
    }
}

impl Asked for RetentionRequest {
    fn summary(&self) -> String {
        if self.dry_run { "show unneeded data" } else { "delete unneeded data" }.to_owned()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("always kept", format!("the newest {} versions", self.keep))]
    }
}

impl Asked for ReproduceRequest {
    fn summary(&self) -> String {
        format!("train {} again", self.version)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("compared", "the bytes of the artifact".to_owned())]
    }
}

impl Asked for BacktestRequest {
    fn summary(&self) -> String {
        format!("backtest {}", self.candidate)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let incumbent = match &self.incumbent {
            Some(version) => format!("`{version}`"),
            None => "the version in production".to_owned(),
        };
        vec![("compared with", incumbent), ("comments", format!("`{}`", self.source))]
    }
}

impl Asked for FeedbackRequest {
    fn summary(&self) -> String {
        format!("learn from reviewers, then {}", self.training.summary())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let least = format!("{} new decisions", self.least_decisions);
        let resolve = format!("{:?}", self.resolve).to_lowercase();
        let mut facts = vec![("trained from", least), ("if reviewers disagree", resolve)];
        facts.extend(self.training.facts().into_iter().filter(|(name, _)| *name != "dataset"));
        facts
    }
}

/// Facts that name people or quote them.
const OF_PEOPLE: [&str; 2] = ["asked by", "reason"];

fn by<'a>(actor: Option<&'a str>, reason: Option<&'a str>) -> impl Iterator<Item = (&'static str, String)> {
    OF_PEOPLE.into_iter().zip([actor, reason]).filter_map(|(name, text)| Some((name, plain(text?))))
}

/// Seconds in words, in the largest unit that fits: `3 s`, `5 h`, `2.5 d`.
pub(crate) fn span(seconds: u32) -> String {
    let units = [("d", 86_400_u32), ("h", 3_600), ("min", 60), ("s", 1)];
    let (unit, length) = units.into_iter().find(|&(_, length)| seconds >= length).unwrap_or(("s", 1));
    format!("{} {unit}", (f64::from(seconds) / f64::from(length) * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_with_who_asked_and_why() {
        let request = TrainRequest {
            auto_promote: AutoPromote::AfterApproval,
            actor: Some("mona".to_owned()),
            reason: Some("after <b>the</b> fair".to_owned()),
            ..TrainRequest::default()
        };
        assert_eq!(request.summary(), "train multinomial_nb, stacked");
        let told = request.told();
        for words in
            ["Asked to train multinomial_nb, stacked:", "approval comes within 3 d", "- asked by: mona", "\\<b\\>the"]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!TrainRequest::default().told().contains("asked by"));
        let clear = request.told_in_the_clear();
        assert!(clear.contains("comes within 3 d") && !clear.contains("mona") && !clear.contains("fair"), "{clear}");
    }

    #[test]
    fn a_time_is_told_in_the_largest_unit_that_fits() {
        let told = [3, 90, 18_000, 259_200, 216_000].map(span);
        assert_eq!(told, ["3 s", "1.5 min", "5 h", "3 d", "2.5 d"]);
    }
}
