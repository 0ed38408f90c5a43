//! Names of channels.

use crate::Error;

/// Longest name: a socket's has 108 bytes, of which the owner and the process take some.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// `ipc://name`: between processes of one user. `memory://name`: within this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether only this process may meet here.
    pub(crate) private: bool,
    /// Letters, digits and `. _ - /`.
    pub(crate) name: String,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (private, name) = match text.split_once("://") {
            Some(("ipc", name)) => (false, name),
            Some(("memory", name)) => (true, name),
            _ => return Err(Error::Address("it begins with ipc:// or memory://")),
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(Error::Address("a name has 1 to 64 letters, digits and . _ - /"));
        }
        Ok(Self { private, name: name.into() })
    }
}

/// Whether it may be in a name.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        let ipc = Address::parse("ipc://market/ticks-1").unwrap();
        assert!(!ipc.private && ipc.name == "market/ticks-1");
        assert!(Address::parse("memory://a").unwrap().private);
        let long = format!("ipc://{}", "n".repeat(NAME_BYTES_MAX + 1));
        for wrong in
            ["", "ticks", "tcp://a", "ipc://", "ipc://a b", "ipc://\u{0}", "ipc://ä", &long]
        {
            assert_eq!(Address::parse(wrong).unwrap_err().code(), "address", "{wrong}");
        }
    }
}
