//! Between our `Time` and the `Instant` of the crates that a session stands on.

use std::time::Instant;

use psyne_core::Time;

/// Says which `Instant` our `Time::ZERO` is. Nothing here reads a clock: the driver does, once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    /// The same moment for crates that speak `Instant`.
    pub(crate) fn instant(self, time: Time) -> Instant {
        let since = time.since(Time::ZERO);
        // A time that no `Instant` can name never comes: the origin's far future serves as well.
        self.0.checked_add(since).unwrap_or(self.0)
    }

    /// The same moment in our time, rounded up so that a timer has expired when it is reached.
    pub(crate) fn time(self, instant: Instant) -> Time {
        let nanos = instant.saturating_duration_since(self.0).as_nanos();
        Time::from_micros(u64::try_from(nanos.div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn timers_round_up_and_moments_survive_the_way_there_and_back() {
        let clock = Clock(Instant::now());
        let time = Time::from_micros(1_234_567);
        assert_eq!(clock.time(clock.instant(time)), time);
        let late = clock.instant(time) + Duration::from_nanos(1);
        assert_eq!(clock.time(late), Time::from_micros(1_234_568));
        assert_eq!(clock.time(clock.0 - Duration::from_secs(1)), Time::ZERO);
    }
}
