//! Content digests, model versions and generations of production.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// A SHA-256 digest as 64 lower-case hex digits.
///
/// ```
/// use model::Digest;
///
/// let digest = Digest::of(b"abc");
/// assert_eq!(digest.short(), "ba7816bf");
/// assert_eq!(Digest::parse(digest.as_str()), Ok(digest));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// Accepts exactly 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError { what: "digest", expected: "64 lower-case hex digits" })
        }
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight hex digits, for display.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

/// Computes the digest of a stream of bytes, piece by piece.
#[derive(Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(hex::encode(self.0.finalize()))
    }
}

/// A model version: `<UTC start of the run>-<8 hex>`, e.g. `20261123T021009Z-3f9c2a1b`.
///
/// It is derived from the run and the trainer, so a retried activity makes the same version.
///
/// ```
/// use model::Version;
///
/// let version = Version::derive(1_795_399_809, "train-1", "run-1", "stacked");
/// assert!(version.as_str().starts_with("20261123T021009Z-"));
/// assert_eq!(Version::parse(version.as_str()), Ok(version));
/// assert!(Version::parse("../models").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

impl Version {
    /// The version that `trainer` makes in a run.
    ///
    /// `started` is the start of the run in seconds since 1970, UTC.
    #[must_use]
    pub fn derive(started: i64, workflow_id: &str, run_id: &str, trainer: &str) -> Self {
        let digest = Digest::of(format!("{workflow_id}\n{run_id}\n{trainer}").as_bytes());
        Self(format!("{}-{}", stamp(started), digest.short()))
    }

    /// Accepts `YYYYMMDDTHHMMSSZ-` and eight lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let expected = "a model version such as 20261123T021009Z-3f9c2a1b";
        if is_stamped(text) { Ok(Self(text.to_owned())) } else { Err(ParseError { what: "version", expected }) }
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Seconds since 1970 (UTC) as `YYYYMMDDTHHMMSSZ`.
#[must_use]
pub fn stamp(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(STAMP)
        .expect("the format has only numbers")
}

/// Checks another kind of name that has the form of a version.
pub(crate) fn stamped(what: &'static str, text: &str) -> Result<String, ParseError> {
    let expected = "a time and eight digits such as 20261123T021009Z-3f9c2a1b";
    if is_stamped(text) { Ok(text.to_owned()) } else { Err(ParseError { what, expected }) }
}

/// Whether a text is `YYYYMMDDTHHMMSSZ-` and eight lower-case hex digits.
fn is_stamped(text: &str) -> bool {
    let is_at = |(i, b): (usize, u8)| match i {
        8 => b == b'T',
        15 => b == b'Z',
        16 => b == b'-',
        0..=14 => b.is_ascii_digit(),
        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
    };
    text.len() == 25 && text.bytes().enumerate().all(is_at)
}

/// A position in the history of production: 1 is the first promotion, 0 before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A name with the wrong form. The error does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {expected}")]
pub struct ParseError {
    what: &'static str,
    expected: &'static str,
}

macro_rules! parsed_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
parsed_name!(Digest);
parsed_name!(Version);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_run_and_trainer_name_the_same_version() {
        let version = |trainer| Version::derive(1_795_399_809, "train-1", "run-1", trainer);
        assert_eq!(version("multinomial_nb"), version("multinomial_nb"));
        assert_ne!(version("multinomial_nb"), version("stacked"));
        assert_eq!(Version::parse(version("stacked").as_str()), Ok(version("stacked")));
        assert!(version("stacked").as_str().starts_with("20261123T"));
    }

    #[test]
    fn names_that_could_reach_outside_the_bucket_are_refused() {
        for text in
            ["", "../evil", "20261123T021009Z-3F9C2A1B", "20261123T021009Z-3f9c2a1b/", "20261123X021009Z-3f9c2a1b"]
        {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert!(Digest::parse(&"g".repeat(64)).is_err());
        assert!(serde_json::from_str::<Digest>("\"../x\"").is_err());
    }

    #[test]
    fn a_digest_is_the_sha256_of_the_bytes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        let mut digester = Digester::default();
        digester.update(b"a");
        digester.update(b"bc");
        assert_eq!(digester.finish().as_str(), abc);
    }
}
