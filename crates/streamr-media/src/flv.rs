//! FLV: the tags that RTMP carries, the file that wraps them, and Enhanced RTMP v1 and v2 in them.

mod demuxer;
pub mod file;
mod metadata;
mod muxer;
mod packet;

use bytes::Bytes;

use crate::Error;

pub use demuxer::{Config, Demuxer, Dropped};
pub use muxer::Muxer;

/// What a tag carries. The numbers are those of FLV tag types and RTMP message types alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// AUDIODATA, FLV spec E.4.2.
    Audio = 8,
    /// VIDEODATA, FLV spec E.4.3.
    Video = 9,
    /// SCRIPTDATA (AMF0), FLV spec E.4.4.
    Script = 18,
}

impl Kind {
    /// The kind with this tag or message type, if there is one.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}

/// One FLV tag without its framing, which is also the payload of one RTMP media message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What `body` is.
    pub kind: Kind,
    /// Milliseconds on the publisher's clock, modulo 2^32.
    pub timestamp_ms: u32,
    /// AUDIODATA, VIDEODATA or SCRIPTDATA, starting with its header byte. Shared, not copied, by
    /// whoever keeps the tag.
    pub body: Bytes,
}

/// A tag's size has 24 bits, in files and in RTMP.
const TAG_BYTES_MAX: usize = 0xff_ffff;

const fn malformed(reason: &'static str) -> Error {
    Error::malformed("FLV", reason)
}
