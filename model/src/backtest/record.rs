//! The record of a backtest, its id and its source.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Report;
use crate::{
    Digest, Version,
    version::{ParseError, stamped},
};

/// A finished backtest. It is written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// Its id.
    pub id: BacktestId,
    /// The tested version.
    pub candidate: Version,
    /// The version that it was compared with.
    pub incumbent: Version,
    /// The source of the comments.
    pub source: Source,
    /// The time of the backtest in milliseconds since 1970, UTC.
    pub at: i64,
    /// The release of threatwatch that ran the backtest.
    pub code_version: String,
    /// The result.
    pub report: Report,
}

/// The id of a backtest: `<UTC start>-<8 hex>`, like that of a version.
///
/// It is derived from the run, so a retried step writes the same backtest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BacktestId(String);

impl BacktestId {
    /// The id for a run that started at `started` (seconds since 1970, UTC).
    #[must_use]
    pub fn derive(started: i64, workflow_id: &str, run_id: &str) -> Self {
        Self(Version::derive(started, workflow_id, run_id, "backtest").to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BacktestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BacktestId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        stamped("backtest's id", text).map(Self)
    }
}

impl<'de> Deserialize<'de> for BacktestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The source of the comments: `feedback`, `dataset:<digest>` or `file:<digest>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// All reviewed comments.
    #[default]
    Feedback,
    /// A stored dataset.
    Dataset(Digest),
    /// A file, stored as the digest of its name, which may be personal.
    File(Digest),
}

impl Source {
    /// The kind of source.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Dataset(_) => "dataset",
            Self::File(_) => "file",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feedback => f.write_str(self.kind()),
            Self::Dataset(digest) | Self::File(digest) => write!(f, "{}:{digest}", self.kind()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digest = |text: &str| Digest::parse(text).map_err(|error| error.to_string());
        match text.split_once(':') {
            None if text == "feedback" => Ok(Self::Feedback),
            Some(("dataset", of)) => digest(of).map(Self::Dataset),
            Some(("file", of)) => digest(of).map(Self::File),
            _ => Err("it must be `feedback`, or `dataset:` followed by the digest of a stored dataset".to_owned()),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The part of a source that one step judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// The reviewed comments whose names start with these hex digits.
    Feedback {
        /// The digits; empty for all comments.
        digits: String,
    },
    /// The comments that start in some shards.
    Shards {
        /// The dataset.
        dataset: Digest,
        /// The first shard.
        from: u32,
        /// One past the last.
        to: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written_and_a_wrong_one_refused() {
        let digest = Digest::of(b"abc");
        for source in [Source::Feedback, Source::Dataset(digest.clone()), Source::File(digest)] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for wrong in ["", "feedback:", "dataset:abc", "dataset", "Feedback"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_of_the_run() {
        let id = BacktestId::derive(1_795_399_809, "backtest-1", "run-1");
        assert_eq!(id, BacktestId::derive(1_795_399_809, "backtest-1", "run-1"));
        assert_ne!(id, BacktestId::derive(1_795_399_809, "backtest-1", "run-2"));
        assert_eq!(id.as_str().parse(), Ok(id));
        assert!("../../models".parse::<BacktestId>().is_err());
    }
}
