//! The one language between sources and outputs: tracks, frames, metadata, end.

use bytes::Bytes;

use crate::Error;

/// Whether a track is seen or heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Names a track within one publication: `video0`, `audio1`. The index is the multitrack id of
/// Enhanced RTMP v2, or the order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId {
    /// Seen or heard.
    pub kind: Kind,
    /// Which one of its kind; 0 is the one that players show first.
    pub index: u8,
}

impl TrackId {
    /// The first video track.
    pub const VIDEO: Self = Self { kind: Kind::Video, index: 0 };
    /// The first audio track.
    pub const AUDIO: Self = Self { kind: Kind::Audio, index: 0 };
}

impl core::fmt::Display for TrackId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kind = match self.kind {
            Kind::Video => "video",
            Kind::Audio => "audio",
        };
        write!(f, "{kind}{}", self.index)
    }
}

/// A codec that can be carried from end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// AVC, ISO/IEC 14496-10.
    H264,
    /// HEVC, ISO/IEC 23008-2.
    Hevc,
    /// AOMedia Video 1.
    Av1,
    /// VP9.
    Vp9,
    /// AAC-LC, HE-AAC, ISO/IEC 14496-3.
    Aac,
    /// Opus, RFC 6716.
    Opus,
}

impl Codec {
    /// Whether it carries pictures or sound.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::H264 | Self::Hevc | Self::Av1 | Self::Vp9 => Kind::Video,
            Self::Aac | Self::Opus => Kind::Audio,
        }
    }
}

/// What a decoder must know before the first frame of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its name.
    pub id: TrackId,
    /// Its codec.
    pub codec: Codec,
    /// The codec's own configuration record, as it stands in an MP4 sample entry without the box
    /// header: avcC, hvcC, av1C, vpcC payload, AudioSpecificConfig, dOps payload.
    pub config: Bytes,
    /// RFC 6381 name for playlists and `MediaSource`: `avc1.64001f`, `mp4a.40.2`, `opus` …
    pub codec_string: String,
    /// Shape of pictures or sound.
    pub format: Format,
}

/// Shape of what a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pictures.
    Video {
        /// Pixels, after cropping.
        width: u16,
        /// Pixels, after cropping.
        height: u16,
        /// Frames in 1,000 seconds if the header says so, e.g. 29,970.
        frames_per_kilosecond: Option<u32>,
    },
    /// Sound.
    Audio {
        /// Samples a second after decoding, e.g. 48,000.
        sample_rate: u32,
        /// Number of channels.
        channels: u8,
        /// Samples in one frame if it is constant: 1024 for AAC-LC, `None` for Opus.
        samples_per_frame: Option<u32>,
    },
}

/// One access unit of one track, as it goes into an MP4 sample: length-prefixed NAL units (4-byte
/// lengths), an AV1 temporal unit without its delimiter, a VP9 superframe, a raw AAC frame without
/// ADTS, an Opus packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The track it belongs to.
    pub track: TrackId,
    /// Decoding time in microseconds on the publisher's clock, unwrapped: it never jumps because a
    /// counter of the wire format ran over.
    pub dts_us: i64,
    /// Presentation time in microseconds on the same clock. May be earlier than `dts_us` by a bad
    /// publisher's doing; outputs must cope.
    pub pts_us: i64,
    /// A decoder can start here. Always true for audio.
    pub keyframe: bool,
    /// The coded bytes.
    pub data: Bytes,
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A track appears, or an existing one changes its configuration. Comes before its frames.
    Track(Track),
    /// An access unit.
    Frame(Frame),
    /// What the publisher said about itself. Informative: outputs never depend on it.
    Metadata(Metadata),
    /// The source ended as it should (not: the connection broke).
    End,
}

/// What a publisher says about itself (`onMetaData`, service descriptor).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The publishing program, e.g. "obs-output module (libobs version 30)".
    pub encoder: Option<String>,
    /// Declared video rate in bits a second.
    pub video_bits_per_second: Option<u64>,
    /// Declared audio rate in bits a second.
    pub audio_bits_per_second: Option<u64>,
}

/// Turns a container's bytes into events. The source trait: RTMP's FLV, MPEG-TS over SRT and files
/// all come in through it.
pub trait Demux {
    /// Takes the next bytes, cut anywhere.
    ///
    /// # Errors
    /// The bytes are malformed, unsupported or over a limit. The source is then of no further use.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// The next event, or `None` until more bytes come.
    fn poll_event(&mut self) -> Option<Event>;
}
