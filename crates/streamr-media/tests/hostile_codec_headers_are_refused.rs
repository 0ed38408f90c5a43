//! Parameter sets and sequence headers, bit by bit: each case takes a header that is fine and makes
//! one field lie.

use bytes::Bytes;
use streamr_media::codec::{self, av1, h264, hevc};
use streamr_media::media::{Codec, TrackId};

/// A header as it is written.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn u(mut self, width: u32, value: u64) -> Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// ue(v).
    fn ue(self, value: u64) -> Self {
        let width = (value + 1).ilog2();
        self.u(width, 0).u(width + 1, value + 1)
    }

    /// With a stop bit.
    fn bytes(self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let value = bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            value << (8 - bits.len())
        };
        self.u(1, 1).0.chunks(8).map(byte).collect()
    }

    /// A NAL unit behind `header`.
    fn unit(self, header: &[u8]) -> Vec<u8> {
        codec::nal::escape(&[header, &self.bytes()].concat())
    }
}

/// Fields of an H.264 SPS of the High profile, 640 × 360.
#[derive(Clone)]
struct Avc {
    id: u64,
    chroma: u64,
    luma_depth: u64,
    frame_num: u64,
    order: u64,
    cycle: u64,
    width: u64,
    height: u64,
    crop: u64,
    ticks: (u64, u64),
}

impl Avc {
    const FINE: Self = Self {
        id: 0,
        chroma: 1,
        luma_depth: 0,
        frame_num: 0,
        order: 1,
        cycle: 1,
        width: 39,
        height: 22,
        crop: 4,
        ticks: (1, 60),
    };

    fn unit(&self) -> Vec<u8> {
        let bits = Bits::default().u(8, 100).u(8, 0).u(8, 31).ue(self.id).ue(self.chroma);
        let bits = if self.chroma == 3 { bits.u(1, 0) } else { bits };
        let bits = bits.ue(self.luma_depth).ue(0).u(2, 0).ue(self.frame_num).ue(self.order);
        let mut bits = if self.order == 1 { bits.u(1, 0).ue(0).ue(0).ue(self.cycle) } else { bits };
        if self.order == 1 {
            bits = (0..self.cycle).fold(bits, |bits, _| bits.ue(0));
        }
        let bits = bits.ue(1).u(1, 0).ue(self.width).ue(self.height).u(1, 1).u(1, 1);
        let bits = bits.u(1, 1).ue(0).ue(0).ue(0).ue(self.crop);
        // A VUI with nothing but the timing.
        bits.u(1, 1).u(4, 0).u(1, 1).u(32, self.ticks.0).u(32, self.ticks.1).u(1, 1).unit(&[0x67])
    }
}

#[test]
fn h264_sequence_parameter_sets() {
    let fine = h264::Sps::parse(&Avc::FINE.unit()).unwrap();
    let shape = fine.shape;
    assert_eq!((shape.width, shape.height, shape.frames_per_kilosecond), (640, 360, Some(30_000)));
    let cases = [
        ("id", Avc { id: 32, ..Avc::FINE }),
        ("chroma", Avc { chroma: 4, ..Avc::FINE }),
        ("depth", Avc { luma_depth: 7, ..Avc::FINE }),
        ("frame_num", Avc { frame_num: 13, ..Avc::FINE }),
        ("order", Avc { order: 3, ..Avc::FINE }),
        ("cycle", Avc { cycle: 256, ..Avc::FINE }),
        ("width", Avc { width: 4_096, ..Avc::FINE }),
        ("endless width", Avc { width: u32::MAX as u64 - 1, ..Avc::FINE }),
        ("height", Avc { height: u32::MAX as u64 - 1, ..Avc::FINE }),
        ("crop", Avc { crop: 184, ..Avc::FINE }),
        ("endless crop", Avc { crop: u32::MAX as u64 - 1, ..Avc::FINE }),
    ];
    for (name, sps) in cases {
        assert!(h264::Sps::parse(&sps.unit()).is_err(), "{name}");
    }
    for ticks in [(0, 60), (1, 0), (u32::MAX.into(), 1), (1, u32::MAX.into())] {
        let sps = h264::Sps::parse(&Avc { ticks, ..Avc::FINE }.unit()).unwrap();
        assert_eq!(sps.shape.frames_per_kilosecond, None, "{ticks:?} says nothing of the rate");
    }
    let whole = Avc::FINE.unit();
    let cut = |end: &usize| h264::Sps::parse(&whole[..*end]).is_err();
    assert!((0..whole.len() - 10).all(|end| cut(&end)));
    assert!(h264::Sps::parse(&[&whole[..], &[0x55; 65_536]].concat()).is_err());
    assert!(h264::Sps::parse(&[0x67, 100, 0, 31, 0, 0, 0, 0, 0, 0, 0]).is_err(), "endless ue(v)");
    assert!(h264::Sps::parse(&[0x68, 100, 0, 31]).is_err(), "not an SPS");
}

/// Fields of an HEVC SPS, 640 × 360.
#[derive(Clone)]
struct Hevc {
    sub_layers: u64,
    id: u64,
    chroma: u64,
    width: u64,
    crop: u64,
    depth: u64,
    order: u64,
    sets: u64,
    pictures: u64,
    long_term: Option<u64>,
}

impl Hevc {
    const FINE: Self = Self {
        sub_layers: 0,
        id: 0,
        chroma: 1,
        width: 640,
        crop: 4,
        depth: 0,
        order: 4,
        sets: 1,
        pictures: 1,
        long_term: None,
    };

    fn unit(&self) -> Vec<u8> {
        let bits = Bits::default().u(4, 0).u(3, self.sub_layers).u(1, 1);
        let bits = bits.u(8, 1).u(32, 0x6000_0000).u(48, 0x9000_0000_0000).u(8, 93);
        let bits = match self.sub_layers {
            0 => bits,
            // No sub-layer states a profile or level.
            _ => bits.u(16, 0),
        };
        let bits = bits.ue(self.id).ue(self.chroma).ue(self.width).ue(368).u(1, 1);
        let bits = bits.ue(0).ue(0).ue(0).ue(self.crop).ue(self.depth).ue(0).ue(self.order);
        // Sizes of the picture buffer, blocks and transforms, then no scaling lists, no PCM.
        let bits = (0..9).fold(bits.u(1, 0), |bits, _| bits.ue(0)).u(1, 0).u(2, 0).u(1, 0);
        let mut bits = bits.ue(self.sets);
        for set in 0..self.sets {
            bits = if set > 0 { bits.u(1, 0) } else { bits }.ue(self.pictures).ue(0);
            bits = (0..self.pictures).fold(bits, |bits, _| bits.ue(0).u(1, 1));
        }
        let bits = match self.long_term {
            Some(count) => (0..count).fold(bits.u(1, 1).ue(count), |bits, _| bits.u(9, 0)),
            None => bits.u(1, 0),
        };
        bits.u(2, 0).u(1, 0).u(1, 0).unit(&[0x42, 1])
    }
}

#[test]
fn hevc_sequence_parameter_sets() {
    for fine in [
        Hevc::FINE,
        Hevc { sub_layers: 6, ..Hevc::FINE },
        Hevc { sets: 64, pictures: 16, ..Hevc::FINE },
        Hevc { long_term: Some(32), ..Hevc::FINE },
    ] {
        let sps = hevc::Sps::parse(&fine.unit()).unwrap();
        assert_eq!((sps.shape.width, sps.shape.height), (640, 360));
    }
    let cases = [
        ("sub-layers", Hevc { sub_layers: 7, ..Hevc::FINE }),
        ("id", Hevc { id: 16, ..Hevc::FINE }),
        ("chroma", Hevc { chroma: 4, ..Hevc::FINE }),
        ("no width", Hevc { width: 0, ..Hevc::FINE }),
        ("width", Hevc { width: 65_536, ..Hevc::FINE }),
        ("endless width", Hevc { width: u32::MAX as u64 - 1, ..Hevc::FINE }),
        ("crop", Hevc { crop: 184, ..Hevc::FINE }),
        ("endless crop", Hevc { crop: u32::MAX as u64 - 1, ..Hevc::FINE }),
        ("depth", Hevc { depth: 9, ..Hevc::FINE }),
        ("order", Hevc { order: 13, ..Hevc::FINE }),
        ("sets", Hevc { sets: 65, ..Hevc::FINE }),
        ("pictures of a set", Hevc { pictures: 17, ..Hevc::FINE }),
        ("long-term pictures", Hevc { long_term: Some(33), ..Hevc::FINE }),
    ];
    for (name, sps) in cases {
        assert!(hevc::Sps::parse(&sps.unit()).is_err(), "{name}");
    }
    let whole = Hevc::FINE.unit();
    assert!((0..whole.len() - 1).all(|end| hevc::Sps::parse(&whole[..end]).is_err()));
}

#[test]
fn hevc_reference_sets_that_predict_from_each_other_stay_bounded() {
    // Each set keeps all pictures of the one before it and adds one: 64 sets of up to 64 pictures.
    let head = || {
        let bits = Bits::default().u(4, 0).u(3, 0).u(1, 1).u(8, 1).u(32, 0).u(48, 0).u(8, 93);
        let bits = bits.ue(0).ue(1).ue(640).ue(360).u(1, 0).ue(0).ue(0).ue(4);
        (0..9).fold(bits.u(1, 0), |bits, _| bits.ue(0)).u(4, 0)
    };
    let mut bits = head().ue(64).ue(0).ue(0);
    for pictures in 0..63 {
        bits = bits.u(1, 1).u(1, 0).ue(0);
        bits = (0..=pictures).fold(bits, |bits, _| bits.u(1, 1));
    }
    let sps = hevc::Sps::parse(&bits.u(5, 0).unit(&[0x42, 1]));
    assert_eq!(sps.map(|sps| sps.shape.width), Ok(640));
}

#[test]
fn configuration_records_that_lie() {
    let avc = |tail: &[u8]| [&[1, 100, 0, 31, 0xff][..], tail].concat();
    let sps = Avc::FINE.unit();
    let with_sps = |count: u8, tail: &[u8]| {
        avc(&[&[0xe0 | count, 0, sps.len() as u8][..], &sps, tail].concat())
    };
    let hevc = |arrays: u8, tail: &[u8]| [&[1; 21][..], &[0xff, arrays], tail].concat();
    let cases: [(Codec, &str, Vec<u8>); 13] = [
        (Codec::H264, "nothing", vec![]),
        (Codec::H264, "version", [&[2][..], &with_sps(1, &[0])[1..]].concat()),
        (Codec::H264, "no sets", avc(&[0xe0, 0])),
        (Codec::H264, "fewer sets than it says", with_sps(2, &[0])),
        (Codec::H264, "a set beyond the end", avc(&[0xe1, 0xff, 0xff, 0x67])),
        (Codec::H264, "no count of picture sets", with_sps(1, &[])),
        (Codec::H264, "picture sets beyond the end", with_sps(1, &[9, 0, 1, 0x68])),
        (Codec::Hevc, "nothing", vec![]),
        (Codec::Hevc, "version", [&[2; 22][..], &[0]].concat()),
        (Codec::Hevc, "no sets", hevc(0, &[])),
        (Codec::Hevc, "fewer arrays than it says", hevc(255, &[0x21, 0, 0])),
        (Codec::Hevc, "65,535 sets of no bytes, then the end", hevc(1, &[0x21, 0xff, 0xff, 0, 0])),
        (Codec::Hevc, "an empty set", hevc(1, &[0x21, 0, 1, 0, 0])),
    ];
    for (codec, name, record) in cases {
        let described = codec::describe(codec, TrackId::VIDEO, record.into());
        assert!(described.is_err(), "{codec:?}: {name}");
    }
    assert!(codec::describe(Codec::H264, TrackId::VIDEO, with_sps(1, &[0]).into()).is_ok());
}

/// Fields of an AV1 sequence header, 640 × 360.
#[derive(Clone)]
struct Av1 {
    profile: u64,
    timing: Option<(u64, u64)>,
    points: u64,
    width: (u64, u64),
}

impl Av1 {
    const FINE: Self = Self { profile: 0, timing: None, points: 0, width: (9, 639) };

    fn payload(&self) -> Vec<u8> {
        let bits = Bits::default().u(3, self.profile).u(2, 0);
        let bits = match self.timing {
            Some((tick, scale)) => bits.u(1, 1).u(32, tick).u(32, scale).u(1, 1).ue(0).u(1, 0),
            None => bits.u(1, 0),
        };
        let bits = bits.u(1, 0).u(5, self.points);
        let bits = (0..=self.points).fold(bits, |bits, _| bits.u(12, 0).u(5, 8).u(1, 0));
        let bits = bits.u(4, self.width.0).u(4, 9).u(self.width.0 as u32 + 1, self.width.1);
        let bits = bits.u(10, 359).u(1, 0).u(3, 0).u(4, 0).u(1, 0);
        let bits = bits.u(2, 0).u(3, 0);
        // 8 bits, colour, nothing said of it, limited range, 4:2:0.
        bits.u(1, 0).u(1, 0).u(1, 0).u(1, 0).u(2, 0).u(2, 0).bytes()
    }
}

#[test]
fn av1_sequence_headers() {
    for fine in [Av1::FINE, Av1 { points: 31, ..Av1::FINE }] {
        let header = av1::SequenceHeader::parse(&fine.payload()).unwrap();
        assert_eq!((header.shape.width, header.shape.height, header.level), (640, 360, 8));
    }
    let cases = [
        ("profile", Av1 { profile: 3, ..Av1::FINE }),
        ("width", Av1 { width: (15, 65_535), ..Av1::FINE }),
    ];
    for (name, header) in cases {
        assert!(av1::SequenceHeader::parse(&header.payload()).is_err(), "{name}");
    }
    for (timing, rate) in [((1, 30), Some(30_000)), ((0, 30), None), ((1, u32::MAX.into()), None)] {
        let header = Av1 { timing: Some(timing), ..Av1::FINE };
        let header = av1::SequenceHeader::parse(&header.payload()).unwrap();
        assert_eq!(header.shape.frames_per_kilosecond, rate, "{timing:?}");
    }
    let whole = Av1::FINE.payload();
    assert!((0..8).all(|end| av1::SequenceHeader::parse(&whole[..end]).is_err()));
}

#[test]
fn av1_units_that_lie() {
    let sequence = [&[0x0a, Av1::FINE.payload().len() as u8][..], &Av1::FINE.payload()].concat();
    let key_frame = [&sequence[..], &[0x32, 1, 0x10]].concat();
    assert!(av1::is_keyframe(&key_frame));
    let config = [&[0x81, 8, 0x0c, 0][..], &sequence].concat();
    assert!(codec::describe(Codec::Av1, TrackId::VIDEO, config.clone().into()).is_ok());
    let records: [(&str, Vec<u8>); 4] = [
        ("version", [&[0x82][..], &config[1..]].concat()),
        ("no marker", [&[1][..], &config[1..]].concat()),
        ("no sequence header", config[..4].to_vec()),
        ("cut short", config[..9].to_vec()),
    ];
    for (name, record) in records {
        assert!(codec::describe(Codec::Av1, TrackId::VIDEO, record.into()).is_err(), "{name}");
    }
    let broken: [(&str, &[u8]); 5] = [
        ("a size beyond the end", &[0x32, 9, 0x10]),
        ("a size of nine bytes", &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ("a size of 2^56", &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("no size where one is announced", &[0x32]),
        ("no extension where one is announced", &[0x34]),
    ];
    for (name, unit) in broken {
        assert!(av1::obus(unit).any(|unit| unit.is_err()), "{name}");
        let data = Bytes::from([&[0x12, 0][..], unit].concat());
        assert_eq!(av1::normalise(data.clone()), data, "{name}: what is broken stays as it is");
    }
}
