//! Writes CMAF (ISO/IEC 23000-19): one init segment a track, one chunk a part.
//!
//! A file carries one track, number 1. Video counts time in 1/90,000 s, audio in samples. A chunk
//! is `moof` + `mdat`; a segment is its chunks one after the other.

mod chunk;
mod init;

pub use chunk::{Sample, chunk};
pub use init::init_segment;

use crate::media::{Format, Track};

/// Ticks a second of `track`: 90,000 for video, the sample rate for audio.
#[must_use]
pub const fn timescale(track: &Track) -> u32 {
    match track.format {
        Format::Video { .. } | Format::Audio { sample_rate: 0, .. } => 90_000,
        Format::Audio { sample_rate, .. } => sample_rate,
    }
}

/// The number that the only track of a file has.
const TRACK: u32 = 1;
