//! What is measured about a channel, and where its driver writes it.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::tls::Fingerprint;
use crate::uri::Scheme;

/// Least time over which a rate is told: shorter ones are noise.
const RATE_LEAST: Duration = Duration::from_millis(250);

/// What a channel has done and how it is doing.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Round trip, smoothed as RFC 6298 says (1/8 of each new one). None before the first.
    pub rtt: Option<Duration>,
    /// How much round trips differ from that (RFC 6298's RTTVAR, 1/4 of each new one).
    pub jitter: Option<Duration>,
    /// Share of the peer's packets that did not arrive, 0 to 1; none where the transport repeats
    /// them unseen.
    pub loss: Option<f64>,
    /// Messages handed to the transport.
    pub sent_messages: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that came, also those that found the queue full.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages that back pressure kept from being sent.
    pub dropped_sent: u64,
    /// Messages that came and found the queue full, where the transport may drop them.
    pub dropped_received: u64,
    /// Packets and frames of the peer, or of strangers, that were no use.
    pub refused: u64,
    /// Messages that wait to be sent.
    pub queued: usize,
    /// Bytes of messages a second that went out lately, as the driver's clock saw it.
    pub sent_bytes_per_s: u64,
    /// Bytes of messages a second that came in lately.
    pub received_bytes_per_s: u64,
    /// What the messages go by. None before the channel is open.
    pub path: Option<Path>,
}

/// What messages go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The transport.
    pub scheme: Scheme,
    /// This side's address or name.
    pub local: String,
    /// The other side's, or that of the relay.
    pub remote: String,
    /// Somebody stands between who hands packets on.
    pub is_relayed: bool,
    /// The key that the peer proved to have, where the transport asks for one.
    pub peer: Option<Fingerprint>,
}

impl Path {
    /// A path with nobody between.
    #[must_use]
    pub fn direct(scheme: Scheme, local: impl Display, remote: impl Display) -> Self {
        let (local, remote) = (local.to_string(), remote.to_string());
        Self { scheme, local, remote, is_relayed: false, peer: None }
    }
}

impl Display for Path {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let by = if self.is_relayed { " by a relay" } else { "" };
        write!(out, "{} {} - {}{by}", self.scheme.name(), self.local, self.remote)
    }
}

/// Where a driver writes what it measures.
#[derive(Debug)]
pub struct Gauge {
    counts: [AtomicU64; COUNTS],
    slow: Mutex<Slow>,
}

const COUNTS: usize = 7;
const SENT: usize = 0;
const SENT_BYTES: usize = 1;
const RECEIVED: usize = 2;
const RECEIVED_BYTES: usize = 3;
const DROPPED_SENT: usize = 4;
const DROPPED_RECEIVED: usize = 5;
const REFUSED: usize = 6;

/// What changes seldom.
#[derive(Debug)]
struct Slow {
    rtt: Option<(Duration, Duration)>,
    expected: u64,
    lost: u64,
    path: Option<Path>,
    /// When rates were last told, and the bytes until then.
    told_at: Instant,
    told: (u64, u64),
    rates: (u64, u64),
}

impl Gauge {
    pub(super) fn new() -> Self {
        let slow = Slow {
            rtt: None,
            expected: 0,
            lost: 0,
            path: None,
            told_at: Instant::now(),
            told: (0, 0),
            rates: (0, 0),
        };
        Self { counts: Default::default(), slow: Mutex::new(slow) }
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet travelled to the peer and its answer back.
    pub fn round_trip(&self, rtt: Duration) {
        let mut slow = self.slow();
        slow.rtt = Some(match slow.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, jitter)) => {
                ((smooth * 7 + rtt) / 8, (jitter * 3 + smooth.abs_diff(rtt)) / 4)
            }
        });
    }

    /// Of so many packets of the peer since it was last said, so many did not come.
    pub fn arrivals(&self, expected: u64, lost: u64) {
        let mut slow = self.slow();
        (slow.expected, slow.lost) = (slow.expected + expected, slow.lost + lost);
    }

    /// Messages go by another path from now on.
    pub fn set_path(&self, path: Path) {
        self.slow().path = Some(path);
    }

    /// Packets or frames that were no use.
    pub fn refused(&self, count: u64) {
        self.add(REFUSED, count);
    }

    /// Time passes: rates are told anew. Called about once a second.
    pub fn tick(&self, now: Instant) {
        let sums = (self.count(SENT_BYTES), self.count(RECEIVED_BYTES));
        let mut slow = self.slow();
        let passed = now.saturating_duration_since(slow.told_at);
        if passed < RATE_LEAST {
            return;
        }
        let rate = |bytes: u64| {
            let rate = u128::from(bytes) * 1_000_000 / passed.as_micros().max(1);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        slow.rates = (rate(sums.0 - slow.told.0), rate(sums.1 - slow.told.1));
        (slow.told_at, slow.told) = (now, sums);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.add(SENT, 1);
        self.add(SENT_BYTES, bytes as u64);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.add(RECEIVED, 1);
        self.add(RECEIVED_BYTES, bytes as u64);
    }

    pub(super) fn dropped_sent(&self, count: u64) {
        self.add(DROPPED_SENT, count);
    }

    pub(super) fn dropped_received(&self) {
        self.add(DROPPED_RECEIVED, 1);
    }

    fn add(&self, which: usize, count: u64) {
        self.counts[which].fetch_add(count, Ordering::Relaxed);
    }

    fn count(&self, which: usize) -> u64 {
        self.counts[which].load(Ordering::Relaxed)
    }

    pub(super) fn read(&self, queued: usize) -> Metrics {
        let slow = self.slow();
        Metrics {
            rtt: slow.rtt.map(|(rtt, _)| rtt),
            jitter: slow.rtt.map(|(_, jitter)| jitter),
            loss: (slow.expected > 0).then(|| slow.lost as f64 / slow.expected as f64),
            sent_messages: self.count(SENT),
            sent_bytes: self.count(SENT_BYTES),
            received_messages: self.count(RECEIVED),
            received_bytes: self.count(RECEIVED_BYTES),
            dropped_sent: self.count(DROPPED_SENT),
            dropped_received: self.count(DROPPED_RECEIVED),
            refused: self.count(REFUSED),
            queued,
            sent_bytes_per_s: slow.rates.0,
            received_bytes_per_s: slow.rates.1,
            path: slow.path.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_smoothed_and_told() {
        let gauge = Gauge::new();
        let ms = Duration::from_millis;
        assert_eq!(gauge.read(0), Metrics::default());
        gauge.round_trip(ms(80));
        gauge.round_trip(ms(160));
        gauge.arrivals(100, 1);
        gauge.sent(1_000);
        let start = gauge.slow().told_at;
        gauge.tick(start + ms(100));
        assert_eq!(gauge.read(0).sent_bytes_per_s, 0, "too soon");
        gauge.tick(start + ms(500));
        let metrics = gauge.read(3);
        assert_eq!((metrics.rtt, metrics.jitter), (Some(ms(90)), Some(ms(50))));
        assert_eq!((metrics.loss, metrics.sent_bytes_per_s), (Some(0.01), 2_000));
        assert_eq!((metrics.sent_messages, metrics.queued), (1, 3));
    }
}
