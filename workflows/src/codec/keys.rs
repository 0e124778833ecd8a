//! The keys that encrypt payloads, and the format of the key file.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::Digest;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};

/// Bytes of a key of AES-256.
const KEY_BYTES: usize = 32;
/// Most characters of a key's id.
const LONGEST_ID: usize = 64;
/// Hexadecimal digits of a fingerprint.
const FINGERPRINT: usize = 12;

/// Keys by their ids. The first one encrypts, all decrypt. Without keys nothing is encrypted.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// The name of a key, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName {
    /// Its id in the key file.
    pub id: String,
    /// The beginning of a SHA-256. It differs between two keys with the same id.
    pub fingerprint: String,
}

pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) secret: LessSafeKey,
}

impl Keys {
    /// Reads a key file.
    ///
    /// Each line has an id, a space, and 32 bytes as hexadecimal digits or base64. Empty lines and
    /// lines that begin with `#` are ignored.
    ///
    /// The error names the line but never shows the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).map_err(|reason| format!("line {number}: {reason}"))?;
            if keys.iter().any(|known| known.name.id == key.name.id) {
                return Err(format!("line {number}: the id `{}` is given twice", key.name.id));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("it contains no key".to_owned());
        }
        Ok(Self(keys))
    }

    /// The names of all keys. The first key encrypts.
    #[must_use]
    pub fn names(&self) -> Vec<KeyName> {
        self.0.iter().map(|key| key.name.clone()).collect()
    }

    /// Whether this key is present. An empty fingerprint matches every key with the id.
    #[must_use]
    pub fn has(&self, name: &KeyName) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn first(&self) -> Option<&Key> {
        self.0.first()
    }

    pub(super) fn find(&self, name: &KeyName) -> Option<&Key> {
        let fits = |key: &&Key| name.fingerprint.is_empty() || key.name.fingerprint == name.fingerprint;
        self.0.iter().filter(|key| key.name.id == name.id).find(fits)
    }
}

/// The keys themselves are never shown.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fingerprint.as_str() {
            "" => write!(f, "`{}`", self.id),
            fingerprint => write!(f, "`{}` ({fingerprint})", self.id),
        }
    }
}

impl Key {
    fn parse(line: &str) -> Result<Self, String> {
        let (id, secret) = line.split_once([' ', '\t']).ok_or("expected an id, a space and a key")?;
        if !is_plain(id) {
            return Err(format!("an id has up to {LONGEST_ID} letters, digits, `.`, `_` and `-`"));
        }
        let bytes = bytes(secret.trim()).filter(|bytes| bytes.len() == KEY_BYTES);
        let bytes = bytes.ok_or_else(|| {
            format!("the key `{id}` is not {KEY_BYTES} bytes as 64 hexadecimal digits or 44 characters of base64")
        })?;
        let fingerprint = Digest::of(&bytes).as_str()[..FINGERPRINT].to_owned();
        let secret = UnboundKey::new(&AES_256_GCM, &bytes).expect("the length was checked");
        Ok(Self { name: KeyName { id: id.to_owned(), fingerprint }, secret: LessSafeKey::new(secret) })
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() == 2 * KEY_BYTES {
        let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        return digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    }
    STANDARD.decode(text).ok()
}

/// Whether a text may be a key's id: short, and without special characters.
pub(super) fn is_plain(id: &str) -> bool {
    id.len() <= LONGEST_ID && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn hexadecimal_digits_and_base64_are_the_same_key() {
        let keys = Keys::parse(&format!("# of spring\n\n  k.2-a_B {HEX}\nk1\t {BASE64} \n")).unwrap();
        let [first, second] = &keys.names()[..] else { panic!("{keys:?}") };
        assert_eq!((first.id.as_str(), second.id.as_str()), ("k.2-a_B", "k1"));
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.len(), FINGERPRINT);
        assert!(!format!("{keys:?}").contains("0001"), "{keys:?}");
    }

    #[test]
    fn a_line_that_is_no_key_is_named_and_not_repeated() {
        let another = HEX.replace("00", "ff");
        for (text, named) in [
            (String::new(), "no key"),
            ("# k1 no".to_owned(), "no key"),
            (HEX.to_owned(), "line 1: expected an id"),
            (format!("k1 {}", &HEX[2..]), "line 1: the key `k1` is not 32 bytes"),
            (format!("\nk1 {}", HEX.replace("0f", "0g")), "line 2: the key `k1`"),
            (format!("k1 {}", &BASE64[4..]), "line 1: the key `k1`"),
            (format!("k/1 {HEX}"), "line 1: an id"),
            (format!("{} {HEX}", "k".repeat(65)), "line 1: an id"),
            (format!("k1 {HEX}\nk1 {another}"), "line 2: the id `k1` is given twice"),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert!(error.contains(named) && !error.contains("0405"), "{text}: {error}");
        }
    }
}
