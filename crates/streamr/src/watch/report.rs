//! What a viewer experienced, gathered while it watches and told at the end.

use serde::Serialize;

use super::playout::Playout;

/// What a viewer experienced. The JSON of `streamr watch --json` is this struct.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Report {
    /// What was watched.
    pub(super) url: String,
    /// "hls", "rtmp" or "http-flv".
    pub(super) protocol: &'static str,
    /// How long, in seconds.
    pub(super) watched_s: f64,
    /// From the first request to the moment the simulated player starts, in milliseconds;
    /// `null` if it never did.
    pub(super) startup_ms: Option<f64>,
    /// Frame sent by the publisher to frame here and playable, in milliseconds; needs stamps
    /// (`streamr publish --stamp`) and clocks that agree.
    pub(super) arrival_ms: Option<Quantiles>,
    /// Frame sent by the publisher to frame shown by the simulated player, in milliseconds.
    pub(super) latency_ms: Option<Quantiles>,
    /// How often the simulated player ran dry.
    pub(super) stalls: usize,
    /// How long it stood still in all, in milliseconds.
    pub(super) stalled_ms: f64,
    /// Largest distance between the ends of picture and sound at a segment's end, on the
    /// presentation timeline, in milliseconds; `null` if there is one track only.
    pub(super) av_skew_ms: Option<f64>,
    /// Whole segments followed (HLS), or groups of pictures (RTMP, HTTP-FLV).
    pub(super) segments: u64,
    /// Parts fetched (HLS).
    pub(super) parts: u64,
    /// Frames of picture and sound.
    pub(super) frames: u64,
    /// Media bytes received.
    pub(super) bytes: u64,
    /// Discontinuities met.
    pub(super) discontinuities: u64,
    /// Requests that failed and were tried again.
    pub(super) retries: u64,
    /// The broadcast ended while it was watched.
    pub(super) ended: bool,
    /// Why watching ended early, if it did.
    pub(super) error: Option<String>,
}

/// Two points of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Quantiles {
    /// The median.
    pub(super) p50: f64,
    /// The 95th of 100.
    pub(super) p95: f64,
    /// How many samples there were.
    pub(super) samples: usize,
}

/// Gathers a [`Report`]. Times are microseconds on the viewer's monotonic clock.
#[derive(Debug)]
pub(super) struct Meter {
    /// What can be counted directly.
    pub(super) report: Report,
    /// The simulated player.
    pub(super) playout: Playout,
    /// Unix time minus the viewer's clock.
    unix_offset_us: i64,
    arrival_us: Samples,
    latency_us: Samples,
    skew_us: Option<i64>,
}

/// Samples kept of a distribution: every one until the limit, then every second one of those that
/// are kept and come, and so on. Bounded, and still spread evenly over the whole time.
#[derive(Debug)]
struct Samples {
    values: Vec<i64>,
    stride: u64,
    seen: u64,
}

/// Samples kept at most: an hour of 30 frames a second is halved once.
const SAMPLES_MAX: usize = 1 << 16;

impl Samples {
    fn new() -> Self {
        Self { values: Vec::new(), stride: 1, seen: 0 }
    }

    fn push(&mut self, value: i64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.values.len() == SAMPLES_MAX {
                let mut nth = 0;
                self.values.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                self.stride *= 2;
            }
            self.values.push(value);
        }
        self.seen += 1;
    }

    fn quantiles_ms(&self) -> Option<Quantiles> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).map(|us| *us as f64 / 1_000.0)
        };
        Some(Quantiles { p50: at(50)?, p95: at(95)?, samples: sorted.len() })
    }
}

impl Meter {
    /// A meter for a viewer whose player stays `hold_us` behind. `unix_offset_us` is Unix time
    /// minus the viewer's clock.
    pub(super) fn new(
        url: &str,
        protocol: &'static str,
        hold_us: i64,
        unix_offset_us: i64,
    ) -> Self {
        let report = Report { url: url.to_owned(), protocol, ..Report::default() };
        Self {
            report,
            playout: Playout::new(hold_us),
            unix_offset_us,
            arrival_us: Samples::new(),
            latency_us: Samples::new(),
            skew_us: None,
        }
    }

    /// A frame is here. `stamp` is when its publisher sent it (Unix microseconds).
    pub(super) fn handle_frame(&mut self, now_us: i64, pts_us: i64, stamp: Option<u64>) {
        self.report.frames += 1;
        let Some(sent) = stamp else { return };
        self.arrival_us.push(self.since_us(now_us, sent));
        self.playout.handle_stamp(pts_us, sent);
    }

    /// Time passes: counts what the simulated player shows.
    pub(super) fn handle_time(&mut self, now_us: i64) {
        if self.report.startup_ms.is_none() && self.playout.started() {
            self.report.startup_ms = Some(now_us as f64 / 1_000.0);
        }
        while let Some((shown_us, sent)) = self.playout.poll_shown(now_us) {
            self.latency_us.push(self.since_us(shown_us, sent));
        }
        self.playout.handle_time(now_us);
    }

    /// Picture and sound of the same segment end at these times.
    pub(super) fn handle_segment_ends(&mut self, video_us: i64, audio_us: i64) {
        let apart = (video_us - audio_us).abs();
        self.skew_us = Some(self.skew_us.map_or(apart, |old| old.max(apart)));
    }

    /// The whole story.
    pub(super) fn finish(mut self, now_us: i64) -> Report {
        self.handle_time(now_us);
        let stalls_us = self.playout.stalls_us(now_us);
        self.report.watched_s = now_us as f64 / 1e6;
        self.report.stalls = stalls_us.len();
        self.report.stalled_ms = stalls_us.iter().sum::<u64>() as f64 / 1_000.0;
        self.report.arrival_ms = self.arrival_us.quantiles_ms();
        self.report.latency_ms = self.latency_us.quantiles_ms();
        self.report.av_skew_ms = self.skew_us.map(|us| us as f64 / 1_000.0);
        self.report
    }

    fn since_us(&self, now_us: i64, sent_unix_us: u64) -> i64 {
        (now_us + self.unix_offset_us).saturating_sub_unsigned(sent_unix_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_from_stamp_to_shown() {
        let mut meter = Meter::new("u", "hls", 300_000, 1_000_000_000);
        meter.handle_frame(100_000, 0, Some(1_000_050_000));
        meter.playout.handle_media(100_000, 0, 300_000, 1);
        meter.handle_time(100_000);
        let report = meter.finish(200_000);
        assert_eq!(report.startup_ms, Some(100.0));
        assert_eq!(report.arrival_ms.map(|q| q.p50), Some(50.0));
        assert_eq!(report.latency_ms.map(|q| q.p50), Some(50.0));
        assert_eq!((report.stalls, report.frames), (0, 1));
    }

    #[test]
    fn samples_are_bounded_and_stay_spread_over_the_whole_time() {
        let mut samples = Samples::new();
        let many = 4 * SAMPLES_MAX as i64;
        (0..many).for_each(|value| samples.push(value));
        assert!(samples.values.len() <= SAMPLES_MAX);
        let found = samples.quantiles_ms().expect("samples");
        let middle = many as f64 / 2_000.0;
        assert!((found.p50 - middle).abs() < middle / 10.0, "{found:?}");
    }

    #[test]
    fn without_stamps_there_is_no_latency_rather_than_a_wrong_one() {
        let mut meter = Meter::new("u", "hls", 0, 0);
        meter.handle_frame(1, 0, None);
        assert_eq!(meter.finish(2).latency_ms, None);
    }
}
