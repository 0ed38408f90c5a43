//! The init segment: `ftyp` and `moov`.

use bytes::Bytes;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Audio, Av01, Avc1, Decode, Dinf, Dref, DrefEntry, Encode, Esds, FixedPoint, FourCC, Ftyp, Hdlr,
    Hvc1, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex,
    Url, Visual, Vmhd, Vp09,
};

use super::{TRACK, timescale};
use crate::Error;
use crate::media::{Codec, Format, Kind, Track};

/// Writes the init segment of `track`.
///
/// # Errors
/// [`Error::Malformed`] if the codec's configuration record does not parse.
pub fn init_segment(track: &Track) -> Result<Bytes, Error> {
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: [b"iso6", b"cmfc", b"mp41"].map(FourCC::new).to_vec(),
    };
    let mut out = Vec::with_capacity(1_024);
    ftyp.encode(&mut out).map_err(refused)?;
    moov(track)?.encode(&mut out).map_err(refused)?;
    Ok(Bytes::from(out))
}

fn refused(_: mp4_atom::Error) -> Error {
    Error::malformed("CMAF", "the codec's configuration record cannot be carried in MP4")
}

fn moov(track: &Track) -> Result<Moov, Error> {
    let trex = Trex { track_id: TRACK, default_sample_description_index: 1, ..Trex::default() };
    Ok(Moov {
        mvhd: Mvhd {
            timescale: 1_000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex: vec![trex] }),
        trak: vec![trak(track)?],
        ..Moov::default()
    })
}

fn trak(track: &Track) -> Result<Trak, Error> {
    let (width, height) = match track.format {
        Format::Video { width, height, .. } => (width, height),
        Format::Audio { .. } => (0, 0),
    };
    let sound = track.id.kind == Kind::Audio;
    let handler = if sound { b"soun" } else { b"vide" };
    let mdia = Mdia {
        mdhd: Mdhd { timescale: timescale(track), language: "und".into(), ..Mdhd::default() },
        hdlr: Hdlr { handler: FourCC::new(handler), name: "streamr".into() },
        minf: minf(track)?,
    };
    let tkhd = Tkhd {
        track_id: TRACK,
        enabled: true,
        in_movie: true,
        volume: if sound { 1.into() } else { 0.into() },
        width: width.into(),
        height: height.into(),
        ..Tkhd::default()
    };
    Ok(Trak { tkhd, mdia, ..Trak::default() })
}

fn minf(track: &Track) -> Result<Minf, Error> {
    let sound = track.id.kind == Kind::Audio;
    let stsd = Stsd { codecs: vec![sample_entry(track)?] };
    let here = DrefEntry::Url(Url { location: String::new() });
    Ok(Minf {
        vmhd: (!sound).then(Vmhd::default),
        smhd: sound.then(Smhd::default),
        dinf: Dinf { dref: Dref { entries: vec![here] } },
        stbl: Stbl { stsd, stco: Some(Stco::default()), ..Stbl::default() },
        ..Minf::default()
    })
}

fn sample_entry(track: &Track) -> Result<mp4_atom::Codec, Error> {
    let config = &track.config[..];
    Ok(match (track.codec, track.format) {
        (Codec::Aac, Format::Audio { sample_rate, channels, .. }) => {
            Mp4a { audio: audio(sample_rate, channels), esds: esds(config), btrt: None, taic: None }
                .into()
        }
        (Codec::Opus, Format::Audio { sample_rate, channels, .. }) => {
            let dops = record(b"dOps", config)?;
            Opus { audio: audio(sample_rate, channels), dops, btrt: None }.into()
        }
        (codec, Format::Video { width, height, .. }) => {
            picture_entry(codec, config, Visual { width, height, ..visual() })?
        }
        _ => return Err(Error::malformed("CMAF", "codec and format are of different kinds")),
    })
}

fn picture_entry(codec: Codec, config: &[u8], visual: Visual) -> Result<mp4_atom::Codec, Error> {
    Ok(match codec {
        Codec::H264 => Avc1 {
            visual,
            avcc: record(b"avcC", config)?,
            btrt: None,
            colr: None,
            pasp: None,
            taic: None,
            fiel: None,
            spatial: None,
        }
        .into(),
        Codec::Hevc => Hvc1 {
            visual,
            hvcc: record(b"hvcC", config)?,
            lhvc: None,
            btrt: None,
            colr: None,
            pasp: None,
            taic: None,
            fiel: None,
            ccst: None,
            spatial: None,
        }
        .into(),
        Codec::Av1 => Av01 {
            visual,
            av1c: record(b"av1C", config)?,
            btrt: None,
            ccst: None,
            colr: None,
            pasp: None,
            taic: None,
            spatial: None,
        }
        .into(),
        Codec::Vp9 => {
            Vp09 { visual, vpcc: vpcc(config)?, btrt: None, colr: None, pasp: None, spatial: None }
                .into()
        }
        Codec::Aac | Codec::Opus => {
            return Err(Error::malformed("CMAF", "codec and format are of different kinds"));
        }
    })
}

fn visual() -> Visual {
    Visual { data_reference_index: 1, compressor: "".into(), ..Visual::default() }
}

fn audio(sample_rate: u32, channels: u8) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: 16,
        // The field is 16 bits wide; above that the configuration record is what counts.
        sample_rate: FixedPoint::from(u16::try_from(sample_rate).unwrap_or(0)),
    }
}

/// Parses a configuration record as the box named `kind`.
fn record<T: Decode>(kind: &[u8; 4], config: &[u8]) -> Result<T, Error> {
    let size = u32::try_from(config.len().saturating_add(8))
        .map_err(|_| Error::malformed("CMAF", "configuration record of 4 GiB"))?;
    let mut atom = Vec::with_capacity(config.len() + 8);
    atom.extend_from_slice(&size.to_be_bytes());
    atom.extend_from_slice(kind);
    atom.extend_from_slice(config);
    T::decode(&mut &atom[..]).map_err(refused)
}

/// Some sources give the record with the version and flags of its box, some without.
fn vpcc(config: &[u8]) -> Result<mp4_atom::VpcC, Error> {
    if config.len() >= 12 && config.starts_with(&[1, 0, 0, 0]) {
        return record(b"vpcC", config);
    }
    record(b"vpcC", &[&[1, 0, 0, 0], config].concat())
}

fn esds(config: &[u8]) -> Esds {
    let specific = DecoderSpecific { raw: config.to_vec(), ..DecoderSpecific::default() };
    Esds {
        es_desc: EsDescriptor {
            es_id: 1,
            dec_config: DecoderConfig {
                object_type_indication: 0x40,
                stream_type: 5,
                dec_specific: Some(specific),
                ..DecoderConfig::default()
            },
            sl_config: SLConfig {},
            ..EsDescriptor::default()
        },
    }
}
