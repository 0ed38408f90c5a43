//! Codec headers: what a stream says about itself before its first frame, and where in it a
//! decoder can start. One module a codec; this one dispatches.
//!
//! All readers are bounded by their input: they never allocate more than it holds.

pub mod aac;
pub mod av1;
mod bits;
pub mod h264;
pub mod hevc;
pub mod nal;
pub mod opus;
pub mod stamp;
pub mod vp9;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Error;
use crate::media::{Codec, Format, Track, TrackId};

/// A parameter set may be as long as its 16-bit length in avcC and hvcC can say.
pub(crate) const PARAMETER_SET_BYTES_MAX: usize = 65_535;
/// SEI messages of a unit that are looked at; encoders write one to four.
const SEI_MESSAGES_MAX: usize = 32;
/// Bytes of an SEI unit that are looked at; closed captions fill some hundred.
const SEI_BYTES_MAX: usize = 4096;

/// Describes a track by its configuration record: avcC, hvcC, av1C or vpcC payload,
/// AudioSpecificConfig, dOps payload or OpusHead.
///
/// The track's `config` is the canonical record for frames as [`crate::media::Frame`] has them: it
/// says 4-byte NAL lengths whatever `config` said (ask [`length_bytes`] before), and an OpusHead
/// has become dOps. VP9 states its size only in keyframes: width and height are 0 until
/// [`refresh`] has seen one.
///
/// # Errors
/// The record is malformed or names what is not supported.
pub fn describe(codec: Codec, id: TrackId, config: Bytes) -> Result<Track, Error> {
    let (config, codec_string, format) = match codec {
        Codec::H264 => {
            let record = h264::Config::parse(&config)?;
            let sps = record.first_sps()?;
            (with_four_byte_lengths(config, 4), sps.codec_string(), sps.shape.format())
        }
        Codec::Aac => {
            let parsed = aac::Config::parse(&config)?;
            let format = Format::Audio {
                sample_rate: parsed.sample_rate,
                channels: parsed.channels,
                samples_per_frame: Some(parsed.samples_per_frame),
            };
            (config, parsed.codec_string(), format)
        }
        Codec::Opus => {
            let parsed = opus::Config::parse(&config)?;
            let format = Format::Audio {
                sample_rate: opus::SAMPLE_RATE,
                channels: parsed.channels,
                samples_per_frame: None,
            };
            (parsed.build(), "opus".to_owned(), format)
        }
        Codec::Hevc => {
            let sps = hevc::Config::parse(&config)?.first_sps()?;
            (with_four_byte_lengths(config, 21), sps.codec_string(), sps.shape.format())
        }
        Codec::Av1 => {
            let header = av1::parse_config(&config)?;
            (config, header.codec_string(), header.shape.format())
        }
        Codec::Vp9 => {
            let shape = VideoShape { width: 0, height: 0, frames_per_kilosecond: None };
            let name = vp9::Config::parse(&config)?.codec_string();
            (config, name, shape.format())
        }
    };
    Ok(Track { id, codec, config, codec_string, format })
}

/// Bytes of each NAL unit's length in the samples that come with a configuration record, for
/// [`nal::normalise`]; `None` for codecs without NAL units.
///
/// # Errors
/// The record is malformed.
pub fn length_bytes(codec: Codec, config: &Bytes) -> Result<Option<u8>, Error> {
    match codec {
        Codec::H264 => Ok(Some(h264::Config::parse(config)?.length_bytes)),
        Codec::Hevc => Ok(Some(hevc::Config::parse(config)?.length_bytes)),
        _ => Ok(None),
    }
}

/// The configuration record that a keyframe brings in band, for sources without one (MPEG-TS);
/// `None` if it brings none.
///
/// # Errors
/// What it brings is malformed.
pub fn config_in_band(codec: Codec, keyframe: &[u8]) -> Result<Option<Bytes>, Error> {
    match codec {
        Codec::H264 => h264::Config::from_sample(keyframe).map(|found| found.build()).transpose(),
        Codec::Hevc => hevc::Config::from_sample(keyframe).map(|found| found.build()).transpose(),
        Codec::Av1 => av1::build_config(keyframe),
        Codec::Vp9 => Ok(vp9::Keyframe::parse(keyframe)?.map(|frame| frame.config())),
        Codec::Aac | Codec::Opus => Ok(None),
    }
}

/// Whether a decoder can start at this access unit, given as [`crate::media::Frame`] carries it.
/// Sound always can.
#[must_use]
pub fn is_keyframe(codec: Codec, data: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_keyframe(data),
        Codec::Hevc => hevc::is_keyframe(data),
        Codec::Av1 => av1::is_keyframe(data),
        Codec::Vp9 => vp9::is_keyframe(data),
        Codec::Aac | Codec::Opus => true,
    }
}

/// Without a keyframe for this long, a picture from which a stream *becomes* right will do: twice
/// the two seconds between keyframes that live encoders are set to.
const GRADUAL_AFTER_US: i64 = 4_000_000;

/// Where players may join a track. Keyframes, and in a stream that has none (H.264 with periodic
/// intra refresh) a recovery point: whoever joins there sees a picture build up for a moment, which
/// is better than to see nothing and than segments that never end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinPoints {
    last_us: Option<i64>,
}

impl JoinPoints {
    /// Whether the next access unit of the track, given as [`crate::media::Frame`] carries it, is
    /// one. The first is always a keyframe.
    pub fn is_next(&mut self, codec: Codec, data: &[u8], dts_us: i64) -> bool {
        let long = self.last_us.is_some_and(|last| dts_us - last >= GRADUAL_AFTER_US);
        let gradual = || long && codec == Codec::H264 && h264::is_recovery_point(data);
        let joins = is_keyframe(codec, data) || gradual();
        if joins {
            self.last_us = Some(dts_us);
        }
        joins
    }
}

/// The track after a keyframe that brings another configuration in band (parameter sets, sequence
/// header, size); `None` if nothing changed. Costs nothing for sound.
///
/// # Errors
/// What the keyframe brings is malformed. The track goes on as it was.
pub fn refresh(track: &Track, keyframe: &[u8]) -> Result<Option<Track>, Error> {
    let config = match track.codec {
        Codec::H264 => h264::Config::parse(&track.config)?
            .refreshed(keyframe)
            .map(|config| config.build())
            .transpose()?,
        Codec::Hevc => hevc::Config::parse(&track.config)?
            .refreshed(keyframe)
            .map(|config| config.build())
            .transpose()?,
        Codec::Av1 => {
            let found = av1::sequence_header(keyframe).map(|obu| obu.payload);
            let same = found.is_none() || found == av1::config_header(&track.config);
            if same { None } else { av1::build_config(keyframe)? }
        }
        Codec::Vp9 => return refresh_vp9(track, keyframe),
        Codec::Aac | Codec::Opus => None,
    };
    config.map(|config| describe(track.codec, track.id, config)).transpose()
}

fn refresh_vp9(track: &Track, keyframe: &[u8]) -> Result<Option<Track>, Error> {
    let Some(frame) = vp9::Keyframe::parse(keyframe)? else { return Ok(None) };
    let vp9::Keyframe { width, height, profile, bit_depth, .. } = frame;
    let shape = VideoShape { width, height, frames_per_kilosecond: None };
    let known = vp9::Config::parse(&track.config)?;
    let config = if (known.profile, known.bit_depth) == (profile, bit_depth) {
        track.config.clone()
    } else {
        frame.config()
    };
    let next = Track { format: shape.format(), ..describe(Codec::Vp9, track.id, config)? };
    Ok((next != *track).then_some(next))
}

/// Sets the two low bits of the byte that holds `lengthSizeMinusOne`; its other bits are reserved
/// or kept.
fn with_four_byte_lengths(config: Bytes, at: usize) -> Bytes {
    if config[at] & 3 == 3 {
        return config;
    }
    let mut config = BytesMut::from(config);
    config[at] |= 3;
    config.freeze()
}

/// Size and rate of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoShape {
    /// Pixels, after cropping.
    pub width: u16,
    /// Pixels, after cropping.
    pub height: u16,
    /// Frames in 1,000 seconds if the header says so.
    pub frames_per_kilosecond: Option<u32>,
}

impl VideoShape {
    pub(crate) const fn format(self) -> Format {
        let Self { width, height, frames_per_kilosecond } = self;
        Format::Video { width, height, frames_per_kilosecond }
    }
}

/// Frames in 1,000 seconds, if the header's numbers make sense: more than none, at most 1,000 a
/// second.
fn frames_per_kilosecond(frames: u64, seconds: u64) -> Option<u32> {
    let rate = (frames * 1000 + seconds / 2).checked_div(seconds)?;
    u32::try_from(rate).ok().filter(|rate| (1..=1_000_000).contains(rate))
}

fn cropped(format: &'static str, size: (u64, u64), crop: (u64, u64)) -> Result<(u16, u16), Error> {
    let edge = |size: u64, crop: u64| {
        let left = size.checked_sub(crop).filter(|&left| left > 0)?;
        u16::try_from(left).ok()
    };
    edge(size.0, crop.0)
        .zip(edge(size.1, crop.1))
        .ok_or_else(|| Error::malformed(format, "picture is empty or wider than 65,535 pixels"))
}

/// What follows the header of a sequence parameter set, without emulation prevention.
fn sequence_set(
    format: &'static str,
    unit: &[u8],
    (is_one, header_bytes): (bool, usize),
) -> Result<Vec<u8>, Error> {
    if !is_one {
        return Err(Error::malformed(format, "not a sequence parameter set"));
    }
    let mut payload = nal::unescape(parameter_set(format, unit)?);
    payload.drain(..header_bytes.min(payload.len()));
    Ok(payload)
}

fn parameter_set<'a>(format: &'static str, unit: &'a [u8]) -> Result<&'a [u8], Error> {
    if unit.len() > PARAMETER_SET_BYTES_MAX {
        return Err(Error::malformed(format, "parameter set is longer than 65,535 bytes"));
    }
    Ok(unit)
}

/// Takes `count` units with 16-bit lengths, as avcC and hvcC hold them; `None` if they are cut off.
fn take_units(rest: &mut Bytes, count: impl Into<u16>) -> Option<Vec<Bytes>> {
    (0..count.into())
        .map(|_| {
            let length = usize::from(rest.try_get_u16().ok()?);
            (length <= rest.len()).then(|| rest.split_to(length))
        })
        .collect()
}

fn put_units<'a>(record: &mut BytesMut, units: impl Iterator<Item = &'a Bytes>) {
    for unit in units {
        record.put_u16(unit.len() as u16);
        record.put_slice(unit);
    }
}

/// The messages of an SEI unit without its NAL header (clause 7.3.2.3): payload type and payload.
/// Ends at the first broken one.
fn sei_messages(unit: &[u8]) -> impl Iterator<Item = (u32, Bytes)> + use<> {
    let payload = nal::unescape(&unit[..unit.len().min(SEI_BYTES_MAX)]);
    let mut rest = Bytes::from(payload);
    core::iter::from_fn(move || {
        if rest.len() <= 2 {
            return None;
        }
        let kind = sei_number(&mut rest)?;
        let length = sei_number(&mut rest)? as usize;
        let payload = (length <= rest.len()).then(|| rest.split_to(length))?;
        Some((kind, payload))
    })
    .take(SEI_MESSAGES_MAX)
}

fn sei_number(rest: &mut Bytes) -> Option<u32> {
    let mut number = 0;
    loop {
        let byte = rest.try_get_u8().ok()?;
        number += u32::from(byte);
        if byte != 255 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// avcC of x264, 640×360 at 30 frames a second, High, level 3.0.
    const AVCC: &[u8] = &[
        1, 0x64, 0, 0x1e, 0xff, 0xe1, 0, 0x1b, 0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f,
        0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f, 0x16, 0x2d, 0x96, 1, 0, 6, 0x68,
        0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
    ];

    #[test]
    fn a_recovery_point_will_do_when_keyframes_stay_out() {
        // An SEI message of type 6 whose recovery_frame_cnt is 6, then a slice that is not IDR.
        let refresh = nal::join([&[6, 6, 2, 0x1e, 0xc0, 0x80][..], &[0x41, 0x9a]].into_iter());
        let (plain, idr) = (nal::join([&[0x41, 0x9a][..]].into_iter()), &[0, 0, 0, 2, 0x65, 0x88]);
        let mut points = JoinPoints::default();
        let mut next = |data: &[u8], dts_us| points.is_next(Codec::H264, data, dts_us);
        assert!(!next(&refresh, 0), "the first must be a keyframe");
        assert!(next(idr, 1_000_000));
        assert!(!next(&refresh, 3_000_000));
        assert!(!next(&plain, 5_500_000));
        assert!(next(&refresh, 6_000_000));
        assert!(!next(&refresh, 7_000_000));
        assert!(!is_keyframe(Codec::H264, &refresh));
    }

    #[test]
    fn describes_h264() {
        let track = describe(Codec::H264, TrackId::VIDEO, Bytes::from_static(AVCC)).unwrap();
        assert_eq!(track.codec_string, "avc1.64001e");
        let rate = Some(30_000);
        let format = Format::Video { width: 640, height: 360, frames_per_kilosecond: rate };
        assert_eq!(track.format, format);
    }
}
