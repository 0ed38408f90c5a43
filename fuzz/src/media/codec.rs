//! Each target reads the same bytes as a configuration record and as an access unit.

use bytes::Bytes;
use streamr_media::codec::{self, aac, av1, hevc, opus, stamp, vp9};
use streamr_media::media::{Codec, TrackId};

/// avcC and access units with 4-byte lengths.
pub fn h264(data: &[u8]) {
    describe_and_refresh(Codec::H264, data);
}

/// hvcC and access units with 4-byte lengths.
pub fn hevc(data: &[u8]) {
    describe_and_refresh(Codec::Hevc, data);
    let _ = hevc::Sps::parse(data);
}

/// av1C and temporal units; what is normal stays as it is.
pub fn av1(data: &[u8]) {
    describe_and_refresh(Codec::Av1, data);
    let normal = av1::normalise(Bytes::copy_from_slice(data));
    assert!(normal.len() <= data.len());
    assert_eq!(av1::normalise(normal.clone()), normal);
}

/// vpcC and frames.
pub fn vp9(data: &[u8]) {
    describe_and_refresh(Codec::Vp9, data);
    let _ = vp9::frames(data);
}

/// AudioSpecificConfig and ADTS; a config that ADTS gives can be described.
pub fn aac(data: &[u8]) {
    describe_and_refresh(Codec::Aac, data);
    if let Ok(Some(header)) = aac::Adts::parse(data) {
        assert!(header.frame_bytes >= header.header_bytes);
        let _ = codec::describe(Codec::Aac, TrackId::AUDIO, header.config());
    }
}

/// dOps, OpusHead and packets.
pub fn opus(data: &[u8]) {
    describe_and_refresh(Codec::Opus, data);
    let _ = opus::packet_samples(data);
}

fn describe_and_refresh(codec: Codec, data: &[u8]) {
    let id = TrackId { kind: codec.kind(), index: 0 };
    let record = Bytes::copy_from_slice(data);
    if let Ok(track) = codec::describe(codec, id, record.clone()) {
        let again = codec::describe(codec, id, track.config.clone());
        assert_eq!(again.as_ref(), Ok(&track), "a canonical record describes the same track");
        if let Ok(Some(next)) = codec::refresh(&track, data) {
            assert_eq!(codec::refresh(&next, data), Ok(None), "a track is renewed once");
        }
    }
    let _ = codec::length_bytes(codec, &record);
    let _ = codec::is_keyframe(codec, data);
    if let Ok(Some(config)) = codec::config_in_band(codec, data) {
        codec::describe(codec, id, config).expect("a record that we built can be described");
    }
}

/// First byte: which codec; the next eight: the time; the rest: an access unit. A stamp that was
/// inserted is read, and costs a bounded number of bytes.
pub fn stamp(data: &[u8]) {
    const CODECS: [Codec; 4] = [Codec::H264, Codec::Hevc, Codec::Av1, Codec::Opus];
    const STAMP_BYTES_MAX: usize = 64;
    let Some((&which, rest)) = data.split_first() else { return };
    let Some((time, unit)) = rest.split_first_chunk() else { return };
    let codec = CODECS[usize::from(which) % CODECS.len()];
    let (time, unit) = (u64::from_be_bytes(*time), Bytes::copy_from_slice(unit));
    let stamped = stamp::insert(codec, &unit, time);
    assert!(stamped.len() <= unit.len() + STAMP_BYTES_MAX);
    if stamped != unit {
        assert_eq!(stamp::read(codec, &stamped), Some(time));
    }
}
