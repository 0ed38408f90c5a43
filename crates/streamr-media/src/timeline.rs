//! Keeps the tracks of a publication on one continuous presentation timeline.
//!
//! A publisher's clock starts anywhere, jumps, restarts and drifts. Outputs need a timeline that
//! starts at 0 with the broadcast and never goes back. Both meet here and nowhere else.
//!
//! | the publisher | what happens |
//! |---|---|
//! | first frame of the broadcast | its decoding time becomes 0 |
//! | another track begins | it shares that offset; frames from before 0 are dropped |
//! | another track on an unrelated clock | it is put at the present end of the timeline |
//! | gap up to `jump_us_max` past the end of all tracks | kept as a gap |
//! | step back up to `back_us_max`, repeated times | nudged: 1 ms after the frame before |
//! | a larger jump, either way | discontinuity: goes on at the end of the timeline |
//! | the other tracks follow that jump | they take the same new offset, A/V sync is kept |
//! | the other tracks do not follow | they keep their own offset |
//! | presentation before decoding | kept, up to `composition_us_max`, then clamped |
//! | reconnect | discontinuity: goes on at the end of the timeline |
//!
//! Counters that wrap (32-bit milliseconds, 33-bit 90 kHz) are unwrapped by the demuxers. One that
//! is not unwrapped is a jump back and handled as such.

mod sample_clock;

pub use sample_clock::SampleClock;
pub(crate) use sample_clock::opus_samples;

use crate::media::{Frame, TrackId};

/// Limits of a [`Timeline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How far a frame may be past where it is expected before it is a discontinuity, in
    /// microseconds. 10 s: longer than any pause that an encoder under load makes, shorter than a
    /// clock that restarted.
    pub jump_us_max: i64,
    /// How far a frame may be before the one before it in its track, in microseconds. Nudged
    /// frames stand still on the screen until the publisher's clock has caught up, so a step back
    /// freezes viewers for as long as it is. 1 s: longer than the disorder of an encoder that
    /// sends presentation times as decoding times (16 frames at 25 a second are 640 ms), and
    /// shorter than what a person takes for a broken stream.
    pub back_us_max: i64,
    /// How far presentation may be from decoding, in microseconds. 5 s: a reorder depth of 16
    /// frames at 4 frames a second, with a margin.
    pub composition_us_max: i64,
    /// Tracks whose place is remembered; frames of further tracks are dropped. 16, as Enhanced
    /// RTMP publishers send one to five.
    pub tracks_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            jump_us_max: 10_000_000,
            back_us_max: 1_000_000,
            composition_us_max: 5_000_000,
            tracks_max: 16,
        }
    }
}

/// Where a frame lies on the presentation timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Decoding time in microseconds since the start of the broadcast; grows strictly within a
    /// track.
    pub dts_us: i64,
    /// Presentation time in microseconds since the start of the broadcast.
    pub pts_us: i64,
    /// The publisher's clock jumped here: outputs must tell their players. Said once a jump, on
    /// the first frame of whichever track comes first.
    pub discontinuity: bool,
}

/// A frame that comes at or before its predecessor is put this much after it.
const NUDGE_US: i64 = 1_000;

/// Further than any clock is from its origin: 73,000 years.
const ABSURD_US: i64 = 1 << 61;

#[derive(Clone, Copy, Debug)]
struct Place {
    id: TrackId,
    offset_us: i64,
    last_dts_us: i64,
}

/// One publication's clock, see the module's table.
#[derive(Debug)]
pub struct Timeline {
    config: Config,
    /// Presentation time minus publisher's time, as of the latest jump.
    offset_us: Option<i64>,
    /// One past the latest decoding time of all tracks, by the last known frame spacing.
    end_us: i64,
    places: Vec<Place>,
    reconnected: bool,
}

impl Timeline {
    /// A timeline before its first frame.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, offset_us: None, end_us: 0, places: Vec::new(), reconnected: false }
    }

    /// One past the latest decoding time of any track, in microseconds: where the timeline goes on
    /// after a jump.
    #[must_use]
    pub const fn end_us(&self) -> i64 {
        self.end_us
    }

    /// The publisher went and came back: its clock is a new one.
    pub fn handle_reconnect(&mut self) {
        self.reconnected = !self.places.is_empty();
        self.offset_us = None;
        self.places.clear();
    }

    /// Finds the place of `frame`; `None` if it lies before the start of the broadcast or if there
    /// are too many tracks, and is to be dropped.
    pub fn place(&mut self, frame: &Frame) -> Option<Placed> {
        let known = self.places.iter().position(|p| p.id == frame.track);
        // Absurd times are as good as any others once they are far from overflow.
        let dts_us = frame.dts_us.clamp(-ABSURD_US, ABSURD_US);
        let (offset_us, discontinuity) = match known {
            Some(index) => self.follow(self.places[index], dts_us),
            None => self.join(dts_us)?,
        };
        let wanted_us = dts_us.saturating_add(offset_us);
        let last = known.map(|index| self.places[index].last_dts_us);
        let dts_us = last.map_or(wanted_us, |last| wanted_us.max(last + NUDGE_US));
        let place = Place { id: frame.track, offset_us, last_dts_us: dts_us };
        match known {
            Some(index) => self.places[index] = place,
            None => self.places.push(place),
        }
        self.end_us = self.end_us.max(dts_us + last.map_or(NUDGE_US, |last| dts_us - last));
        let composition_us = frame.pts_us.saturating_sub(frame.dts_us);
        let kept = composition_us.unsigned_abs() <= self.config.composition_us_max.unsigned_abs();
        let pts_us = if kept { wanted_us + composition_us } else { dts_us };
        Some(Placed { dts_us, pts_us: pts_us.max(0), discontinuity })
    }

    /// The offset of a track's first frame, and whether it is a discontinuity.
    fn join(&mut self, dts_us: i64) -> Option<(i64, bool)> {
        if self.places.len() >= self.config.tracks_max {
            return None;
        }
        let Some(offset_us) = self.offset_us else {
            let offset_us = self.end_us.saturating_sub(dts_us);
            self.offset_us = Some(offset_us);
            return Some((offset_us, core::mem::take(&mut self.reconnected)));
        };
        let at_us = dts_us.saturating_add(offset_us);
        let away_us = at_us.saturating_sub(self.end_us);
        if away_us.unsigned_abs() > self.config.jump_us_max.unsigned_abs() {
            return Some((self.end_us.saturating_sub(dts_us), false));
        }
        (at_us >= 0).then_some((offset_us, false))
    }

    /// The offset of a known track's next frame, and whether it is a discontinuity.
    fn follow(&mut self, place: Place, dts_us: i64) -> (i64, bool) {
        let near = |offset_us: i64| {
            let at_us = dts_us.saturating_add(offset_us);
            at_us >= place.last_dts_us.saturating_sub(self.config.back_us_max)
                && at_us <= self.end_us.saturating_add(self.config.jump_us_max)
        };
        if near(place.offset_us) {
            return (place.offset_us, false);
        }
        match self.offset_us {
            Some(shared) if near(shared) => (shared, false),
            _ => {
                let offset_us = self.end_us.saturating_sub(dts_us);
                self.offset_us = Some(offset_us);
                (offset_us, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const V: TrackId = TrackId::VIDEO;
    const A: TrackId = TrackId::AUDIO;

    fn frame(track: TrackId, dts_us: i64, pts_us: i64) -> Frame {
        Frame { track, dts_us, pts_us, keyframe: true, data: Bytes::new() }
    }

    /// Plays (track, dts) in milliseconds, gives (dts, discontinuity) in milliseconds.
    fn play(times: &[(TrackId, i64)]) -> Vec<Option<(i64, bool)>> {
        let mut timeline = Timeline::new(Config::default());
        let mut place = |&(track, ms): &(TrackId, i64)| {
            let placed = timeline.place(&frame(track, ms * 1_000, ms * 1_000))?;
            Some((placed.dts_us / 1_000, placed.discontinuity))
        };
        times.iter().map(&mut place).collect()
    }

    #[test]
    fn every_row_of_the_table_holds() {
        let at = |ms| Some((ms, false));
        let jump = |ms| Some((ms, true));
        for (case, input, expected) in [
            ("starts at 0", vec![(V, 5_000), (V, 5_040)], vec![at(0), at(40)]),
            ("start offset is kept", vec![(V, 500), (A, 523)], vec![at(0), at(23)]),
            ("before the start", vec![(V, 500), (A, 480), (A, 501)], vec![at(0), None, at(1)]),
            ("unrelated clock", vec![(V, 0), (V, 40), (A, 900_000)], vec![at(0), at(40), at(80)]),
            ("gap", vec![(V, 0), (V, 40), (V, 9_000)], vec![at(0), at(40), at(9_000)]),
            (
                "repeated and back",
                vec![(V, 0), (V, 40), (V, 40), (V, 10), (V, 80)],
                vec![at(0), at(40), at(41), at(42), at(80)],
            ),
            (
                "back by a second at most",
                vec![(V, 5_000), (V, 5_040), (V, 4_040), (V, 5_080)],
                vec![at(0), at(40), at(41), at(80)],
            ),
            (
                "both step back by two seconds: nobody waits that long",
                vec![(V, 5_000), (A, 5_010), (V, 5_040), (A, 3_050), (V, 3_080), (A, 3_071)],
                vec![at(0), at(10), at(40), jump(80), at(110), at(101)],
            ),
            (
                "both jump forward, A/V offset is kept",
                vec![(V, 0), (A, 5), (V, 40), (V, 3_600_000), (A, 3_600_010), (V, 3_600_040)],
                vec![at(0), at(5), at(40), jump(80), at(90), at(120)],
            ),
            (
                "both jump back",
                vec![(V, 90_000), (A, 90_010), (V, 90_040), (A, 0), (V, 20), (A, 21)],
                vec![at(0), at(10), at(40), jump(80), at(100), at(101)],
            ),
            (
                "only one jumps",
                vec![(V, 0), (A, 0), (V, 40), (V, 3_600_000), (A, 20), (V, 3_600_040), (A, 40)],
                vec![at(0), at(0), at(40), jump(80), at(20), at(120), at(40)],
            ),
            (
                "a silent track returns",
                vec![(V, 0), (A, 0), (V, 9_000), (V, 18_000), (V, 27_000), (A, 27_010)],
                vec![at(0), at(0), at(9_000), at(18_000), at(27_000), at(27_010)],
            ),
        ] {
            assert_eq!(play(&input), expected, "{case}");
        }
    }

    #[test]
    fn composition_offsets_of_bad_publishers_are_kept_or_clamped() {
        for (dts, pts, expected) in [
            (1_000, 81_000, 80_000),
            (1_000, 1_000, 0),
            (101_000, 61_000, 0),
            (0, 4_999_000, 4_999_000),
            (0, i64::MAX, 0),
            (i64::MIN, i64::MAX, 0),
            (i64::MAX, i64::MIN, 0),
        ] {
            let mut timeline = Timeline::new(Config::default());
            let placed = timeline.place(&frame(V, dts, pts)).unwrap();
            assert_eq!((placed.dts_us, placed.pts_us), (0, expected), "{dts} {pts}");
        }
        let mut timeline = Timeline::new(Config::default());
        timeline.place(&frame(V, 0, 0)).unwrap();
        let placed = timeline.place(&frame(V, 100_000, 60_000)).unwrap();
        assert_eq!((placed.dts_us, placed.pts_us), (100_000, 60_000), "pts before dts is carried");
    }

    #[test]
    fn a_reconnect_goes_on_at_the_end() {
        let mut timeline = Timeline::new(Config::default());
        timeline.handle_reconnect();
        let first = timeline.place(&frame(V, 70_000, 70_000)).unwrap();
        assert_eq!(first, Placed { dts_us: 0, pts_us: 0, discontinuity: false });
        timeline.place(&frame(V, 110_000, 110_000)).unwrap();
        timeline.handle_reconnect();
        let again = timeline.place(&frame(A, 5, 5)).unwrap();
        assert_eq!(again, Placed { dts_us: 80_000, pts_us: 80_000, discontinuity: true });
        let other = timeline.place(&frame(V, 10, 10)).unwrap();
        assert_eq!(other, Placed { dts_us: 80_005, pts_us: 80_005, discontinuity: false });
    }

    #[test]
    fn unwrapped_counters_never_show_and_wrapped_ones_are_a_jump() {
        let wrap_ms: i64 = 1 << 32;
        let unwrapped = play(&[(V, wrap_ms - 40), (V, wrap_ms), (V, wrap_ms + 40)]);
        assert_eq!(unwrapped, [Some((0, false)), Some((40, false)), Some((80, false))]);
        let wrapped = play(&[(V, wrap_ms - 40), (V, wrap_ms), (V, 40)]);
        assert_eq!(wrapped, [Some((0, false)), Some((40, false)), Some((80, true))]);
    }

    #[test]
    fn tracks_are_limited() {
        let mut timeline = Timeline::new(Config { tracks_max: 2, ..Config::default() });
        let mut place = |index| {
            let track = TrackId { index, ..V };
            timeline.place(&frame(track, 0, 0)).is_some()
        };
        assert_eq!([0, 1, 2, 1].map(&mut place), [true, true, false, true]);
    }
}
