//! Candidates as they are signaled: RFC 8839 §5.1, RFC 8838.

use std::net::{IpAddr, SocketAddr};

use crate::Error;

/// The longest candidate that is read, in bytes. Chromium's have about 150.
const BYTES_MAX: usize = 512;

/// An address at which this session can be reached: what a driver has gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Of a socket of this machine. Never loopback or a wildcard.
    Host(SocketAddr),
    /// What a STUN server saw of a socket.
    Reflexive {
        /// What it saw.
        addr: SocketAddr,
        /// The socket's own address.
        base: SocketAddr,
    },
    /// An allocation of a TURN server.
    Relayed {
        /// The address that the server lends: what [`crate::Transmit::from`] names.
        addr: SocketAddr,
        /// The socket that speaks with the server.
        base: SocketAddr,
    },
}

impl Local {
    /// For ICE, unless it leads nowhere.
    pub(crate) fn for_ice(self, loopback: bool) -> Result<is::Candidate, Error> {
        let unsupported = Error::Unsupported { what: "this address as a candidate" };
        let (Self::Host(addr) | Self::Reflexive { addr, .. } | Self::Relayed { addr, .. }) = self;
        if !leads_somewhere(addr.ip(), loopback) {
            return Err(unsupported);
        }
        let candidate = match self {
            Self::Host(addr) => is::Candidate::host(addr, "udp"),
            Self::Reflexive { addr, base } => is::Candidate::server_reflexive(addr, base, "udp"),
            Self::Relayed { addr, base } => is::Candidate::relayed(addr, base, "udp"),
        };
        candidate.map_err(|_| unsupported)
    }
}

/// A candidate of the other side's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    foundation: String,
    priority: u32,
    kind: is::CandidateKind,
    port: u16,
    /// The session that it belongs to, if it says so (RFC 8838 §10).
    pub ufrag: Option<String>,
    /// Where it is.
    pub host: Host,
}

/// Where a candidate is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// At an address.
    Address(IpAddr),
    /// At what a `.local` name resolves to by multicast DNS: browsers hide addresses so
    /// (draft-ietf-mmusic-mdns-ice-candidates).
    Name(String),
}

impl Remote {
    /// Reads `candidate:…`, with or without `a=` before it. `None` is one that is well-formed and
    /// of no use here: TCP, another component than RTP's, a name outside `.local`.
    ///
    /// # Errors
    /// It is malformed, or longer than 512 bytes.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        if text.len() > BYTES_MAX {
            return Err(Error::TooMuch { what: "the length of a candidate", max: BYTES_MAX });
        }
        let text = text.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        Self::fields(text).ok_or(Error::Malformed { what: "a candidate" })
    }

    /// `None` if it is malformed.
    #[expect(clippy::option_option, reason = "malformed, useless, useful")]
    fn fields(text: &str) -> Option<Option<Self>> {
        let mut words = text.strip_prefix("candidate:")?.split(' ').filter(|word| !word.is_empty());
        let foundation = words.next().filter(|word| ice_chars(word, 1..=32))?.to_owned();
        let component: u16 = number(words.next()?)?;
        let transport = words.next()?;
        let priority = number(words.next()?)?;
        let host = words.next()?;
        let port = number(words.next()?)?;
        let kind = match (words.next()?, words.next()?) {
            ("typ", "host") => is::CandidateKind::Host,
            ("typ", "srflx") => is::CandidateKind::ServerReflexive,
            ("typ", "prflx") => is::CandidateKind::PeerReflexive,
            ("typ", "relay") => is::CandidateKind::Relayed,
            _ => return None,
        };
        let mut ufrag = None;
        while let Some(name) = words.next() {
            let value = words.next()?;
            if name == "ufrag" {
                ufrag = Some(value).filter(|word| ice_chars(word, 4..=256)).map(str::to_owned);
            }
        }
        if component != 1 || !transport.eq_ignore_ascii_case("udp") || port == 0 {
            return Some(None);
        }
        let host = match host.parse() {
            Ok(addr) => Host::Address(addr),
            Err(_) if is_local_name(host) => Host::Name(host.to_ascii_lowercase()),
            Err(_) => return Some(None),
        };
        Some(Some(Self { foundation, priority, kind, port, ufrag, host }))
    }

    /// For ICE, at this address: that of its host, or what its name resolved to.
    pub(crate) fn at(&self, ip: IpAddr) -> is::Candidate {
        is::Candidate::from_parts(
            self.foundation.clone(),
            1,
            is::Protocol::Udp,
            self.priority,
            SocketAddr::new(ip, self.port),
            self.kind,
            None,
            None,
            None,
        )
    }
}

/// Whether an address may be a candidate: not where nobody is or everybody, and this machine itself
/// only where that was allowed.
pub(crate) fn leads_somewhere(ip: IpAddr, loopback: bool) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_multicast() || ip.is_unspecified() || broadcast || ip.is_loopback() && !loopback)
}

/// Digits and nothing else; no number that a field can hold has more than ten.
fn number<T: core::str::FromStr>(word: &str) -> Option<T> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}

/// `ice-char` of RFC 8839 §5.1.
pub(crate) fn ice_chars(word: &str, len: core::ops::RangeInclusive<usize>) -> bool {
    let ice = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    len.contains(&word.len()) && word.bytes().all(ice)
}

/// One label and `.local`, as the draft allows: no other name is ever looked up for a peer, who
/// could otherwise make us ask anybody anything.
fn is_local_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let (name, suffix) = host.rsplit_once('.').unwrap_or_default();
    suffix.eq_ignore_ascii_case("local") && label(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<Host> {
        Remote::parse(text).expect("well-formed").map(|remote| remote.host)
    }

    #[test]
    fn candidates_of_browsers_are_read() {
        let v4 = "candidate:842163049 1 udp 1677729535 192.0.2.7 61665 typ srflx raddr 0.0.0.0 \
                  rport 0 generation 0 ufrag Zq1Z network-cost 999";
        assert_eq!(host(v4), Some(Host::Address("192.0.2.7".parse().unwrap())));
        assert_eq!(Remote::parse(v4).unwrap().unwrap().ufrag.as_deref(), Some("Zq1Z"));
        let v6 = "a=candidate:1 1 UDP 2122260223 2001:db8::1 5000 typ host";
        assert_eq!(host(v6), Some(Host::Address("2001:db8::1".parse().unwrap())));
        let name = "candidate:1 1 udp 2113937151 9b36eaac-bb2e-49bb.local 55 typ host";
        assert_eq!(host(name), Some(Host::Name("9b36eaac-bb2e-49bb.local".into())));
    }

    #[test]
    fn what_is_of_no_use_is_left_out() {
        for text in [
            "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
            "candidate:1 2 udp 1 192.0.2.7 9 typ host",
            "candidate:1 1 udp 1 192.0.2.7 0 typ host",
            "candidate:1 1 udp 1 example.com 9 typ host",
            "candidate:1 1 udp 1 a.b.local 9 typ host",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = format!("candidate:1 1 udp 1 192.0.2.7 9 typ host x {}", "y".repeat(500));
        for text in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 192.0.2.7 9 typ",
            "candidate:1 1 udp 1 192.0.2.7 9 typ ghost",
            "candidate:1 1 udp 1 192.0.2.7 65536 typ host",
            "candidate:1 1 udp +1 192.0.2.7 9 typ host",
            "candidate:1 1 udp 4294967296 192.0.2.7 9 typ host",
            "candidate:1 1 udp 1 192.0.2.7 9 typ host raddr",
            "candidate:ä 1 udp 1 192.0.2.7 9 typ host",
            &long,
        ] {
            assert!(Remote::parse(text).is_err(), "{text}");
        }
    }
}
