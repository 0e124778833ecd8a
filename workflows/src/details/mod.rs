//! The current details of a run, as the Temporal Web UI shows them: Markdown, in the same order for every workflow.
//!
//! They are worked out from the run's state whenever somebody asks and are no part of its history, so they may change
//! with a release. They hold figures, names and digests: never a text of the data.

pub(crate) mod pages;
pub(crate) mod tables;

use std::collections::BTreeMap;

use model::version::stamp;

use crate::steps::Status;

/// A part of the page, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// What the run waits for, and how to go on.
    Waiting,
    /// What came of it.
    Result,
    /// The gate's report.
    Gate,
    /// What the versions are worth.
    Figures,
    /// What they are trained on.
    Data,
    /// What the run was asked to do.
    Asked,
}

/// How a run ends that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Failed,
    Cancelled,
}

/// What the page says beside the run's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    sections: BTreeMap<Section, String>,
    ended: Option<(Ending, String)>,
}

impl Details {
    /// Sets a part, in place of what stood there.
    pub(crate) fn set(&mut self, section: Section, text: String) {
        self.sections.insert(section, text);
    }

    /// Takes a part away.
    pub(crate) fn remove(&mut self, section: Section) {
        self.sections.remove(&section);
    }

    /// Says that the run ends without a result, how and why. It waits for nobody any more.
    pub(crate) fn end(&mut self, ending: Ending, cause: String) {
        self.remove(Section::Waiting);
        self.ended = Some((ending, cause));
    }

    /// The page.
    pub(crate) fn page(&self, status: &Status) -> String {
        let Status { stage, done, total, message, versions, .. } = status;
        let steps = format!("{done} of {total} steps");
        let first = match &self.ended {
            Some((Ending::Failed, cause)) => format!("**failed** in the stage `{stage}` ({steps}): {}", plain(cause)),
            Some((Ending::Cancelled, _)) => format!("**cancelled** in the stage `{stage}` ({steps})"),
            None => format!("**{stage}** ({steps}): {}", plain(message)),
        };
        let links = pages::links(versions);
        // Without the blank lines that tables end with.
        let sections = self.sections.values().map(|text| text.trim_end().to_owned());
        let parts = [first].into_iter().chain(sections).chain(links);
        parts.collect::<Vec<_>>().join("\n\n") + "\n"
    }
}

/// A text of somebody's as Markdown that shows it and does nothing else, in one line.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for c in word.chars() {
            // Underscores stay: names have them, and inside of words they mean nothing.
            if matches!(c, '\\' | '*' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!') {
                shown.push('\\');
            }
            shown.push(c);
        }
    }
    shown
}

/// Seconds since 1970 as `2026-11-23 02:10 UTC`.
pub(crate) fn when(seconds: i64) -> String {
    let stamp = stamp(seconds);
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    format!("{}-{}-{} {}:{} UTC", part(0, 4), part(4, 6), part(6, 8), part(9, 11), part(11, 13))
}

/// Facts as a list.
pub(crate) fn list(facts: &[(&str, String)]) -> String {
    facts.iter().map(|(name, value)| format!("- {name}: {value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            stage: "train".to_owned(),
            done: 1,
            total: 8,
            message: "training stacked".to_owned(),
            ..Status::default()
        }
    }

    #[test]
    fn a_page_has_its_parts_in_order_whenever_they_were_set() {
        let mut details = Details::default();
        details.set(Section::Data, "data".to_owned());
        details.set(Section::Waiting, "waits".to_owned());
        details.set(Section::Data, "more data".to_owned());
        assert_eq!(details.page(&status()), "**train** (1 of 8 steps): training stacked\n\nwaits\n\nmore data\n");
    }

    #[test]
    fn a_run_that_failed_says_where_and_why_and_waits_for_nobody() {
        let mut details = Details::default();
        details.set(Section::Waiting, "waits".to_owned());
        details.end(Ending::Failed, "train: the store is <away>".to_owned());
        let page = details.page(&status());
        assert_eq!(page, "**failed** in the stage `train` (1 of 8 steps): train: the store is \\<away\\>\n");
    }

    #[test]
    fn what_somebody_wrote_is_shown_and_does_nothing() {
        for (text, shown) in [
            ("looks right", "looks right"),
            ("a\n\n# b", "a \\# b"),
            ("<img src=x> | [x](y) **z**", "\\<img src=x\\> \\| \\[x\\](y) \\*\\*z\\*\\*"),
            ("multinomial_nb", "multinomial_nb"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn a_time_is_told_to_the_minute() {
        assert_eq!(when(1_795_400_000), "2026-11-23 02:13 UTC");
    }
}
