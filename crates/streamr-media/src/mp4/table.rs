//! Sample tables of progressive files (ISO/IEC 14496-12 clause 8.6 and 8.7).

use bytes::Bytes;
use mp4_atom::{Moov, Stbl, StscEntry, StszSamples};

use super::fragment::{InitTrack, Sample};
use super::{FORMAT, Location};
use crate::Error;

/// Turns a track's ticks into microseconds of the file's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    timescale: u32,
    /// Ticks that edit lists move the track by.
    shift: i64,
    /// Where the track ends by its own header.
    pub(super) stated_end_us: Option<i64>,
}

impl Times {
    /// Follows the edit lists that writers make for the start of a track: empty edits, which delay
    /// it, then one edit, which cuts decoder delay off. Later edits are not followed.
    pub(super) fn new(moov: &Moov, init: &InitTrack) -> Self {
        let trak = &moov.trak[init.at];
        let timescale = init.timescale;
        let edits = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref());
        let mut shift = 0_i128;
        for edit in edits.map_or(&[][..], |elst| &elst.entries) {
            if let Some(start) = edit.media_time {
                shift -= i128::from(start);
                break;
            }
            let delay = i128::from(edit.segment_duration) * i128::from(timescale);
            shift += delay.checked_div(i128::from(moov.mvhd.timescale)).unwrap_or(0);
        }
        // A year of ticks at a million a second; no file is shifted further.
        let shift = shift.clamp(-(1 << 45), 1 << 45) as i64;
        let mut times = Self { timescale, shift, stated_end_us: None };
        let stated = i64::try_from(trak.mdia.mdhd.duration).ok().filter(|ticks| *ticks < 1 << 45);
        times.stated_end_us = stated.filter(|ticks| *ticks > 0).map(|ticks| times.us(ticks));
        times
    }

    fn us(&self, ticks: i64) -> i64 {
        let ticks = i128::from(ticks) + i128::from(self.shift);
        let us = (ticks * 1_000_000).div_euclid(i128::from(self.timescale));
        us.clamp(-(1 << 60), 1 << 60) as i64
    }

    pub(super) fn fragment_sample(&self, file: &Bytes, sample: &Sample) -> Location {
        Location {
            offset: (sample.data.as_ptr() as usize - file.as_ptr() as usize) as u64,
            size: sample.data.len() as u32,
            keyframe: sample.keyframe,
            dts_us: self.us(sample.dts),
            pts_us: self.us(sample.dts.saturating_add(sample.composition_offset)),
        }
    }
}

/// All samples of a track, at most `samples_max`.
pub(super) fn read(stbl: &Stbl, times: Times, samples_max: usize) -> Result<Vec<Location>, Error> {
    let (count, same_size) = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => (*count as usize, Some(*size)),
        StszSamples::Different { sizes } => (sizes.len(), None),
    };
    if count > samples_max {
        return Err(super::limit("samples_max", count, samples_max));
    }
    let mut clock = Clock::new(stbl);
    let mut syncs = stbl.stss.as_ref().map(|stss| stss.entries.iter().copied().peekable());
    let mut samples = Vec::new();
    for (mut offset, in_chunk) in Chunks::new(stbl)? {
        for _ in 0..in_chunk {
            let at = samples.len();
            if at == count {
                return Ok(samples);
            }
            let size = match (&stbl.stsz.samples, same_size) {
                (StszSamples::Different { sizes }, _) => sizes[at],
                (_, size) => size.unwrap_or(0),
            };
            let (dts, composition_offset) = clock.next()?;
            let number = at as u32 + 1;
            let keyframe = syncs.as_mut().is_none_or(|syncs| {
                while syncs.next_if(|&sync| sync < number).is_some() {}
                syncs.peek() == Some(&number)
            });
            let (dts_us, pts_us) =
                (times.us(dts), times.us(dts.saturating_add(composition_offset)));
            samples.push(Location { offset, size, keyframe, dts_us, pts_us });
            offset = offset.saturating_add(u64::from(size));
        }
    }
    if samples.len() < count {
        return Err(Error::malformed(FORMAT, "fewer chunks than samples"));
    }
    Ok(samples)
}

/// Decoding times and composition offsets, sample by sample.
struct Clock<'a> {
    stbl: &'a Stbl,
    /// Entry and samples taken from it, in stts and in ctts.
    delta_at: (usize, u32),
    offset_at: (usize, u32),
    dts: i64,
}

impl<'a> Clock<'a> {
    const fn new(stbl: &'a Stbl) -> Self {
        Self { stbl, delta_at: (0, 0), offset_at: (0, 0), dts: 0 }
    }

    fn next(&mut self) -> Result<(i64, i64), Error> {
        let deltas = &self.stbl.stts.entries;
        let delta = run_value(&mut self.delta_at, |at| {
            deltas.get(at).map(|entry| (entry.sample_count, i64::from(entry.sample_delta)))
        });
        let offset = self.stbl.ctts.as_ref().and_then(|ctts| {
            run_value(&mut self.offset_at, |at| {
                ctts.entries.get(at).map(|entry| (entry.sample_count, entry.sample_offset))
            })
        });
        let dts = self.dts;
        let delta = delta.ok_or_else(|| Error::malformed(FORMAT, "stts has too few samples"))?;
        self.dts += delta;
        Ok((dts, offset.unwrap_or(0)))
    }
}

/// The next value of a run-length table.
fn run_value(
    position: &mut (usize, u32),
    entry: impl Fn(usize) -> Option<(u32, i64)>,
) -> Option<i64> {
    loop {
        let (count, value) = entry(position.0)?;
        if position.1 < count {
            position.1 += 1;
            return Some(value);
        }
        *position = (position.0 + 1, 0);
    }
}

/// Offset of each chunk and number of its samples.
struct Chunks<'a> {
    stbl: &'a Stbl,
    runs: core::iter::Peekable<core::slice::Iter<'a, StscEntry>>,
    samples_per_chunk: u32,
    chunk: usize,
}

impl<'a> Chunks<'a> {
    fn new(stbl: &'a Stbl) -> Result<Self, Error> {
        let runs = &stbl.stsc.entries;
        if runs.iter().any(|run| run.sample_description_index != 1) {
            let feature = "a change of sample description within a track";
            return Err(Error::Unsupported { format: FORMAT, feature });
        }
        Ok(Self { stbl, runs: runs.iter().peekable(), samples_per_chunk: 0, chunk: 0 })
    }

    fn offset(&self) -> Option<u64> {
        match (&self.stbl.stco, &self.stbl.co64) {
            (Some(stco), _) => stco.entries.get(self.chunk).map(|&offset| u64::from(offset)),
            (None, Some(co64)) => co64.entries.get(self.chunk).copied(),
            (None, None) => None,
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset()?;
        self.chunk += 1;
        while let Some(run) = self.runs.next_if(|run| run.first_chunk as usize <= self.chunk) {
            self.samples_per_chunk = run.samples_per_chunk;
        }
        Some((offset, self.samples_per_chunk))
    }
}
