//! Opus: dOps, OpusHead, packet durations.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Error;

/// Samples a second that every Opus decoder puts out.
pub const SAMPLE_RATE: u32 = 48_000;

const MAGIC: &[u8] = b"OpusHead";

/// What dOps and OpusHead say alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels that come out of the decoder, 1 to 255.
    pub channels: u8,
    /// Samples at 48 kHz to drop at the start.
    pub pre_skip: u16,
    /// Rate of the sound before coding. Informative.
    pub input_sample_rate: u32,
    /// Gain in 1/256 dB.
    pub output_gain: i16,
    /// Channel mapping family and, if it is not 0, its table.
    pub mapping: Bytes,
}

impl Config {
    /// Parses a dOps payload (Encapsulation of Opus in ISOBMFF, clause 4.3.2), or an OpusHead
    /// (RFC 7845 clause 5.1) as Matroska, Ogg and Enhanced RTMP carry it.
    ///
    /// # Errors
    /// It ends early, is of an unknown version or has no channels.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        let short = || Error::malformed("Opus", "header ends too early");
        let (head, ogg) = match config.strip_prefix(MAGIC) {
            Some(head) => (head, true),
            None => (config, false),
        };
        let (&fixed, mapping) = head.split_first_chunk::<10>().ok_or_else(short)?;
        let [version, channels, s0, s1, r0, r1, r2, r3, g0, g1] = fixed;
        if ogg && version >> 4 != 0 || !ogg && version != 0 {
            return Err(Error::malformed("Opus", "unknown version"));
        }
        let (pre_skip, input_sample_rate, output_gain) = if ogg {
            let rate = u32::from_le_bytes([r0, r1, r2, r3]);
            (u16::from_le_bytes([s0, s1]), rate, i16::from_le_bytes([g0, g1]))
        } else {
            let rate = u32::from_be_bytes([r0, r1, r2, r3]);
            (u16::from_be_bytes([s0, s1]), rate, i16::from_be_bytes([g0, g1]))
        };
        let mapping_bytes = match mapping.first().ok_or_else(short)? {
            0 if channels > 2 => {
                return Err(Error::malformed("Opus", "mapping family 0 with 3 channels or more"));
            }
            0 => 1,
            _ => 3 + usize::from(channels),
        };
        if channels == 0 {
            return Err(Error::malformed("Opus", "no channels"));
        }
        let mapping = mapping.get(..mapping_bytes).ok_or_else(short)?;
        let mapping = Bytes::copy_from_slice(mapping);
        Ok(Self { channels, pre_skip, input_sample_rate, output_gain, mapping })
    }

    /// The config of a plain mono or stereo stream that comes without a header, as in MPEG-TS.
    #[must_use]
    pub fn plain(channels: u8) -> Self {
        Self {
            channels,
            pre_skip: 312,
            input_sample_rate: SAMPLE_RATE,
            output_gain: 0,
            mapping: Bytes::from_static(&[0]),
        }
    }

    /// Writes a dOps payload.
    #[must_use]
    pub fn build(&self) -> Bytes {
        let mut dops = BytesMut::with_capacity(10 + self.mapping.len());
        dops.put_u8(0);
        dops.put_u8(self.channels);
        dops.put_u16(self.pre_skip);
        dops.put_u32(self.input_sample_rate);
        dops.put_i16(self.output_gain);
        dops.put_slice(&self.mapping);
        dops.freeze()
    }
}

/// Samples at 48 kHz in one packet (RFC 6716 clause 3.1 and 3.2); `None` if the packet is broken
/// or longer than the 120 ms that a packet may last.
#[must_use]
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        silk @ 0..12 => [480, 960, 1920, 2880][usize::from(silk & 3)],
        hybrid @ 12..16 => [480, 960][usize::from(hybrid & 1)],
        celt => [120, 240, 480, 960][usize::from(celt & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=5760).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: [u8; 19] = *b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";

    #[test]
    fn opus_head_becomes_dops() {
        let config = Config::parse(&STEREO).unwrap();
        assert_eq!((config.channels, config.pre_skip, config.input_sample_rate), (2, 312, 48_000));
        let dops = config.build();
        assert_eq!(&dops[..], [0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0]);
        assert_eq!(Config::parse(&dops), Ok(config));
        assert_eq!(Config::plain(2).build(), dops);
    }

    #[test]
    fn surround_keeps_its_mapping_table() {
        let mut head = STEREO.to_vec();
        head[9] = 6;
        head[18] = 1;
        assert!(Config::parse(&head).is_err(), "the table is missing");
        head.extend_from_slice(&[4, 2, 0, 4, 1, 2, 3, 5]);
        let config = Config::parse(&head).unwrap();
        assert_eq!(&config.mapping[..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
        assert_eq!(Config::parse(&config.build()), Ok(config));
    }

    #[test]
    fn broken_headers_are_refused() {
        for end in 0..STEREO.len() {
            assert!(Config::parse(&STEREO[..end]).is_err(), "cut at {end}");
        }
        for (at, value) in [(8, 0x10), (9, 0), (9, 3), (18, 1)] {
            let mut head = STEREO;
            head[at] = value;
            assert!(Config::parse(&head).is_err(), "byte {at} is {value}");
        }
    }

    #[test]
    fn packets_say_how_long_they_last() {
        let cases: [(&[u8], Option<u32>); 8] = [
            (&[], None),
            (&[0xfc], Some(960)),        // CELT, 20 ms, one frame
            (&[0xfd, 0, 0], Some(1920)), // two frames
            (&[0x1b, 2], Some(5760)),    // SILK, 60 ms, two frames
            (&[0x1b, 3], None),          // 180 ms is too long
            (&[0xff], None),             // count byte missing
            (&[0xff, 0], None),          // no frames
            (&[0x80], Some(120)),        // CELT, 2.5 ms
        ];
        for (packet, samples) in cases {
            assert_eq!(packet_samples(packet), samples, "{packet:?}");
        }
    }
}
