//! What a side counts for observers.

use core::sync::atomic::{AtomicU64, Ordering};

/// Counters that one side writes where it is slow anyway, beside its exact count, and that no
/// protocol reads: plain atomics under loom, too.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Book {
    waits: AtomicU64,
    sleeps: AtomicU64,
    lost: AtomicU64,
}

impl Book {
    /// Before a wait: how often the side waited so far, and slept.
    #[inline]
    pub(crate) fn waited(&self, waits: u64, sleeps: u64) {
        self.waits.store(waits, Ordering::Relaxed);
        self.sleeps.store(sleeps, Ordering::Relaxed);
    }

    /// After a loss: messages that a sender was refused, or that were overwritten unread.
    pub(crate) fn lost(&self, lost: u64) {
        self.lost.store(lost, Ordering::Relaxed);
    }

    /// Waits, sleeps and losses.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn read(&self) -> [u64; 3] {
        [&self.waits, &self.sleeps, &self.lost].map(|counter| counter.load(Ordering::Relaxed))
    }
}
