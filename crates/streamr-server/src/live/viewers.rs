//! How many people watch, as honestly as a server can say.
//!
//! Players with a connection of their own (RTMP, HTTP-FLV) are counted while it stands: those of
//! the egress engine by it, the others here. HLS has no connection: whoever asked for a playlist
//! lately watches. A player that names itself with `_v=`
//! is one viewer wherever it asks from; the others are told apart by address and user agent, so
//! that several behind one address with the same browser count as one: too few rather than too
//! many.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psyne::Time;

/// Counts the viewers of one broadcast.
#[derive(Debug)]
pub struct Viewers {
    config: Config,
    connected: Arc<AtomicUsize>,
    seen: Mutex<HashMap<u64, Time>>,
    peak: AtomicUsize,
}

/// When a viewer counts.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whoever asked for no playlist for so long has gone. Three target durations of an ordinary
    /// HLS player that reloads at its slowest.
    pub away_after: Duration,
    /// Viewers told apart at most; above that, new ones are not counted. 24 bytes each.
    pub viewers_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { away_after: Duration::from_secs(12), viewers_max: 100_000 }
    }
}

/// One player's connection. Counted until dropped.
#[derive(Debug)]
pub struct Connected(Arc<AtomicUsize>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Viewers {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, connected: Arc::default(), seen: Mutex::default(), peak: 0.into() }
    }

    /// A player connects and stays.
    #[must_use]
    pub fn connect(&self) -> Connected {
        self.connected.fetch_add(1, Ordering::Relaxed);
        Connected(self.connected.clone())
    }

    /// Somebody asked for a playlist.
    pub fn seen(&self, who: u64, now: Time) {
        let mut seen = self.lock();
        if seen.len() >= self.config.viewers_max && !seen.contains_key(&who) {
            self.forget(&mut seen, now);
            if seen.len() >= self.config.viewers_max {
                return;
            }
        }
        seen.insert(who, now);
    }

    /// How many watch now, with the players of the engine.
    #[must_use]
    pub fn count(&self, now: Time, engine_players: usize) -> usize {
        let mut seen = self.lock();
        self.forget(&mut seen, now);
        let count = engine_players + seen.len() + self.connected.load(Ordering::Relaxed);
        self.peak.fetch_max(count, Ordering::Relaxed);
        count
    }

    /// The most that ever watched at once, of the times that somebody counted.
    #[must_use]
    pub fn peak(&self) -> u32 {
        u32::try_from(self.peak.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    fn forget(&self, seen: &mut HashMap<u64, Time>, now: Time) {
        seen.retain(|_, last| now.since(*last) < self.config.away_after);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Time>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks: the name that the player gave itself, or else its address and user agent.
#[must_use]
pub fn identify(query: Option<&str>, address: IpAddr, user_agent: &[u8]) -> u64 {
    let named = query.and_then(|q| q.split('&').find_map(|pair| pair.strip_prefix("_v=")));
    let mut hasher = DefaultHasher::new();
    match named {
        Some(name) => name.hash(&mut hasher),
        None => (address, user_agent).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn viewers_come_stay_and_go() {
        let config = Config { away_after: Duration::from_secs(10), viewers_max: 2 };
        let viewers = Viewers::new(config);
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let [a, b] = ["_v=a&x=1", "y&_v=b"].map(|query| identify(Some(query), here, b"x"));
        viewers.seen(a, Time::from_millis(0));
        viewers.seen(a, Time::from_millis(5_000));
        viewers.seen(b, Time::from_millis(1_000));
        let player = viewers.connect();
        assert_eq!(viewers.count(Time::from_millis(9_000), 0), 3);
        assert_eq!(viewers.count(Time::from_millis(12_000), 7), 9);
        drop(player);
        assert_eq!(viewers.count(Time::from_millis(12_000), 0), 1);
    }

    #[test]
    fn the_count_is_bounded_and_recovers() {
        let config = Config { away_after: Duration::from_secs(10), viewers_max: 2 };
        let viewers = Viewers::new(config);
        (0..10).for_each(|who| viewers.seen(who, Time::ZERO));
        assert_eq!(viewers.count(Time::ZERO, 0), 2);
        viewers.seen(11, Time::from_millis(20_000));
        assert_eq!(viewers.count(Time::from_millis(20_000), 0), 1);
    }

    #[test]
    fn unnamed_viewers_are_told_apart_by_address_and_agent() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_ne!(identify(None, here, b"a"), identify(None, here, b"b"));
        assert_eq!(identify(None, here, b"a"), identify(None, here, b"a"));
    }
}
