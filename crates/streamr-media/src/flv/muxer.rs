//! Media events to tags.

use bytes::{BufMut, Bytes, BytesMut};

use super::packet::{self, Content, Shape};
use super::{Kind, Tag, metadata};
use crate::media::{Codec, Event, Frame, Kind as MediaKind, Metadata, Track, TrackId};

/// Turns media events into FLV tags: the first H.264 and AAC tracks as every player knows them,
/// all else as Enhanced RTMP v2.
#[derive(Debug, Default)]
pub struct Muxer {
    tracks: Vec<Track>,
    metadata: Metadata,
    exact: bool,
    clock_ms: u32,
}

impl Muxer {
    /// A muxer for players of every age: times are cut to milliseconds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A muxer that writes what milliseconds leave over as nanosecond offsets where headers are
    /// enhanced: for receivers that announce ModEx in `capsEx` (Enhanced RTMP v2).
    #[must_use]
    pub fn exact() -> Self {
        Self { exact: true, ..Self::default() }
    }

    /// Appends the tags for one event: `onMetaData` and a sequence header for a track, one tag for
    /// a frame, nothing for the end. A frame that does not fit a tag (16 MiB) is left out.
    pub fn push(&mut self, event: &Event, tags: &mut Vec<Tag>) {
        match event {
            Event::Track(track) => {
                match self.tracks.iter_mut().find(|known| known.id == track.id) {
                    Some(known) => *known = track.clone(),
                    None => self.tracks.push(track.clone()),
                }
                tags.push(self.metadata_tag());
                tags.push(self.sequence_header(track));
            }
            Event::Frame(frame) => tags.extend(self.frame(frame)),
            Event::Metadata(metadata) => {
                self.metadata = metadata.clone();
                tags.push(self.metadata_tag());
            }
            Event::End => {}
        }
    }

    /// What a player that joins now needs before the next key frame: `onMetaData` and the sequence
    /// headers, at the time of the last frame.
    #[must_use]
    pub fn headers(&self) -> Vec<Tag> {
        let headers = self.tracks.iter().map(|track| self.sequence_header(track));
        core::iter::once(self.metadata_tag()).chain(headers).collect()
    }

    fn metadata_tag(&self) -> Tag {
        let body = metadata::write(&self.metadata, self.tracks.iter());
        Tag { kind: Kind::Script, timestamp_ms: self.clock_ms, body }
    }

    fn sequence_header(&self, track: &Track) -> Tag {
        let config = match track.codec {
            Codec::Opus => opus_head(&track.config),
            _ => track.config.clone(),
        };
        let shape =
            Shape { codec: track.codec, track: track.id.index, keyframe: true, offset_ns: 0 };
        let body = packet::write(shape, &Content::Start(config));
        Tag { kind: kind(track.id), timestamp_ms: self.clock_ms, body }
    }

    /// `None` for a frame whose track is not known, or that is longer than a tag can be.
    fn frame(&mut self, frame: &Frame) -> Option<Tag> {
        let track = self.tracks.iter().find(|track| track.id == frame.track)?;
        let dts_ms = frame.dts_us.div_euclid(1_000);
        let left_ns = frame.dts_us.rem_euclid(1_000) as u32 * 1_000;
        let offset_ns = if self.exact { left_ns } else { 0 };
        // Both times are cut the same way, so that presentation times stay evenly spaced.
        let composition_ms = frame.pts_us.div_euclid(1_000) - dts_ms;
        let composition_ms = composition_ms.clamp(-0x80_0000, 0x7f_ffff) as i32;
        let shape = Shape {
            codec: track.codec,
            track: track.id.index,
            keyframe: frame.keyframe,
            offset_ns,
        };
        let content = Content::Frame { data: frame.data.clone(), composition_ms };
        self.clock_ms = dts_ms as u32;
        let body = packet::write(shape, &content);
        if body.len() > super::TAG_BYTES_MAX {
            return None;
        }
        Some(Tag { kind: kind(frame.track), timestamp_ms: self.clock_ms, body })
    }
}

const fn kind(id: TrackId) -> Kind {
    match id.kind {
        MediaKind::Video => Kind::Video,
        MediaKind::Audio => Kind::Audio,
    }
}

/// The identification header (RFC 7845 §5.1, little endian) of a dOps payload (big endian).
fn opus_head(dops: &Bytes) -> Bytes {
    let [_, channels, skip_a, skip_b, a, b, c, d, gain_a, gain_b, rest @ ..] = &dops[..] else {
        return dops.clone();
    };
    let mut head = BytesMut::with_capacity(8 + dops.len());
    head.put_slice(b"OpusHead\x01");
    head.put_slice(&[*channels, *skip_b, *skip_a, *d, *c, *b, *a, *gain_b, *gain_a]);
    head.put_slice(rest);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_frame_that_fits_no_tag_is_left_out() {
        let config = Bytes::from_static(&[0x11, 0x90]);
        let track = codec::describe(Codec::Aac, TrackId::AUDIO, config).unwrap();
        let (mut muxer, mut tags) = (Muxer::new(), Vec::new());
        muxer.push(&Event::Track(track), &mut tags);
        tags.clear();
        for bytes in [super::super::TAG_BYTES_MAX - 2, super::super::TAG_BYTES_MAX - 1] {
            let (dts_us, keyframe, data) = (0, true, Bytes::from(vec![0; bytes]));
            let frame = Frame { track: TrackId::AUDIO, dts_us, pts_us: 0, keyframe, data };
            muxer.push(&Event::Frame(frame), &mut tags);
        }
        assert_eq!(tags.iter().map(|tag| tag.body.len()).collect::<Vec<_>>(), [0xff_ffff]);
    }
}
