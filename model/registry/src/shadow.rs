//! Which version judges beside the one in production, and how much of the traffic: a chain of orders, each written once.
//! The last one counts.

use model::Version;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, Registry, StoreError, now_millis};

/// Others who order at the same moment take a number each; so many in a row are not waited for.
const TRIES: u32 = 20;

/// What was ordered last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowOrder {
    /// From 1.
    pub sequence: u64,
    /// The version that judges beside production; none where none does.
    pub version: Option<Version>,
    /// Share of the comments that it judges too, from 0 to 1.
    pub share: f64,
    /// Who ordered it.
    pub actor: String,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
}

impl Registry {
    /// Orders a version to judge a share of the comments beside production; none to end that.
    ///
    /// The version must be registered.
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
                // Ours, if the reply of an earlier try was lost; else another was quicker.
                Created::Exists => match self.read_json::<ShadowOrder>(key).await? {
                    Some((there, _)) if there == order => return Ok(order),
                    _ => last = order.sequence,
                },
            }
        }
        let (name, reason) = (Key::SHADOW.to_owned(), format!("others took {TRIES} numbers in a row"));
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// What was ordered last, if anything ever was. What is `known` is not read again: an order never changes.
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
