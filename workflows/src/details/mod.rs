//! The current details of a run, as the Temporal Web UI shows them: Markdown, in the same order for every workflow.
//!
//! They are computed from the run's state when they are queried. They are not part of its history, so they may change
//! with a release. They contain figures, names and digests, never a text of the data.

pub(crate) mod pages;
pub(crate) mod tables;

use std::collections::BTreeMap;

use model::version::stamp;

use crate::steps::Status;

/// A part of the page, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// What the run waits for, and how to continue.
    Waiting,
    /// The result.
    Result,
    /// The gate's report.
    Gate,
    /// The figures of the versions.
    Figures,
    /// The data that they are trained on.
    Data,
    /// The request.
    Asked,
}

/// How a run without a result ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Failed,
    Cancelled,
}

/// The parts of the page after the status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    sections: BTreeMap<Section, String>,
    ended: Option<(Ending, String)>,
}

impl Details {
    /// Sets or replaces a part.
    pub(crate) fn set(&mut self, section: Section, text: String) {
        self.sections.insert(section, text);
    }

    /// Removes a part.
    pub(crate) fn remove(&mut self, section: Section) {
        self.sections.remove(&section);
    }

    /// Sets how and why the run ends without a result. Removes the part on waiting.
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

/// Escapes a user's text as Markdown in one line.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for c in word.chars() {
            // Underscores stay: names have them, and inside words they have no meaning in Markdown.
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
