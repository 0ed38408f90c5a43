//! Which peers the server lets through for us, and by which numbers.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use psyne_core::Time;

use super::ask::Ask;
use super::{CHANNELS, PERMISSION_LIFETIME};

/// A permission or channel this old is renewed, with a round of upkeep and an answer to spare.
const RENEW_AFTER: Duration = Duration::from_secs(200);
/// How long a peer that the server refused is not asked for again.
const FORBIDDEN: Duration = Duration::from_secs(60);
/// Datagrams to a peer until it gets a number: a path that is only checked has fewer.
const CHANNEL_AFTER: u32 = 4;

/// How a datagram goes to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Nowhere,
    /// By an indication, behind a request for permission.
    Permit,
    Indication,
    /// By an indication, and a number is asked for.
    Bind(u16),
    Channel(u16),
}

#[derive(Debug)]
struct Permission {
    state: State,
    /// Asked for, granted or forbidden.
    since: Time,
    used: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Granted,
    Forbidden,
}

#[derive(Debug)]
struct Peer {
    sent: u32,
    number: Number,
    used: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    None,
    Asked(u16),
    /// Since when the server has confirmed it.
    Bound(u16, Time),
    /// The server gave none, and would give none if it were asked again.
    Refused,
}

#[derive(Debug)]
pub(super) struct Peers {
    max: usize,
    permissions: BTreeMap<IpAddr, Permission>,
    peers: BTreeMap<SocketAddr, Peer>,
    numbers: BTreeMap<u16, SocketAddr>,
    /// Never given twice: the server keeps a number with its peer longer than we do.
    next_number: u16,
}

impl Peers {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            permissions: BTreeMap::new(),
            peers: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: *CHANNELS.start(),
        }
    }

    /// For a datagram that goes to this peer now.
    pub(super) fn route(&mut self, now: Time, peer: SocketAddr) -> Route {
        let full = self.peers.len() >= self.max && !self.peers.contains_key(&peer);
        let crowded =
            self.permissions.len() >= self.max && !self.permissions.contains_key(&peer.ip());
        if full || crowded {
            return Route::Nowhere;
        }
        let mut asked = false;
        let permission = self.permissions.entry(peer.ip()).or_insert_with(|| {
            asked = true;
            Permission { state: State::Asked, since: now, used: now }
        });
        permission.used = now;
        if permission.state == State::Forbidden {
            return Route::Nowhere;
        }
        let granted = permission.state == State::Granted;
        let new = Peer { sent: 0, number: Number::None, used: now };
        let entry = self.peers.entry(peer).or_insert(new);
        entry.used = now;
        if let Number::Bound(number, _) = entry.number {
            return Route::Channel(number);
        }
        entry.sent = entry.sent.saturating_add(1);
        let bind = granted && entry.sent > CHANNEL_AFTER && entry.number == Number::None;
        if bind && self.next_number <= *CHANNELS.end() {
            let number = self.next_number;
            self.next_number += 1;
            entry.number = Number::Asked(number);
            self.numbers.insert(number, peer);
            return Route::Bind(number);
        }
        if asked { Route::Permit } else { Route::Indication }
    }

    /// Whose number this is.
    pub(super) fn peer(&self, number: u16) -> Option<SocketAddr> {
        self.numbers.get(&number).copied()
    }

    pub(super) fn permitted(&mut self, now: Time, ip: IpAddr) {
        if let Some(permission) = self.permissions.get_mut(&ip) {
            (permission.state, permission.since) = (State::Granted, now);
        }
    }

    pub(super) fn forbidden(&mut self, now: Time, ip: IpAddr) {
        if let Some(permission) = self.permissions.get_mut(&ip) {
            (permission.state, permission.since) = (State::Forbidden, now);
        }
    }

    /// A number implies a permission (RFC 8656 §12).
    pub(super) fn bound(&mut self, now: Time, number: u16, peer: SocketAddr) {
        self.permitted(now, peer.ip());
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.number = Number::Bound(number, now);
        }
    }

    /// The server gave the peer no number, or no longer: it goes on by indications.
    pub(super) fn unbound(&mut self, peer: SocketAddr) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.number = Number::Refused;
        }
    }

    /// Forgets what is not used, and says what is to be asked for again.
    pub(super) fn upkeep(&mut self, now: Time) -> Vec<Ask> {
        let old = |since: Time| now.since(since) >= RENEW_AFTER;
        let mut asks = Vec::new();
        self.peers.retain(|_, peer| !old(peer.used));
        self.numbers.retain(|_, peer| self.peers.contains_key(peer));
        for (addr, peer) in &mut self.peers {
            if let Number::Bound(number, since) = &mut peer.number
                && old(*since)
            {
                *since = now;
                asks.push(Ask::Bind(*number, *addr));
            }
        }
        self.permissions.retain(|_, permission| match permission.state {
            State::Forbidden => now.since(permission.since) < FORBIDDEN,
            State::Asked | State::Granted => !old(permission.used),
        });
        for (ip, permission) in &mut self.permissions {
            if permission.state == State::Granted && old(permission.since) {
                permission.since = now;
                asks.push(Ask::Permit(*ip));
            }
        }
        asks
    }
}

const _: () = assert!(RENEW_AFTER.as_secs() + 90 < PERMISSION_LIFETIME.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 1_000))
    }

    #[test]
    fn a_peer_is_permitted_then_gets_a_number_then_goes_by_it() {
        let mut peers = Peers::new(4);
        let now = Time::ZERO;
        assert_eq!(peers.route(now, peer(1)), Route::Permit);
        assert_eq!(peers.route(now, peer(1)), Route::Indication);
        peers.permitted(now, peer(1).ip());
        let routes: Vec<_> = (0..4).map(|_| peers.route(now, peer(1))).collect();
        let (indication, bind) = (Route::Indication, Route::Bind(0x4000));
        assert_eq!(routes, [indication, indication, bind, indication]);
        peers.bound(now, 0x4000, peer(1));
        assert_eq!(peers.route(now, peer(1)), Route::Channel(0x4000));
        assert_eq!(peers.peer(0x4000), Some(peer(1)));
    }

    #[test]
    fn no_more_peers_are_let_through_than_are_allowed() {
        let mut peers = Peers::new(4);
        let routes = (0..10).map(|n| peers.route(Time::ZERO, peer(n)));
        assert_eq!(routes.filter(|route| *route == Route::Permit).count(), 4);
    }

    #[test]
    fn a_forbidden_peer_is_asked_for_again_after_a_while() {
        let mut peers = Peers::new(4);
        assert_eq!(peers.route(Time::ZERO, peer(1)), Route::Permit);
        peers.forbidden(Time::ZERO, peer(1).ip());
        assert_eq!(peers.route(Time::ZERO, peer(1)), Route::Nowhere);
        assert!(peers.upkeep(Time::from_millis(60_000)).is_empty());
        assert_eq!(peers.route(Time::from_millis(60_001), peer(1)), Route::Permit);
    }

    #[test]
    fn what_is_used_is_renewed_and_what_is_not_is_forgotten() {
        let mut peers = Peers::new(4);
        for n in [1, 2] {
            peers.route(Time::ZERO, peer(n));
            peers.permitted(Time::ZERO, peer(n).ip());
        }
        assert!((0..5).any(|_| peers.route(Time::ZERO, peer(1)) == Route::Bind(0x4000)));
        peers.bound(Time::ZERO, 0x4000, peer(1));
        peers.route(Time::from_millis(100_000), peer(1));
        let later = Time::from_millis(210_000);
        assert_eq!(peers.upkeep(later), [Ask::Bind(0x4000, peer(1)), Ask::Permit(peer(1).ip())]);
        assert_eq!((peers.permissions.len(), peers.peers.len()), (1, 1));
        assert!(peers.upkeep(later + Duration::from_secs(30)).is_empty(), "not twice");
        assert!(peers.upkeep(later + Duration::from_secs(210)).is_empty());
        assert_eq!((peers.permissions.len(), peers.numbers.len()), (0, 0));
    }

    #[test]
    fn numbers_run_out_and_indications_go_on() {
        let mut peers = Peers::new(1);
        peers.next_number = *CHANNELS.end();
        let mut numbers = vec![];
        for n in [1, 2] {
            let now = Time::from_millis(u64::from(n) * 1_000_000);
            peers.upkeep(now);
            peers.route(now, peer(n));
            peers.permitted(now, peer(n).ip());
            numbers.extend((0..9).filter_map(|_| match peers.route(now, peer(n)) {
                Route::Bind(number) => {
                    peers.bound(now, number, peer(n));
                    Some(number)
                }
                _ => None,
            }));
        }
        assert_eq!(numbers, [*CHANNELS.end()]);
    }
}
