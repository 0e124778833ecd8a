//! The bytes of [`CountsByFold`].
//!
//! ```text
//! 8 bytes   magic "threatc" and the format's version, 1
//! 4 bytes   length H of the header, little-endian, at most 1 MiB
//! H bytes   the header as JSON: the features, and for each fold the sentences and the number N of features
//! each fold N keys of 8 bytes, ascending; N * 3 counts of 4 bytes; all little-endian
//! ```

use serde::{Deserialize, Serialize};

use super::{Counts, CountsByFold, Error, FeatureCount};
use crate::features::FeatureSet;

pub(super) const MAGIC: &[u8; 8] = b"threatc\x01";
const MAX_HEADER: usize = 1 << 20;
/// Bytes of a feature: its key and three counts.
const FEATURE: usize = 8 + 3 * 4;

#[derive(Serialize, Deserialize)]
struct Header {
    features: FeatureSet,
    folds: Vec<FoldHeader>,
}

#[derive(Serialize, Deserialize)]
struct FoldHeader {
    sentences: [u64; 2],
    features: u64,
}

impl CountsByFold {
    /// Encodes the counts as bytes. Equal counts have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fold = |counts: &Counts| FoldHeader { sentences: counts.sentences, features: counts.features.len() as u64 };
        let header = Header { features: self.features.clone(), folds: self.folds.iter().map(fold).collect() };
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let features: usize = self.folds.iter().map(|counts| counts.features.len()).sum();
        let mut bytes = Vec::with_capacity(12 + header.len() + FEATURE * features);
        bytes.extend(MAGIC);
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        for Counts { features, .. } in &self.folds {
            bytes.extend(features.iter().flat_map(|(key, _)| key.to_le_bytes()));
            for (_, FeatureCount { occurrences: [others, threats], sentences }) in features {
                bytes.extend([others, threats, sentences].into_iter().flat_map(|count| count.to_le_bytes()));
            }
        }
        bytes
    }

    /// Decodes counts from bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        const SHORT: Error = Error::Malformed("they are cut short");
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Malformed("they do not begin as counts do"))?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (header, mut rest) = rest.split_at_checked(length).filter(|_| length <= MAX_HEADER).ok_or(SHORT)?;
        let Header { features, folds: headers } =
            serde_json::from_slice(header).map_err(|_| Error::Malformed("their header cannot be read"))?;
        let mut folds = Vec::new();
        for FoldHeader { sentences, features } in headers {
            let n = usize::try_from(features).ok().filter(|n| n.checked_mul(FEATURE).is_some()).ok_or(SHORT)?;
            let (keys, after) = rest.split_at_checked(n * 8).ok_or(SHORT)?;
            let (counts, after) = after.split_at_checked(n * (FEATURE - 8)).ok_or(SHORT)?;
            rest = after;
            let keys = keys.as_chunks::<8>().0.iter().map(|key| u64::from_le_bytes(*key));
            let number = |bytes: &[u8; 12], at: usize| {
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let counts = counts.as_chunks::<12>().0.iter().map(|bytes| FeatureCount {
                occurrences: [number(bytes, 0), number(bytes, 4)],
                sentences: number(bytes, 8),
            });
            let features: Vec<(u64, FeatureCount)> = keys.zip(counts).collect();
            if !features.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(Error::Malformed("their keys do not ascend"));
            }
            folds.push(Counts { sentences, features });
        }
        if !rest.is_empty() || folds.is_empty() {
            return Err(Error::Malformed("their length is not what the header says"));
        }
        Ok(Self { features, folds })
    }
}
