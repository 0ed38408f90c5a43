//! Fragmented MP4, as HLS carries it: an initialisation segment and media segments
//! (ISO/IEC 14496-12 clause 8.8).

use bytes::Bytes;
use mp4_atom::{Atom, Decode, Encode, Moof, Moov, Traf, TrunEntry};

use super::{FORMAT, Limits, boxes};
use crate::Error;
use crate::codec::{self, nal};
use crate::media::{Codec, Format, Kind, Track, TrackId};

/// `sample_is_non_sync_sample` (clause 8.8.3.1).
const NON_SYNC: u32 = 0x1_0000;

/// What an initialisation segment (or the head of any MP4 file) says.
#[derive(Clone, Debug)]
pub struct Init {
    pub(super) tracks: Vec<InitTrack>,
}

/// One track of an initialisation segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitTrack {
    /// What its frames are.
    pub track: Track,
    /// Ticks a second of its sample times.
    pub timescale: u32,
    /// `track_ID` in the file.
    pub(super) number: u32,
    /// Bytes of each NAL unit's length, for codecs that have them.
    pub(super) length_bytes: Option<u8>,
    /// Position in `moov`.
    pub(super) at: usize,
    /// Duration, size and flags of samples that do not state their own (`trex`).
    defaults: (u32, u32, u32),
}

/// One sample of a media segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The track it belongs to.
    pub track: TrackId,
    /// Decoding time in ticks of the track's timescale.
    pub dts: i64,
    /// Presentation time less decoding time, in ticks.
    pub composition_offset: i64,
    /// Ticks.
    pub duration: u32,
    /// `sample_flags` as they stand in the file.
    pub flags: u32,
    /// A decoder can start here: the flags do not deny it.
    pub keyframe: bool,
    /// The coded bytes, a slice of the segment.
    pub data: Bytes,
}

impl Init {
    /// Parses the `moov` box among the top-level boxes of `bytes`. Tracks of codecs that the
    /// project does not carry are left out.
    ///
    /// # Errors
    /// There is no `moov`, it is malformed, or none of its tracks is supported.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_moov(&find_moov(bytes)?)
    }

    pub(super) fn from_moov(moov: &Moov) -> Result<Self, Error> {
        let mut tracks: Vec<InitTrack> = Vec::new();
        for at in 0..moov.trak.len() {
            let Some((codec, config, size)) = sample_entry(&moov.trak[at])? else { continue };
            let same_kind = tracks.iter().filter(|known| known.track.id.kind == codec.kind());
            let Ok(index) = u8::try_from(same_kind.count()) else { continue };
            let id = TrackId { kind: codec.kind(), index };
            tracks.push(InitTrack::new(moov, at, (codec, id, config), size)?);
        }
        if tracks.is_empty() {
            return Err(Error::Unsupported { format: FORMAT, feature: "every track's codec" });
        }
        Ok(Self { tracks })
    }

    /// The tracks, first video and first audio as players show them.
    #[must_use]
    pub fn tracks(&self) -> &[InitTrack] {
        &self.tracks
    }

    /// [`Init::samples_within`] the default limits.
    ///
    /// # Errors
    /// As there.
    pub fn samples(&self, segment: &Bytes) -> Result<Vec<Sample>, Error> {
        self.samples_within(segment, Limits::default())
    }

    /// The samples of a media segment or a part of one, in the order of its fragments.
    ///
    /// # Errors
    /// A `moof` box is malformed, names bytes outside of the segment, or there are more samples
    /// than `segment_samples_max`.
    pub fn samples_within(&self, segment: &Bytes, limits: Limits) -> Result<Vec<Sample>, Error> {
        self.read_samples(segment, ("segment_samples_max", limits.segment_samples_max))
    }

    /// `max` is a limit's name and value.
    pub(super) fn read_samples(
        &self,
        segment: &Bytes,
        max: (&'static str, usize),
    ) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        for found in boxes(segment) {
            let found = found?;
            if found.kind != *b"moof" {
                continue;
            }
            let moof: Moof = decode(found.bytes)?;
            let mut next_offset = found.offset as u64;
            for traf in &moof.traf {
                let Some(track) = self.tracks.iter().find(|t| t.number == traf.tfhd.track_id)
                else {
                    continue;
                };
                let run = Run { track, traf, segment, moof_offset: found.offset as u64, max };
                run.read(&mut next_offset, &mut samples)?;
            }
        }
        Ok(samples)
    }
}

impl InitTrack {
    fn new(
        moov: &Moov,
        at: usize,
        (codec, id, config): (Codec, TrackId, Bytes),
        size: Option<(u16, u16)>,
    ) -> Result<Self, Error> {
        let trak = &moov.trak[at];
        let timescale = trak.mdia.mdhd.timescale;
        if timescale == 0 {
            return Err(Error::malformed(FORMAT, "timescale is 0"));
        }
        let number = trak.tkhd.track_id;
        let length_bytes = codec::length_bytes(codec, &config)?;
        let mut track = codec::describe(codec, id, config)?;
        if let (Codec::Vp9, Some((width, height))) = (codec, size) {
            track.format = Format::Video { width, height, frames_per_kilosecond: None };
        }
        let mut extends = moov.mvex.iter().flat_map(|mvex| &mvex.trex);
        let trex = extends.find(|trex| trex.track_id == number);
        let defaults = trex.map_or((0, 0, 0), |trex| {
            (trex.default_sample_duration, trex.default_sample_size, trex.default_sample_flags)
        });
        Ok(Self { track, timescale, number, length_bytes, at, defaults })
    }

    /// A sample's bytes as [`crate::media::Frame`] has them.
    ///
    /// # Errors
    /// A NAL unit is longer than the sample.
    pub fn frame_data(&self, sample: Bytes) -> Result<Bytes, Error> {
        match (self.track.codec, self.length_bytes) {
            (_, Some(length_bytes)) => nal::normalise(sample, length_bytes),
            (Codec::Av1, _) => Ok(codec::av1::normalise(sample)),
            _ => Ok(sample),
        }
    }
}

/// One track fragment while it is read.
struct Run<'a> {
    track: &'a InitTrack,
    traf: &'a Traf,
    segment: &'a Bytes,
    moof_offset: u64,
    max: (&'static str, usize),
}

impl Run<'_> {
    fn read(&self, next_offset: &mut u64, samples: &mut Vec<Sample>) -> Result<(), Error> {
        let base = self.traf.tfhd.base_data_offset.unwrap_or(self.moof_offset);
        let start = self.traf.tfdt.as_ref().map_or(0, |tfdt| tfdt.base_media_decode_time);
        let mut dts = i64::try_from(start).map_err(|_| overflow())?;
        for trun in &self.traf.trun {
            if let Some(offset) = trun.data_offset {
                *next_offset = base.checked_add_signed(i64::from(offset)).ok_or_else(overflow)?;
            }
            for entry in trun.samples.iter() {
                let sample = self.sample(&entry, dts, *next_offset)?;
                *next_offset += sample.data.len() as u64;
                dts = dts.checked_add(i64::from(sample.duration)).ok_or_else(overflow)?;
                samples.push(sample);
                if samples.len() > self.max.1 {
                    return Err(super::limit(self.max.0, samples.len(), self.max.1));
                }
            }
        }
        Ok(())
    }

    fn sample(&self, entry: &TrunEntry, dts: i64, offset: u64) -> Result<Sample, Error> {
        let (tfhd, defaults) = (&self.traf.tfhd, self.track.defaults);
        let duration = entry.duration.or(tfhd.default_sample_duration).unwrap_or(defaults.0);
        let size = entry.size.or(tfhd.default_sample_size).unwrap_or(defaults.1);
        let flags = entry.flags.or(tfhd.default_sample_flags).unwrap_or(defaults.2);
        if size == 0 {
            // A run of empty samples could claim four thousand million of them in no bytes.
            return Err(Error::malformed(FORMAT, "empty sample"));
        }
        let data = super::slice(self.segment, offset, size)?;
        let audio = self.track.track.id.kind == Kind::Audio;
        Ok(Sample {
            track: self.track.track.id,
            dts,
            composition_offset: entry.cts.unwrap_or(0),
            duration,
            flags,
            keyframe: audio || flags & NON_SYNC == 0,
            data,
        })
    }
}

const fn overflow() -> Error {
    Error::malformed(FORMAT, "time or offset out of range")
}

pub(super) fn find_moov(bytes: &[u8]) -> Result<Moov, Error> {
    for found in boxes(bytes) {
        let found = found?;
        if found.kind == *b"moov" {
            return decode(found.bytes);
        }
    }
    Err(Error::malformed(FORMAT, "no moov box"))
}

fn decode<T: Atom>(mut bytes: &[u8]) -> Result<T, Error> {
    check_sample_groups(bytes)?;
    T::decode(&mut bytes).map_err(|_| Error::malformed(FORMAT, "moov or moof cannot be read"))
}

/// Refuses sample group descriptions that claim more entries than bytes, wherever a box could
/// stand: mp4-atom makes as many entries as are claimed, and an entry may have no bytes.
fn check_sample_groups(bytes: &[u8]) -> Result<(), Error> {
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let named = bytes.windows(4).enumerate().filter(|(_, name)| *name == b"sgpd");
    for (at, _) in named {
        let count_at = match bytes.get(at + 4) {
            Some(0) => at + 12,
            Some(1) => at + 16,
            _ => at + 20,
        };
        let box_bytes = at.checked_sub(4).and_then(number);
        if number(count_at) > box_bytes {
            return Err(Error::malformed(FORMAT, "sgpd has more entries than bytes"));
        }
    }
    Ok(())
}

/// Codec, configuration record and stated size of a track's first sample entry; `None` if the
/// codec is not carried.
type Entry = (Codec, Bytes, Option<(u16, u16)>);

fn sample_entry(trak: &mp4_atom::Trak) -> Result<Option<Entry>, Error> {
    use mp4_atom::Codec as Atoms;
    let entries = &trak.mdia.minf.stbl.stsd.codecs;
    let (codec, config) = match entries.first() {
        Some(Atoms::Avc1(entry)) => (Codec::H264, record(&entry.avcc)?),
        Some(Atoms::Avc3(entry)) => (Codec::H264, record(&entry.avcc)?),
        Some(Atoms::Hvc1(entry)) => (Codec::Hevc, record(&entry.hvcc)?),
        Some(Atoms::Hev1(entry)) => (Codec::Hevc, record(&entry.hvcc)?),
        Some(Atoms::Av01(entry)) => (Codec::Av1, record(&entry.av1c)?),
        Some(Atoms::Vp09(entry)) => {
            let size = (entry.visual.width, entry.visual.height);
            return Ok(Some((Codec::Vp9, record(&entry.vpcc)?, Some(size))));
        }
        Some(Atoms::Opus(entry)) => (Codec::Opus, record(&entry.dops)?),
        Some(Atoms::Mp4a(entry)) => {
            let specific = entry.esds.es_desc.dec_config.dec_specific.as_ref();
            let config = specific.map(|specific| Bytes::copy_from_slice(&specific.raw));
            let missing = || Error::malformed(FORMAT, "no AudioSpecificConfig");
            (Codec::Aac, config.ok_or_else(missing)?)
        }
        _ => return Ok(None),
    };
    Ok(Some((codec, config, None)))
}

/// The payload of a configuration box.
fn record(atom: &impl Encode) -> Result<Bytes, Error> {
    const HEADER_BYTES: usize = 8;
    let mut bytes = Vec::new();
    let written = atom.encode(&mut bytes);
    written.map_err(|_| Error::malformed(FORMAT, "configuration cannot be written back"))?;
    Ok(Bytes::from(bytes).slice(HEADER_BYTES..))
}
