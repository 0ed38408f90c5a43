//! Names of things: the stream's, which people choose, and ids, which nobody does.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Letters of Crockford's base 32 in lower case: no i, l, o, u, so nothing reads as something else.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Names one broadcast: what lies between a publisher's coming and its leaving for good. As
/// text 13 letters of Crockford's base 32; as a number it is part of media addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId(u64);

impl BroadcastId {
    /// The id with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shift in (0..13).rev() {
            let digit = (self.0 >> (shift * 5)) as usize & 31;
            write!(f, "{}", char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for BroadcastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastId({self})")
    }
}

impl FromStr for BroadcastId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() != 13 {
            return Err(Error::Id);
        }
        let mut digits =
            text.bytes().map(|byte| ALPHABET.iter().position(|&letter| letter == byte));
        let number = digits.try_fold(0u128, |sum, digit| Some(sum << 5 | digit? as u128));
        number.and_then(|number| u64::try_from(number).ok()).map(Self).ok_or(Error::Id)
    }
}

/// What a stream is called in addresses: 1 to 64 of `a-z 0-9 - _`, beginning with a letter or
/// digit, and not with `sk_`, so that a name is never taken for a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// Bytes in the longest name.
    pub const BYTES_MAX: usize = 64;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// `Error::Name` with what to change.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        match fault(&name) {
            Some(reason) => Err(Error::Name { reason }),
            None => Ok(Self(name)),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault(name: &str) -> Option<&'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    match name.as_bytes() {
        [] => Some("it is empty"),
        bytes if bytes.len() > StreamName::BYTES_MAX => Some("it has more than 64 characters"),
        bytes if !bytes.iter().all(|&b| allowed(b)) => {
            Some("only the letters a to z, digits, - and _ can stand in it")
        }
        [b'-' | b'_', ..] => Some("it must begin with a letter or digit"),
        [b's', b'k', b'_', ..] => Some("sk_ is how stream keys begin"),
        _ => None,
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for StreamName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_stand_in_an_address_and_names_that_do_not() {
        let long = "x".repeat(65);
        for good in ["a", "0", "my-show", "late_night_2", &long[..64]] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        for bad in ["", &long, "A", "a b", "a/b", "..", "-a", "_a", "sk_a", "é", "a\0", "a%2f"] {
            assert!(StreamName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_that_are_not_ids_are_refused() {
        for bad in ["", "0", "zzzzzzzzzzzzz", "000000000000u", "00000000000000", "000000000000é"] {
            assert_eq!(bad.parse::<BroadcastId>(), Err(Error::Id), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_text(number: u64) {
            let id = BroadcastId::from_u64(number);
            prop_assert_eq!(id.to_string().len(), 13);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text: String) {
            if let Ok(name) = StreamName::new(text.clone()) {
                prop_assert_eq!(name.as_str(), text);
                prop_assert!(name.as_str().len() <= StreamName::BYTES_MAX);
            }
        }
    }
}
