//! A version's model card in Markdown: its use, its data, its figures and its limits.
//!
//! After Mitchell and others, "Model cards for model reporting", FAT* 2019.

use std::fmt::Write as _;

use encoder::MINILM;
use model::evaluation::{Evaluation, Scores};

use crate::{DatasetManifest, ModelManifest};

impl ModelManifest {
    /// The card, from the manifests of the version and of its training rows.
    #[must_use]
    pub fn card(&self, rows: &DatasetManifest) -> String {
        let mut card = format!("# Model card: {}\n\n", self.version);
        let encoder = self.encoder.as_ref();
        let what = match encoder {
            Some(_) => "words and letters judge every sentence, and an encoder judges those that may be threats",
            None => "words and letters judge every sentence",
        };
        let facts = [
            ("Version", self.version.to_string()),
            ("Trainer", format!("`{}`: {what}", self.trainer)),
            ("Trained", format!("by threatwatch {}, workflow `{}`", self.code_version, self.workflow_id)),
            ("Artifact", format!("{} bytes, SHA-256 `{}`", self.artifact_bytes, self.artifact)),
            ("Features", self.features.to_string()),
        ];
        card += "| | |\n|---|---|\n";
        for (name, value) in facts {
            let _ = writeln!(card, "| {name} | {value} |");
        }
        card += "\n## What it is for\n\nIt helps moderators find comments that threaten somebody with violence. It \
                 sorts, flags and explains comments. A person decides.\n";
        card += "\n## What it is not for\n\nIt must not punish, block or report anybody by itself. It does not judge \
                 people, intent or truth, nor insults, hate or self-harm. It knows only the language and the \
                 platform of its corpus. The figures do not apply to others.\n";
        card += "\n## Data\n\n";
        let _ = writeln!(
            card,
            "{} sentences ({} threats) in {} comments of {} commenters; {} malformed rows were left out. Source: `{}`, \
             {} bytes, SHA-256 `{}`. A fifth of the commenters, chosen with seed {}, was held out. The comments are \
             personal data. The model does not contain them: it contains weights of hashed features{}.",
            rows.sentences,
            rows.threats,
            rows.comments,
            rows.commenters,
            rows.quarantined,
            rows.source.name,
            rows.source.bytes,
            rows.source.sha256,
            self.seed,
            if encoder.is_some() { " and of the encoder" } else { "" },
        );
        if self.sample.is_some() {
            card += "\nThe dataset was larger than memory: this is a sample of its commenters.\n";
        }
        if let Some(encoder) = encoder {
            let _ = write!(
                card,
                "\n## Base of the encoder\n\nFine-tuned from the base `{}`: {}. What the base has learned, including \
                 prejudice, may influence verdicts.\n",
                encoder.base,
                if encoder.base == MINILM {
                    "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), trained on text of the web in English"
                } else {
                    "the operator's own weights, whose licence and data are not known here"
                },
            );
        }
        card += "\n## Figures\n\nThe 95% intervals come from resampling commenters. Cross-validation has five folds \
                 by commenter.\n";
        figures(&mut card, "Cross-validation", &self.cross_validation);
        figures(&mut card, "Held-out commenters", &self.held_out);
        if let Some(everywhere) = encoder.and_then(|encoder| encoder.everywhere.as_ref()) {
            figures(&mut card, "Cross-validation, if the encoder judged every sentence", everywhere);
        }
        card += "\n## Limits\n\n- People made the labels, and people disagree: expect errors in both directions.\n\
                 - It misses threats without threatening words, irony, pictures and other languages.\n\
                 - Precision, recall and F1 are slightly too high: the threshold was chosen on the same rows.\n\
                 - The figures are from the corpus. In use, watch `unknown_share` and the verdicts that moderators \
                 overrule.\n";
        card
    }
}

/// A figure's name, value and interval.
type Figure = (&'static str, fn(&Evaluation) -> (f64, Option<[f64; 2]>));

fn figures(card: &mut String, title: &str, scores: &Scores) {
    let _ = write!(card, "\n### {title}\n\n| | by sentence | by comment |\n|---|---|---|\n");
    let all: [Figure; 7] = [
        ("PR-AUC", |e| (e.pr_auc, e.intervals.as_ref().map(|i| i.pr_auc))),
        ("F1", |e| (e.f1, e.intervals.as_ref().map(|i| i.f1))),
        ("Precision", |e| (e.precision, e.intervals.as_ref().map(|i| i.precision))),
        ("Recall", |e| (e.recall, e.intervals.as_ref().map(|i| i.recall))),
        ("Recall at 5% false positives", |e| (e.recall_at_fpr_5, e.intervals.as_ref().map(|i| i.recall_at_fpr_5))),
        ("Brier score", |e| (e.brier, e.intervals.as_ref().map(|i| i.brier))),
        ("ECE", |e| (e.ece, e.intervals.as_ref().map(|i| i.ece))),
    ];
    for (name, of) in all {
        let told = |evaluation: &Evaluation| match of(evaluation) {
            (value, Some([low, high])) => format!("{value:.4} [{low:.4}, {high:.4}]"),
            (value, None) => format!("{value:.4}"),
        };
        let _ = writeln!(card, "| {name} | {} | {} |", told(&scores.sentence), told(&scores.comment));
    }
    let n = |evaluation: &Evaluation| format!("{} ({} threats)", evaluation.n, evaluation.positives);
    let _ = writeln!(card, "| Judged | {} | {} |", n(&scores.sentence), n(&scores.comment));
}
