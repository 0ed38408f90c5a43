//! RTP payloads of H.264 (RFC 6184) and Opus (RFC 7587): what comes by WHIP becomes media events,
//! and frames become the payloads that WHEP sends.
//!
//! ```text
//! frames by RTP ─► Source ─► media::Event          media::Event ─► Cutter ─► Cut (payloads)
//! ```
//!
//! Sessions, packets and their order are `psyne`'s; here stands what they mean as media.

mod cutter;
mod source;
mod step;

pub use cutter::{Cut, Cutter};
pub use source::{Arrived, Report, Source};

/// Ticks of the clock of pictures in a second (RFC 6184 §8.2.1).
pub const VIDEO_CLOCK: u32 = 90_000;
/// Ticks of the clock of Opus in a second (RFC 7587 §4.1).
pub const AUDIO_CLOCK: u32 = 48_000;

/// A sequence parameter set of x264: 640 × 360, High profile.
#[cfg(test)]
const SPS: &[u8] = &[
    0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0,
    0x3c, 0x0f, 0x16, 0x2d, 0x96,
];
