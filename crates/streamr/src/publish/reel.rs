//! A file's frames as an endless reel: the same pictures over and over, on timestamps that never
//! go back.
//!
//! The first picture track sets the length of a turn, so pictures follow each other evenly for
//! ever. Sound rarely ends with the last picture: a turn of it ends with the frame that is nearest
//! to that, and the next one follows without a hole. So its place in a turn is off by at most half
//! a frame of sound, and that does not add up.

use streamr_media::media::{Frame, Kind, Track};

/// The frames of a file in decoding order, and where the reader stands.
#[derive(Debug)]
pub(super) struct Reel {
    tracks: Vec<Track>,
    lanes: Vec<Lane>,
    lead: usize,
    /// The file's time of the first frame.
    origin_us: i64,
    period_us: i64,
    endless: bool,
}

/// One track's frames, and where its reader stands.
#[derive(Debug)]
struct Lane {
    frames: Vec<Frame>,
    frame_us: i64,
    next: usize,
    turn: i64,
    /// How far this turn is from where the period puts it.
    slip_us: i64,
}

impl Reel {
    /// A reel of these frames; `None` if there are none. It is played once, or without end.
    pub(super) fn new(tracks: Vec<Track>, frames: Vec<Frame>, endless: bool) -> Option<Self> {
        let mut lanes: Vec<Lane> = tracks.iter().map(|track| Lane::of(track, &frames)).collect();
        lanes.retain(|lane| !lane.frames.is_empty());
        let seen = |lane: &Lane| lane.frames.iter().any(|one| one.track.kind == Kind::Video);
        let lead = lanes.iter().position(seen).unwrap_or(0);
        let period_us = lanes.get(lead)?.length_us().max(1);
        let origin_us = lanes.iter().map(Lane::start_us).min()?;
        Some(Self { tracks, lanes, lead, origin_us, period_us, endless })
    }

    /// What is on it.
    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// How often it was played from end to end.
    pub(super) fn turns(&self) -> i64 {
        self.lanes[self.lead].turn
    }

    /// When the next frame is due, in microseconds since the first; `None` at the end.
    pub(super) fn due_us(&self) -> Option<i64> {
        self.next().map(|(due_us, _)| due_us)
    }

    /// The next frame, its times counted from the first frame of the first turn.
    pub(super) fn advance(&mut self) -> Option<Frame> {
        let (due_us, index) = self.next()?;
        let lane = &mut self.lanes[index];
        let mut frame = lane.frames.get(lane.next)?.clone();
        let shift_us = due_us - frame.dts_us;
        frame.dts_us += shift_us;
        frame.pts_us += shift_us;
        lane.next += 1;
        if self.endless && lane.is_over(self.period_us) {
            lane.turn_over(self.period_us, due_us + self.origin_us);
        }
        Some(frame)
    }

    /// When the next frame is due, and on which lane it is.
    fn next(&self) -> Option<(i64, usize)> {
        let due = |(index, lane): (usize, &Lane)| Some((lane.next_us(self.period_us)?, index));
        let (at_us, index) = self.lanes.iter().enumerate().filter_map(due).min()?;
        Some((at_us - self.origin_us, index))
    }
}

impl Lane {
    fn of(track: &Track, frames: &[Frame]) -> Self {
        let own = frames.iter().filter(|frame| frame.track == track.id);
        let mut frames: Vec<_> = own.cloned().collect();
        frames.sort_by_key(|frame| frame.dts_us);
        // The last frame is taken to last as long as the one before.
        let frame_us = match &frames[..] {
            [.., before, last] => last.dts_us - before.dts_us,
            _ => 0,
        };
        Self { frames, frame_us, next: 0, turn: 0, slip_us: 0 }
    }

    fn start_us(&self) -> i64 {
        self.frames.first().map_or(0, |frame| frame.dts_us)
    }

    fn length_us(&self) -> i64 {
        self.frames.last().map_or(0, |last| last.dts_us - self.start_us() + self.frame_us)
    }

    /// The time of the next frame on the file's clock, turn after turn.
    fn next_us(&self, period_us: i64) -> Option<i64> {
        Some(self.frames.get(self.next)?.dts_us + self.turn * period_us + self.slip_us)
    }

    /// Whether the turn ends here: at the frame whose end is nearest to the next turn's start.
    fn is_over(&self, period_us: i64) -> bool {
        let end_us = (self.turn + 1) * period_us + self.start_us();
        self.next_us(period_us).is_none_or(|next_us| next_us + self.frame_us / 2 >= end_us)
    }

    /// Begins the next turn behind a frame at `last_us`.
    fn turn_over(&mut self, period_us: i64, last_us: i64) {
        self.turn += 1;
        self.next = 0;
        let slip_us = last_us + self.frame_us - (self.turn * period_us + self.start_us());
        // Further off than that is a track that is shorter than the pictures: it begins in time.
        self.slip_us = if slip_us.abs() <= self.frame_us / 2 + 1 { slip_us } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use streamr_media::media::{Codec, Format, TrackId};

    const V: TrackId = TrackId::VIDEO;
    const A: TrackId = TrackId::AUDIO;

    fn track(id: TrackId) -> Track {
        let format = Format::Audio { sample_rate: 48_000, channels: 2, samples_per_frame: None };
        Track { id, codec: Codec::Aac, config: Bytes::new(), codec_string: String::new(), format }
    }

    fn frame(track: TrackId, dts_us: i64, pts_us: i64) -> Frame {
        let data = Bytes::from(pts_us.to_string());
        Frame { track, dts_us, pts_us, keyframe: true, data }
    }

    /// Pictures at 30 a second that decode two frames early, and AAC at 48 kHz.
    fn clip(pictures: i64, sounds: i64) -> Reel {
        let picture = |n| frame(V, (n - 2) * 1_000_000 / 30, n * 1_000_000 / 30);
        let sound = |n| frame(A, n * 1_024_000 / 48, n * 1_024_000 / 48);
        let frames = (0..pictures).map(picture).chain((0..sounds).map(sound)).collect();
        Reel::new(vec![track(V), track(A)], frames, true).expect("a reel")
    }

    fn times(frames: &[Frame], id: TrackId) -> Vec<i64> {
        frames.iter().filter(|frame| frame.track == id).map(|frame| frame.dts_us).collect()
    }

    fn steps(times: &[i64]) -> impl Iterator<Item = i64> {
        times.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// An hour of a clip whose sound is as long as the pictures, ends earlier, or goes on.
    #[test]
    fn an_hour_of_turns_is_even_and_in_step() {
        for (case, pictures, sounds) in
            [("alike", 300, 469), ("longer by some frames", 300, 475), ("odd", 301, 472)]
        {
            let mut reel = clip(pictures, sounds);
            let mut frames = Vec::new();
            while reel.due_us().is_some_and(|due_us| due_us < 3_600_000_000) {
                frames.extend(reel.advance());
            }
            assert!(frames.is_sorted_by_key(|frame| frame.dts_us), "{case}");
            assert!(steps(&times(&frames, V)).all(|us| (33_332..=33_335).contains(&us)), "{case}");
            assert!(steps(&times(&frames, A)).all(|us| (21_331..=21_336).contains(&us)), "{case}");
            assert!((108_000..=108_001).contains(&times(&frames, V).len()), "{case}");
            // What is seen and what is heard of the same moment of the file, turn after turn.
            for frame in &frames {
                let turn = (frame.pts_us - 66_666) / reel.period_us;
                let in_file_us: i64 = std::str::from_utf8(&frame.data).unwrap().parse().unwrap();
                let here_us = frame.pts_us - 66_666 - in_file_us;
                let off_us = here_us - turn * reel.period_us;
                let off_us = off_us.min((off_us - reel.period_us).abs()).abs();
                assert!(off_us <= 10_700, "{case}: {off_us} in turn {turn} of {frame:?}");
            }
        }
    }

    #[test]
    fn sound_that_ends_early_begins_in_time_again() {
        let mut reel = clip(300, 400);
        let frames: Vec<_> = (0..2_000).filter_map(|_| reel.advance()).collect();
        let sound = times(&frames, A);
        assert_eq!(sound[400] - sound[0], reel.period_us);
        assert_eq!(sound[800] - sound[0], 2 * reel.period_us);
        assert_eq!(reel.turns(), 2);
    }

    #[test]
    fn once_is_once_and_whole() {
        let mut reel = Reel { endless: false, ..clip(3, 50) };
        assert_eq!(std::iter::from_fn(|| reel.advance()).count(), 53);
        assert_eq!((reel.due_us(), reel.turns()), (None, 0));
        assert!(Reel::new(Vec::new(), Vec::new(), true).is_none());
    }
}
