//! Times audio by counting samples instead of believing a millisecond clock.

/// Puts the frames of one audio track end to end, in samples.
///
/// RTMP times audio in milliseconds, so that 1,024 samples at 44.1 kHz seem to last 23 or 24 ms.
/// Played like that they click. Here each frame starts where the one before ended, and the
/// publisher's clock is only followed as far as needed:
///
/// - A steady difference of more than 3 ms is worked off by moving frames by at most 1 % of their
///   length, so a publisher whose sound card runs 200 parts in a million fast stays within 5 ms for
///   ever.
/// - More than 60 ms late is a real gap: the clock snaps to it.
/// - More than 60 ms and one frame early: the frame is dropped, as its place is taken.
#[derive(Clone, Debug)]
pub struct SampleClock {
    rate: u32,
    next: Option<i64>,
    drift: i64,
}

/// Fraction bits of the drift filter.
const FRACTION: i64 = 256;
/// Frames over which the difference is averaged: far more than the jitter of any encoder.
const AVERAGED: i64 = 32;
const DEAD_US: i64 = 3_000;
const GAP_US: i64 = 60_000;

impl SampleClock {
    /// A clock of `rate` samples a second that takes the first frame's time as it is.
    #[must_use]
    pub const fn new(rate: u32) -> Self {
        Self { rate, next: None, drift: 0 }
    }

    /// The place of a frame of `samples` samples that the publisher times at `dts_us`, in samples
    /// since the start of the broadcast; `None` if it is to be dropped.
    pub fn place(&mut self, dts_us: i64, samples: u32) -> Option<i64> {
        let wanted = self.samples(dts_us);
        let (gap, samples) = (self.samples(GAP_US), i64::from(samples));
        let next = self.next.unwrap_or(wanted);
        let error = wanted - next;
        if error < -gap - samples {
            return None;
        }
        let mut at = next;
        if error > gap {
            at = wanted;
            self.drift = 0;
        } else {
            self.drift += (error * FRACTION - self.drift) / AVERAGED;
            let dead = (self.samples(DEAD_US) * FRACTION).max(1);
            at += (self.drift / dead).clamp(-samples / 100, samples / 100);
        }
        self.next = Some(at + samples);
        Some(at)
    }

    fn samples(&self, us: i64) -> i64 {
        let samples = i128::from(us) * i128::from(self.rate) / 1_000_000;
        i64::try_from(samples).unwrap_or(i64::MAX / 2)
    }
}

/// Samples at 48 kHz in an Opus packet, from its table of contents (RFC 6716 §3.1); `None` if the
/// packet is malformed.
#[must_use]
pub(crate) fn opus_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config % 4)],
        12..=15 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    // §3.2.5: at most 120 ms.
    let samples = frame * frames;
    (samples > 0 && samples <= 5_760).then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millisecond_times_become_gapless() {
        for (rate, samples) in [(44_100_u32, 1_024_u32), (48_000, 1_024), (48_000, 960)] {
            let mut clock = SampleClock::new(rate);
            for n in 0..10_000_i64 {
                let ms = n * i64::from(samples) * 1_000 / i64::from(rate);
                assert_eq!(clock.place(ms * 1_000, samples), Some(n * i64::from(samples)));
            }
        }
    }

    #[test]
    fn an_hour_of_drift_stays_within_five_milliseconds() {
        for ppm in [-200_i64, -20, 20, 200, 1_000] {
            let mut clock = SampleClock::new(48_000);
            let mut worst_us = 0;
            let mut last = -1_024;
            for n in 0..168_750_i64 {
                let true_us = n * 64_000 / 3;
                let said_us = (true_us + true_us * ppm / 1_000_000) / 1_000 * 1_000;
                let at = clock.place(said_us, 1_024).unwrap();
                assert!((at - last - 1_024).abs() <= 10, "frames stay end to end within 1 %");
                last = at;
                worst_us = worst_us.max((said_us - at * 1_000_000 / 48_000).abs());
            }
            assert!(worst_us <= if ppm.abs() < 1_000 { 5_000 } else { 21_333 }, "{worst_us}");
        }
    }

    #[test]
    fn gaps_snap_and_overlaps_drop() {
        let mut clock = SampleClock::new(48_000);
        assert_eq!(clock.place(0, 960), Some(0));
        assert_eq!(clock.place(20_000, 960), Some(960));
        assert_eq!(clock.place(500_000, 960), Some(24_000), "a gap");
        assert_eq!(clock.place(300_000, 960), None, "its place is taken");
        assert_eq!(clock.place(520_000, 960), Some(24_960));
        assert!(clock.place(i64::MAX, 960).is_some());
        assert_eq!(clock.place(i64::MIN, 960), None);
    }

    #[test]
    fn opus_packets_tell_their_length() {
        for (packet, samples) in [
            (&[0xfc_u8][..], Some(960)),
            (&[0xfd], Some(1_920)),
            (&[0x78], Some(960)),
            (&[0x18], Some(2_880)),
            (&[0xff, 3], Some(2_880)),
            (&[0xff, 0], None),
            (&[0xff, 63], None),
            (&[0xff], None),
            (&[], None),
        ] {
            assert_eq!(opus_samples(packet), samples, "{packet:?}");
        }
    }
}
