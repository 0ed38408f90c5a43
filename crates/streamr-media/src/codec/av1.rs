//! AV1 (AV1 Bitstream & Decoding Process Specification): OBUs, sequence header, av1C.

use bytes::{BufMut, Bytes, BytesMut};

use super::bits::Bits;
use super::{VideoShape, frames_per_kilosecond};
use crate::Error;

const FORMAT: &str = "AV1";

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
/// The first metadata type that is left to users (clause 6.7.1).
const USER_PRIVATE: u8 = 6;

/// One open bitstream unit (clause 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`: 1 sequence header, 2 temporal delimiter, 3 frame header, 6 frame …
    pub kind: u8,
    /// The whole unit with header and size.
    pub bytes: &'a [u8],
    /// What stands after header and size.
    pub payload: &'a [u8],
}

/// The units of a temporal unit in the low-overhead format (clause 5.2). A unit without a size
/// reaches to the end. Ends after the first error.
pub fn obus(data: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, Error>> {
    let mut rest = data;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((obu, after)) = split_obu(rest) else {
            rest = &[];
            return Some(Err(Error::malformed(FORMAT, "unit is longer than its frame")));
        };
        rest = after;
        Some(Ok(obu))
    })
}

fn split_obu(data: &[u8]) -> Option<(Obu<'_>, &[u8])> {
    let header = *data.first()?;
    let (extension, has_size) = (header & 4 != 0, header & 2 != 0);
    let header_bytes = 1 + usize::from(extension);
    let (size, size_bytes) = if has_size {
        leb128(data.get(header_bytes..)?)?
    } else {
        (data.len().checked_sub(header_bytes)?, 0)
    };
    let start = header_bytes + size_bytes;
    let end = start.checked_add(size)?;
    let obu =
        Obu { kind: header >> 3 & 15, bytes: data.get(..end)?, payload: data.get(start..end)? };
    Some((obu, &data[end..]))
}

/// leb128() (clause 4.10.5): value and bytes taken.
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (at, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, at + 1));
        }
    }
    None
}

/// The temporal unit as an MP4 sample has it (AV1 in ISOBMFF clause 2.4): without temporal
/// delimiters, padding and tile lists. Not copied if there are none, or if it is broken.
#[must_use]
pub fn normalise(data: Bytes) -> Bytes {
    let dropped = |obu: &Obu<'_>| matches!(obu.kind, TEMPORAL_DELIMITER | TILE_LIST | PADDING);
    if !obus(&data).flatten().any(|obu| dropped(&obu)) || obus(&data).any(|obu| obu.is_err()) {
        return data;
    }
    let first_kept =
        obus(&data).flatten().take_while(dropped).map(|obu| obu.bytes.len()).sum::<usize>();
    let rest = data.slice(first_kept..);
    if !obus(&rest).flatten().any(|obu| dropped(&obu)) {
        return rest;
    }
    let kept = obus(&rest).flatten().filter(|obu| !dropped(obu));
    kept.flat_map(|obu| obu.bytes.iter().copied()).collect()
}

/// The sequence header OBU of a temporal unit, if it has one.
#[must_use]
pub fn sequence_header(data: &[u8]) -> Option<Obu<'_>> {
    obus(data).map_while(Result::ok).find(|obu| obu.kind == SEQUENCE_HEADER)
}

/// Whether a decoder can start at this temporal unit: it brings a sequence header, and its first
/// frame is a shown key frame (clause 7.6.1).
#[must_use]
pub fn is_keyframe(data: &[u8]) -> bool {
    let Some(sequence) = sequence_header(data) else { return false };
    let Ok(sequence) = SequenceHeader::parse(sequence.payload) else { return false };
    let frame =
        obus(data).map_while(Result::ok).find(|obu| matches!(obu.kind, FRAME_HEADER | FRAME));
    // show_existing_frame, frame_type (0 is KEY_FRAME), show_frame
    let first = frame.and_then(|obu| obu.payload.first().copied());
    sequence.still || first.is_some_and(|byte| byte & 0xf0 == 0x10)
}

/// What a sequence header says (clause 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point; 8 is level 4.0.
    pub level: u8,
    /// `seq_tier` of the first operating point.
    pub high_tier: bool,
    /// A picture, not a film: `reduced_still_picture_header`.
    pub still: bool,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// Luma only.
    pub monochrome: bool,
    /// Chroma has half the width, half the height.
    pub subsampling: (bool, bool),
    /// `chroma_sample_position`.
    pub chroma_position: u8,
    /// Largest size and, if the header states it, the rate.
    pub shape: VideoShape,
}

impl SequenceHeader {
    /// Parses the payload of a sequence header OBU.
    ///
    /// # Errors
    /// It ends early or uses reserved values.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let bits = &mut Bits::new(FORMAT, payload);
        let profile = bits.u(3)? as u8;
        if profile > 2 {
            return Err(Error::malformed(FORMAT, "reserved profile"));
        }
        bits.skip(1)?;
        let still = bits.flag()?;
        let (level, high_tier, rate) =
            if still { (bits.u(5)? as u8, false, None) } else { operating_points(bits)? };
        let (width_bits, height_bits) = (bits.u(4)? + 1, bits.u(4)? + 1);
        let (width, height) = (bits.u(width_bits)? + 1, bits.u(height_bits)? + 1);
        skip_tools(bits, still)?;
        let color = Color::parse(bits, profile)?;
        let size = (u64::from(width), u64::from(height));
        let (width, height) = super::cropped(FORMAT, size, (0, 0))?;
        Ok(Self {
            profile,
            level,
            high_tier,
            still,
            bit_depth: color.bit_depth,
            monochrome: color.monochrome,
            subsampling: color.subsampling,
            chroma_position: color.chroma_position,
            shape: VideoShape { width, height, frames_per_kilosecond: rate },
        })
    }

    /// The RFC 6381 name in its short form, e.g. `av01.0.08M.08`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

/// Level and tier of the first operating point, and the rate.
fn operating_points(bits: &mut Bits<'_>) -> Result<(u8, bool, Option<u32>), Error> {
    let mut rate = None;
    let mut delay_bits = None;
    if bits.flag()? {
        let (tick, scale) = (u64::from(bits.u(32)?), u64::from(bits.u(32)?));
        if bits.flag()? {
            let ticks_per_picture = u64::from(bits.ue()?) + 1;
            rate = frames_per_kilosecond(scale, tick * ticks_per_picture);
        }
        if bits.flag()? {
            delay_bits = Some(bits.u(5)? + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let initial_display_delay = bits.flag()?;
    let mut first = None;
    for _ in 0..=bits.u(5)? {
        bits.skip(12)?;
        let level = bits.u(5)? as u8;
        let tier = level > 7 && bits.flag()?;
        if let Some(width) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * width as usize + 1)?;
        }
        if initial_display_delay && bits.flag()? {
            bits.skip(4)?;
        }
        first = first.or(Some((level, tier)));
    }
    let (level, tier) = first.unwrap_or_default();
    Ok((level, tier, rate))
}

/// From `frame_id_numbers_present_flag` to `film_grain_params_present`, the colours apart.
fn skip_tools(bits: &mut Bits<'_>, still: bool) -> Result<(), Error> {
    if !still && bits.flag()? {
        bits.skip(4 + 3)?;
    }
    bits.skip(3)?;
    if !still {
        bits.skip(4)?;
        let order_hint = bits.flag()?;
        if order_hint {
            bits.skip(2)?;
        }
        let screen_content = bits.flag()? || bits.flag()?;
        if screen_content && !bits.flag()? {
            bits.skip(1)?;
        }
        if order_hint {
            bits.skip(3)?;
        }
    }
    bits.skip(3)
}

/// color_config() (clause 5.5.2).
struct Color {
    bit_depth: u8,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_position: u8,
}

impl Color {
    fn parse(bits: &mut Bits<'_>, profile: u8) -> Result<Self, Error> {
        let high = bits.flag()?;
        let bit_depth = match (high, profile) {
            (true, 2) => {
                if bits.flag()? {
                    12
                } else {
                    10
                }
            }
            (true, _) => 10,
            (false, _) => 8,
        };
        let monochrome = profile != 1 && bits.flag()?;
        let description = if bits.flag()? { bits.u(24)? } else { 0x02_02_02 };
        let whole = |subsampling| Self { bit_depth, monochrome, subsampling, chroma_position: 0 };
        if monochrome {
            bits.skip(1)?;
            return Ok(whole((true, true)));
        }
        // BT.709 primaries, sRGB transfer, identity matrix
        if description == 0x01_0d_00 {
            return Ok(whole((false, false)));
        }
        bits.skip(1)?;
        let subsampling = match (profile, bit_depth) {
            (0, _) => (true, true),
            (1, _) => (false, false),
            (_, 12) => {
                let x = bits.flag()?;
                (x, x && bits.flag()?)
            }
            _ => (true, false),
        };
        let position = if subsampling == (true, true) { bits.u(2)? as u8 } else { 0 };
        Ok(Self { chroma_position: position, ..whole(subsampling) })
    }
}

/// The sequence header of an av1C payload (AV1CodecConfigurationRecord, AV1 in ISOBMFF clause 2.3).
///
/// # Errors
/// The record is not of version 1, ends early or holds no sequence header.
pub fn parse_config(record: &[u8]) -> Result<SequenceHeader, Error> {
    let (&[version, ..], obus) = record
        .split_first_chunk::<4>()
        .ok_or_else(|| Error::malformed("av1C", "record ends too early"))?;
    if version != 0x81 {
        return Err(Error::malformed("av1C", "marker and version are not 0x81"));
    }
    let header = sequence_header(obus)
        .ok_or_else(|| Error::malformed("av1C", "no sequence header in configOBUs"))?;
    SequenceHeader::parse(header.payload)
}

/// Writes an av1C payload for the sequence header OBU that a temporal unit brings; `None` if it
/// brings none.
///
/// # Errors
/// The sequence header is malformed.
pub fn build_config(data: &[u8]) -> Result<Option<Bytes>, Error> {
    let Some(obu) = sequence_header(data) else { return Ok(None) };
    let header = SequenceHeader::parse(obu.payload)?;
    let flags = u8::from(header.high_tier) << 7
        | u8::from(header.bit_depth > 8) << 6
        | u8::from(header.bit_depth == 12) << 5
        | u8::from(header.monochrome) << 4
        | u8::from(header.subsampling.0) << 3
        | u8::from(header.subsampling.1) << 2
        | header.chroma_position;
    let mut record = BytesMut::with_capacity(4 + 12 + obu.payload.len());
    record.put_slice(&[0x81, header.profile << 5 | header.level, flags, 0]);
    put_obu(&mut record, SEQUENCE_HEADER, obu.payload);
    Ok(Some(record.freeze()))
}

/// The sequence header's payload within av1C.
pub(super) fn config_header(record: &[u8]) -> Option<&[u8]> {
    Some(sequence_header(record.get(4..)?)?.payload)
}

fn put_obu(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.put_u8(kind << 3 | 2);
    let mut size = payload.len();
    while size > 0x7f {
        out.put_u8(size as u8 | 0x80);
        size >>= 7;
    }
    out.put_u8(size as u8);
    out.put_slice(payload);
}

/// The temporal unit with a user-private metadata OBU before its first frame.
pub(super) fn insert_metadata(data: &Bytes, message: &[u8]) -> Bytes {
    let is_frame = |obu: &Obu<'_>| matches!(obu.kind, FRAME_HEADER | FRAME);
    let well_formed = || obus(data).map_while(Result::ok);
    if !well_formed().any(|obu| is_frame(&obu)) {
        return data.clone();
    }
    let at = well_formed().take_while(|obu| !is_frame(obu)).map(|obu| obu.bytes.len()).sum();
    let mut stamped = BytesMut::with_capacity(data.len() + message.len() + 4);
    stamped.put_slice(&data[..at]);
    put_obu(&mut stamped, METADATA, &[&[USER_PRIVATE], message, &[0x80]].concat());
    stamped.put_slice(&data[at..]);
    stamped.freeze()
}

/// The user-private metadata messages before the first frame, with their trailing bits.
pub(super) fn metadata(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    obus(data)
        .map_while(Result::ok)
        .take_while(|obu| !matches!(obu.kind, FRAME_HEADER | FRAME))
        .filter(|obu| obu.kind == METADATA)
        .filter_map(|obu| obu.payload.strip_prefix(&[USER_PRIVATE]))
}
