//! MP4 and MOV files (ISO/IEC 14496-12): what `streamr publish` sends and viewers receive.
//!
//! [`File`] reads whole files, progressive or fragmented, without copying their frames;
//! [`fragment`] reads segments one by one.

pub mod fragment;
mod table;

use bytes::Bytes;

use crate::Error;
use crate::media::{Frame, Kind, Track};
use fragment::{Init, InitTrack};

const FORMAT: &str = "MP4";

/// What a file or segment may make us build. Tables and runs can name the same bytes over and over,
/// so the length of the input bounds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples of a file, all tracks together: two million are five hours of video at 60 frames a
    /// second with sound, and cost 80 MB of tables.
    pub samples_max: usize,
    /// Samples of one media segment: a minute at 60 frames a second with sound has 6,500.
    pub segment_samples_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples_max: 2_000_000, segment_samples_max: 65_536 }
    }
}

/// A media file held in memory.
#[derive(Clone, Debug)]
pub struct File {
    bytes: Bytes,
    tracks: Vec<FileTrack>,
    duration_us: i64,
}

#[derive(Clone, Debug)]
struct FileTrack {
    init: InitTrack,
    samples: Vec<Location>,
}

/// Where a sample lies and when it is due, on the file's clock.
#[derive(Clone, Copy, Debug)]
struct Location {
    offset: u64,
    size: u32,
    keyframe: bool,
    dts_us: i64,
    pts_us: i64,
}

impl File {
    /// [`File::parse_within`] the default limits.
    ///
    /// # Errors
    /// As there.
    pub fn parse(bytes: Bytes) -> Result<Self, Error> {
        Self::parse_within(bytes, Limits::default())
    }

    /// Reads the tables of a file. The earliest decoding time becomes 0; edit lists that shift the
    /// start of a track (B-frames, encoder delay of AAC and Opus) are followed.
    ///
    /// # Errors
    /// The file is malformed, names bytes outside of it, has more samples than `limits` allow, or
    /// no track that is supported.
    pub fn parse_within(bytes: Bytes, limits: Limits) -> Result<Self, Error> {
        let moov = fragment::find_moov(&bytes)?;
        let init = Init::from_moov(&moov)?;
        let mut left = limits.samples_max;
        let fragments = if moov.mvex.is_some() {
            init.read_samples(&bytes, ("samples_max", left))?
        } else {
            Vec::new()
        };
        left -= fragments.len();
        let mut file = Self { tracks: Vec::new(), duration_us: 0, bytes };
        for init in init.tracks {
            let times = table::Times::new(&moov, &init);
            let mut samples = table::read(&moov.trak[init.at].mdia.minf.stbl, times, left)?;
            left -= samples.len();
            let own = fragments.iter().filter(|sample| sample.track == init.track.id);
            samples.extend(own.map(|sample| times.fragment_sample(&file.bytes, sample)));
            file.end_at(&samples, times);
            file.tracks.push(FileTrack { init, samples });
        }
        file.check_and_start_at_zero()?;
        Ok(file)
    }

    fn end_at(&mut self, samples: &[Location], times: table::Times) {
        let end_us = match samples {
            [.., before, last] => 2 * last.dts_us - before.dts_us,
            [only] => only.dts_us,
            [] => return,
        };
        let end_us = times.stated_end_us.map_or(end_us, |stated_us| stated_us.max(end_us));
        self.duration_us = self.duration_us.max(end_us);
    }

    fn check_and_start_at_zero(&mut self) -> Result<(), Error> {
        let starts = self.tracks.iter().filter_map(|track| track.samples.first());
        let first_us = starts.map(|sample| sample.dts_us).min();
        let first_us = first_us.ok_or_else(|| Error::malformed(FORMAT, "no samples"))?;
        for sample in self.tracks.iter_mut().flat_map(|track| &mut track.samples) {
            slice(&self.bytes, sample.offset, sample.size)?;
            sample.dts_us -= first_us;
            sample.pts_us -= first_us;
        }
        self.duration_us -= first_us;
        Ok(())
    }

    /// The tracks that are supported.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().map(|track| &track.init.track)
    }

    /// Microseconds from the first frame to the end of the last: what to add to all times when the
    /// file starts over.
    #[must_use]
    pub const fn duration_us(&self) -> i64 {
        self.duration_us
    }

    /// All frames of all tracks in decoding order; their bytes are slices of the file. A frame
    /// whose NAL units are broken is an error; the ones after it follow.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames { file: self, next: vec![0; self.tracks.len()] }
    }
}

/// Iterator of [`File::frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    file: &'a File,
    /// For each track, the sample that comes next.
    next: Vec<usize>,
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let heads = self.file.tracks.iter().zip(&mut self.next);
        let heads = heads.filter_map(|(track, at)| Some((track.samples.get(*at)?, track, at)));
        let (sample, track, at) = heads.min_by_key(|(sample, ..)| sample.dts_us)?;
        *at += 1;
        let data = slice(&self.file.bytes, sample.offset, sample.size)
            .and_then(|data| track.init.frame_data(data));
        let Location { keyframe, dts_us, pts_us, .. } = *sample;
        let id = track.init.track.id;
        let keyframe = keyframe || id.kind == Kind::Audio;
        Some(data.map(|data| Frame { track: id, dts_us, pts_us, keyframe, data }))
    }
}

/// A top-level box.
struct TopBox<'a> {
    kind: [u8; 4],
    offset: usize,
    /// Header and payload.
    bytes: &'a [u8],
}

/// The top-level boxes; ends after the first error. A last box that is cut off is an error.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = Result<TopBox<'_>, Error>> {
    let mut offset = 0;
    core::iter::from_fn(move || {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let found = top_box(rest, offset);
        offset = found.as_ref().map_or(bytes.len(), |found| offset + found.bytes.len());
        Some(found.ok_or_else(|| Error::malformed(FORMAT, "box is longer than the file")))
    })
}

fn top_box(rest: &[u8], offset: usize) -> Option<TopBox<'_>> {
    let &[s0, s1, s2, s3, k0, k1, k2, k3] = rest.first_chunk()?;
    let (size, header) = match u32::from_be_bytes([s0, s1, s2, s3]) {
        0 => (rest.len(), 8),
        1 => {
            let size = u64::from_be_bytes(*rest.get(8..)?.first_chunk()?);
            (usize::try_from(size).ok()?, 16)
        }
        size => (size as usize, 8),
    };
    let bytes = rest.get(..size).filter(|bytes| bytes.len() >= header)?;
    Some(TopBox { kind: [k0, k1, k2, k3], offset, bytes })
}

const fn limit(limit: &'static str, value: usize, max: usize) -> Error {
    Error::Limit { limit, value: value as u64, max: max as u64 }
}

fn slice(bytes: &Bytes, offset: u64, size: u32) -> Result<Bytes, Error> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(size as usize));
    let range = start.zip(end).filter(|&(_, end)| end <= bytes.len());
    let (start, end) =
        range.ok_or_else(|| Error::malformed(FORMAT, "sample lies outside of the file"))?;
    Ok(bytes.slice(start..end))
}
