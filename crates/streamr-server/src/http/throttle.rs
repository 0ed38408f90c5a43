//! Slows down whoever guesses tokens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses that are remembered at once. Whoever can use more has more than tokens to try: then
/// the oldest is forgotten, and 160 random bits still stand.
const PEERS_MAX: usize = 4_096;
const WINDOW: Duration = Duration::from_secs(60);

/// Counts wrong tokens for each address, a minute at a time.
pub(super) struct Throttle {
    wrong_max: u32,
    peers: HashMap<IpAddr, (Instant, u32)>,
}

impl Throttle {
    pub(super) fn new(wrong_max: u32) -> Self {
        Self { wrong_max, peers: HashMap::new() }
    }

    /// Whether this address has to wait.
    pub(super) fn is_blocked(&self, peer: IpAddr, now: Instant) -> bool {
        let seen = self.peers.get(&network(peer));
        seen.is_some_and(|&(since, n)| n >= self.wrong_max && now - since < WINDOW)
    }

    /// Remembers a wrong token.
    pub(super) fn wrong(&mut self, peer: IpAddr, now: Instant) {
        let peer = network(peer);
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            self.make_room(now);
        }
        let (since, n) = self.peers.entry(peer).or_insert((now, 0));
        if now - *since >= WINDOW {
            (*since, *n) = (now, 0);
        }
        *n += 1;
    }

    fn make_room(&mut self, now: Instant) {
        self.peers.retain(|_, (since, _)| now - *since < WINDOW);
        if self.peers.len() >= PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(peer) = oldest.map(|(&peer, _)| peer) {
                self.peers.remove(&peer);
            }
        }
    }
}

/// Who owns one IPv6 address owns its /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guessers_wait_a_minute_and_others_do_not() {
        let (mut throttle, start) = (Throttle::new(3), Instant::now());
        for _ in 0..3 {
            assert!(!throttle.is_blocked(ip("2001:db8::1"), start));
            throttle.wrong(ip("2001:db8::1"), start);
        }
        assert!(throttle.is_blocked(ip("2001:db8::2"), start), "the same network");
        assert!(!throttle.is_blocked(ip("2001:db8:0:1::1"), start));
        assert!(!throttle.is_blocked(ip("192.0.2.1"), start));
        assert!(!throttle.is_blocked(ip("2001:db8::1"), start + WINDOW));
        throttle.wrong(ip("2001:db8::1"), start + WINDOW);
        assert!(!throttle.is_blocked(ip("2001:db8::1"), start + WINDOW));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut throttle, start) = (Throttle::new(1), Instant::now());
        for n in 0..2 * PEERS_MAX as u32 {
            throttle.wrong(IpAddr::V4(n.into()), start + Duration::from_micros(n.into()));
        }
        assert_eq!(throttle.peers.len(), PEERS_MAX);
        assert!(throttle.is_blocked(IpAddr::V4((2 * PEERS_MAX as u32 - 1).into()), start));
    }
}
