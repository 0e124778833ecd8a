//! What a backtest takes and gives: versions, names of pieces and numbers, never a comment.

use model::{
    Version,
    backtest::{BacktestId, Piece, Source},
};
use serde::{Deserialize, Serialize};

/// What `BacktestWorkflow` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktestRequest {
    /// The version to try.
    pub candidate: Version,
    /// The version to compare it with; without it the one in production.
    #[serde(default)]
    pub incumbent: Option<Version>,
    /// The source of the comments: `feedback` (the default), or `dataset:` and the digest of a stored dataset.
    #[serde(default)]
    pub source: Source,
}

impl BacktestRequest {
    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.incumbent.as_ref() == Some(&self.candidate) {
            return Err("`incumbent` and `candidate` are the same: name another version".to_owned());
        }
        match self.source {
            Source::File(_) => {
                Err("`source`: a workflow cannot read a file; use `threatwatch backtest --file`".to_owned())
            }
            Source::Feedback | Source::Dataset(_) => Ok(()),
        }
    }
}

/// What `plan_backtest` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBacktestInput {
    /// The version to try.
    pub candidate: Version,
    /// The version to compare it with; without it the one in production.
    pub incumbent: Option<Version>,
    /// The source of the comments.
    pub source: Source,
}

/// What `plan_backtest` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBacktest {
    /// The version to compare with.
    pub incumbent: Version,
    /// The pieces of the source.
    pub pieces: Vec<Piece>,
}

/// What `judge_comments` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeCommentsInput {
    /// The backtest.
    pub id: BacktestId,
    /// The version to try.
    pub candidate: Version,
    /// The version to compare it with.
    pub incumbent: Version,
    /// The piece.
    pub piece: Piece,
    /// Its number, from 0.
    pub number: u32,
}

/// What `judge_comments` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedComments {
    /// Comments that both versions judged.
    pub comments: u64,
}

/// What `report_backtest` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportBacktestInput {
    /// The backtest.
    pub id: BacktestId,
    /// The version that was tried.
    pub candidate: Version,
    /// The version that it was compared with.
    pub incumbent: Version,
    /// The source of the comments.
    pub source: Source,
    /// How many pieces were judged.
    pub pieces: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_of_a_request_is_fixed() {
        let read = |text: &str| serde_json::from_str::<BacktestRequest>(text).map_err(|error| error.to_string());
        let version = "20261123T021009Z-3f9c2a1b";
        let least = read(&format!(r#"{{"candidate":"{version}"}}"#)).unwrap();
        assert_eq!((&least.incumbent, &least.source, least.check()), (&None, &Source::Feedback, Ok(())));
        let digest = "0".repeat(64);
        let whole = format!(r#"{{"candidate":"{version}","incumbent":"{version}","source":"dataset:{digest}"}}"#);
        let whole_read = read(&whole).unwrap();
        assert_eq!(serde_json::to_string(&whole_read).unwrap(), whole);
        assert!(whole_read.check().unwrap_err().contains("`incumbent`"));
        let of_file = read(&format!(r#"{{"candidate":"{version}","source":"file:{digest}"}}"#)).unwrap();
        assert!(of_file.check().unwrap_err().contains("`source`"));
        for (wrong, named) in [
            ("{}".to_owned(), "candidate"),
            (format!(r#"{{"candidate":"{version}","source":"corpus"}}"#), "feedback"),
            (format!(r#"{{"candidate":"{version}","against":"{version}"}}"#), "against"),
        ] {
            let error = read(&wrong).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
