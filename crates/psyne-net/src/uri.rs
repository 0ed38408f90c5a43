//! What an address names: `scheme://rest`, after RFC 3986 as far as channels need it.

use core::fmt::{self, Display, Formatter};
use core::str::FromStr;

use crate::Error;

/// Bytes of a URI; more is refused. Browsers stop at about as many.
pub const BYTES_MAX: usize = 2048;

/// How a channel is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Rings between threads.
    Memory,
    /// Rings in shared memory, between processes of one machine.
    Ipc,
    /// Frames over TCP.
    Tcp,
    /// Frames over TLS 1.3.
    Tls,
    /// Frames over a Unix socket.
    Unix,
    /// Datagrams, unreliable, not encrypted.
    Udp,
    /// A message each, over a WebSocket.
    Ws,
    /// The same over TLS.
    Wss,
    /// Between native peers: encrypted, reliable or not.
    P2p,
    /// To a browser or through a relay: a WebRTC data channel.
    Webrtc,
}

impl Scheme {
    /// Each, with its name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("memory", Self::Memory),
        ("ipc", Self::Ipc),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("unix", Self::Unix),
        ("udp", Self::Udp),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("p2p", Self::P2p),
        ("webrtc", Self::Webrtc),
    ];

    /// Its name, as it is written before `://`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }
}

/// An address: `scheme://rest?key=value&key=value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uri {
    scheme: Scheme,
    rest: String,
    options: Vec<(String, String)>,
}

impl Uri {
    /// How it is carried.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What stands between `://` and `?`: an authority and a path, or a name. Never empty.
    #[must_use]
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// What stands for this key after `?`.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// What stands before the first `/`: a host and a port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.rest.split('/').next().unwrap_or_default()
    }

    /// Refuses what stands after `?` and is not among these.
    ///
    /// # Errors
    /// `Uri`.
    pub fn allow(&self, known: &[&str]) -> Result<(), Error> {
        let Some(key) = self.keys().find(|key| !known.contains(key)) else { return Ok(()) };
        let name = self.scheme.name();
        let why = match known {
            [] => format!("{name}:// has no options, not even {key:?}"),
            _ => format!("{name}:// has the options {}, not {key:?}", known.join(", ")),
        };
        Err(Error::Uri { uri: self.to_string(), why })
    }

    /// The same with another host and port.
    pub(crate) fn moved(&self, authority: &dyn Display) -> Self {
        let path = self.rest.find('/').and_then(|start| self.rest.get(start..));
        let rest = format!("{authority}{}", path.unwrap_or_default());
        Self { rest, ..self.clone() }
    }

    /// The same with this after `?`.
    pub(crate) fn with(&self, key: &str, value: &dyn Display) -> Self {
        let mut uri = self.clone();
        uri.options.retain(|(known, _)| known != key);
        uri.options.push((key.to_owned(), value.to_string()));
        uri
    }

    /// The keys after `?`, so that a transport can refuse those that it does not know.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|(name, _)| name.as_str())
    }
}

impl FromStr for Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| {
            let uri = text.chars().take(BYTES_MAX).collect();
            Err(Error::Uri { uri, why })
        };
        if text.len() > BYTES_MAX {
            return refuse(format!("it is longer than {BYTES_MAX} bytes"));
        }
        if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
            return refuse("it has blanks or control characters".to_owned());
        }
        let Some((name, rest)) = text.split_once("://") else {
            return refuse(format!("write one of {}", schemes()));
        };
        let found = Scheme::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((_, scheme)) = found else {
            return refuse(format!("no transport is called {name:?}; write one of {}", schemes()));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.is_empty() {
            return refuse(format!("nothing stands after {name}://"));
        }
        let mut options: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if options.iter().any(|(known, _)| known == key) {
                return refuse(format!("{key:?} is given twice"));
            }
            options.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self { scheme: *scheme, rest: rest.to_owned(), options })
    }
}

impl Display for Uri {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme.name(), self.rest)?;
        for (at, (key, value)) in self.options.iter().enumerate() {
            write!(out, "{}{key}={value}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

fn schemes() -> String {
    Scheme::ALL.map(|(name, _)| format!("{name}://")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_has_its_scheme_and_is_written_as_it_was_read() {
        for (name, scheme) in Scheme::ALL {
            let text = format!("{name}://there/path?a=1&b=2");
            let uri: Uri = text.parse().unwrap();
            assert_eq!((uri.scheme(), uri.rest()), (scheme, "there/path"), "{name}");
            assert_eq!((uri.option("a"), uri.option("b")), (Some("1"), Some("2")));
            assert_eq!((uri.option("c"), uri.keys().count()), (None, 2));
            assert_eq!(uri.to_string(), text);
        }
    }

    #[test]
    fn an_address_is_taken_apart_and_moved() {
        let uri: Uri = "ws://there:80/a/b?k=1".parse().unwrap();
        assert_eq!(uri.authority(), "there:80");
        assert_eq!(uri.moved(&"here:7").to_string(), "ws://here:7/a/b?k=1");
        assert_eq!(uri.allow(&["j", "k"]), Ok(()));
        let error = uri.allow(&["j"]).unwrap_err().to_string();
        assert!(error.contains("ws:// has the options j, not \"k\""), "{error}");
        let error = uri.allow(&[]).unwrap_err().to_string();
        assert!(error.contains("has no options, not even \"k\""), "{error}");
    }

    #[test]
    fn what_is_no_address_is_refused_and_says_what_to_write() {
        let long = format!("tcp://{}", "x".repeat(BYTES_MAX));
        for (text, why) in [
            ("", "tcp://"),
            ("localhost:7000", "write one of memory://"),
            ("gopher://there", "no transport is called \"gopher\""),
            ("tcp://", "nothing stands after tcp://"),
            ("tcp://?a=1", "nothing stands after tcp://"),
            ("tcp://a b", "blanks"),
            ("tcp://a\n", "blanks"),
            ("tcp://a?k=1&k=2", "\"k\" is given twice"),
            (&long, "longer than 2048 bytes"),
        ] {
            let error = text.parse::<Uri>().unwrap_err();
            assert!(error.to_string().contains(why), "{text:?}: {error}");
            assert_eq!(error.code(), "uri");
        }
    }
}
