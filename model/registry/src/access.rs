//! API keys: who may do what.
//!
//! The store has digests of the keys, never the keys. A key is one object and its revocation another. Both are written
//! once, so a revoked key stays revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, REQUESTS_AT_ONCE, Registry, Secret, now_millis};

/// Every key begins with this, so that people and secret scanners recognise it.
const PREFIX: &str = "tw_";
/// The longest name, in characters.
const LONGEST_NAME: usize = 63;

/// What a key may be used for. No role includes another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Judge comments.
    Predict,
    /// Give feedback on comments; approve and reject runs that wait for approval.
    Review,
    /// Train, promote, roll back, read the audit trail, delete feedback.
    Operate,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Predict, Self::Review, Self::Operate];

    /// The role's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Review => "review",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| "a role is `predict`, `review` or `operate`".to_owned())
    }
}

/// The name of a key's holder.
///
/// It has 1 to 63 characters of `a` to `z`, `0` to `9`, `.`, `_` and `-`, and begins with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_name = text.bytes().next().is_some_and(is_plain)
            && text.len() <= LONGEST_NAME
            && text.bytes().all(|b| is_plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            let allowed = "a-z, 0-9, `.`, `_` and `-`, and begins with a letter or a digit";
            Err(format!("a key's name has 1 to {LONGEST_NAME} characters of {allowed}"))
        }
    }
}

impl TryFrom<String> for KeyName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the store keeps of a key.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{Keys, MemoryStore, Registry, Role};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let name = "forum-bot".parse()?;
/// let (key, secret) = registry.create_key(&name, &[Role::Predict], "root").await?;
/// // Only the digest is stored. This is the only time that the key itself is known.
/// assert_eq!(key.sha256, model::Digest::of(secret.expose().as_bytes()));
/// assert_eq!(format!("{secret:?}"), "***");
///
/// let keys = registry.keys(&Keys::default()).await?;
/// assert_eq!(keys.active().collect::<Vec<_>>(), [&key]);
///
/// registry.revoke_keys(&name, None, "root").await?;
/// let keys = registry.keys(&keys).await?;
/// assert_eq!((keys.all().count(), keys.active().count()), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The holder's name, which the audit trail has as the actor.
    ///
    /// Several keys may share a name, to replace one without a gap.
    pub name: KeyName,
    /// The first eight digits of `sha256`. It tells apart keys of the same name.
    pub id: String,
    /// What the key may be used for.
    pub roles: Vec<Role>,
    /// SHA-256 of the key.
    pub sha256: Digest,
    /// When it was made: milliseconds since 1970, UTC.
    pub created: i64,
    /// Who made it.
    pub created_by: String,
}

/// When and by whom a key was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// Who revoked it.
    pub by: String,
}

/// A key, and whether it is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// The key.
    pub key: ApiKey,
    /// Whether there is a revocation.
    pub is_revoked: bool,
}

/// All keys, by the path of their object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Whether a key was ever seen.
    ///
    /// It never becomes false again: the API must not open because an object is lost.
    were_made: bool,
    keys: BTreeMap<String, KeyState>,
    /// Objects that are not valid keys. They are read once.
    #[serde(default)]
    unreadable: BTreeSet<String>,
}

impl Keys {
    /// Whether a key was ever made, even if all are now revoked, lost or unreadable.
    #[must_use]
    pub fn were_made(&self) -> bool {
        self.were_made
    }

    /// Every key, by name, then by id.
    pub fn all(&self) -> impl Iterator<Item = &KeyState> {
        self.keys.values()
    }

    /// The keys that are not revoked.
    pub fn active(&self) -> impl Iterator<Item = &ApiKey> {
        self.all().filter(|state| !state.is_revoked).map(|state| &state.key)
    }
}

impl Registry {
    /// Makes a key.
    ///
    /// It is returned only once and stored nowhere; the store has its digest.
    pub async fn create_key(&self, name: &KeyName, roles: &[Role], by: &str) -> Result<(ApiKey, Secret), Error> {
        let secret = format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 32]>()));
        let sha256 = Digest::of(secret.as_bytes());
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        let id = sha256.short().to_owned();
        let key = ApiKey { name: name.clone(), id, roles, sha256, created: now_millis(), created_by: by.to_owned() };
        let place = Key::ApiKey(key.name.as_str(), &key.id);
        match self.create_json(place, &key).await? {
            Created::New => Ok((key, Secret::new(secret))),
            // The reply of an earlier try was lost, unless two keys share eight digits.
            Created::Exists if self.read_json::<ApiKey>(place).await?.is_some_and(|(there, _)| there == key) => {
                Ok((key, Secret::new(secret)))
            }
            Created::Exists => Err(place.corrupt("another key has this id: create the key again")),
        }
    }

    /// Revokes all keys of a name, or the one with this id.
    ///
    /// Returns those that were not revoked before.
    pub async fn revoke_keys(&self, name: &KeyName, id: Option<&str>, by: &str) -> Result<Vec<ApiKey>, Error> {
        let keys = self.keys(&Keys::default()).await?;
        let is_meant = |key: &ApiKey| key.name == *name && id.is_none_or(|id| id == key.id);
        if !keys.all().any(|state| is_meant(&state.key)) {
            let path = Key::ApiKey(name.as_str(), id.unwrap_or("")).path();
            return Err(Error::NotFound { what: "API key", path });
        }
        let revocation = Revocation { at: now_millis(), by: by.to_owned() };
        let mut revoked = Vec::new();
        for key in keys.active().filter(|key| is_meant(key)) {
            self.create_json(Key::KeyRevocation(key.name.as_str(), &key.id), &revocation).await?;
            revoked.push(key.clone());
        }
        Ok(revoked)
    }

    /// Every key. An unreadable key is not accepted.
    ///
    /// `known` keys are not read again: a key never changes, and a revocation counts if its object is there.
    pub async fn keys(&self, known: &Keys) -> Result<Keys, Error> {
        let paths = self.store.list(Key::API_KEYS).await?;
        let (of_keys, others): (BTreeSet<String>, BTreeSet<String>) =
            paths.into_iter().partition(|path| Key::is_api_key(path));
        let is_known = |path: &String| known.keys.contains_key(path) || known.unreadable.contains(path);
        let new: Vec<String> = of_keys.iter().filter(|path| !is_known(path)).cloned().collect();
        let read = |path: String| {
            let registry = self.clone();
            async move { Ok::<_, Error>((registry.read_key(&path).await?, path)) }
        };
        let read: Vec<_> = stream::iter(new).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await?;

        let were_made = known.were_made || !of_keys.is_empty() || !others.is_empty();
        let mut keys = Keys { were_made, ..known.clone() };
        for (key, path) in read {
            match key {
                Some(key) => drop(keys.keys.insert(path, KeyState { key, is_revoked: false })),
                None => drop(keys.unreadable.insert(path)),
            }
        }
        keys.keys.retain(|path, _| of_keys.contains(path));
        keys.unreadable.retain(|path| of_keys.contains(path));
        for path in others.iter().filter_map(|path| Key::revoked_key_of(path)) {
            if let Some(state) = keys.keys.get_mut(&path) {
                state.is_revoked = true;
            }
        }
        Ok(keys)
    }

    /// When and by whom a key was revoked.
    ///
    /// `None` if it was not revoked, or if the revocation is unreadable.
    pub async fn revocation(&self, key: &ApiKey) -> Result<Option<Revocation>, Error> {
        let bytes = self.store.get(&Key::KeyRevocation(key.name.as_str(), &key.id).path()).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn read_key(&self, path: &str) -> Result<Option<ApiKey>, Error> {
        let bytes: Bytes = self.store.get(path).await?.unwrap_or_default();
        let parsed = serde_json::from_slice::<ApiKey>(&bytes).ok();
        let key = parsed.filter(|key| Key::ApiKey(key.name.as_str(), &key.id).path() == path);
        if key.is_none() {
            tracing::warn!(path, "an API key cannot be read and is not accepted");
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["alice", "forum-bot.2", "0", &"a".repeat(63)] {
            assert_eq!(name.parse::<KeyName>().unwrap().as_str(), name);
        }
        for name in ["", "Alice", ".a", "a/b", "../a", "a b", "é", &"a".repeat(64)] {
            assert!(name.parse::<KeyName>().is_err(), "{name}");
        }
    }
}
