//! Stream keys: what a publisher shows instead of a password. Only their hashes are kept.

use core::fmt;
use core::str::FromStr;

use crate::Error;
use crate::id::ALPHABET;

/// Binds the hash to its use (BLAKE3 `derive_key`): the same text hashed for anything else gives
/// another value.
const CONTEXT: &str = "psyne/streamr 2026 stream key at rest v1";
const PREFIX: &str = "sk_";
const LETTERS: usize = 32;

/// A secret that lets its holder publish: `sk_` and 160 random bits as 32 letters of Crockford's
/// base 32. Shown once when it is made; `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamKey(String);

impl StreamKey {
    /// Makes a key from bytes that must come from the operating system's randomness.
    #[must_use]
    pub fn from_random(random: [u8; 20]) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + LETTERS);
        text.push_str(PREFIX);
        for group in random.as_chunks::<5>().0 {
            let bits = group.iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
            for shift in (0..8).rev() {
                text.push(char::from(ALPHABET[(bits >> (shift * 5)) as usize & 31]));
            }
        }
        Self(text)
    }

    /// The secret itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(blake3::derive_key(CONTEXT, self.0.as_bytes()))
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamKey(sk_…)")
    }
}

impl FromStr for StreamKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let letters = text.strip_prefix(PREFIX).ok_or(Error::Key)?;
        let valid = letters.len() == LETTERS && letters.bytes().all(|b| ALPHABET.contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { Err(Error::Key) }
    }
}

/// What is kept of a key: enough to recognise it, not enough to make it. A key has 160 random
/// bits, so a fast hash without salt is as good as a slow one.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// A hash as it came from storage.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as it goes to storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `key` is the one; takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, key: &StreamKey) -> bool {
        *self == key.hash()
    }
}

impl PartialEq for KeyHash {
    /// In constant time: `blake3::Hash` promises it.
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_and_what_only_looks_like_one() {
        let key = StreamKey::from_random([0xff; 20]);
        assert_eq!(key.reveal(), format!("sk_{}", "z".repeat(32)));
        assert_eq!(StreamKey::from_random([0; 20]).reveal(), format!("sk_{}", "0".repeat(32)));
        let long = "sk_".to_owned() + &"0".repeat(33);
        for bad in ["", "sk_", "sk_0", &long, &long[1..], &key.reveal().to_uppercase()] {
            assert_eq!(bad.parse::<StreamKey>(), Err(Error::Key), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = StreamKey::from_random([7; 20]);
        let shown = format!("{key:?} {:?}", key.hash());
        assert!(!shown.contains(&key.reveal()[3..]), "{shown}");
    }

    proptest! {
        #[test]
        fn a_hash_knows_its_key_and_no_other(a: [u8; 20], b: [u8; 20]) {
            let (one, other) = (StreamKey::from_random(a), StreamKey::from_random(b));
            let kept = KeyHash::from_bytes(*one.hash().as_bytes());
            prop_assert!(kept.matches(&one));
            prop_assert_eq!(kept.matches(&other), a == b);
            prop_assert_eq!(one.reveal().parse::<StreamKey>().ok(), Some(one));
        }
    }
}
