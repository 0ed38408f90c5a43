//! Round trips and the timeouts that follow from them (RFC 9260, 6.3; RFC 6298).

use core::time::Duration;

use super::config::Config;

/// Doublings of the timeout; the greatest timeout bounds it anyway.
const BACKOFF_MAX: u32 = 10;

/// The smoothed round trip and its spread.
#[derive(Debug)]
pub(super) struct Rtt {
    smooth: Option<Duration>,
    spread: Duration,
    backoff: u32,
    initial: Duration,
    min: Duration,
    max: Duration,
}

impl Rtt {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            smooth: None,
            spread: Duration::ZERO,
            backoff: 0,
            initial: config.rto_initial,
            min: config.rto_min,
            max: config.rto_max,
        }
    }

    pub(super) fn learn(&mut self, rtt: Duration) {
        let Some(smooth) = self.smooth else {
            (self.smooth, self.spread) = (Some(rtt), rtt / 2);
            return;
        };
        self.spread = (self.spread * 3 + smooth.abs_diff(rtt)) / 4;
        self.smooth = Some((smooth * 7 + rtt) / 8);
    }

    pub(super) fn smooth(&self) -> Option<Duration> {
        self.smooth
    }

    /// The timeout as it stands.
    pub(super) fn timeout(&self) -> Duration {
        let base = self.smooth.map_or(self.initial, |smooth| smooth + 4 * self.spread);
        (base.clamp(self.min, self.max) * (1 << self.backoff)).min(self.max)
    }

    /// A timeout passed: the next is twice as long.
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
    }

    pub(super) fn relax(&mut self) {
        self.backoff = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_round_trip_and_doubles_up_to_its_bound() {
        let config = Config::default();
        let mut rtt = Rtt::new(&config);
        assert_eq!(rtt.timeout(), config.rto_initial);
        for _ in 0..64 {
            rtt.learn(Duration::from_millis(500));
        }
        assert_eq!(rtt.timeout().as_millis(), 500);
        rtt.back_off();
        assert_eq!(rtt.timeout().as_millis(), 1_000);
        (0..20).for_each(|_| rtt.back_off());
        assert_eq!(rtt.timeout(), config.rto_max);
        rtt.relax();
        assert_eq!(rtt.timeout().as_millis(), 500);
    }
}
