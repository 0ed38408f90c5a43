//! Writes media playlists.

use core::fmt::Write;

use super::Config;
use super::track::{Part, Segment, TrackState};
use crate::media::{Kind, TrackId};

/// Discontinuities are counted from one of so many numbers, so that a later broadcast of the stream
/// does not look like the same timeline. Few, because hls.js keeps an array that is as long as the
/// number: with 10^9 each reload took seconds.
const DISCONTINUITY_STARTS: u64 = 997;

/// A sibling's newest part, for `EXT-X-RENDITION-REPORT`.
pub(super) struct Report {
    pub(super) track: TrackId,
    pub(super) msn: u64,
    pub(super) part: u32,
}

pub(super) struct Playlist<'a> {
    pub(super) config: &'a Config,
    pub(super) epoch: u64,
    pub(super) first_number: u64,
    pub(super) track: &'a TrackState,
    pub(super) reports: &'a [Report],
    pub(super) ended: bool,
}

impl Playlist<'_> {
    /// The text; with `skip` as a delta update where that leaves something out.
    pub(super) fn render(&self, skip: bool) -> String {
        let mut out = String::with_capacity(4_096);
        self.head(&mut out);
        let listed = self.track.segments.iter().skip(self.track.unlisted);
        let skipped = if skip { self.skipped() } else { 0 };
        if skipped > 0 {
            line(&mut out, format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
        }
        let mut init = None;
        let mut dated = false;
        for segment in listed.skip(skipped) {
            if !segment.complete && segment.parts.is_empty() {
                break;
            }
            self.segment_head(&mut out, segment, &mut init, &mut dated);
            self.segment(&mut out, segment);
        }
        self.tail(&mut out, init);
        out
    }

    fn head(&self, out: &mut String) {
        let config = self.config;
        let part_us = self.track.part_target_us.unwrap_or(config.part_us);
        let hold_us = config.hold_back_us(self.track);
        let target = config.target_duration_s;
        line(out, format_args!("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{target}"));
        line(
            out,
            format_args!(
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={},HOLD-BACK={},\
                 CAN-SKIP-UNTIL={}",
                Seconds(hold_us),
                3 * target,
                6 * target
            ),
        );
        line(out, format_args!("#EXT-X-PART-INF:PART-TARGET={}", Seconds(part_us)));
        let first = self.track.segments.get(self.track.unlisted).map_or(0, |s| s.msn);
        line(out, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}"));
        let gone = self.first_number % DISCONTINUITY_STARTS + self.track.discontinuities_gone;
        line(out, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{gone}"));
        if self.track.id().kind == Kind::Audio {
            line(out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        }
    }

    /// Segments that lie before the skip boundary (draft §4.4.5.2): six target durations.
    fn skipped(&self) -> usize {
        let boundary_us = self.track.cursor_us() - 6 * self.config.target_us();
        let listed = self.track.segments.iter().skip(self.track.unlisted);
        listed.take_while(|s| s.complete && s.end_us <= boundary_us).count()
    }

    fn segment_head(
        &self,
        out: &mut String,
        segment: &Segment,
        init: &mut Option<u32>,
        dated: &mut bool,
    ) {
        if segment.discontinuity {
            line(out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        if *init != Some(segment.init) {
            *init = Some(segment.init);
            let (track, epoch, index) = (self.track.id(), self.epoch, segment.init);
            line(out, format_args!("#EXT-X-MAP:URI=\"{track}/{epoch}-init{index}.mp4\""));
        }
        if segment.discontinuity || !*dated {
            *dated = true;
            line(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", Date(segment.unix_us)));
        }
    }

    fn segment(&self, out: &mut String, segment: &Segment) {
        let (track, epoch, msn) = (self.track.id(), self.epoch, segment.msn);
        if self.track.lists_parts(self.config, segment) {
            for (index, part) in segment.parts.iter().enumerate() {
                self.part(out, msn, index, part);
            }
        }
        if segment.complete {
            if segment.is_gap() {
                line(out, format_args!("#EXT-X-GAP"));
            }
            line(out, format_args!("#EXTINF:{},", Seconds(segment.duration_us())));
            line(out, format_args!("{track}/{epoch}-{msn}.m4s"));
        }
    }

    fn part(&self, out: &mut String, msn: u64, index: usize, part: &Part) {
        let (track, epoch) = (self.track.id(), self.epoch);
        let duration = Seconds(part.duration_us);
        let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
        let gap = if part.gap { ",GAP=YES" } else { "" };
        line(
            out,
            format_args!(
                "#EXT-X-PART:DURATION={duration},URI=\"{track}/{epoch}-{msn}.{index}.m4s\"\
                 {independent}{gap}"
            ),
        );
    }

    fn tail(&self, out: &mut String, init: Option<u32>) {
        if self.ended {
            line(out, format_args!("#EXT-X-ENDLIST"));
            return;
        }
        let (track, epoch) = (self.track.id(), self.epoch);
        if let Some(open) = self.track.open_segment() {
            // A map that changes with the hinted part stands before the hint.
            if init.is_some_and(|init| init == open.init) {
                let (msn, part) = (open.msn, open.parts.len());
                let uri = format_args!("{track}/{epoch}-{msn}.{part}.m4s").to_string();
                line(out, format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{uri}\""));
            }
        }
        for Report { track, msn, part } in self.reports {
            line(
                out,
                format_args!(
                    "#EXT-X-RENDITION-REPORT:URI=\"{track}.m3u8\",LAST-MSN={msn},LAST-PART={part}"
                ),
            );
        }
    }
}

fn line(out: &mut String, text: core::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String never fails");
    out.push('\n');
}

/// Microseconds as decimal seconds without needless zeros.
pub(super) struct Seconds(pub(super) i64);

impl core::fmt::Display for Seconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, mut rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let mut digits = 6;
        while digits > 1 && rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        write!(f, "{whole}.{rest:0digits$}")
    }
}

/// Microseconds since the Unix epoch as RFC 3339 with milliseconds.
struct Date(i64);

impl core::fmt::Display for Date {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ms = self.0.div_euclid(1_000);
        let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let ms = ms % 1_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Days since 1970-01-01 as year, month, day of the Gregorian calendar: counted in eras of 400
/// years that begin on 1 March, so that the leap day is the last of its year.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + (month <= 2) as i64, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_written_exactly() {
        for (us, text) in
            [(0, "0.0"), (200_000, "0.2"), (1_001_000, "1.001"), (10_000_001, "10.000001")]
        {
            assert_eq!(Seconds(us).to_string(), text);
        }
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_826_154_500_000, "2000-02-29T12:09:14.500Z"),
            (1_795_259_000_001_999, "2026-11-21T11:03:20.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Date(us).to_string(), text);
        }
    }
}
