//! AAC (ISO/IEC 14496-3): AudioSpecificConfig and ADTS.

use bytes::Bytes;

use super::bits::Bits;
use crate::Error;

const FORMAT: &str = "AAC";
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

/// What an AudioSpecificConfig says (clause 1.6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The object type that players must know: 1 to 4, 5 with spectral band replication (HE-AAC),
    /// 29 with parametric stereo too (HE-AAC v2).
    pub object_type: u8,
    /// Samples a second that come out of the decoder, after band replication.
    pub sample_rate: u32,
    /// Channels that come out of the decoder, after parametric stereo.
    pub channels: u8,
    /// Samples that a frame has at `sample_rate`: 1024 (or 960), twice that with band replication.
    pub samples_per_frame: u32,
}

impl Config {
    /// Parses an AudioSpecificConfig, with band replication signalled in either of its two explicit
    /// ways. The implicit way (clause 1.6.6.1: a plain LC config, and the extension found only in
    /// the frames) is described as the LC sound that it says it is, at the core's rate: decoders
    /// that know band replication find it by themselves, others play the core, and timing is the
    /// same for both.
    ///
    /// # Errors
    /// It ends early, names a reserved value, or is of an object type other than Main, LC, SSR and
    /// LTP.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        let bits = &mut Bits::new(FORMAT, config);
        let first = object_type(bits)?;
        let core_rate = sample_rate(bits)?;
        let channel_config = bits.u(4)?;
        let mut extension = Extension { object_type: first, sample_rate: core_rate };
        let core = if matches!(first, SBR | PARAMETRIC_STEREO) {
            extension.sample_rate = sample_rate(bits)?;
            object_type(bits)?
        } else {
            first
        };
        if !(1..=4).contains(&core) {
            return Err(Error::Unsupported { format: FORMAT, feature: "this audio object type" });
        }
        let (core_samples, core_channels) = general_audio(bits, channel_config)?;
        if core == first {
            extension.read_compatible(bits)?;
        }
        Ok(extension.describe(core_rate, core_samples, core_channels))
    }

    /// The RFC 6381 name, e.g. `mp4a.40.2`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

struct Extension {
    object_type: u32,
    sample_rate: u32,
}

impl Extension {
    /// The backward compatible signalling after the core config (clause 1.6.6.1).
    fn read_compatible(&mut self, bits: &mut Bits<'_>) -> Result<(), Error> {
        if bits.remaining() < 16 || bits.u(11)? != 0x2b7 || object_type(bits)? != SBR {
            return Ok(());
        }
        if !bits.flag()? {
            return Ok(());
        }
        self.object_type = SBR;
        self.sample_rate = sample_rate(bits)?;
        if bits.remaining() >= 12 && bits.u(11)? == 0x548 && bits.flag()? {
            self.object_type = PARAMETRIC_STEREO;
        }
        Ok(())
    }

    fn describe(&self, core_rate: u32, core_samples: u32, core_channels: u8) -> Config {
        let stereo = self.object_type == PARAMETRIC_STEREO && core_channels == 1;
        let doubled = self.sample_rate / 2 >= core_rate;
        Config {
            object_type: self.object_type as u8,
            sample_rate: self.sample_rate,
            channels: if stereo { 2 } else { core_channels },
            samples_per_frame: if doubled { core_samples * 2 } else { core_samples },
        }
    }
}

fn object_type(bits: &mut Bits<'_>) -> Result<u32, Error> {
    Ok(match bits.u(5)? {
        31 => 32 + bits.u(6)?,
        short => short,
    })
}

fn sample_rate(bits: &mut Bits<'_>) -> Result<u32, Error> {
    let rate = match bits.u(4)? {
        15 => bits.u(24)?,
        index => SAMPLE_RATES.get(index as usize).copied().unwrap_or(0),
    };
    if rate == 0 { Err(Error::malformed(FORMAT, "reserved sample rate")) } else { Ok(rate) }
}

/// GASpecificConfig (clause 4.4.1): samples in a frame and channels.
fn general_audio(bits: &mut Bits<'_>, channel_config: u32) -> Result<(u32, u8), Error> {
    let samples = if bits.flag()? { 960 } else { 1024 };
    if bits.flag()? {
        bits.skip(14)?;
    }
    bits.skip(1)?;
    let channels = match channel_config {
        0 => program_channels(bits)?,
        1..=6 => channel_config as u8,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => return Err(Error::malformed(FORMAT, "reserved channel configuration")),
    };
    Ok((samples, channels))
}

/// program_config_element (clause 4.4.1.1): counts channels and reads to its end.
fn program_channels(bits: &mut Bits<'_>) -> Result<u8, Error> {
    bits.skip(4 + 2 + 4)?;
    let elements = [bits.u(4)?, bits.u(4)?, bits.u(4)?];
    let (lfe, data, coupling) = (bits.u(2)?, bits.u(3)?, bits.u(4)?);
    for mixdown_bits in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..elements.iter().sum() {
        channels += 1 + u32::from(bits.flag()?);
        bits.skip(4)?;
    }
    bits.skip(4 * (lfe + data) as usize + 5 * coupling as usize)?;
    bits.align();
    let comment_bytes = bits.u(8)?;
    bits.skip(8 * comment_bytes as usize)?;
    if channels == 0 { Err(Error::malformed(FORMAT, "no channels")) } else { Ok(channels as u8) }
}

/// One ADTS frame's header (clause 1.A.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    /// Bytes of the header: 7, or 9 with a checksum.
    pub header_bytes: usize,
    /// Bytes of the frame with its header.
    pub frame_bytes: usize,
    /// Samples a second of the core, before band replication.
    pub sample_rate: u32,
    /// Core samples in the frame: 1024 for each raw data block.
    pub samples: u32,
    /// The two bytes of the AudioSpecificConfig that says the same.
    pub config: [u8; 2],
}

impl Adts {
    /// Reads the header at the start of `data`; `Ok(None)` if more bytes are needed.
    ///
    /// # Errors
    /// There is no sync word, or a field is reserved.
    pub fn parse(data: &[u8]) -> Result<Option<Self>, Error> {
        let Some(header) = data.get(..7) else { return Ok(None) };
        if header[0] != 0xff || header[1] & 0xf6 != 0xf0 {
            return Err(Error::malformed("ADTS", "no sync word"));
        }
        let header_bytes = if header[1] & 1 == 1 { 7 } else { 9 };
        let (object_type, index) = ((header[2] >> 6) + 1, header[2] >> 2 & 15);
        let channel_config = (header[2] & 1) << 2 | header[3] >> 6;
        let sample_rate = SAMPLE_RATES.get(usize::from(index)).copied();
        let sample_rate =
            sample_rate.ok_or_else(|| Error::malformed("ADTS", "reserved sample rate"))?;
        let frame_bytes = usize::from(header[3] & 3) << 11
            | usize::from(header[4]) << 3
            | usize::from(header[5] >> 5);
        if frame_bytes < header_bytes {
            return Err(Error::malformed("ADTS", "frame is shorter than its header"));
        }
        let samples = 1024 * (u32::from(header[6] & 3) + 1);
        let config = [object_type << 3 | index >> 1, index << 7 | channel_config << 3];
        Ok(Some(Self { header_bytes, frame_bytes, sample_rate, samples, config }))
    }

    /// The AudioSpecificConfig for the frames that follow.
    #[must_use]
    pub fn config(&self) -> Bytes {
        Bytes::copy_from_slice(&self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_say_what_comes_out_of_the_decoder() {
        // bytes, object type, rate, channels, samples
        let cases: [(&[u8], [u32; 4]); 6] = [
            (&[0x11, 0x90], [2, 48_000, 2, 1024]),
            (&[0x12, 0x10], [2, 44_100, 2, 1024]),
            (&[0x11, 0xb0], [2, 48_000, 6, 1024]),
            (&[0x2b, 0x11, 0x88, 0x00], [5, 48_000, 2, 2048]),
            (&[0xeb, 0x09, 0x88, 0x00], [29, 48_000, 2, 2048]),
            (&[0x13, 0x10, 0x56, 0xe5, 0x98], [5, 48_000, 2, 2048]),
        ];
        for (bytes, expected) in cases {
            let found = Config::parse(bytes).unwrap();
            let found = [
                u32::from(found.object_type),
                found.sample_rate,
                u32::from(found.channels),
                found.samples_per_frame,
            ];
            assert_eq!(found, expected, "{bytes:x?}");
        }
    }

    #[test]
    fn broken_configs_are_refused() {
        let cases: [&[u8]; 6] =
            [&[], &[0x11], &[0x16, 0x90], &[0x17, 0x80], &[0x01, 0x90], &[0xff]];
        for bytes in cases {
            assert!(Config::parse(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn adts_headers_are_checked() {
        let header = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x1f, 0xfc];
        let found = Adts::parse(&header).unwrap().unwrap();
        assert_eq!((found.header_bytes, found.frame_bytes), (7, 8));
        assert_eq!((found.sample_rate, found.samples), (48_000, 1024));
        assert_eq!(found.config, [0x11, 0x90]);
        assert_eq!(Adts::parse(&header[..6]), Ok(None));
        for (at, value) in [(0, 0xfe), (1, 0xe1), (2, 0x7c), (5, 0x00)] {
            let mut broken = header;
            broken[at] = value;
            if at == 5 {
                broken[4] = 0;
            }
            assert!(Adts::parse(&broken).is_err(), "byte {at}");
        }
    }
}
