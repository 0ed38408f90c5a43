//! Names of channels.

use crate::Error;

/// Longest name: a socket's has 108 bytes, of which the owner and the process take some.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// `ipc://name`: between processes of one user. `ipc:///path`: between those that may use the
/// path. `memory://name`: within this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether only this process may meet here.
    pub(crate) private: bool,
    /// Letters, digits and `. _ - /`.
    pub(crate) name: String,
    /// Of which users the processes are.
    pub(crate) share: Share,
    /// Which of its owners, if it has several: each has a socket.
    pub(crate) place: usize,
}

/// Whose processes meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Share {
    /// This user's.
    #[default]
    Owner,
    /// Those of the group that the path belongs to, too.
    Group,
    /// Anybody's who may enter the path's directory.
    Everyone,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (text, query) = text.split_once('?').map_or((text, None), |(a, b)| (a, Some(b)));
        let (private, name) = match text.split_once("://") {
            Some(("ipc", name)) => (false, name),
            Some(("memory", name)) => (true, name),
            _ => return Err(Error::Address("it begins with ipc:// or memory://")),
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(Error::Address("a name has 1 to 64 letters, digits and . _ - /"));
        }
        let share = query.map_or(Ok(Share::Owner), Share::parse)?;
        let address = Self { private, name: name.into(), share, place: 0 };
        if query.is_some() && address.path().is_none() {
            return Err(Error::Address("only a path is shared: ipc:///run/name?share=group"));
        }
        Ok(address)
    }

    /// The path, if it is one.
    pub(crate) fn path(&self) -> Option<String> {
        (!self.private && self.name.starts_with('/')).then(|| self.socket())
    }

    /// What its socket is called: no name has the letter by which those of one differ.
    pub(crate) fn socket(&self) -> String {
        match self.place {
            0 => self.name.clone(),
            place => format!("{}#{place}", self.name),
        }
    }

    /// The same for another of its owners.
    pub(crate) fn at(&self, place: usize) -> Self {
        Self { place, ..self.clone() }
    }
}

impl Share {
    fn parse(query: &str) -> Result<Self, Error> {
        match query {
            "share=owner" => Ok(Self::Owner),
            "share=group" => Ok(Self::Group),
            "share=everyone" => Ok(Self::Everyone),
            _ => Err(Error::Address("after ? comes share=owner, share=group or share=everyone")),
        }
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

    #[test]
    fn paths_may_be_shared() {
        let at = |text| Address::parse(text).map(|at| (at.path(), at.share));
        let path = Some("/run/a".to_owned());
        assert_eq!(at("ipc:///run/a"), Ok((path.clone(), Share::Owner)));
        assert_eq!(at("ipc:///run/a?share=owner"), Ok((path.clone(), Share::Owner)));
        assert_eq!(at("ipc:///run/a?share=group"), Ok((path.clone(), Share::Group)));
        assert_eq!(at("ipc:///run/a?share=everyone"), Ok((path, Share::Everyone)));
        assert_eq!(at("memory:///run/a"), Ok((None, Share::Owner)));
        for wrong in ["ipc://a?share=group", "memory:///a?share=group", "ipc:///a?", "ipc:///a?b"] {
            assert_eq!(at(wrong).unwrap_err().code(), "address", "{wrong}");
        }
    }
}
