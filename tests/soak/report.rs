//! The table at the end: every check with its result and its figures.

use std::{fs, io::Write as _, path::Path};

/// The result of one check.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    name: &'static str,
    claim: String,
    figures: String,
    broken: Vec<String>,
}

impl Finding {
    pub(crate) fn new(name: &'static str, claim: impl Into<String>) -> Self {
        Self { name, claim: claim.into(), figures: String::new(), broken: Vec::new() }
    }

    pub(crate) fn figures(self, figures: impl Into<String>) -> Self {
        Self { figures: figures.into(), ..self }
    }

    /// Adds violations of the claim.
    pub(crate) fn broken(mut self, broken: Vec<String>) -> Self {
        self.broken.extend(broken);
        self
    }

    pub(crate) fn broken_if(self, is_broken: bool, words: impl Into<String>) -> Self {
        self.broken(is_broken.then(|| words.into()).into_iter().collect())
    }

    pub(crate) fn holds(&self) -> bool {
        self.broken.is_empty()
    }
}

/// All results, in the order of the table.
pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("\n{}\n\n| check | what must hold | result | figures |\n|---|---|---|---|\n", self.title);
        for Finding { name, claim, figures, broken } in &self.findings {
            let result = if broken.is_empty() { "holds" } else { "BROKEN" };
            text += &format!("| {name} | {claim} | {result} | {figures} |\n");
        }
        text
    }

    /// Prints the table past the test's captured output, keeps it, and fails if anything is broken.
    pub(crate) fn conclude(&self) {
        let table = self.table();
        std::io::stderr().write_all(table.as_bytes()).unwrap();
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.md"), &table).unwrap();
        let broken: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| !finding.holds())
            .map(|finding| format!("{}: {}: {:#?}", finding.name, finding.claim, finding.broken))
            .collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}

#[test]
fn what_is_broken_is_in_the_table() {
    let whole = Finding::new("a", "one").figures("1 thing").broken_if(false, "no");
    let broken = Finding::new("b", "two").broken(vec!["x".to_owned()]).broken_if(true, "y");
    assert!(whole.holds() && !broken.holds());
    let report = Report { title: "t".to_owned(), findings: vec![whole, broken.clone()] };
    assert!(
        report.table().contains("| a | one | holds | 1 thing |") && report.table().contains("| b | two | BROKEN |")
    );
    assert_eq!(broken.broken, ["x", "y"]);
}
