//! The header bytes of AUDIODATA and VIDEODATA: legacy (FLV spec E.4.2, E.4.3) and Enhanced RTMP v2
//! (ExAudioTagHeader, ExVideoTagHeader), read and written.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Kind, Tag, malformed};
use crate::Error;
use crate::media::{Codec, Kind as MediaKind};

/// What one packet of one track is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The codec's configuration record.
    Start(Bytes),
    /// An access unit and its composition offset.
    Frame { data: Bytes, composition_ms: i32 },
    /// Nothing that a demuxer needs: end of sequence, HDR metadata, channel order, seek commands.
    Other,
}

/// One packet. A multitrack tag holds several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: MediaKind,
    pub(super) track: u8,
    /// `None` for a codec that is not carried.
    pub(super) codec: Option<Codec>,
    pub(super) content: Content,
    /// To be added to the tag's timestamp.
    pub(super) offset_ns: u32,
}

/// Packet types of both enhanced headers.
mod packet_type {
    pub(super) const START: u8 = 0;
    pub(super) const FRAMES: u8 = 1;
    pub(super) const FRAMES_X: u8 = 3;
    pub(super) const VIDEO_METADATA: u8 = 4;
    pub(super) const AUDIO_MULTITRACK: u8 = 5;
    pub(super) const VIDEO_MULTITRACK: u8 = 6;
    pub(super) const MOD_EX: u8 = 7;
}

/// AvMultitrackType.
const ONE_TRACK: u8 = 0;
const MANY_CODECS: u8 = 2;

const MOD_EX_NANOS: u8 = 0;
const VIDEO_COMMAND: u8 = 5;
const EX_AUDIO: u8 = 9;
const LEGACY_AAC: u8 = 10;
const LEGACY_AVC: u8 = 7;
/// Not of the specification, but what Chinese encoders sent before there was one.
const LEGACY_HEVC: u8 = 12;

/// The FourCC of Enhanced RTMP.
const FOUR_CCS: [(&[u8; 4], Codec); 6] = [
    (b"avc1", Codec::H264),
    (b"hvc1", Codec::Hevc),
    (b"av01", Codec::Av1),
    (b"vp09", Codec::Vp9),
    (b"mp4a", Codec::Aac),
    (b"Opus", Codec::Opus),
];

/// Hands the packets of an audio or video tag to `sink`; an empty tag, which some encoders send to
/// keep the connection busy, has none.
pub(super) fn read(tag: &Tag, sink: impl FnMut(Packet) -> Result<(), Error>) -> Result<(), Error> {
    let mut body = tag.body.clone();
    let Some(first) = body.try_get_u8().ok() else { return Ok(()) };
    match tag.kind {
        Kind::Video if first & 0x80 != 0 => {
            read_enhanced(MediaKind::Video, first & 0x7f, body, sink)
        }
        Kind::Audio if first >> 4 == EX_AUDIO => {
            read_enhanced(MediaKind::Audio, first & 0x0f, body, sink)
        }
        Kind::Video => read_legacy_video(first, body, sink),
        Kind::Audio => read_legacy_audio(first, body, sink),
        Kind::Script => Ok(()),
    }
}

fn read_legacy_video(
    first: u8,
    mut body: Bytes,
    mut sink: impl FnMut(Packet) -> Result<(), Error>,
) -> Result<(), Error> {
    if first >> 4 == VIDEO_COMMAND {
        return Ok(());
    }
    let codec = match first & 0x0f {
        LEGACY_AVC => Some(Codec::H264),
        LEGACY_HEVC => Some(Codec::Hevc),
        _ => None,
    };
    let mut packet =
        Packet { kind: MediaKind::Video, track: 0, codec, content: Content::Other, offset_ns: 0 };
    if codec.is_some() {
        let kind = body.try_get_u8().map_err(short)?;
        let composition_ms = signed_24(&mut body)?;
        packet.content = match kind {
            0 => Content::Start(body),
            1 => Content::Frame { data: body, composition_ms },
            _ => Content::Other,
        };
    }
    sink(packet)
}

fn read_legacy_audio(
    first: u8,
    mut body: Bytes,
    mut sink: impl FnMut(Packet) -> Result<(), Error>,
) -> Result<(), Error> {
    let codec = (first >> 4 == LEGACY_AAC).then_some(Codec::Aac);
    let content = match (codec, body.try_get_u8()) {
        (None, _) => Content::Other,
        (_, Ok(0)) => Content::Start(body),
        (_, Ok(1)) => Content::Frame { data: body, composition_ms: 0 },
        (_, Ok(_)) => return Err(malformed("unknown AAC packet type")),
        (_, Err(_)) => return Ok(()),
    };
    sink(Packet { kind: MediaKind::Audio, track: 0, codec, content, offset_ns: 0 })
}

/// `head` is the first byte without what marks it as enhanced: for video the frame type and the
/// packet type, for audio the packet type.
fn read_enhanced(
    kind: MediaKind,
    head: u8,
    mut body: Bytes,
    mut sink: impl FnMut(Packet) -> Result<(), Error>,
) -> Result<(), Error> {
    let video = kind == MediaKind::Video;
    let (mut packet_type, mut offset_ns) = (head & 0x0f, 0);
    while packet_type == packet_type::MOD_EX {
        packet_type = mod_ex(&mut body, &mut offset_ns)?;
    }
    if video && packet_type != packet_type::VIDEO_METADATA && head >> 4 == VIDEO_COMMAND {
        return Ok(());
    }
    let multitrack =
        if video { packet_type::VIDEO_MULTITRACK } else { packet_type::AUDIO_MULTITRACK };
    if packet_type != multitrack {
        let codec = four_cc(&mut body)?;
        let content = content(packet_type, codec, body)?;
        return sink(Packet { kind, track: 0, codec, content, offset_ns });
    }
    let modes = body.try_get_u8().map_err(short)?;
    let (mode, packet_type) = (modes >> 4, modes & 0x0f);
    let shared = if mode == MANY_CODECS { None } else { Some(four_cc(&mut body)?) };
    while body.has_remaining() {
        let codec = match shared {
            Some(codec) => codec,
            None => four_cc(&mut body)?,
        };
        let track = body.try_get_u8().map_err(short)?;
        let data = if mode == ONE_TRACK {
            core::mem::take(&mut body)
        } else {
            let bytes = body.try_get_uint(3).map_err(short)? as usize;
            if bytes > body.len() {
                return Err(malformed("track of a multitrack tag is cut short"));
            }
            body.split_to(bytes)
        };
        let content = content(packet_type, codec, data)?;
        sink(Packet { kind, track, codec, content, offset_ns })?;
    }
    Ok(())
}

/// One modifier extension; returns the packet type that follows it.
fn mod_ex(body: &mut Bytes, offset_ns: &mut u32) -> Result<u8, Error> {
    let mut bytes = usize::from(body.try_get_u8().map_err(short)?) + 1;
    if bytes == 256 {
        bytes = usize::from(body.try_get_u16().map_err(short)?) + 1;
    }
    if bytes > body.len() {
        return Err(malformed("modifier extension is cut short"));
    }
    let mut data = body.split_to(bytes);
    let types = body.try_get_u8().map_err(short)?;
    if types >> 4 == MOD_EX_NANOS && data.len() >= 3 {
        *offset_ns = data.get_uint(3) as u32;
    }
    Ok(types & 0x0f)
}

fn content(packet_type: u8, codec: Option<Codec>, mut body: Bytes) -> Result<Content, Error> {
    let has_composition = matches!(codec, Some(Codec::H264 | Codec::Hevc));
    Ok(match packet_type {
        packet_type::START => Content::Start(body),
        packet_type::FRAMES if has_composition => {
            let composition_ms = signed_24(&mut body)?;
            Content::Frame { data: body, composition_ms }
        }
        packet_type::FRAMES | packet_type::FRAMES_X => {
            Content::Frame { data: body, composition_ms: 0 }
        }
        _ => Content::Other,
    })
}

fn four_cc(body: &mut Bytes) -> Result<Option<Codec>, Error> {
    let found: [u8; 4] = body.try_get_u32().map_err(short)?.to_be_bytes();
    Ok(FOUR_CCS.iter().find(|(name, _)| **name == found).map(|(_, codec)| *codec))
}

fn signed_24(body: &mut Bytes) -> Result<i32, Error> {
    let bits = body.try_get_uint(3).map_err(short)? as u32;
    Ok((bits << 8).cast_signed() >> 8)
}

fn short<E>(_: E) -> Error {
    malformed("tag is cut short")
}

/// Whether a packet is written with the header that every player knows.
const fn is_legacy(codec: Codec, track: u8) -> bool {
    track == 0 && matches!(codec, Codec::H264 | Codec::Aac)
}

/// How a packet is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) codec: Codec,
    pub(super) track: u8,
    pub(super) keyframe: bool,
    /// Written with enhanced headers only.
    pub(super) offset_ns: u32,
}

/// The body of a tag with this packet.
pub(super) fn write(shape: Shape, content: &Content) -> Bytes {
    let (Content::Start(data) | Content::Frame { data, .. }) = content else {
        return Bytes::new();
    };
    let mut out = BytesMut::with_capacity(data.len() + 20);
    if is_legacy(shape.codec, shape.track) {
        write_legacy(shape, content, &mut out);
    } else {
        write_enhanced(shape, content, &mut out);
    }
    out.put_slice(data);
    out.freeze()
}

fn write_legacy(shape: Shape, content: &Content, out: &mut BytesMut) {
    let is_frame = u8::from(matches!(content, Content::Frame { .. }));
    if shape.codec == Codec::Aac {
        // Rate, size and channels have these values whatever the sound (FLV spec E.4.2.1).
        out.put_slice(&[LEGACY_AAC << 4 | 0x0f, is_frame]);
    } else {
        out.put_slice(&[frame_type(shape) << 4 | LEGACY_AVC, is_frame]);
        out.put_int(composition(content).into(), 3);
    }
}

fn write_enhanced(shape: Shape, content: &Content, out: &mut BytesMut) {
    let has_composition = matches!(shape.codec, Codec::H264 | Codec::Hevc);
    let composition_ms = composition(content);
    let packet_type = match content {
        Content::Start(_) => packet_type::START,
        _ if has_composition && composition_ms == 0 => packet_type::FRAMES_X,
        _ => packet_type::FRAMES,
    };
    let (mark, multitrack) = match shape.codec.kind() {
        MediaKind::Video => (0x80 | frame_type(shape) << 4, packet_type::VIDEO_MULTITRACK),
        MediaKind::Audio => (EX_AUDIO << 4, packet_type::AUDIO_MULTITRACK),
    };
    let outer = if shape.track == 0 { packet_type } else { multitrack };
    if shape.offset_ns == 0 {
        out.put_u8(mark | outer);
    } else {
        out.put_slice(&[mark | packet_type::MOD_EX, 2]);
        out.put_uint(shape.offset_ns.into(), 3);
        out.put_u8(MOD_EX_NANOS << 4 | outer);
    }
    if shape.track != 0 {
        out.put_u8(ONE_TRACK << 4 | packet_type);
    }
    let name = FOUR_CCS.iter().find(|(_, codec)| *codec == shape.codec).map(|(name, _)| *name);
    out.put_slice(name.expect("every codec has a FourCC"));
    if shape.track != 0 {
        out.put_u8(shape.track);
    }
    if packet_type == packet_type::FRAMES && has_composition {
        out.put_int(composition_ms.into(), 3);
    }
}

const fn frame_type(shape: Shape) -> u8 {
    if shape.keyframe { 1 } else { 2 }
}

const fn composition(content: &Content) -> i32 {
    match content {
        Content::Frame { composition_ms, .. } => *composition_ms,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(kind: Kind, body: &[u8]) -> Result<Vec<Packet>, Error> {
        let tag = Tag { kind, timestamp_ms: 0, body: Bytes::copy_from_slice(body) };
        let mut packets = Vec::new();
        read(&tag, |packet| {
            packets.push(packet);
            Ok(())
        })?;
        Ok(packets)
    }

    fn frame(data: &'static [u8], composition_ms: i32) -> Content {
        Content::Frame { data: Bytes::from_static(data), composition_ms }
    }

    #[test]
    fn headers_of_every_form_are_read() {
        let start = |data| Content::Start(Bytes::from_static(data));
        let (video, audio) = (Kind::Video, Kind::Audio);
        // Body, then for each packet: track, codec, content, offset.
        type Case<'a> = (Kind, &'a [u8], Vec<(u8, Option<Codec>, Content, u32)>);
        let cases: [Case<'_>; 15] = [
            (video, b"\x17\0\0\0\0cfg", vec![(0, Some(Codec::H264), start(b"cfg"), 0)]),
            (video, b"\x27\x01\xff\xff\xd8f", vec![(0, Some(Codec::H264), frame(b"f", -40), 0)]),
            (video, b"\x17\x02\0\0\0", vec![(0, Some(Codec::H264), Content::Other, 0)]),
            (video, b"\x1c\x01\0\0\x28f", vec![(0, Some(Codec::Hevc), frame(b"f", 40), 0)]),
            (video, b"\x22abc", vec![(0, None, Content::Other, 0)]),
            (video, b"\x57\0", vec![]),
            (audio, b"\xaf\0\x12\x10", vec![(0, Some(Codec::Aac), start(b"\x12\x10"), 0)]),
            (audio, b"\x2fmp3", vec![(0, None, Content::Other, 0)]),
            (audio, b"", vec![]),
            (video, b"\x91hvc1\0\0\x28f", vec![(0, Some(Codec::Hevc), frame(b"f", 40), 0)]),
            (video, b"\xa3hvc1f", vec![(0, Some(Codec::Hevc), frame(b"f", 0), 0)]),
            (video, b"\x97\x02\0\x01\x00\x01av01f", {
                vec![(0, Some(Codec::Av1), frame(b"f", 0), 256)]
            }),
            (audio, b"\x90Opushead", vec![(0, Some(Codec::Opus), start(b"head"), 0)]),
            (video, b"\x96\x11vp09\x00\0\0\x01a\x03\0\0\x02bc", {
                vec![
                    (0, Some(Codec::Vp9), frame(b"a", 0), 0),
                    (3, Some(Codec::Vp9), frame(b"bc", 0), 0),
                ]
            }),
            (audio, b"\x95\x21mp4a\x00\0\0\x01aac-3\x01\0\0\x01b", {
                vec![(0, Some(Codec::Aac), frame(b"a", 0), 0), (1, None, frame(b"b", 0), 0)]
            }),
        ];
        for (kind, body, expected) in cases {
            let found = packets(kind, body).unwrap().into_iter();
            let found: Vec<_> = found.map(|p| (p.track, p.codec, p.content, p.offset_ns)).collect();
            assert_eq!(found, expected, "{body:02x?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let cases: [(Kind, &[u8]); 9] = [
            (Kind::Video, b"\x17"),
            (Kind::Video, b"\x17\x01\0\0"),
            (Kind::Audio, b"\xaf\x07"),
            (Kind::Video, b"\x91hvc"),
            (Kind::Video, b"\x91hvc1\0\0"),
            (Kind::Video, b"\x97"),
            (Kind::Video, b"\x97\xff\0"),
            (Kind::Video, b"\x96\x11vp09\x00\0\0\x09a"),
            (Kind::Audio, b"\x95\x21mp4a"),
        ];
        for (kind, body) in cases {
            assert!(packets(kind, body).is_err(), "{body:02x?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (_, codec) in FOUR_CCS {
            for (track, offset_ns, composition_ms) in [(0, 0, 0), (1, 0, 0), (2, 999_999, -40)] {
                let has_composition = matches!(codec, Codec::H264 | Codec::Hevc);
                let content = frame(b"data", if has_composition { composition_ms } else { 0 });
                let offset_ns = if is_legacy(codec, track) { 0 } else { offset_ns };
                for content in [content, Content::Start(Bytes::from_static(b"cfg"))] {
                    let shape = Shape { codec, track, keyframe: true, offset_ns };
                    let body = write(shape, &content);
                    let kind = match codec.kind() {
                        MediaKind::Video => Kind::Video,
                        MediaKind::Audio => Kind::Audio,
                    };
                    let found = packets(kind, &body).unwrap();
                    let kind = codec.kind();
                    let codec = Some(codec);
                    assert_eq!(found, [Packet { kind, track, codec, content, offset_ns }]);
                }
            }
        }
    }
}
