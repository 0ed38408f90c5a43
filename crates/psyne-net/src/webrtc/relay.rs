//! The TURN servers that a hub names, as relays of a session.

use std::net::SocketAddr;
use std::time::Duration;

use psyne_rtc::turn::{ClientConfig, Credential};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::rtc::Session;
use crate::signal::Ice;

/// Servers that are asked; those beyond are left out. One is enough, the others are for when it is
/// not there.
const SERVERS_MAX: usize = 4;
/// A name that is not known by then is given up.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// Where TURN is found if nothing else is said (RFC 8656 §14).
const PORT: u16 = 3478;

/// Asks the servers for addresses from these of ours, which become candidates as they come. One
/// that refuses is none: others may serve.
pub(super) async fn add(session: Session, bases: Vec<SocketAddr>, ice: Vec<Ice>) {
    for (host, port, credential) in ice.iter().flat_map(named).take(SERVERS_MAX) {
        let Ok(Ok(found)) = timeout(LOOKUP_LIMIT, lookup_host((host.as_str(), port))).await else {
            continue;
        };
        let mut ways = found.filter_map(|server| {
            let base = bases.iter().find(|base| base.is_ipv4() == server.is_ipv4())?;
            Some((*base, server))
        });
        if let Some((base, server)) = ways.next() {
            let _ = session.add_relay(ClientConfig::new(base, server, credential));
        }
    }
}

/// Those that are spoken to by UDP, with what they are told.
fn named(ice: &Ice) -> Vec<(String, u16, Credential)> {
    let (Some(username), Some(password)) = (&ice.username, &ice.credential) else {
        return Vec::new();
    };
    let credential = Credential { username: username.clone(), password: password.clone() };
    let places = ice.urls.iter().filter_map(|url| by_udp(url));
    places.map(|(host, port)| (host.to_owned(), port, credential.clone())).collect()
}

/// Host and port of `turn:HOST[:PORT][?transport=udp]` (RFC 7065 §3.1).
fn by_udp(url: &str) -> Option<(&str, u16)> {
    let rest = url.strip_prefix("turn:")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
    if query != "transport=udp" {
        return None;
    }
    if let Some((host, port)) = place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if port.is_empty() => PORT,
            None => return None,
        };
        return Some((host, port));
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (place, PORT),
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_by_udp_are_found_among_all_that_a_hub_may_name() {
        for (url, want) in [
            ("turn:turn.example", Some(("turn.example", 3478))),
            ("turn:192.0.2.1:5349", Some(("192.0.2.1", 5349))),
            ("turn:turn.example:3478?transport=udp", Some(("turn.example", 3478))),
            ("turn:[2001:db8::1]", Some(("2001:db8::1", 3478))),
            ("turn:[2001:db8::1]:9?transport=udp", Some(("2001:db8::1", 9))),
            ("turn:turn.example?transport=tcp", None),
            ("turns:turn.example", None),
            ("stun:stun.example", None),
            ("turn:", None),
            ("turn::9", None),
            ("turn:host:port", None),
            ("turn:host:99999", None),
            ("turn:[2001:db8::1]x", None),
        ] {
            assert_eq!(by_udp(url), want, "{url}");
        }
        let urls = vec!["turn:a".to_owned(), "turns:b".to_owned(), "turn:c:9".to_owned()];
        let mut ice = Ice { urls, username: Some("9:ann".into()), credential: Some("p".into()) };
        let places = |ice: &Ice| named(ice).into_iter().map(|(host, port, _)| (host, port));
        let found: Vec<_> = places(&ice).collect();
        assert_eq!(found, [("a".to_owned(), 3478), ("c".to_owned(), 9)]);
        ice.credential = None;
        assert_eq!(places(&ice).count(), 0, "who has no credential is refused anyway");
    }
}
