//! A frame's send time inside the frame, so that latency is measured from publisher to viewer
//! without decoding a picture. docs/wire/stamp.md is normative.
//!
//! H.264 and HEVC carry it as a `user_data_unregistered` SEI message (ITU-T H.264 clause D.1.7)
//! under our own UUID, AV1 as a metadata OBU of the first user-private type (AV1 specification
//! clause 6.7.1). Decoders ignore both. VP9 and sound have no place for it.

use bytes::Bytes;

use super::{av1, h264, hevc, nal, sei_messages};
use crate::media::Codec;

/// Names our stamp among all unregistered messages.
pub const UUID: [u8; 16] = [
    0x8d, 0x1f, 0x6a, 0x53, 0x29, 0xc4, 0x4b, 0x7e, 0x9a, 0x35, 0xe0, 0x72, 0x5b, 0x96, 0xd4, 0x1c,
];

const USER_DATA_UNREGISTERED: u8 = 5;
const PAYLOAD_BYTES: u8 = 24;

/// Whether frames of this codec can be stamped.
#[must_use]
pub const fn supports(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::Hevc | Codec::Av1)
}

/// The access unit `data` with the stamp before its first picture. Comes back as it is if the codec
/// has no place for a stamp, or if the unit holds no picture or is broken.
#[must_use]
pub fn insert(codec: Codec, data: &Bytes, sent_at_unix_us: u64) -> Bytes {
    match codec {
        Codec::H264 => insert_sei(data, &[6], h264::is_picture, sent_at_unix_us),
        Codec::Hevc => insert_sei(data, &[39 << 1, 1], hevc::is_picture, sent_at_unix_us),
        Codec::Av1 => av1::insert_metadata(data, &payload(sent_at_unix_us)),
        _ => data.clone(),
    }
}

/// The time that [`insert`] put into the access unit, in microseconds since the Unix epoch: the
/// last time, if a recording that was stamped is published again.
#[must_use]
pub fn read(codec: Codec, data: &[u8]) -> Option<u64> {
    match codec {
        Codec::H264 => nal::units(data)
            .take_while(|unit| !h264::is_picture(unit))
            .filter(|unit| h264::unit_type(unit) == 6)
            .filter_map(|unit| read_sei(unit.get(1..)?))
            .last(),
        Codec::Hevc => nal::units(data)
            .take_while(|unit| !hevc::is_picture(unit))
            .filter(|unit| hevc::unit_type(unit) == 39)
            .filter_map(|unit| read_sei(unit.get(2..)?))
            .last(),
        Codec::Av1 => av1::metadata(data).filter_map(parse).last(),
        _ => None,
    }
}

fn payload(sent_at_unix_us: u64) -> [u8; PAYLOAD_BYTES as usize] {
    let mut payload = [0; PAYLOAD_BYTES as usize];
    payload[..16].copy_from_slice(&UUID);
    payload[16..].copy_from_slice(&sent_at_unix_us.to_be_bytes());
    payload
}

fn parse(payload: &[u8]) -> Option<u64> {
    let time = payload.strip_prefix(&UUID)?.first_chunk()?;
    Some(u64::from_be_bytes(*time))
}

fn insert_sei(
    data: &Bytes,
    header: &[u8],
    is_picture: fn(&[u8]) -> bool,
    sent_at_unix_us: u64,
) -> Bytes {
    let Some(at) = nal::units(data).position(is_picture) else { return data.clone() };
    let mut sei = header.to_vec();
    sei.extend_from_slice(&[USER_DATA_UNREGISTERED, PAYLOAD_BYTES]);
    sei.extend_from_slice(&payload(sent_at_unix_us));
    sei.push(0x80);
    let sei = nal::escape(&sei);
    let before = nal::units(data).take(at);
    let after = nal::units(data).skip(at);
    nal::join(before.chain([&sei[..]]).chain(after))
}

fn read_sei(unit: &[u8]) -> Option<u64> {
    sei_messages(unit)
        .filter(|(kind, _)| *kind == u32::from(USER_DATA_UNREGISTERED))
        .filter_map(|(_, payload)| parse(&payload))
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(units: &[&[u8]]) -> Bytes {
        nal::join(units.iter().copied())
    }

    #[test]
    fn the_stamp_stands_before_the_first_picture() {
        let frame = sample(&[&[9, 0xf0], &[0x67, 1], &[0x65, 0x88], &[0x65, 0x44]]);
        let stamped = insert(Codec::H264, &frame, 1);
        let types: Vec<u8> = nal::units(&stamped).map(h264::unit_type).collect();
        assert_eq!(types, [9, 7, 6, 5, 5]);
        let frame = sample(&[&[70, 1, 0x50], &[38, 1, 0xaf]]);
        let stamped = insert(Codec::Hevc, &frame, 1);
        let types: Vec<u8> = nal::units(&stamped).map(hevc::unit_type).collect();
        assert_eq!(types, [35, 39, 19]);
    }

    #[test]
    fn frames_without_a_place_stay_as_they_are() {
        let cases = [
            (Codec::H264, sample(&[&[9, 0xf0]])),
            (Codec::H264, Bytes::from_static(&[0, 0, 0, 9, 1])),
            (Codec::H264, Bytes::new()),
            (Codec::Av1, Bytes::from_static(&[0x32, 0x7f, 1])),
            (Codec::Vp9, Bytes::from_static(&[0x82, 0x49, 0x83, 0x42])),
            (Codec::Opus, Bytes::from_static(&[0xfc])),
        ];
        for (codec, frame) in cases {
            assert_eq!(insert(codec, &frame, 7), frame, "{codec:?}");
            assert_eq!(read(codec, &frame), None, "{codec:?}");
        }
    }

    #[test]
    fn messages_of_others_are_not_ours() {
        let mut sei = vec![6, 5, 24];
        sei.extend_from_slice(&[0x11; 24]);
        sei.push(0x80);
        assert_eq!(read(Codec::H264, &sample(&[&sei, &[0x65, 0x88]])), None);
        assert_eq!(read(Codec::H264, &sample(&[&[6, 5, 200, 1, 2], &[0x65]])), None);
        assert_eq!(read(Codec::H264, &sample(&[&[6, 255, 255, 255], &[0x65]])), None);
    }

    proptest! {
        #[test]
        fn what_is_inserted_is_read(
            time in prop_oneof![any::<u64>(), 0_u64..5, Just(0x0000_0300_0000_0001)],
            picture in prop::collection::vec(any::<u8>(), 1..64),
        ) {
            let h264 = sample(&[&[9, 0xf0], &[&[0x65][..], &picture].concat()]);
            let hevc = sample(&[&[&[38, 1][..], &picture].concat()]);
            let mut av1 = vec![0x32, picture.len() as u8];
            av1.extend_from_slice(&picture);
            let frames = [(Codec::H264, h264), (Codec::Hevc, hevc), (Codec::Av1, av1.into())];
            for (codec, frame) in frames {
                let stamped = insert(codec, &frame, time);
                prop_assert_eq!(read(codec, &stamped), Some(time));
                prop_assert_eq!(read(codec, &insert(codec, &stamped, !time)), Some(!time));
            }
        }
    }
}
