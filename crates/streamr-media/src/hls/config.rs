//! Limits and choices.

use super::track::TrackState;
use crate::timeline;

/// How a [`Packager`](super::Packager) cuts, and what it keeps at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Wanted length of a part in microseconds. 200 ms: five requests a second for a hold-back of
    /// one second. Each track rounds it to whole frames.
    pub part_us: i64,
    /// A segment is cut at the first keyframe after this, in microseconds. 1 s: encoders with a
    /// keyframe at every frame still give one segment a second.
    pub segment_us_min: i64,
    /// `EXT-X-TARGETDURATION` in seconds, at least `segment_us_min`. 4 s: what encoders that are
    /// set up for streaming stay below; ordinary players stay three of it behind.
    pub target_duration_s: u32,
    /// What `EXT-X-TARGETDURATION` rises to, once a broadcast, when a segment would have to be cut
    /// without a keyframe; after that long it is. 10 s: x264 left alone makes a keyframe every 250
    /// frames, and who joins can only start at one. `target_duration_s`: never changes.
    /// docs/decisions/0020-target-duration.md says why.
    pub target_duration_s_max: u32,
    /// `PART-HOLD-BACK` is at least this, in microseconds, and at least three part targets. 1 s:
    /// what a browser on a home network needs to play without a stall.
    pub part_hold_back_us_min: i64,
    /// Media that playlists list at least, in microseconds; at least three target durations, as
    /// the draft demands (§6.2.2).
    pub window_us_min: i64,
    /// Segments that a playlist lists at most, and as many may linger. 1,024, reached only with
    /// long windows, or by publishers that change their codecs at every frame.
    pub segments_max: usize,
    /// How long a segment can still be fetched after it left the playlist, in microseconds.
    pub linger_us: i64,
    /// Complete segments keep their parts in the playlist for about this long, in microseconds.
    /// 4 s: what players behind by a hold-back still need; the draft allows up to three target
    /// durations, at three times the playlist.
    pub parts_listed_us: i64,
    /// A track that falls behind the others by this, in microseconds, gets `EXT-X-GAP` segments.
    pub lag_us_max: i64,
    /// Media that is further behind the wall clock than this, in microseconds, for as long, begins
    /// a discontinuity at the next keyframe, from which `EXT-X-PROGRAM-DATE-TIME` is right again. 3
    /// s: longer than an encoder under load or a network needs to make up for a pause, and no more
    /// than viewers' latency may be shown wrong.
    pub behind_us_max: i64,
    /// Tracks that are packaged; further ones are ignored. 8: two pictures and six languages.
    pub tracks_max: usize,
    /// The largest frame in bytes. 16 MiB: a lossless 4K keyframe.
    pub frame_bytes_max: usize,
    /// A part that would grow over this is closed early. At least `frame_bytes_max`.
    pub part_bytes_max: usize,
    /// A segment over this is cut at the next frame.
    pub segment_bytes_max: usize,
    /// All media of all tracks together; the oldest segments go first. 256 MiB: 60 s at 34 Mbit/s.
    pub stream_bytes_max: usize,
    /// Limits of the timeline.
    pub timeline: timeline::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            part_us: 200_000,
            segment_us_min: 1_000_000,
            target_duration_s: 4,
            target_duration_s_max: 10,
            part_hold_back_us_min: 1_000_000,
            window_us_min: 30_000_000,
            segments_max: 1_024,
            linger_us: 10_000_000,
            parts_listed_us: 4_000_000,
            lag_us_max: 5_000_000,
            behind_us_max: 3_000_000,
            tracks_max: 8,
            frame_bytes_max: 16 << 20,
            part_bytes_max: 32 << 20,
            segment_bytes_max: 64 << 20,
            stream_bytes_max: 256 << 20,
            timeline: timeline::Config::default(),
        }
    }
}

impl Config {
    /// A segment that is longer would, with the small hole that it may inherit, not round to the
    /// target duration any more (draft §4.4.3.1).
    pub(super) const fn segment_us_max(&self) -> i64 {
        self.target_duration_s as i64 * 1_000_000 + 440_000
    }

    /// `PART-HOLD-BACK` of a track, in microseconds.
    pub(super) fn hold_back_us(&self, track: &TrackState) -> i64 {
        self.part_hold_back_us_min.max(3 * track.part_target_us.unwrap_or(self.part_us))
    }

    /// Target durations that suit `segment_us_min`.
    pub(super) fn normalized(mut self) -> Self {
        let least = u32::try_from(self.segment_us_min.saturating_add(999_999) / 1_000_000);
        self.target_duration_s = self.target_duration_s.max(least.unwrap_or(u32::MAX));
        self.target_duration_s_max = self.target_duration_s_max.max(self.target_duration_s);
        self
    }

    pub(super) const fn target_us(&self) -> i64 {
        self.target_duration_s as i64 * 1_000_000
    }
}
