//! Drift counts: measures, by hour, of the comments that a version judged.
//!
//! They never contain a text. Each replica writes its own objects, once.

use std::collections::{BTreeMap, btree_map::Entry};

use futures_util::{StreamExt as _, stream};
use model::{Version, evaluation::drift::Reference};

use crate::{Error, Key, REQUESTS_AT_ONCE, Registry};

impl Registry {
    /// Stores a replica's drift counts of an hour. `hour` counts from 1970.
    ///
    /// `nonce` is a number that no other replica uses. With the same nonce the call may be repeated.
    pub async fn put_drift(&self, version: &Version, hour: u64, nonce: u32, seen: &Reference) -> Result<(), Error> {
        self.create_json(Key::Drift(version, hour, nonce), seen).await?;
        Ok(())
    }

    /// The drift counts of a version by hour, from `from` on, of all replicas together.
    ///
    /// Counts whose bins differ from the others of their hour are left out: no version has two references.
    pub async fn drift(&self, version: &Version, from: u64) -> Result<BTreeMap<u64, Reference>, Error> {
        let paths = self.store.list(&Key::drift_of(version)).await?;
        let hours = paths.iter().filter_map(|path| Key::drift_hour_of(path));
        let hours: Vec<(u64, u32)> = hours.filter(|(hour, _)| *hour >= from).collect();
        let read = |(hour, nonce): (u64, u32)| async move {
            match self.read_json::<Reference>(Key::Drift(version, hour, nonce)).await {
                // None if retention has deleted it meanwhile.
                Ok(read) => Ok(read.map(|(seen, _)| (hour, seen))),
                Err(error) if error.is_transient() => Err(error),
                Err(error) => {
                    tracing::warn!(%error, "drift counts cannot be read and are left out");
                    Ok(None)
                }
            }
        };
        let mut reads = stream::iter(hours).map(read).buffered(REQUESTS_AT_ONCE);
        let mut found: BTreeMap<u64, Reference> = BTreeMap::new();
        while let Some(read) = reads.next().await {
            let Some((hour, seen)) = read? else { continue };
            match found.entry(hour) {
                Entry::Vacant(place) => drop(place.insert(seen)),
                Entry::Occupied(mut sum) => drop(sum.get_mut().add_all(&seen)),
            }
        }
        Ok(found)
    }
}
