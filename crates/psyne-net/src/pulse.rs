//! Whether the peer is alive, and how far away: what reading, writing and watching tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::channel::Wire;

/// How often rates are told.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// A clock that does not make up for what it missed.
pub(crate) fn every(period: Duration) -> Interval {
    let mut clock = interval(period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

/// The pulse of a peer.
pub(crate) struct Pulse {
    start: Instant,
    /// When something came, in milliseconds since the start.
    heard_ms: AtomicU64,
    /// Not while the queue is full: then silence is our own doing.
    is_listening: AtomicBool,
    /// What the peer asked last and was not answered yet. A flood of questions is one answer.
    asked: Mutex<Option<u64>>,
    wake: Notify,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            heard_ms: AtomicU64::new(0),
            is_listening: AtomicBool::new(true),
            asked: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        let passed = self.start.elapsed().as_millis();
        self.heard_ms.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until a message has room, during which the peer's silence says nothing.
    pub(crate) async fn room(&self, wire: &Wire) {
        if !wire.has_room() {
            self.is_listening.store(false, Ordering::Relaxed);
            wire.room().await;
            self.heard();
            self.is_listening.store(true, Ordering::Relaxed);
        }
    }

    /// The peer asks.
    pub(crate) fn asked(&self, number: u64) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
        self.wake.notify_one();
    }

    /// Waits until the peer asks.
    pub(crate) async fn was_asked(&self) {
        self.wake.notified().await;
    }

    /// What to answer, if the peer asked.
    pub(crate) fn question(&self) -> Option<u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What to ask: the time, so that the answer says how long it took.
    pub(crate) fn number(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The peer answers. A number that we never asked says nothing.
    pub(crate) fn answered(&self, wire: &Wire, number: u64) {
        if let Some(rtt) = self.start.elapsed().checked_sub(Duration::from_micros(number)) {
            wire.gauge().round_trip(rtt);
        }
    }

    /// Ends when the peer was silent for too long, with words for that.
    pub(crate) async fn watch(&self, wire: &Wire) -> String {
        let limit = wire.options().keepalive.dead_after;
        loop {
            let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
            let dead_at = self.start + heard + limit;
            let is_late = dead_at <= Instant::now();
            if is_late && self.is_listening.load(Ordering::Relaxed) {
                return format!("the peer was silent for {limit:?}");
            }
            sleep_until(if is_late { Instant::now() + limit } else { dead_at }).await;
        }
    }
}
