//! Shadow orders: which version judges beside production, and what share of the comments.
//!
//! Each order is written once. The last one counts.

use model::Version;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, Registry, StoreError, now_millis};

/// Attempts to get a number.
///
/// Other writers that order at the same moment may take some.
const TRIES: u32 = 20;

/// An order to start or to end a shadow.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{MemoryStore, Registry};
#[doc = include_str!("example.txt")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let version = registered(&registry, 1).await?;
/// let order = registry.order_shadow(Some(&version), 0.2, "anna").await?;
/// assert_eq!(registry.shadow(None).await?, Some(order));
///
/// let end = registry.order_shadow(None, 0.0, "anna").await?;
/// assert_eq!((end.sequence, end.version), (2, None));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowOrder {
    /// From 1.
    pub sequence: u64,
    /// The version that judges beside production; `None` if the order ends the shadow.
    pub version: Option<Version>,
    /// The share of the comments that it judges too, from 0 to 1.
    pub share: f64,
    /// Who gave the order.
    pub actor: String,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
}

impl Registry {
    /// Starts a shadow: a version that judges a share of the comments beside production.
    ///
    /// `None` ends it. The version must be registered.
    pub async fn order_shadow(&self, version: Option<&Version>, share: f64, actor: &str) -> Result<ShadowOrder, Error> {
        if let Some(version) = version {
            self.manifest(version).await?;
        }
        let mut last = self.last_shadow().await?;
        for _ in 0..TRIES {
            let order = ShadowOrder {
                sequence: last + 1,
                version: version.cloned(),
                share,
                actor: actor.to_owned(),
                at: now_millis(),
            };
            let key = Key::Shadow(order.sequence);
            match self.create_json(key, &order).await? {
                Created::New => return Ok(order),
                // It is ours if the reply of an earlier try was lost; else another writer was first.
                Created::Exists => match self.read_json::<ShadowOrder>(key).await? {
                    Some((there, _)) if there == order => return Ok(order),
                    _ => last = order.sequence,
                },
            }
        }
        let (name, reason) = (Key::SHADOW.to_owned(), format!("other writers took {TRIES} numbers in a row"));
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// The last order, if there is one.
    ///
    /// A `known` order is not read again, because an order never changes.
    pub async fn shadow(&self, known: Option<&ShadowOrder>) -> Result<Option<ShadowOrder>, Error> {
        let last = self.last_shadow().await?;
        match known {
            _ if last == 0 => Ok(None),
            Some(known) if known.sequence == last => Ok(Some(known.clone())),
            _ => Ok(self.read_json(Key::Shadow(last)).await?.map(|(order, _)| order)),
        }
    }

    async fn last_shadow(&self) -> Result<u64, Error> {
        let names = self.store.list(Key::SHADOW).await?;
        Ok(names.iter().filter_map(|path| Key::shadow_of(path)).max().unwrap_or(0))
    }
}
