//! The driver's clock: where `psyne::Time` comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use psyne::Time;

/// Reads the monotonic clock as [`Time`] since its own creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at [`Time::ZERO`] now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant at which this clock shows `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        // A machine may say "never" as a very late time: half a century is as good.
        let far = std::time::Duration::from_secs(1 << 31);
        self.origin + time.since(Time::ZERO).min(far)
    }
}

/// Microseconds since the Unix epoch on the wall clock; zero before it.
#[must_use]
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
