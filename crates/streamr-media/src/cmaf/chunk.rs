//! Media: `moof` and `mdat`.

use bytes::Bytes;
use mp4_atom::{Encode, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};

use super::TRACK;

/// One frame, timed in ticks of its track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decoding time since the start of the broadcast.
    pub dts: u64,
    /// Ticks until the next frame.
    pub duration: u32,
    /// Presentation minus decoding time; may be negative.
    pub composition: i32,
    /// A decoder can start here.
    pub keyframe: bool,
    /// The coded bytes.
    pub data: Bytes,
}

impl Sample {
    /// Whether a frame at `dts` follows without a hole.
    #[must_use]
    pub fn ends_at(&self, dts: u64) -> bool {
        self.dts + u64::from(self.duration) == dts
    }
}

/// Sample flags (ISO/IEC 14496-12 §8.8.3.1): depends on no other sample.
const FLAGS_SYNC: u32 = 0x0200_0000;
/// Sample flags: depends on others and is not a sync sample.
const FLAGS_NON_SYNC: u32 = 0x0101_0000;
/// Bytes of one sample's entry in the `trun` box: duration, size, flags, composition offset.
const ENTRY_BYTES: usize = 16;
/// Bytes of a `moof` box around its sample entries.
const MOOF_BYTES: usize = 88;

/// Writes `samples` as one chunk. Each frame's bytes are copied once. `sequence` numbers the
/// fragments of a track from 1 up.
///
/// # Panics
/// If the frames come to 4 GiB or more: the caller's limits are far below that.
#[must_use]
pub fn chunk(sequence: u32, samples: &[Sample]) -> Bytes {
    let payload: usize = samples.iter().map(|s| s.data.len()).sum();
    let head = MOOF_BYTES + samples.len() * ENTRY_BYTES + 8;
    let mut out = Vec::with_capacity(head + payload);
    moof(sequence, samples).encode(&mut out).expect("a moof of 32-bit fields always encodes");
    patch_data_offset(&mut out, samples.len());
    let mdat = u32::try_from(payload + 8).expect("a part is limited far below 4 GiB");
    out.extend_from_slice(&mdat.to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    Bytes::from(out)
}

fn moof(sequence: u32, samples: &[Sample]) -> Moof {
    let entries: Vec<TrunEntry> = samples.iter().map(entry).collect();
    let traf = Traf {
        tfhd: Tfhd { track_id: TRACK, default_base_is_moof: true, ..Tfhd::default() },
        tfdt: Some(Tfdt { base_media_decode_time: samples.first().map_or(0, |s| s.dts) }),
        trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
        ..Traf::default()
    };
    Moof { mfhd: Mfhd { sequence_number: sequence }, traf: vec![traf] }
}

fn entry(sample: &Sample) -> TrunEntry {
    TrunEntry {
        duration: Some(sample.duration),
        size: Some(u32::try_from(sample.data.len()).unwrap_or(u32::MAX)),
        flags: Some(if sample.keyframe { FLAGS_SYNC } else { FLAGS_NON_SYNC }),
        cts: Some(i64::from(sample.composition)),
    }
}

/// The offset counts from the start of `moof` to the first byte after the `mdat` header, and is
/// known only now. The `trun` box is last, so its offset field lies just before its entries.
fn patch_data_offset(moof: &mut [u8], samples: usize) {
    let offset = u32::try_from(moof.len() + 8).expect("a moof is small");
    let at = moof.len() - samples * ENTRY_BYTES - 4;
    moof[at..at + 4].copy_from_slice(&offset.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use mp4_atom::Decode;

    use super::*;

    fn sample(dts: u64, composition: i32, data: &'static [u8]) -> Sample {
        let data = Bytes::from_static(data);
        Sample { dts, duration: 3_000, composition, keyframe: dts == 0, data }
    }

    #[test]
    fn a_chunk_reads_back_as_it_was_written() {
        let far = u64::from(u32::MAX) * 3;
        for samples in [
            vec![sample(0, 0, b"a")],
            vec![sample(far, 6_000, b"abc"), sample(far + 3_000, -3_000, b""), sample(1, 0, b"d")],
        ] {
            let bytes = chunk(7, &samples);
            let mut rest = &bytes[..];
            let moof = Moof::decode(&mut rest).unwrap();
            let head = bytes.len() - rest.len();
            assert_eq!(moof.mfhd.sequence_number, 7);
            let traf = &moof.traf[0];
            assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, samples[0].dts);
            let trun = &traf.trun[0];
            assert_eq!(trun.data_offset, Some(head as i32 + 8));
            let mut at = head + 8;
            for (sample, read) in samples.iter().zip(trun.samples.iter()) {
                assert_eq!(read, entry(sample));
                assert_eq!(&bytes[at..at + sample.data.len()], &sample.data[..]);
                at += sample.data.len();
            }
            assert_eq!(at, bytes.len());
            assert_eq!(head, MOOF_BYTES + samples.len() * ENTRY_BYTES, "one allocation suffices");
        }
    }
}
