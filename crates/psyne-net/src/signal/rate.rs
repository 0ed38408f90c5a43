//! How much somebody may do in how much time.

use psyne_rtc::Time;

/// A rate with a burst, enforced by a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much at once.
    pub burst: u32,
    /// How much a second in the long run.
    pub per_s: u32,
}

/// What is left of a [`Rate`] at a time, in millionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    micros_left: u64,
    at: Time,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Time) -> Self {
        Self { micros_left: u64::from(rate.burst) * 1_000_000, at: now }
    }

    /// Takes `count`, or says that it is too much and takes nothing.
    pub(crate) fn take(&mut self, rate: Rate, now: Time, count: usize) -> bool {
        self.refill(rate, now);
        let wanted = (count as u64).saturating_mul(1_000_000);
        let enough = wanted <= self.micros_left;
        if enough {
            self.micros_left -= wanted;
        }
        enough
    }

    /// Whether it would be the same made anew.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Time) -> bool {
        self.refill(rate, now);
        self.micros_left == u64::from(rate.burst) * 1_000_000
    }

    fn refill(&mut self, rate: Rate, now: Time) {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(u64::from(rate.per_s));
        let most = u64::from(rate.burst) * 1_000_000;
        self.micros_left = self.micros_left.saturating_add(more).min(most);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_as_much_as_time_brings() {
        let rate = Rate { burst: 3, per_s: 2 };
        let mut bucket = Bucket::full(rate, Time::ZERO);
        assert!(bucket.take(rate, Time::ZERO, 3));
        assert!(!bucket.take(rate, Time::ZERO, 1));
        assert!(!bucket.take(rate, Time::from_millis(499), 1));
        assert!(bucket.take(rate, Time::from_millis(500), 1));
        assert!(!bucket.is_full(rate, Time::from_millis(1_999)));
        assert!(bucket.is_full(rate, Time::from_millis(2_000)));
        assert!(!bucket.take(rate, Time::MAX, 4), "a pause does not save up more than a burst");
    }
}
