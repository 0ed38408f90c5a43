//! H.264 (ISO/IEC 14496-10, ITU-T H.264): parameter sets, avcC, keyframes.

use bytes::{BufMut, Bytes, BytesMut};

use super::bits::Bits;
use super::{VideoShape, frames_per_kilosecond, nal};
use crate::Error;

const FORMAT: &str = "H.264";

/// Coded slice of a picture that resets the decoder.
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const SPS_EXTENSION: u8 = 13;
const RECOVERY_POINT: u32 = 6;

/// `nal_unit_type` of a unit (clause 7.3.1).
#[must_use]
pub fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// Whether a unit carries coded picture data.
#[must_use]
pub fn is_picture(unit: &[u8]) -> bool {
    (1..=IDR).contains(&unit_type(unit))
}

/// Whether a decoder can start at this access unit (4-byte lengths): it holds an IDR picture, or a
/// recovery point SEI message that promises correct pictures at once (`recovery_frame_cnt` 0, an
/// open group of pictures). A recovery point some frames ahead (periodic intra refresh) does not
/// count, as pictures are wrong until then; see [`super::JoinPoints`] for streams that have nothing
/// else.
#[must_use]
pub fn is_keyframe(sample: &[u8]) -> bool {
    let first = nal::units(sample).find(|unit| is_picture(unit));
    first.is_some_and(|unit| unit_type(unit) == IDR) || recovery(sample) == Some(0)
}

/// Whether pictures will be right some frames after this access unit if a decoder starts at it: it
/// holds a recovery point SEI message (clause D.2.8).
#[must_use]
pub fn is_recovery_point(sample: &[u8]) -> bool {
    recovery(sample).is_some()
}

/// `recovery_frame_cnt` of an access unit.
fn recovery(sample: &[u8]) -> Option<u32> {
    nal::units(sample)
        .take_while(|unit| !is_picture(unit))
        .filter(|unit| unit_type(unit) == SEI)
        .flat_map(|unit| super::sei_messages(unit.get(1..).unwrap_or_default()))
        .filter(|(kind, _)| *kind == RECOVERY_POINT)
        .find_map(|(_, payload)| Bits::new(FORMAT, &payload).ue().ok())
}

/// What a sequence parameter set says (clause 7.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile: u8,
    /// The six `constraint_set` flags and two zero bits.
    pub constraints: u8,
    /// `level_idc`.
    pub level: u8,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u32,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// Size after cropping and rate, if the VUI states one.
    pub shape: VideoShape,
}

impl Sps {
    /// Parses a unit of type 7, with its header byte.
    ///
    /// # Errors
    /// The unit is no sequence parameter set, ends early or states something impossible.
    pub fn parse(unit: &[u8]) -> Result<Self, Error> {
        let payload = super::sequence_set(FORMAT, unit, (unit_type(unit) == SPS, 1))?;
        let bits = &mut Bits::new(FORMAT, &payload);
        let (profile, constraints, level) = (bits.byte()?, bits.byte()?, bits.byte()?);
        let id = bits.ue_max(31, "SPS id above 31")?;
        let (chroma, luma_bits, chroma_bits) = chroma_format(bits, profile)?;
        skip_picture_order(bits)?;
        let (width, height) = picture_size(bits, chroma)?;
        let frames_per_kilosecond = if bits.flag()? { vui_rate(bits)? } else { None };
        let shape = VideoShape { width, height, frames_per_kilosecond };
        Ok(Self { profile, constraints, level, id, chroma, luma_bits, chroma_bits, shape })
    }

    /// The RFC 6381 name, e.g. `avc1.64001f`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.constraints, self.level)
    }
}

/// Whether the profile has the chroma fields, in the SPS and in avcC.
const fn has_chroma_fields(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn chroma_format(bits: &mut Bits<'_>, profile: u8) -> Result<(u8, u8, u8), Error> {
    if !has_chroma_fields(profile) {
        return Ok((1, 8, 8));
    }
    let chroma = bits.ue_max(3, "chroma_format_idc above 3")?;
    if chroma == 3 {
        bits.skip(1)?;
    }
    let luma_bits = 8 + bits.ue_max(6, "luma deeper than 14 bits")?;
    let chroma_bits = 8 + bits.ue_max(6, "chroma deeper than 14 bits")?;
    bits.skip(1)?;
    if bits.flag()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok((chroma as u8, luma_bits as u8, chroma_bits as u8))
}

/// Clause 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Result<(), Error> {
    let (mut last, mut next) = (8_i32, 8_i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.se()?) & 0xff;
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), Error> {
    bits.ue_max(12, "log2_max_frame_num above 16")?;
    match bits.ue_max(2, "pic_order_cnt_type above 2")? {
        0 => {
            bits.ue_max(12, "log2_max_pic_order_cnt_lsb above 16")?;
        }
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue_max(255, "picture order cycle above 255")? {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.skip(1)
}

fn picture_size(bits: &mut Bits<'_>, chroma: u8) -> Result<(u16, u16), Error> {
    let width = 16 * (u64::from(bits.ue()?) + 1);
    let map_units = 16 * (u64::from(bits.ue()?) + 1);
    let fields = u64::from(!bits.flag()?) + 1;
    if fields == 2 {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let mut crop = [0; 4];
    if bits.flag()? {
        for edge in &mut crop {
            *edge = u64::from(bits.ue()?);
        }
    }
    let (unit_x, unit_y) = match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    super::cropped(
        FORMAT,
        (width, map_units * fields),
        ((crop[0] + crop[1]) * unit_x, (crop[2] + crop[3]) * unit_y * fields),
    )
}

/// Annex E.1.1, as far as the timing.
fn vui_rate(bits: &mut Bits<'_>) -> Result<Option<u32>, Error> {
    if bits.flag()? && bits.byte()? == 255 {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let (tick, scale) = (bits.u(32)?, bits.u(32)?);
    Ok(frames_per_kilosecond(u64::from(scale), 2 * u64::from(tick)))
}

/// AVCDecoderConfigurationRecord (ISO/IEC 14496-15 clause 5.3.3): the parameter sets of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each unit's length in the samples that the record came with: 1, 2 or 4.
    pub length_bytes: u8,
    /// Sequence parameter sets, at most 31.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, at most 255.
    pub pps: Vec<Bytes>,
}

impl Config {
    /// Parses an avcC payload. Fields after the picture parameter sets repeat what the SPS says
    /// and are not looked at: some publishers leave them out.
    ///
    /// # Errors
    /// The record is not of version 1, ends early or has no SPS.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let short = || Error::malformed("avcC", "record ends too early");
        let header = record.get(..6).ok_or_else(short)?;
        if header[0] != 1 {
            return Err(Error::malformed("avcC", "configurationVersion is not 1"));
        }
        let length_bytes = (header[4] & 3) + 1;
        let mut rest = record.slice(6..);
        let sps = super::take_units(&mut rest, header[5] & 0x1f).ok_or_else(short)?;
        if sps.is_empty() {
            return Err(Error::malformed("avcC", "no sequence parameter set"));
        }
        let pps_count = *rest.first().ok_or_else(short)?;
        rest = rest.slice(1..);
        let pps = super::take_units(&mut rest, pps_count).ok_or_else(short)?;
        Ok(Self { length_bytes, sps, pps })
    }

    /// Takes the parameter sets out of an access unit with 4-byte lengths; `None` if it has no SPS.
    #[must_use]
    pub fn from_sample(sample: &[u8]) -> Option<Self> {
        let mut config = Self { length_bytes: 4, ..Self::default() };
        for unit in nal::units(sample) {
            let sets = match unit_type(unit) {
                SPS if config.sps.len() < 31 => &mut config.sps,
                PPS if config.pps.len() < 255 => &mut config.pps,
                _ => continue,
            };
            if unit.len() <= super::PARAMETER_SET_BYTES_MAX && !sets.iter().any(|set| set == unit) {
                sets.push(Bytes::copy_from_slice(unit));
            }
        }
        (!config.sps.is_empty()).then_some(config)
    }

    /// The config after an access unit that brings its own parameter sets; `None` if `self` has
    /// them all. Sets that the sample leaves out stay.
    #[must_use]
    pub fn refreshed(&self, sample: &[u8]) -> Option<Self> {
        let mut found = Self::from_sample(sample)?;
        let known = |(ours, theirs): (&Vec<Bytes>, &Vec<Bytes>)| {
            theirs.iter().all(|unit| ours.contains(unit))
        };
        if [(&self.sps, &found.sps), (&self.pps, &found.pps)].into_iter().all(known) {
            return None;
        }
        if found.pps.is_empty() {
            found.pps.clone_from(&self.pps);
        }
        Some(found)
    }

    /// Writes an avcC payload for samples with 4-byte lengths.
    ///
    /// # Errors
    /// The first SPS cannot be parsed.
    pub fn build(&self) -> Result<Bytes, Error> {
        let sps = self.first_sps()?;
        let mut record = BytesMut::new();
        record.put_slice(&[1, sps.profile, sps.constraints, sps.level, 0xff]);
        record.put_u8(0xe0 | self.sps.len().min(31) as u8);
        super::put_units(&mut record, self.sps.iter().take(31));
        record.put_u8(self.pps.len().min(255) as u8);
        super::put_units(&mut record, self.pps.iter().take(255));
        if has_chroma_fields(sps.profile) {
            let depths = [sps.luma_bits, sps.chroma_bits].map(|bits| 0xf8 | (bits - 8));
            record.put_slice(&[0xfc | sps.chroma, depths[0], depths[1], 0]);
        }
        Ok(record.freeze())
    }

    /// The first sequence parameter set, parsed.
    ///
    /// # Errors
    /// There is none, or it is malformed.
    pub fn first_sps(&self) -> Result<Sps, Error> {
        Sps::parse(self.sps.first().map_or(&[], |sps| sps))
    }
}

/// Whether a unit repeats what avcC already says: the parameter sets.
#[must_use]
pub fn is_parameter_set(unit: &[u8]) -> bool {
    matches!(unit_type(unit), SPS | PPS | SPS_EXTENSION)
}
