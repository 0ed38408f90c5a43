//! When the next packet may leave: a bucket that fills at the path's rate.

use core::time::Duration;
use psyne_core::Time;

/// What may leave at once, in time at the path's rate: a driver that wakes this often keeps up.
const BURST: Duration = Duration::from_millis(1);
/// Bounds of the same in bytes: two packets, and what one batch of UDP carries.
const BURST_BYTES_MIN: i64 = 2 * 1_500;
const BURST_BYTES_MAX: i64 = 64 * 1024;

/// A token bucket whose tokens are bytes. It may owe, so no packet waits for more than the bucket
/// holds.
#[derive(Debug)]
pub(super) struct Pacer {
    credit: i64,
    at: Time,
}

impl Pacer {
    pub(super) fn new(now: Time) -> Self {
        Self { credit: BURST_BYTES_MIN, at: now }
    }

    /// Fills the bucket for the time that passed, at `rate` bytes a second.
    pub(super) fn fill(&mut self, now: Time, rate: u64) {
        let micros = now.since(self.at).as_micros();
        let earned = i64::try_from(micros * u128::from(rate) / 1_000_000).unwrap_or(i64::MAX);
        // What is less than a byte goes on earning.
        if earned > 0 {
            self.credit = self.credit.saturating_add(earned).min(burst(rate));
            self.at = now;
        }
    }

    pub(super) fn may_send(&self) -> bool {
        self.credit > 0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub_unsigned(bytes as u64);
    }

    /// When half a bucket is there: a wake for each packet would cost more than it evens out.
    pub(super) fn next_time(&self, rate: u64) -> Time {
        let missing = (burst(rate) / 2 - self.credit).max(1).unsigned_abs();
        let micros = u128::from(missing) * 1_000_000 / u128::from(rate.max(1)) + 1;
        self.at + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

fn burst(rate: u64) -> i64 {
    let bytes = u128::from(rate) * BURST.as_micros() / 1_000_000;
    i64::try_from(bytes).unwrap_or(i64::MAX).clamp(BURST_BYTES_MIN, BURST_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_at_the_rate() {
        for rate in [10_000u64, 1_000_000, 100_000_000] {
            let (mut pacer, mut now, mut sent) = (Pacer::new(Time::ZERO), Time::ZERO, 0);
            while now < Time::from_millis(10_000) {
                pacer.fill(now, rate);
                while pacer.may_send() {
                    pacer.spend(1_000);
                    sent += 1_000;
                }
                now = pacer.next_time(rate);
            }
            let due = rate * 10;
            assert!(sent >= due / 100 * 98 && sent <= due + 70_000, "{sent} of {due}");
        }
    }
}
