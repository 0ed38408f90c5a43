//! Files to publish: MP4 and FLV, as tracks and frames.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use streamr_media::media::{Demux, Event, Frame, Track};
use streamr_media::{flv, mp4};

/// A larger file is not a clip to loop; it is held in memory whole.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads a whole file.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn load(path: &Path) -> Result<(Vec<Track>, Vec<Frame>)> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{name} cannot be read"))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{name} has more than 1 GiB: cut it with `ffmpeg -i {name} -t 600 -c copy cut.mp4`");
    }
    let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("{name} cannot be read"))?);
    let media = if bytes.starts_with(b"FLV") { from_flv(&bytes) } else { from_mp4(bytes) };
    media.with_context(|| {
        format!("{name} is not a usable MP4 or FLV: try `ffmpeg -i {name} -c copy new.mp4`")
    })
}

fn from_flv(bytes: &[u8]) -> Result<(Vec<Track>, Vec<Frame>)> {
    let mut demuxer = flv::Demuxer::new(flv::Config::default());
    let (mut tracks, mut frames) = (Vec::new(), Vec::new());
    // In pieces, because a demuxer's queue of events is bounded.
    for piece in bytes.chunks(64 << 10) {
        demuxer.push(piece)?;
        while let Some(event) = demuxer.poll_event() {
            match event {
                Event::Track(track) => tracks.push(track),
                Event::Frame(frame) => frames.push(frame),
                Event::Metadata(_) | Event::End => {}
            }
        }
    }
    Ok((tracks, frames))
}

fn from_mp4(bytes: Bytes) -> Result<(Vec<Track>, Vec<Frame>)> {
    let file = mp4::File::parse(bytes)?;
    let frames = file.frames().collect::<Result<_, _>>()?;
    Ok((file.tracks().cloned().collect(), frames))
}
