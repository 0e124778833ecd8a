//! What is and what was in production: an append-only chain of promotion records.

use futures_util::{StreamExt, TryStreamExt};
use model::{
    Digest, Generation, Version,
    gate::Gated,
    protocol::{PromoteInput, Promoted},
};
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, REQUESTS_AT_ONCE, Registry, marks::RELIANCE};

/// Records that a promotion searches for its own change id before it writes.
///
/// More promotions than this cannot happen while one attempt is lost.
const LOOK_BACK: u64 = 50;

/// One promotion. Writing the record is the promotion; it is never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromotionRecord {
    /// Its generation: from 1, without gaps.
    pub generation: Generation,
    /// The version that goes into production.
    pub version: Version,
    /// Digest of the version's manifest.
    pub manifest: Digest,
    /// The same for every attempt of one promotion.
    pub change_id: String,
    /// Digest of the record before this one; none for the first.
    pub previous_record: Option<Digest>,
    /// The version that was in production before.
    pub previous: Option<Version>,
    /// Who requested it.
    pub actor: String,
    /// The reason that was given.
    pub reason: String,
    /// The gate's report; none for a rollback.
    pub gate: Option<Gated>,
    /// Whether it was promoted although the gate had refused it.
    #[serde(default)]
    pub forced: bool,
    /// Milliseconds since 1970, UTC, by the promoter's clock. Order is by generation, never by this.
    pub at: i64,
}

/// A record and the digest of its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    /// The record.
    pub record: PromotionRecord,
    /// The digest, which the next record has as `previous_record`.
    pub digest: Digest,
}

impl Registry {
    /// The promotion that made a generation.
    pub async fn promotion(&self, generation: Generation) -> Result<Option<Promotion>, Error> {
        let key = Key::Record(generation);
        let Some((record, digest)) = self.read_json::<PromotionRecord>(key).await? else { return Ok(None) };
        if record.generation == generation {
            Ok(Some(Promotion { record, digest }))
        } else {
            Err(key.corrupt("it names another generation"))
        }
    }

    /// The newest promotion: what is in production.
    pub async fn production(&self) -> Result<Option<Promotion>, Error> {
        let names = self.store.list(Key::HISTORY).await?;
        let newest = names.iter().filter_map(|path| Key::generation_of(path)).max();
        match newest {
            Some(generation) => self.promotion(generation).await,
            None => Ok(None),
        }
    }

    /// The promotion that was in production at a time.
    ///
    /// `at` is in milliseconds since 1970, UTC, by the promoters' clocks.
    pub async fn production_at(&self, at: i64) -> Result<Option<Promotion>, Error> {
        Ok(self.history().await?.into_iter().rfind(|promotion| promotion.record.at <= at))
    }

    /// Every promotion, oldest first. A gap in the history is [`Error::Corrupt`].
    pub async fn history(&self) -> Result<Vec<Promotion>, Error> {
        let names = self.store.list(Key::HISTORY).await?;
        let newest = names.iter().filter_map(|path| Key::generation_of(path)).max().unwrap_or_default();
        let read = |generation| {
            let registry = self.clone();
            async move {
                let generation = Generation(generation);
                let found = registry.promotion(generation).await?;
                found.ok_or_else(|| Key::Record(generation).corrupt("it is missing, but a later one is there"))
            }
        };
        futures_util::stream::iter(1..=newest.0).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await
    }

    /// Puts a version into production: writes the next generation, once.
    ///
    /// A second call with the same `change_id` returns what the first call wrote. If another promotion came first, it
    /// is an [`Error::Conflict`]. `now` is in milliseconds since 1970, UTC.
    pub async fn promote(&self, input: &PromoteInput, now: i64) -> Result<Promoted, Error> {
        let current = self.production().await?;
        if let Some(own) = self.find_change(current.as_ref(), &input.change_id).await? {
            return Ok(promoted(own, true));
        }
        if let Some(expected) = input.expected_generation {
            match &current {
                Some(promotion) if promotion.record.generation == expected => {}
                Some(promotion) => return Err(conflict(promotion)),
                None if expected == Generation(0) => {}
                None => return Err(Error::NothingInProduction),
            }
        }
        let (previous, generation, previous_record) = match current {
            Some(Promotion { record, .. }) if record.version == input.version => return Ok(promoted(record, false)),
            Some(Promotion { record, digest }) => (Some(record.version), record.generation.next(), Some(digest)),
            None => (None, Generation(1), None),
        };
        let checked = self.store.now();
        self.refuse_retired(&input.version).await?;
        // A version that does not load must never be in production, not even for a moment.
        let loaded = self.load(&input.version).await?;
        let record = PromotionRecord {
            generation,
            version: input.version.clone(),
            manifest: loaded.manifest_digest,
            change_id: input.change_id.clone(),
            previous_record,
            previous,
            actor: input.actor.clone(),
            reason: input.reason.clone(),
            gate: input.gate.clone(),
            forced: input.forced,
            at: now,
        };
        if self.store.now().saturating_sub(checked) > RELIANCE {
            return Err(Error::HeldUp(input.version.clone()));
        }
        if self.create_json(Key::Record(generation), &record).await? == Created::New {
            return Ok(promoted(record, true));
        }
        // It is ours if the reply of an earlier try was lost; else somebody else was first.
        match self.promotion(generation).await? {
            Some(there) if there.record.change_id == input.change_id => Ok(promoted(there.record, true)),
            Some(there) => Err(conflict(&there)),
            None => Err(Key::Record(generation).corrupt("it exists but cannot be read")),
        }
    }

    /// The version to roll back to, and the generation that is in production.
    ///
    /// The version is `to`, if that is given; the history must have it. Else it is the newest version of the history
    /// that is not in production.
    pub async fn rollback_target(&self, to: Option<&Version>) -> Result<(Version, Generation), Error> {
        let mut history = self.history().await?;
        let Some(current) = history.pop() else { return Err(Error::NothingInProduction) };
        let is_target = |record: &PromotionRecord| match to {
            Some(version) => record.version == *version,
            None => record.version != current.record.version,
        };
        let target = history.into_iter().map(|promotion| promotion.record).rev().find(is_target);
        target.map(|record| (record.version, current.record.generation)).ok_or(Error::NothingToRollBackTo)
    }

    async fn find_change(&self, newest: Option<&Promotion>, change_id: &str) -> Result<Option<PromotionRecord>, Error> {
        let Some(newest) = newest else { return Ok(None) };
        if newest.record.change_id == change_id {
            return Ok(Some(newest.record.clone()));
        }
        let last = newest.record.generation.0;
        for generation in (last.saturating_sub(LOOK_BACK).max(1)..last).rev() {
            match self.promotion(Generation(generation)).await? {
                Some(promotion) if promotion.record.change_id == change_id => return Ok(Some(promotion.record)),
                _ => {}
            }
        }
        Ok(None)
    }
}

fn promoted(record: PromotionRecord, is_new: bool) -> Promoted {
    Promoted { version: record.version, generation: record.generation, previous: record.previous, is_new }
}

fn conflict(there: &Promotion) -> Error {
    Error::Conflict {
        generation: there.record.generation,
        version: there.record.version.clone(),
        actor: there.record.actor.clone(),
    }
}
