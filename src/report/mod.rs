//! The quality of a model on labelled rows as one HTML page: no script, no requests, no comment's text.
//!
//! The page is also well-formed XML for programs. Every number is there with all digits, in `<data value>`.

mod curves;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context;
use model::evaluation::{Evaluation, Figure, Scores};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    figures::{Figures, Flagged, figure_name},
    labelled::Facts,
};

/// The content of a page.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) title: String,
    /// The settings, by name.
    pub(crate) configuration: Vec<(&'static str, String)>,
    /// Warnings that are shown before the figures.
    pub(crate) warnings: Vec<String>,
    /// The rows, each with its purpose.
    pub(crate) data: Vec<(&'static str, &'a Facts)>,
    pub(crate) figures: &'a Figures,
    /// Other figures on the same rows, each with its title.
    pub(crate) beside: Vec<(&'static str, &'a Scores)>,
}

/// Most malformed rows that are listed.
const SET_ASIDE: usize = 20;
const STYLE: &str = include_str!("style.css");
/// The page runs no script and fetches nothing, whatever its content is.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Refuses a path where no report can be written, before the long work starts.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let folder = folder(file);
    anyhow::ensure!(folder.is_dir(), "the report cannot be written: there is no folder {}", folder.display());
    let is_free = fs::symlink_metadata(file).map_or_else(|error| is_absent(&error), |found| found.is_file());
    anyhow::ensure!(is_free, "the report cannot be written: {} exists and is not a regular file", file.display());
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn folder(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

impl Report<'_> {
    /// Writes the page completely or not at all.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        check(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let whole = folder(file).join(format!(".{name}.{}.new", std::process::id()));
        let write = || {
            let mut output = fs::File::create(&whole)?;
            output.write_all(self.page().as_bytes())?;
            output.sync_all()?;
            fs::rename(&whole, file)
        };
        write().with_context(|| format!("write the report {}", file.display())).inspect_err(|_| {
            // Leave no incomplete page behind.
            let _ = fs::remove_file(&whole);
        })
    }

    fn page(&self) -> String {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let made = now.format(&Rfc3339).unwrap_or_default();
        let title = escape(&self.title);
        let warnings: String =
            self.warnings.iter().map(|words| format!("<p class=\"warning\">{}</p>\n", escape(words))).collect();
        [
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n".to_owned(),
            format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\" />\n"),
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n".to_owned(),
            format!("<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"),
            format!(
                "<p class=\"quiet\">threatwatch {}, <time datetime=\"{made}\">{made}</time>. Rows are named by number, \
                 from 0; no comment's text is on this page.</p>\n",
                env!("CARGO_PKG_VERSION")
            ),
            warnings,
            self.figures_section(),
            self.curves_section(),
            self.thresholds_section(),
            self.mistakes_section(),
            self.data_section(),
            self.configuration_section(),
            "</main>\n</body>\n</html>\n".to_owned(),
        ]
        .concat()
    }

    fn figures_section(&self) -> String {
        let mut section = "<h2>Figures</h2>\n<p>With 95% intervals by resampling commenters, at the model's operating \
                           point.</p>\n"
            .to_owned();
        section += &scores_table("figures", "Figures of the judged rows", &self.figures.scores);
        for (at, (title, scores)) in self.beside.iter().enumerate() {
            section += &format!("<h3>{}</h3>\n", escape(title));
            section += &scores_table(&format!("figures-{}", at + 1), title, scores);
        }
        section
    }

    fn curves_section(&self) -> String {
        let figures = self.figures;
        let at = &figures.scores.sentence;
        let points = figures
            .pr_curve
            .iter()
            .map(|point| vec![number(point.threshold), number(point.precision), number(point.recall)]);
        let bins = figures.calibration_curve.iter().map(|bin| vec![number(bin.said), number(bin.seen), count(bin.n)]);
        let bars = figures
            .probability
            .bins()
            .map(|(from, to, threats, harmless)| vec![number(from), number(to), count(threats), count(harmless)]);
        let pr = Drawing {
            caption: "Precision and recall, by sentence",
            note: "The ring is the operating point; the dashed line is the precision of random guessing.",
            drawn: vec![curves::precision_recall(&figures.pr_curve, at)],
            table: table(
                "pr-curve",
                "Precision and recall by threshold",
                &["threshold", "precision", "recall"],
                points,
            ),
        };
        let calibration = Drawing {
            caption: "Calibration, by sentence",
            note: "On the dashed line, probabilities equal the observed share of threats.",
            drawn: vec![curves::calibration(&figures.calibration_curve, at)],
            table: table(
                "calibration-curve",
                "Predicted and observed, in fifteen bins of equal width; empty bins are left out",
                &["predicted probability", "share of threats", "sentences"],
                bins,
            ),
        };
        let probability = Drawing {
            caption: "Probabilities by label, by sentence",
            note: "Threats first, then the other sentences; the dashed line is the operating point.",
            drawn: [true, false].map(|of| curves::probabilities(&figures.probability, of, at.threshold)).to_vec(),
            table: table(
                "probability",
                "Sentences by probability",
                &["from", "to", "threats", "other sentences"],
                bars,
            ),
        };
        let drawings: String = [pr, calibration, probability].iter().map(Drawing::html).collect();
        format!("<h2>Curves</h2>\n<div class=\"curves\">\n{drawings}</div>\n")
    }

    fn thresholds_section(&self) -> String {
        let names = self.figures.thresholds.iter().map(|row| {
            let name = format!("<td>{}</td>", row.name.as_deref().map_or_else(String::new, escape));
            let of = |flagged: &Flagged| {
                let Flagged { flagged, precision, recall, f1, false_positive_rate } = *flagged;
                let shares = [precision, recall, f1, false_positive_rate].map(number);
                std::iter::once(count(flagged)).chain(shares).collect::<Vec<String>>()
            };
            [vec![name, number(row.threshold)], of(&row.sentence), of(&row.comment)].concat()
        });
        let columns = [
            "operating point",
            "threshold",
            "sentences flagged",
            "precision",
            "recall",
            "F1",
            "false positives",
            "comments flagged",
            "precision of comments",
            "recall of comments",
            "F1 of comments",
            "false positives of comments",
        ];
        let shares = self
            .figures
            .flagged_comments
            .iter()
            .map(|row| vec![number(row.share), number(row.threshold), number(row.precision), number(row.recall)]);
        let thresholds = table("thresholds", "What each threshold flags", &columns, names);
        let columns = ["share of comments", "threshold", "precision", "recall"];
        let shares = table("flagged-comments", "Precision and recall by share of flagged comments", &columns, shares);
        format!("<h2>Thresholds</h2>\n{thresholds}{shares}")
    }

    fn mistakes_section(&self) -> String {
        let rows = self.figures.worst_mistakes.iter().map(|mistake| {
            let label = if mistake.is_threat { "threat" } else { "harmless" };
            vec![count(mistake.row), format!("<td>{label}</td>"), number(mistake.probability)]
        });
        let columns = ["row", "labelled", "probability"];
        let table =
            table("worst-mistakes", "The sentences whose probability is furthest from their label", &columns, rows);
        format!("<h2>Worst mistakes</h2>\n{table}")
    }

    fn data_section(&self) -> String {
        let rows = self.data.iter().map(|(what, facts)| {
            let mut cells = vec![
                format!("<th scope=\"row\">{}</th>", escape(what)),
                format!("<td><code>{}</code></td>", escape(&facts.name)),
                format!("<td>{}</td>", escape(&format!("{:?}", facts.format).to_lowercase())),
            ];
            let counts = [facts.sentences, facts.threats, facts.comments, facts.commenters, facts.quarantined];
            cells.extend(counts.map(count));
            cells.push(format!("<td><code>{}</code></td>", facts.dataset));
            cells
        });
        let columns =
            ["rows", "file", "format", "sentences", "threats", "comments", "commenters", "set aside", "dataset"];
        let mut section = format!("<h2>Data</h2>\n{}", table("data", "The rows", &columns, rows));
        for (_, facts) in &self.data {
            let words = facts.set_aside(SET_ASIDE);
            let Some((first, rest)) = words.split_first() else { continue };
            let rest: String = rest.iter().map(|row| format!("<li>{}</li>\n", escape(row))).collect();
            section += &format!("<p>{}</p>\n<ul>\n{rest}</ul>\n", escape(first));
        }
        section
    }

    fn configuration_section(&self) -> String {
        let command: Vec<String> = std::env::args().map(|argument| quoted(&argument)).collect();
        let command = ("command", command.join(" "));
        let facts = self.configuration.iter().chain(std::iter::once(&command));
        let rows: String = facts
            .map(|(name, value)| {
                format!("<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>\n", escape(name), escape(value))
            })
            .collect();
        let caption = "<caption>What was chosen</caption>";
        let table = format!("<table id=\"configuration\">{caption}\n<tbody>\n{rows}</tbody>\n</table>\n");
        format!("<h2>Configuration</h2>\n{}", scrolling("The settings", &table))
    }
}

/// A curve, with its values as a table.
struct Drawing {
    caption: &'static str,
    note: &'static str,
    drawn: Vec<String>,
    table: String,
}

impl Drawing {
    fn html(&self) -> String {
        let Self { caption, note, drawn, table } = self;
        let class = if drawn.len() > 1 { " class=\"wide\"" } else { "" };
        let drawn = drawn.concat();
        format!(
            "<figure{class}>\n<figcaption>{caption}</figcaption>\n<div class=\"drawings\">\n{drawn}</div>\n<p class=\"quiet\">{note}</p>\n<details>\n<summary>The \
             same as a table</summary>\n{table}</details>\n</figure>\n"
        )
    }
}

/// Figures by sentence and by comment, each with its interval.
fn scores_table(id: &str, caption: &str, Scores { sentence, comment }: &Scores) -> String {
    let cell = |Figure { value, interval }: Figure| {
        let interval =
            interval.map(|[low, high]| format!(" <span class=\"interval\">[{}, {}]</span>", data(low), data(high)));
        format!("<td>{}{}</td>", data(value), interval.unwrap_or_default())
    };
    let mut rows: Vec<Vec<String>> = vec![judged(sentence, comment)];
    for ((key, sentence), (_, comment)) in sentence.figures().into_iter().zip(comment.figures()) {
        rows.push(vec![format!("<th scope=\"row\">{}</th>", figure_name(key)), cell(sentence), cell(comment)]);
    }
    let threshold = [sentence, comment].map(|of| format!("<td>{}</td>", data(of.threshold)));
    rows.push(std::iter::once("<th scope=\"row\">threshold</th>".to_owned()).chain(threshold).collect());
    table(id, caption, &["figure", "by sentence", "by comment"], rows.into_iter())
}

fn judged(sentence: &Evaluation, comment: &Evaluation) -> Vec<String> {
    let cell = |of: &Evaluation| {
        let confusion = of.confusion;
        format!(
            "<td>{} ({} threats): {} of them flagged, and {} others</td>",
            of.n, of.positives, confusion.true_positives, confusion.false_positives
        )
    };
    vec!["<th scope=\"row\">judged</th>".to_owned(), cell(sentence), cell(comment)]
}

/// A table whose cells are HTML.
fn table(id: &str, caption: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    // A column's head is aligned like its cells.
    let is_number = |at: usize| rows.first().is_some_and(|row| row[at].starts_with(NUMBER));
    let head = |(at, column): (usize, &&str)| {
        let class = if is_number(at) { " class=\"number\"" } else { "" };
        format!("<th scope=\"col\"{class}>{}</th>", escape(column))
    };
    let head: String = columns.iter().enumerate().map(head).collect();
    let rows: String = rows.iter().map(|cells| format!("<tr>{}</tr>\n", cells.concat())).collect();
    let table = format!(
        "<table id=\"{id}\"><caption>{}</caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
        escape(caption)
    );
    scrolling(caption, &table)
}

/// A wide table scrolls separately from the page, also by keyboard.
fn scrolling(label: &str, table: &str) -> String {
    let label = escape(label);
    format!("<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n{table}</div>\n")
}

fn data(value: f64) -> String {
    format!("<data value=\"{value}\">{value:.4}</data>")
}

fn number(value: f64) -> String {
    format!("{NUMBER}{}</td>", data(value))
}

fn count(value: impl std::fmt::Display) -> String {
    format!("{NUMBER}<data value=\"{value}\">{value}</data></td>")
}

/// The start of a cell with a number.
const NUMBER: &str = "<td class=\"number\">";

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // Characters that XML does not allow.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Quotes an argument for a shell.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<script>'&\"\u{1}"), "&lt;script&gt;&#39;&amp;&quot;\u{fffd}");
        assert_eq!(quoted("a b's"), "'a b'\\''s'");
        assert_eq!((quoted("--cv"), quoted("")), ("--cv".to_owned(), "''".to_owned()));
    }

    #[test]
    fn a_place_where_no_report_can_be_is_refused_first() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| check(path).unwrap_err().to_string();
        assert!(refused(&dir.path().join("nowhere/out.html")).contains("no folder"));
        assert!(refused(dir.path()).contains("not a regular file"));
        assert!(check(&dir.path().join("out.html")).is_ok() && check(Path::new("out.html")).is_ok());
        let link = dir.path().join("link.html");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(refused(&link).contains("not a regular file"));
    }
}
