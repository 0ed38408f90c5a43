//! HEVC (ISO/IEC 23008-2, ITU-T H.265): parameter sets, hvcC, random access.

use bytes::{BufMut, Bytes, BytesMut};

use super::bits::Bits;
use super::{VideoShape, frames_per_kilosecond, nal};
use crate::Error;

const FORMAT: &str = "HEVC";
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// Profile, tier and level of a whole stream: clause 7.3.3 up to `general_level_idc`.
const PROFILE_BYTES: usize = 12;

/// `nal_unit_type` of a unit (clause 7.3.1.2).
#[must_use]
pub fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte >> 1 & 0x3f)
}

/// Whether a unit carries coded picture data.
#[must_use]
pub fn is_picture(unit: &[u8]) -> bool {
    unit.len() > 2 && unit_type(unit) < VPS
}

/// Whether a unit repeats what hvcC already says: the parameter sets.
#[must_use]
pub fn is_parameter_set(unit: &[u8]) -> bool {
    (VPS..=PPS).contains(&unit_type(unit))
}

/// Whether a decoder can start at this access unit (4-byte lengths): its first picture is an IRAP
/// picture (IDR, BLA or CRA). After a CRA, leading pictures that cannot be decoded are left out by
/// decoders themselves (clause 8.1.3).
#[must_use]
pub fn is_keyframe(sample: &[u8]) -> bool {
    let first = nal::units(sample).find(|unit| is_picture(unit));
    first.is_some_and(|unit| (16..=23).contains(&unit_type(unit)))
}

/// What a sequence parameter set says (clause 7.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Profile space, tier, profile, compatibility flags, constraint flags and level, as they
    /// stand in the stream and in hvcC.
    pub profile: [u8; PROFILE_BYTES],
    /// Temporal sub-layers, 1 to 7.
    pub sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub nested: bool,
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
    /// Parses a unit of type 33, with its header bytes.
    ///
    /// # Errors
    /// The unit is no sequence parameter set, ends early or states something impossible.
    pub fn parse(unit: &[u8]) -> Result<Self, Error> {
        let payload = super::sequence_set(FORMAT, unit, (unit_type(unit) == SPS, 2))?;
        let bits = &mut Bits::new(FORMAT, &payload);
        bits.skip(4)?;
        let sub_layers = bits.u(3)? as u8 + 1;
        if sub_layers > 7 {
            return Err(Error::malformed(FORMAT, "more than 7 sub-layers"));
        }
        let nested = bits.flag()?;
        let profile = profile(bits, sub_layers)?;
        bits.ue_max(15, "SPS id above 15")?;
        let chroma = bits.ue_max(3, "chroma_format_idc above 3")? as u8;
        let separate = chroma == 3 && bits.flag()?;
        let (width, height) = picture_size(bits, if separate { 0 } else { chroma })?;
        let luma_bits = 8 + bits.ue_max(8, "luma deeper than 16 bits")? as u8;
        let chroma_bits = 8 + bits.ue_max(8, "chroma deeper than 16 bits")? as u8;
        let frames_per_kilosecond = rate(bits, sub_layers)?;
        let shape = VideoShape { width, height, frames_per_kilosecond };
        Ok(Self { profile, sub_layers, nested, chroma, luma_bits, chroma_bits, shape })
    }

    /// The RFC 6381 name after ISO/IEC 14496-15 Annex E, e.g. `hvc1.1.6.L93.90`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        let [general, c0, c1, c2, c3, constraints @ .., level] = self.profile;
        let space = ["", "A", "B", "C"][usize::from(general >> 6)];
        let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
        let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
        let idc = general & 0x1f;
        let mut name = format!("hvc1.{space}{idc}.{compatibility:X}.{tier}{level}");
        let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        for byte in &constraints[..used] {
            name.push_str(&format!(".{byte:X}"));
        }
        name
    }
}

/// profile_tier_level( 1, sub_layers − 1 ) (clause 7.3.3).
fn profile(bits: &mut Bits<'_>, sub_layers: u8) -> Result<[u8; PROFILE_BYTES], Error> {
    let mut profile = [0; PROFILE_BYTES];
    for byte in &mut profile {
        *byte = bits.byte()?;
    }
    let mut sub_layer_bits = 0;
    for _ in 1..sub_layers {
        sub_layer_bits += if bits.flag()? { 88 } else { 0 };
        sub_layer_bits += if bits.flag()? { 8 } else { 0 };
    }
    if sub_layers > 1 {
        bits.skip(2 * (9 - usize::from(sub_layers)))?;
    }
    bits.skip(sub_layer_bits)?;
    Ok(profile)
}

fn picture_size(bits: &mut Bits<'_>, chroma: u8) -> Result<(u16, u16), Error> {
    let size = (u64::from(bits.ue()?), u64::from(bits.ue()?));
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
    super::cropped(FORMAT, size, ((crop[0] + crop[1]) * unit_x, (crop[2] + crop[3]) * unit_y))
}

/// Everything between the bit depths and the timing in the VUI.
fn rate(bits: &mut Bits<'_>, sub_layers: u8) -> Result<Option<u32>, Error> {
    let order_bits = 4 + bits.ue_max(12, "picture order counts wider than 16 bits")?;
    let layers = if bits.flag()? { sub_layers } else { 1 };
    for _ in 0..u32::from(layers) * 3 + 6 {
        bits.ue()?;
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    skip_reference_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue_max(32, "more than 32 long-term pictures")? {
            bits.skip(order_bits as usize + 1)?;
        }
    }
    bits.skip(2)?;
    if bits.flag()? { vui_rate(bits) } else { Ok(None) }
}

/// Clause 7.3.4.
fn skip_scaling_lists(bits: &mut Bits<'_>) -> Result<(), Error> {
    for size in 0..4_u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size)) + u32::from(size > 1);
            for _ in 0..coefficients {
                bits.se()?;
            }
        }
    }
    Ok(())
}

/// All of st_ref_pic_set() (clause 7.3.7).
fn skip_reference_sets(bits: &mut Bits<'_>) -> Result<(), Error> {
    let mut pictures = 0_u32;
    for set in 0..bits.ue_max(64, "more than 64 reference picture sets")? {
        if set > 0 && bits.flag()? {
            bits.skip(1)?;
            bits.ue()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                kept += u32::from(bits.flag()? || bits.flag()?);
            }
            pictures = kept;
        } else {
            let reason = "more than 16 reference pictures";
            pictures = bits.ue_max(16, reason)? + bits.ue_max(16, reason)?;
            for _ in 0..pictures {
                bits.ue()?;
                bits.skip(1)?;
            }
        }
    }
    Ok(())
}

/// Clause E.2.1, as far as the timing.
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
    bits.skip(3)?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.ue()?;
        }
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let (tick, scale) = (bits.u(32)?, bits.u(32)?);
    Ok(frames_per_kilosecond(u64::from(scale), u64::from(tick)))
}

/// HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 clause 8.3.3): the parameter sets of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each unit's length in the samples that the record came with: 1, 2 or 4.
    pub length_bytes: u8,
    /// Video parameter sets.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

/// Parameter sets of one kind that are kept; the standard allows 64 PPS at most.
const SETS_MAX: usize = 64;

impl Config {
    /// Parses an hvcC payload. Arrays of other units (SEI) are not kept.
    ///
    /// # Errors
    /// The record is not of version 1, ends early or has no SPS.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let short = || Error::malformed("hvcC", "record ends too early");
        let header = record.first_chunk::<23>().ok_or_else(short)?;
        // Encoders of before the standard was final wrote version 0.
        if header[0] > 1 {
            return Err(Error::malformed("hvcC", "configurationVersion is not 1"));
        }
        let mut config = Self { length_bytes: (header[21] & 3) + 1, ..Self::default() };
        let mut rest = record.slice(23..);
        for _ in 0..header[22] {
            let &[kind, c0, c1] = rest.first_chunk().ok_or_else(short)?;
            rest = rest.slice(3..);
            let units = super::take_units(&mut rest, u16::from_be_bytes([c0, c1]));
            for unit in units.ok_or_else(short)? {
                config.keep(kind & 0x3f, &unit);
            }
        }
        if config.sps.is_empty() {
            return Err(Error::malformed("hvcC", "no sequence parameter set"));
        }
        Ok(config)
    }

    fn keep(&mut self, kind: u8, unit: &Bytes) {
        let sets = match kind {
            VPS => &mut self.vps,
            SPS => &mut self.sps,
            PPS => &mut self.pps,
            _ => return,
        };
        let fits = sets.len() < SETS_MAX && unit.len() <= super::PARAMETER_SET_BYTES_MAX;
        if fits && !sets.contains(unit) {
            sets.push(unit.clone());
        }
    }

    /// Takes the parameter sets out of an access unit with 4-byte lengths; `None` if it has no SPS.
    #[must_use]
    pub fn from_sample(sample: &[u8]) -> Option<Self> {
        let mut config = Self { length_bytes: 4, ..Self::default() };
        for unit in nal::units(sample).filter(|unit| is_parameter_set(unit)) {
            config.keep(unit_type(unit), &Bytes::copy_from_slice(unit));
        }
        (!config.sps.is_empty()).then_some(config)
    }

    /// The config after an access unit that brings its own parameter sets; `None` if `self` has
    /// them all. Kinds of sets that the sample leaves out stay.
    #[must_use]
    pub fn refreshed(&self, sample: &[u8]) -> Option<Self> {
        let mut found = Self::from_sample(sample)?;
        let pairs = [(&self.vps, &mut found.vps), (&self.pps, &mut found.pps)];
        let mut known = found.sps.iter().all(|unit| self.sps.contains(unit));
        for (ours, theirs) in pairs {
            known &= theirs.iter().all(|unit| ours.contains(unit));
            if theirs.is_empty() {
                theirs.clone_from(ours);
            }
        }
        (!known).then_some(found)
    }

    /// Writes an hvcC payload for samples with 4-byte lengths.
    ///
    /// # Errors
    /// The first SPS cannot be parsed.
    pub fn build(&self) -> Result<Bytes, Error> {
        let sps = self.first_sps()?;
        let mut record = BytesMut::new();
        record.put_u8(1);
        record.put_slice(&sps.profile);
        // Spatial segmentation and parallelism are not stated.
        record.put_slice(&[0xf0, 0, 0xfc, 0xfc | sps.chroma]);
        record.put_slice(&[sps.luma_bits, sps.chroma_bits].map(|bits| 0xf8 | ((bits - 8) & 7)));
        record.put_u16(0);
        record.put_u8(sps.sub_layers << 3 | u8::from(sps.nested) << 2 | 3);
        let arrays = [(VPS, &self.vps), (SPS, &self.sps), (PPS, &self.pps)];
        let filled = || arrays.iter().filter(|(_, units)| !units.is_empty());
        record.put_u8(filled().count() as u8);
        for (kind, units) in filled() {
            record.put_u8(0x80 | kind);
            record.put_u16(units.len() as u16);
            super::put_units(&mut record, units.iter());
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
