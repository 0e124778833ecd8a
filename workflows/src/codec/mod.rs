//! Encrypts payloads for Temporal and decrypts payloads from it: AES-256-GCM, with keys from a file.
//!
//! The format is that of Temporal's samples in other languages: the encoding `binary/encrypted`, the key's id in
//! `encryption-key-id`, and as data 12 bytes of nonce before the sealed payload. A fingerprint of the key is added: it
//! distinguishes a wrong key from a damaged payload.
//!
//! The codec is always installed. Without keys it encrypts nothing, and reports payloads that it cannot decrypt.

mod keys;

use std::sync::{Arc, PoisonError, RwLock};

use futures::future::{BoxFuture, FutureExt as _, ready};
use prost::Message as _;
use ring::{
    aead::{Aad, NONCE_LEN, Nonce},
    rand::{SecureRandom as _, SystemRandom},
};
use temporalio_common::data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData};
/// Temporal's payload.
pub use temporalio_common::protos::temporal::api::common::v1::Payload;

use self::keys::{Key, is_plain};
pub use self::keys::{KeyName, Keys};

/// The environment variable that names the key file.
pub const SETTING: &str = "THREATWATCH_PAYLOAD_KEY_FILE";

const ENCODING: &str = "encoding";
const ENCRYPTED: &[u8] = b"binary/encrypted";
const KEY_ID: &str = "encryption-key-id";
const FINGERPRINT: &str = "encryption-key-fingerprint";

/// Encrypts and decrypts payloads. Clones share their keys.
#[derive(Clone, Default)]
pub struct Codec(Arc<State>);

#[derive(Default)]
struct State {
    keys: RwLock<Arc<Keys>>,
    /// A key that was needed and is missing.
    lacking: RwLock<Option<KeyName>>,
}

/// The keys themselves are never shown.
impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Codec").field(&self.keys()).finish()
    }
}

/// Why a payload cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This process does not have the key.
    #[error(
        "a payload is encrypted with the key {0}, which this process does not have: put it into the file of {SETTING}"
    )]
    NoKey(KeyName),
    /// The key is present, but the payload is damaged.
    #[error("a payload that is encrypted with the key {0} is damaged")]
    Damaged(KeyName),
    /// The system provides no random numbers.
    #[error("a payload cannot be encrypted: the system provides no random numbers")]
    NoRandomNumbers,
}

impl Codec {
    /// A codec with these keys.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        let codec = Self::default();
        codec.replace(keys);
        codec
    }

    /// Replaces the keys.
    pub fn replace(&self, keys: Keys) {
        let mut lacking = self.0.lacking.write().unwrap_or_else(PoisonError::into_inner);
        if lacking.as_ref().is_some_and(|name| keys.has(name)) {
            *lacking = None;
        }
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// The names of the keys. The first one encrypts. Empty if nothing is encrypted.
    #[must_use]
    pub fn names(&self) -> Vec<KeyName> {
        self.keys().names()
    }

    /// Whether payloads are encrypted.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.keys().first().is_some()
    }

    /// A key with which a payload was encrypted, and which is still missing.
    #[must_use]
    pub fn lacking(&self) -> Option<KeyName> {
        self.0.lacking.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the missing key. The next payload that needs it reports it again.
    pub fn try_again(&self) {
        *self.0.lacking.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Encrypts payloads with the first key. Encrypted payloads stay unchanged; without keys, all payloads do.
    pub fn seal(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, Error> {
        let keys = self.keys();
        let Some(key) = keys.first() else { return Ok(payloads) };
        payloads.into_iter().map(|payload| seal_one(key, payload)).collect()
    }

    /// Decrypts payloads, each with the key that it names. Payloads that are not encrypted stay unchanged.
    pub fn open(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, Error> {
        let keys = self.keys();
        let opened: Result<_, _> = payloads.into_iter().map(|payload| open_one(&keys, payload)).collect();
        if let Err(Error::NoKey(name)) = &opened {
            let mut lacking = self.0.lacking.write().unwrap_or_else(PoisonError::into_inner);
            // The key may have been added meanwhile.
            if !self.keys().has(name) {
                *lacking = Some(name.clone());
            }
        }
        opened
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn seal_one(key: &Key, payload: Payload) -> Result<Payload, Error> {
    if is_encrypted(&payload) {
        return Ok(payload);
    }
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::NoRandomNumbers)?;
    let mut sealed = payload.encode_to_vec();
    key.secret
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("a payload is far below the 64 GiB of the cipher");
    let KeyName { id, fingerprint } = &key.name;
    let metadata = [(ENCODING, ENCRYPTED), (KEY_ID, id.as_bytes()), (FINGERPRINT, fingerprint.as_bytes())];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_vec()));
    Ok(Payload { metadata: metadata.into(), data: [&nonce[..], &sealed].concat(), ..Payload::default() })
}

fn is_encrypted(payload: &Payload) -> bool {
    payload.metadata.get(ENCODING).is_some_and(|encoding| encoding == ENCRYPTED)
}

fn open_one(keys: &Keys, payload: Payload) -> Result<Payload, Error> {
    if !is_encrypted(&payload) {
        return Ok(payload);
    }
    // The metadata may contain any text: a text that is not a key's name is not repeated.
    let text = |name: &str| match payload.metadata.get(name) {
        None => String::new(),
        Some(value) => std::str::from_utf8(value).ok().filter(|text| is_plain(text)).unwrap_or("?").to_owned(),
    };
    let name = KeyName { id: text(KEY_ID), fingerprint: text(FINGERPRINT) };
    let Some(key) = keys.find(&name) else { return Err(Error::NoKey(name)) };
    let damaged = || Error::Damaged(key.name.clone());
    let (nonce, sealed) = payload.data.split_first_chunk().ok_or_else(damaged)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key.secret.open_in_place(nonce, Aad::empty(), &mut sealed).map_err(|_| damaged())?;
    Payload::decode(&*opened).map_err(|_| damaged())
}

impl From<Error> for PayloadConversionError {
    fn from(error: Error) -> Self {
        Self::EncodingError(Box::new(error))
    }
}

type Coded = BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>>;

impl PayloadCodec for Codec {
    fn encode(&self, _: &SerializationContextData, payloads: Vec<Payload>) -> Coded {
        ready(self.seal(payloads).map_err(Into::into)).boxed()
    }

    /// A damaged payload stays unchanged: the workflow then fails because its input is not JSON.
    ///
    /// An error would be retried for ever.
    fn decode(&self, _: &SerializationContextData, payloads: Vec<Payload>) -> Coded {
        let opened = payloads.into_iter().map(|payload| match self.open(vec![payload.clone()]) {
            Err(Error::Damaged(_)) => Ok(vec![payload]),
            opened => opened,
        });
        let opened: Result<Vec<_>, _> = opened.collect();
        ready(opened.map(|opened| opened.concat()).map_err(Into::into)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[(&str, &str)]) -> Keys {
        let lines: String = ids.iter().map(|(id, byte)| format!("{id} {}\n", byte.repeat(32))).collect();
        Keys::parse(&lines).unwrap()
    }

    fn payload(text: &str) -> Payload {
        let metadata = [(ENCODING.to_owned(), b"json/plain".to_vec())].into();
        Payload { metadata, data: text.as_bytes().to_vec(), ..Payload::default() }
    }

    #[test]
    fn what_is_sealed_is_opened_and_never_twice_the_same() {
        let codec = Codec::new(keys(&[("k1", "01")]));
        let plain = vec![payload("\"somebody\""), payload("")];
        let [a, b] = [codec.seal(plain.clone()).unwrap(), codec.seal(plain.clone()).unwrap()];
        assert_ne!(a[0].data, b[0].data);
        assert!(a.iter().all(|payload| payload.metadata[ENCODING] == ENCRYPTED && payload.metadata[KEY_ID] == b"k1"));
        assert!(!a[0].data.windows(8).any(|window| window == b"somebody"));
        assert_eq!(codec.open(a.clone()).unwrap(), plain);
        assert_eq!(codec.seal(a.clone()).unwrap(), a, "not encrypted twice");
        assert_eq!(codec.open(plain.clone()).unwrap(), plain, "what is not encrypted stays");
        let without = Codec::default();
        assert_eq!(without.seal(plain.clone()).unwrap(), plain);
        assert!(codec.encrypts() && !without.encrypts());
    }

    #[test]
    fn after_a_rotation_the_new_key_encrypts_and_the_old_one_decrypts() {
        let codec = Codec::new(keys(&[("k1", "01")]));
        let old = codec.seal(vec![payload("1")]).unwrap();
        codec.replace(keys(&[("k2", "02"), ("k1", "01")]));
        let new = codec.seal(vec![payload("2")]).unwrap();
        assert_eq!(new[0].metadata[KEY_ID], b"k2");
        assert_eq!(codec.open([old, new].concat()).unwrap(), [payload("1"), payload("2")]);
    }

    #[test]
    fn a_key_that_is_not_there_is_named_until_it_comes() {
        let sealed = Codec::new(keys(&[("k2", "02")])).seal(vec![payload("1")]).unwrap();
        // No key, another key, and another key with the same id.
        for ids in [&[][..], &[("k1", "01")], &[("k2", "03")]] {
            let codec = if ids.is_empty() { Codec::default() } else { Codec::new(keys(ids)) };
            assert_eq!(codec.lacking(), None);
            let error = codec.open(sealed.clone()).unwrap_err();
            assert!(error.to_string().contains("the key `k2` (") && error.to_string().contains(SETTING), "{error}");
            assert_eq!(codec.lacking().unwrap().id, "k2");
            codec.replace(keys(&[("k3", "04")]));
            assert!(codec.lacking().is_some(), "still not there");
            codec.replace(keys(&[("k3", "04"), ("k2", "02")]));
            assert_eq!(codec.lacking(), None);
            assert_eq!(codec.open(sealed.clone()).unwrap(), [payload("1")]);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_told() {
        let codec = Codec::new(keys(&[("k1", "01")]));
        let sealed = codec.seal(vec![payload("\"x\"")]).unwrap();
        for at in 0..sealed[0].data.len() {
            for bit in 0..8 {
                let mut wrong = sealed.clone();
                wrong[0].data[at] ^= 1 << bit;
                assert!(matches!(codec.open(wrong), Err(Error::Damaged(_))), "byte {at}, bit {bit}");
            }
            let mut wrong = sealed.clone();
            wrong[0].data.truncate(at);
            assert!(matches!(codec.open(wrong), Err(Error::Damaged(_))), "{at} bytes");
        }
        assert_eq!(codec.lacking(), None, "a damaged payload is no lack of a key");
    }

    #[test]
    fn what_is_no_name_is_not_repeated() {
        let mut payload = Payload { data: vec![0; 40], ..Payload::default() };
        let long = "x".repeat(10_000);
        for (id, said) in [("k9", "k9"), ("a word\nmore", "?"), (long.as_str(), "?")] {
            payload.metadata.insert(ENCODING.to_owned(), ENCRYPTED.to_vec());
            payload.metadata.insert(KEY_ID.to_owned(), id.as_bytes().to_vec());
            let refused = Codec::default().open(vec![payload.clone()]).unwrap_err();
            assert!(matches!(&refused, Error::NoKey(name) if name.id == said), "{refused}");
        }
    }

    #[test]
    fn what_another_languages_sample_has_sealed_is_opened() {
        // Made with the Python package `cryptography`: nonce 0..12, key 32 times 1, no fingerprint.
        let codec = Codec::new(keys(&[("k1", "01")]));
        let data = SAMPLE.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
        let sealed = Payload {
            metadata: [(ENCODING, ENCRYPTED), (KEY_ID, b"k1")].map(|(n, v)| (n.to_owned(), v.to_vec())).into(),
            data: data.collect::<Result<_, _>>().unwrap(),
            ..Payload::default()
        };
        assert_eq!(codec.open(vec![sealed]).unwrap(), [payload("\"x\"")]);
    }

    const SAMPLE: &str = "000102030405060708090a0bb1b09f2e459065169a0389a33263a2d0c1a8447a99f02c6e63c91af883b9a79c56a180927fc7c789744f1f0038";
}
