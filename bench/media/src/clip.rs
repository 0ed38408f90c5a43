//! What is published: the project's sample, brought to an exact rate.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use streamr_media::flv::{Muxer, Tag};
use streamr_media::media::{Event, Frame, Kind};
use streamr_media::mp4;

/// Length prefix, NAL header and trailing bits.
const FILLER_LEAST_BYTES: usize = 6;
/// Filler data, ISO/IEC 14496-10, 7.3.2.7.
const FILLER_NAL_TYPE: u8 = 12;

/// Tags of one pass, and how to go round.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    /// `onMetaData` and sequence headers.
    pub(crate) head: Vec<Tag>,
    /// Frames in the order to send them, times from 0.
    pub(crate) tags: Vec<Tag>,
    /// What to add to the times of the next pass.
    pub(crate) duration_ms: u32,
}

impl Clip {
    /// Reads an MP4 and adds filler data to each picture, so that all of it has `mbit_per_s`.
    /// Decoders skip filler; servers carry it like any other slice.
    pub(crate) fn load(path: &Path, mbit_per_s: f64) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file = mp4::File::parse(bytes.into())?;
        let frames = file.frames().collect::<Result<Vec<_>, _>>()?;
        let own: usize = frames.iter().map(|frame| frame.data.len()).sum();
        let wanted = (mbit_per_s * 1e6 / 8.0 * file.duration_us() as f64 / 1e6) as usize;
        let pictures = frames.iter().filter(|frame| frame.track.kind == Kind::Video).count();
        ensure!(wanted >= own && pictures > 0, "the clip itself has more than {mbit_per_s} Mbit/s");
        let filler = filler((wanted - own) / pictures);
        let mut muxer = Muxer::new();
        let (mut head, mut tags) = (Vec::new(), Vec::new());
        for track in file.tracks() {
            muxer.push(&Event::Track(track.clone()), &mut head);
        }
        for frame in frames {
            muxer.push(&Event::Frame(padded(frame, &filler)), &mut tags);
        }
        Ok(Self { head, tags, duration_ms: (file.duration_us() / 1_000) as u32 })
    }

    /// Tags of one pass in a second.
    pub(crate) fn tags_per_s(&self) -> f64 {
        self.tags.len() as f64 * 1e3 / f64::from(self.duration_ms)
    }
}

fn padded(mut frame: Frame, filler: &[u8]) -> Frame {
    if frame.track.kind == Kind::Video {
        frame.data = [&frame.data, filler].concat().into();
    }
    frame
}

/// A length-prefixed NAL unit of about `size` bytes in all.
fn filler(size: usize) -> Bytes {
    if size < FILLER_LEAST_BYTES {
        return Bytes::new();
    }
    let mut nal = BytesMut::with_capacity(size);
    nal.put_u32((size - 4) as u32);
    nal.put_u8(FILLER_NAL_TYPE);
    nal.put_bytes(0xff, size - FILLER_LEAST_BYTES);
    nal.put_u8(0x80);
    nal.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_the_rate_that_was_asked_for() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/clapper.mp4");
        for rate in [0.6, 2.6] {
            let clip = Clip::load(&sample, rate).unwrap();
            let bytes: usize = clip.tags.iter().map(|tag| tag.body.len()).sum();
            let actual = bytes as f64 * 8.0 / 1e3 / f64::from(clip.duration_ms);
            assert!((actual / rate - 1.0).abs() < 0.01, "{actual} for {rate}");
            assert!(clip.tags_per_s() > 70.0);
            assert!(!clip.head.is_empty());
        }
        assert!(Clip::load(&sample, 0.1).is_err());
    }
}
