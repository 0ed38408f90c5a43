//! What a message means to somebody who joins, read from its first bytes.

use crate::flv::{Kind, Tag};

/// What a tag means to somebody who joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A sequence header or metadata: replaces the last one with the same slot, and is replayed to
    /// whoever joins later.
    Header {
        /// Track number for sequence headers, [`Role::METADATA`] for metadata.
        slot: u8,
    },
    /// A decoder can start here.
    Keyframe,
    /// Anything else.
    Frame,
}

impl Role {
    /// The slot of `onMetaData`.
    pub const METADATA: u8 = 255;
    /// The slot of sequence headers that carry several tracks at once.
    const MANY_TRACKS: u8 = 254;

    /// Reads the role of a tag, by the legacy FLV layout (FLV 10.1, E.4.2 and E.4.3) and Enhanced
    /// RTMP v1 and v2. Unknown bytes are plain frames.
    #[must_use]
    pub fn of(tag: &Tag) -> Self {
        match tag.kind {
            Kind::Script => script_role(&tag.body),
            Kind::Video => video_role(&tag.body),
            Kind::Audio => audio_role(&tag.body),
        }
    }
}

fn script_role(body: &[u8]) -> Role {
    const ON_META_DATA: &[u8] = b"\x02\x00\x0aonMetaData";
    if body.starts_with(ON_META_DATA) { Role::Header { slot: Role::METADATA } } else { Role::Frame }
}

fn video_role(body: &[u8]) -> Role {
    let Some(&first) = body.first() else { return Role::Frame };
    let keyframe = (first >> 4) & 0b111 == 1;
    let frame = if keyframe { Role::Keyframe } else { Role::Frame };
    if first & 0x80 != 0 {
        return enhanced_role(body, frame, 6);
    }
    let has_header = matches!(first & 0x0f, 7 | 12);
    match body.get(1) {
        Some(0) if has_header => Role::Header { slot: 0 },
        // End of sequence is marked as a key frame but starts nothing.
        Some(2) if has_header => Role::Frame,
        _ => frame,
    }
}

fn audio_role(body: &[u8]) -> Role {
    match body {
        [first, ..] if first >> 4 == 9 => enhanced_role(body, Role::Keyframe, 5),
        [first, 0, ..] if first >> 4 == 10 => Role::Header { slot: 0 },
        [] => Role::Frame,
        _ => Role::Keyframe,
    }
}

/// Packet types 0 and 2 are sequence start and end for both kinds; `multitrack` is the packet type
/// that wraps another one.
fn enhanced_role(body: &[u8], frame: Role, multitrack: u8) -> Role {
    let packet = body.first().map_or(0, |b| b & 0x0f);
    match (packet, body.get(1)) {
        (0, _) => Role::Header { slot: 0 },
        (2 | 4, _) => Role::Frame,
        (p, Some(&wrapped)) if p == multitrack => multitrack_role(body, wrapped, frame),
        _ => frame,
    }
}

fn multitrack_role(body: &[u8], wrapped: u8, frame: Role) -> Role {
    // One track: FourCC and its number follow. Several: they are treated as one.
    let slot = if wrapped >> 4 == 0 { body.get(6).copied() } else { Some(Role::MANY_TRACKS) };
    match (wrapped & 0x0f, slot) {
        (0, Some(slot)) => Role::Header { slot },
        // Only the first track decides where a decoder starts.
        (1 | 3, Some(0 | Role::MANY_TRACKS)) => frame,
        _ => Role::Frame,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn roles_are_read_from_legacy_and_enhanced_bodies() {
        use Kind::{Audio, Script, Video};
        let header = |slot| Role::Header { slot };
        let cases: &[(Kind, &'static [u8], Role)] = &[
            (Video, &[0x17, 0, 0, 0, 0], header(0)),
            (Video, &[0x17, 1, 0, 0, 0], Role::Keyframe),
            (Video, &[0x17, 2, 0, 0, 0], Role::Frame),
            (Video, &[0x27, 1, 0, 0, 0], Role::Frame),
            (Video, &[0x12], Role::Keyframe),
            (Video, &[0x90, b'h', b'v', b'c', b'1'], header(0)),
            (Video, &[0x91, b'h', b'v', b'c', b'1'], Role::Keyframe),
            (Video, &[0x93, b'h', b'v', b'c', b'1'], Role::Keyframe),
            (Video, &[0xa1, b'h', b'v', b'c', b'1'], Role::Frame),
            (Video, &[0x94, b'h', b'v', b'c', b'1'], Role::Frame),
            (Video, &[0x96, 0x00, b'a', b'v', b'0', b'1', 3], header(3)),
            (Video, &[0x96, 0x01, b'a', b'v', b'0', b'1', 0], Role::Keyframe),
            (Video, &[0x96, 0x01, b'a', b'v', b'0', b'1', 3], Role::Frame),
            (Video, &[0x96, 0x00], Role::Frame),
            (Audio, &[0xaf, 0, 0x12, 0x10], header(0)),
            (Audio, &[0xaf, 1, 9], Role::Keyframe),
            (Audio, &[0x90, b'O', b'p', b'u', b's'], header(0)),
            (Audio, &[0x91, b'O', b'p', b'u', b's'], Role::Keyframe),
            (Audio, &[0x95, 0x00, b'O', b'p', b'u', b's', 1], header(1)),
            (Audio, &[], Role::Frame),
            (Video, &[], Role::Frame),
            (Script, b"\x02\x00\x0aonMetaData\x08", header(Role::METADATA)),
            (Script, b"\x02\x00\x0aonTextData", Role::Frame),
        ];
        for &(kind, body, role) in cases {
            let tag = Tag { kind, timestamp_ms: 0, body: Bytes::from_static(body) };
            assert_eq!(Role::of(&tag), role, "{kind:?} {body:02x?}");
        }
    }
}
