//! `onMetaData` (FLV spec E.5).

use bytes::Bytes;

use crate::Error;
use crate::amf::{self, Value, amf0};
use crate::media::{Codec, Format, Metadata, Track};

/// What a script tag says, if it is `onMetaData`.
pub(super) fn read(body: &[u8]) -> Result<Option<Metadata>, Error> {
    let values = amf0::decode(body, amf::Limits::default())?;
    let [Value::String(name), data, ..] = values.as_slice() else { return Ok(None) };
    if name != "onMetaData" {
        return Ok(None);
    }
    let rate = |name| {
        let kilobits = data.field(name).and_then(Value::as_f64)?;
        // 0 is how encoders say that they do not know.
        (1.0..1e9).contains(&kilobits).then_some((kilobits * 1_000.0) as u64)
    };
    Ok(Some(Metadata {
        encoder: data.field("encoder").and_then(Value::as_str).map(str::to_owned),
        video_bits_per_second: rate("videodatarate"),
        audio_bits_per_second: rate("audiodatarate"),
    }))
}

/// A script tag's body about the first track of each kind.
pub(super) fn write<'a>(metadata: &Metadata, tracks: impl Iterator<Item = &'a Track>) -> Bytes {
    let mut fields = vec![];
    let mut field = |name: &str, value| fields.push((name.to_owned(), value));
    let kilobits = |bits: u64| Value::Number(bits as f64 / 1_000.0);
    for track in tracks.filter(|track| track.id.index == 0) {
        match track.format {
            Format::Video { width, height, frames_per_kilosecond } => {
                field("width", Value::Number(width.into()));
                field("height", Value::Number(height.into()));
                if let Some(rate) = frames_per_kilosecond {
                    field("framerate", Value::Number(f64::from(rate) / 1_000.0));
                }
                field("videocodecid", Value::Number(codec_number(track.codec)));
            }
            Format::Audio { sample_rate, channels, .. } => {
                field("audiosamplerate", Value::Number(sample_rate.into()));
                field("audiochannels", Value::Number(channels.into()));
                field("stereo", Value::Boolean(channels == 2));
                field("audiocodecid", Value::Number(codec_number(track.codec)));
            }
        }
    }
    if let Some(rate) = metadata.video_bits_per_second {
        field("videodatarate", kilobits(rate));
    }
    if let Some(rate) = metadata.audio_bits_per_second {
        field("audiodatarate", kilobits(rate));
    }
    if let Some(encoder) = &metadata.encoder {
        field("encoder", Value::string(encoder));
    }
    let mut body = vec![];
    amf0::encode(&Value::string("onMetaData"), &mut body);
    amf0::encode(&Value::Map(fields), &mut body);
    body.into()
}

/// Codec numbers of FLV, or the FourCC as a number (Enhanced RTMP v1).
fn codec_number(codec: Codec) -> f64 {
    let four_cc = |name: &[u8; 4]| u32::from_be_bytes(*name).into();
    match codec {
        Codec::H264 => 7.0,
        Codec::Aac => 10.0,
        Codec::Hevc => four_cc(b"hvc1"),
        Codec::Av1 => four_cc(b"av01"),
        Codec::Vp9 => four_cc(b"vp09"),
        Codec::Opus => four_cc(b"Opus"),
    }
}
