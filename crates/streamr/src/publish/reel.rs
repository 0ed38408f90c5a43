//! A file's frames as an endless reel: the same pictures over and over, on timestamps that never
//! go back.

use streamr_media::media::{Frame, Track, TrackId};

/// The frames of a file in decoding order, and where the reader stands.
#[derive(Debug)]
pub(super) struct Reel {
    tracks: Vec<Track>,
    frames: Vec<Frame>,
    start_us: i64,
    period_us: i64,
    next: usize,
    turn: i64,
    endless: bool,
}

impl Reel {
    /// A reel of these frames; `None` if there are none. It is played once, or without end.
    pub(super) fn new(tracks: Vec<Track>, mut frames: Vec<Frame>, endless: bool) -> Option<Self> {
        frames.sort_by_key(|frame| frame.dts_us);
        let start_us = frames.first()?.dts_us;
        let ids = tracks.iter().map(|track| track.id);
        let end_us = ids.filter_map(|id| track_end_us(&frames, id)).max()?;
        let period_us = (end_us - start_us).max(1);
        Some(Self { tracks, frames, start_us, period_us, next: 0, turn: 0, endless })
    }

    /// What is on it.
    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// How often it was played from end to end.
    pub(super) fn turns(&self) -> i64 {
        self.turn
    }

    /// When the next frame is due, in microseconds since the first; `None` at the end.
    pub(super) fn due_us(&self) -> Option<i64> {
        let frame = self.frames.get(self.next)?;
        Some(frame.dts_us - self.start_us + self.turn * self.period_us)
    }

    /// The next frame, its times counted from the first frame of the first turn.
    pub(super) fn advance(&mut self) -> Option<Frame> {
        let mut frame = self.frames.get(self.next)?.clone();
        let shift_us = self.turn * self.period_us - self.start_us;
        frame.dts_us += shift_us;
        frame.pts_us += shift_us;
        self.next += 1;
        if self.next == self.frames.len() && self.endless {
            self.next = 0;
            self.turn += 1;
        }
        Some(frame)
    }
}

/// Where a track ends: its last frame is taken to last as long as the one before.
fn track_end_us(frames: &[Frame], id: TrackId) -> Option<i64> {
    let mut backwards = frames.iter().rev().filter(|frame| frame.track == id);
    let last = backwards.next()?.dts_us;
    let before = backwards.next().map_or(last, |frame| frame.dts_us);
    Some(last + (last - before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use streamr_media::media::{Codec, Format};

    fn track(id: TrackId) -> Track {
        let format = Format::Audio { sample_rate: 48_000, channels: 2, samples_per_frame: None };
        Track { id, codec: Codec::Aac, config: Bytes::new(), codec_string: String::new(), format }
    }

    fn frame(track: TrackId, dts_us: i64) -> Frame {
        Frame { track, dts_us, pts_us: dts_us + 5, keyframe: true, data: Bytes::new() }
    }

    fn reel(endless: bool) -> Reel {
        let (video, audio) = (TrackId::VIDEO, TrackId::AUDIO);
        let frames = [(video, 100), (video, 140), (audio, 100), (audio, 121), (audio, 142)];
        let frames = frames.map(|(id, dts)| frame(id, dts)).to_vec();
        Reel::new(vec![track(video), track(audio)], frames, endless).expect("a reel")
    }

    #[test]
    fn turns_follow_each_other_without_gap_or_overlap() {
        let mut reel = reel(true);
        assert_eq!(reel.period_us, 80);
        let video: Vec<_> = (0..10)
            .filter_map(|_| reel.advance())
            .filter(|frame| frame.track == TrackId::VIDEO)
            .map(|frame| (frame.dts_us, frame.pts_us))
            .collect();
        assert_eq!(video, [(0, 5), (40, 45), (80, 85), (120, 125)]);
        assert_eq!(reel.turns(), 2);
        assert_eq!(reel.due_us(), Some(160));
    }

    #[test]
    fn once_is_once() {
        let mut reel = reel(false);
        assert_eq!(std::iter::from_fn(|| reel.advance()).count(), 5);
        assert_eq!(reel.due_us(), None);
        assert!(Reel::new(Vec::new(), Vec::new(), true).is_none());
    }
}
