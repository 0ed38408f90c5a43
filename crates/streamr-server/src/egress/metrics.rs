//! What the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one shard. Written by its thread only, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) players_rtmp: AtomicU64,
    pub(super) players_flv: AtomicU64,
    pub(super) waiters: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) skips: AtomicU64,
    pub(super) stalled: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) handed_over: AtomicU64,
    pub(super) unshaken: AtomicU64,
}

/// What one shard has done and holds. Gauges are as of now, counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Gauge: sockets of every kind.
    pub connections: u64,
    /// Gauge: RTMP players.
    pub players_rtmp: u64,
    /// Gauge: HTTP-FLV players.
    pub players_flv: u64,
    /// Gauge: playlist requests that wait for a part.
    pub waiters: u64,
    /// Counter: HTTP requests for media.
    pub requests: u64,
    /// Counter: bytes that sockets took, before encryption.
    pub sent_bytes: u64,
    /// Counter: times that a slow player was moved ahead to a key frame.
    pub skips: u64,
    /// Counter: connections closed because they took nothing for too long.
    pub stalled: u64,
    /// Counter: connections refused because there were too many.
    pub refused: u64,
    /// Counter: connections closed because of what they sent.
    pub malformed: u64,
    /// Counter: connections given to the general HTTP server.
    pub handed_over: u64,
    /// Counter: connections that ended before their TLS handshake had.
    pub unshaken: u64,
}

impl Metrics {
    /// Players and waiting requests: who would miss the engine if it ended now.
    #[must_use]
    pub const fn attended(&self) -> u64 {
        self.players_rtmp + self.players_flv + self.waiters
    }
}

impl Counters {
    pub(super) fn read(&self) -> Metrics {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Metrics {
            connections: read(&self.connections),
            players_rtmp: read(&self.players_rtmp),
            players_flv: read(&self.players_flv),
            waiters: read(&self.waiters),
            requests: read(&self.requests),
            sent_bytes: read(&self.sent_bytes),
            skips: read(&self.skips),
            stalled: read(&self.stalled),
            refused: read(&self.refused),
            malformed: read(&self.malformed),
            handed_over: read(&self.handed_over),
            unshaken: read(&self.unshaken),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

pub(super) fn sub(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
}
