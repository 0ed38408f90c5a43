//! VP9 (VP9 Bitstream & Decoding Process Specification): frame header, superframes, vpcC.

use bytes::Bytes;

use super::bits::Bits;
use crate::Error;

const FORMAT: &str = "VP9";

/// What the uncompressed header of a keyframe says (clause 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyframe {
    /// 0 to 3.
    pub profile: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// As vpcC numbers it: 1 4:2:0 with co-located chroma, 2 4:2:2, 3 4:4:4; 4:4:0 is 3 too far
    /// from any other and counts as 4:2:2.
    pub subsampling: u8,
    /// Full-range colours.
    pub full_range: bool,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
}

impl Keyframe {
    /// Parses the first frame of a sample; `Ok(None)` if it is not a keyframe.
    ///
    /// # Errors
    /// It is not VP9, or a keyframe's header ends early or uses reserved values.
    pub fn parse(sample: &[u8]) -> Result<Option<Self>, Error> {
        let bits = &mut Bits::new(FORMAT, sample);
        let Some(profile) = keyframe_profile(bits)? else { return Ok(None) };
        bits.skip(2)?;
        if bits.u(24)? != 0x49_83_42 {
            return Err(Error::malformed(FORMAT, "no sync code"));
        }
        let bit_depth = match profile >= 2 {
            true if bits.flag()? => 12,
            true => 10,
            false => 8,
        };
        let (subsampling, full_range) = color(bits, profile)?;
        let (width, height) = (bits.u(16)? + 1, bits.u(16)? + 1);
        let size = (u64::from(width), u64::from(height));
        let (width, height) = super::cropped(FORMAT, size, (0, 0))?;
        Ok(Some(Self { profile, bit_depth, subsampling, full_range, width, height }))
    }

    /// Writes a vpcC payload (VP Codec ISO Media File Format Binding). The level is the smallest
    /// that the picture size allows, as the stream does not state one.
    #[must_use]
    pub fn config(&self) -> Bytes {
        let depth = self.bit_depth << 4 | self.subsampling << 1 | u8::from(self.full_range);
        Bytes::copy_from_slice(&[1, 0, 0, 0, self.profile, self.level(), depth, 2, 2, 2, 0, 0])
    }

    /// Level × 10 by picture size alone (VP9 levels, table of luma picture sizes).
    fn level(&self) -> u8 {
        let size = u32::from(self.width) * u32::from(self.height);
        let levels = [
            (36_864, 10),
            (73_728, 11),
            (122_880, 20),
            (245_760, 21),
            (552_960, 30),
            (983_040, 31),
            (2_228_224, 40),
            (8_912_896, 50),
        ];
        levels.into_iter().find(|&(max, _)| size <= max).map_or(60, |(_, level)| level)
    }
}

/// Reads to the end of `frame_type`; the profile if this is a keyframe.
fn keyframe_profile(bits: &mut Bits<'_>) -> Result<Option<u8>, Error> {
    if bits.u(2)? != 2 {
        return Err(Error::malformed(FORMAT, "frame marker is not 2"));
    }
    let profile = u8::from(bits.flag()?) | u8::from(bits.flag()?) << 1;
    if profile == 3 && bits.flag()? {
        return Err(Error::malformed(FORMAT, "reserved profile"));
    }
    let (show_existing, interframe) = (bits.flag()?, bits.flag()?);
    Ok((!show_existing && !interframe).then_some(profile))
}

/// color_config() (clause 6.2.2) after the bit depth: vpcC's subsampling and range.
fn color(bits: &mut Bits<'_>, profile: u8) -> Result<(u8, bool), Error> {
    const RGB: u32 = 7;
    let odd = profile & 1 == 1;
    if bits.u(3)? == RGB {
        if !odd {
            return Err(Error::malformed(FORMAT, "RGB in a 4:2:0 profile"));
        }
        bits.skip(1)?;
        return Ok((3, true));
    }
    let full_range = bits.flag()?;
    if !odd {
        return Ok((1, full_range));
    }
    let subsampling = if bits.u(2)? == 0 { 3 } else { 2 };
    bits.skip(1)?;
    Ok((subsampling, full_range))
}

/// Whether a decoder can start at this sample. A superframe (Annex B) is one if its first frame is.
#[must_use]
pub fn is_keyframe(sample: &[u8]) -> bool {
    matches!(keyframe_profile(&mut Bits::new(FORMAT, sample)), Ok(Some(_)))
}

/// The frames of a sample: one, or those that a superframe index (Annex B) at its end names.
///
/// # Errors
/// The index names more bytes than there are.
pub fn frames(sample: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let Some((sizes, mut rest)) = superframe_sizes(sample) else { return Ok(vec![sample]) };
    let mut frames = Vec::with_capacity(8);
    for size in sizes {
        let (frame, after) = rest
            .split_at_checked(size)
            .ok_or_else(|| Error::malformed(FORMAT, "superframe index names too many bytes"))?;
        rest = after;
        frames.push(frame);
    }
    Ok(frames)
}

fn superframe_sizes(sample: &[u8]) -> Option<(impl Iterator<Item = usize>, &[u8])> {
    let marker = *sample.last().filter(|&&marker| marker & 0xe0 == 0xc0)?;
    let (count, size_bytes) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
    let start = sample.len().checked_sub(2 + count * size_bytes)?;
    let (frames, index) = sample.split_at(start);
    let sizes = index.strip_prefix(&[marker])?.strip_suffix(&[marker])?;
    let number = |size: &[u8]| size.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    Some((sizes.chunks(size_bytes).map(number), frames))
}

/// What a vpcC payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// 0 to 3.
    pub profile: u8,
    /// Level × 10: 31 is level 3.1.
    pub level: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
}

impl Config {
    /// Parses a vpcC payload with its version and flags.
    ///
    /// # Errors
    /// It ends early or is not of version 1.
    pub fn parse(record: &[u8]) -> Result<Self, Error> {
        let fields = record
            .first_chunk::<8>()
            .ok_or_else(|| Error::malformed("vpcC", "record ends too early"))?;
        if fields[0] != 1 {
            return Err(Error::malformed("vpcC", "version is not 1"));
        }
        let (profile, level, bit_depth) = (fields[4], fields[5], fields[6] >> 4);
        if profile > 3 || !matches!(bit_depth, 8 | 10 | 12) {
            return Err(Error::malformed("vpcC", "reserved profile or bit depth"));
        }
        Ok(Self { profile, level, bit_depth })
    }

    /// The RFC 6381 name in its short form, e.g. `vp09.00.31.08`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_state_their_size() {
        // 640×360, profile 0
        let frame = [0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x16, 0x70];
        let found = Keyframe::parse(&frame).unwrap().unwrap();
        assert_eq!((found.width, found.height, found.bit_depth), (640, 360, 8));
        let config = Config::parse(&found.config()).unwrap();
        assert_eq!(config.codec_string(), "vp09.00.21.08");
        assert_eq!(Keyframe::parse(&[0x86, 0]), Ok(None));
        for end in 1..frame.len() {
            assert!(Keyframe::parse(&frame[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn superframes_are_split_by_their_index() {
        let sample = [1, 2, 3, 0xc1, 1, 2, 0xc1];
        assert_eq!(frames(&sample), Ok(vec![&[1][..], &[2, 3]]));
        assert!(frames(&[1, 0xc1, 9, 9, 0xc1]).is_err());
        assert_eq!(frames(&[1, 2]), Ok(vec![&[1, 2][..]]));
        assert_eq!(frames(&[]), Ok(vec![&[][..]]));
    }
}
