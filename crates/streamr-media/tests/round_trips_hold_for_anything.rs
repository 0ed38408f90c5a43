//! What one side writes, the other reads back: for arbitrary values, tracks, frames, chunk sizes
//! and cuts.

use bytes::Bytes;
use proptest::prelude::*;
use psyne::Time;
use streamr_media::amf::{Limits, Value, amf0, amf3};
use streamr_media::codec::{self, nal};
use streamr_media::flv::{self, Kind, Tag};
use streamr_media::media::{Codec, Demux, Event, Frame, Track, TrackId};
use streamr_media::rtmp::{self, Client, ClientEvent, Intent, Output, Server, StreamId, Target};

fn value() -> impl Strategy<Value = Value> {
    let number = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE;
    let leaf = prop_oneof![
        Just(Value::Undefined),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        number.prop_map(Value::Number),
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        ".{0,12}".prop_map(Value::String),
        Just(Value::String("long".repeat(20_000))),
        number.prop_map(Value::Date),
        ".{0,12}".prop_map(Value::Xml),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let fields = || prop::collection::vec((".{1,8}", inner.clone()), 0..4);
        // AMF3 writes an empty map like an empty array.
        let some = prop::collection::vec((".{1,8}", inner.clone()), 1..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            some.prop_map(Value::Map),
            fields().prop_map(Value::Object),
            (".{1,8}", fields()).prop_map(|(class, fields)| Value::Typed(class, fields)),
        ]
    })
}

/// Room for what the strategy makes.
const LIMITS: Limits = Limits { depth_max: 16, values_max: 1 << 16, bytes_max: 64 << 20 };

const CONFIGS: [(Codec, &[u8]); 6] = [
    (Codec::H264, include_bytes!("../../../fuzz/seeds/h264/avcc")),
    (Codec::Hevc, include_bytes!("../../../fuzz/seeds/hevc/hvcc")),
    (Codec::Av1, include_bytes!("../../../fuzz/seeds/av1/av1c")),
    (Codec::Vp9, include_bytes!("../../../fuzz/seeds/vp9/vpcc")),
    (Codec::Aac, include_bytes!("../../../fuzz/seeds/aac/lc")),
    (Codec::Opus, include_bytes!("../../../fuzz/seeds/opus/dops")),
];

fn track((codec, config): (Codec, &'static [u8]), index: u8) -> Track {
    let id = TrackId { kind: codec.kind(), index };
    codec::describe(codec, id, Bytes::from_static(config)).unwrap()
}

/// A frame's bytes around `filling`, which is not a key frame.
fn data(codec: Codec, filling: &[u8]) -> Bytes {
    match codec {
        Codec::H264 => nal::join([&[&[0x41][..], filling].concat()[..]].into_iter()),
        Codec::Hevc => nal::join([&[&[2, 1][..], filling].concat()[..]].into_iter()),
        // A frame OBU with its size in two bytes.
        Codec::Av1 => {
            let size = [filling.len() as u8 | 0x80, (filling.len() >> 7) as u8];
            [&[0x32][..], &size, filling].concat().into()
        }
        _ => Bytes::copy_from_slice(filling),
    }
}

/// Up to two tracks of each codec's kind, then frames of them at times that mostly ascend.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let tracks = prop::collection::vec(0..CONFIGS.len(), 1..4);
    // Which track, the step of its time, its composition offset and its bytes.
    let bytes = prop::collection::vec(1_u8..0x60, 1..300);
    let frames = prop::collection::vec((any::<u8>(), 0..90_000_i64, 0..100_i64, bytes), 0..30);
    (tracks, frames, -5_000_000_i64..5_000_000_000_000).prop_map(|(kinds, frames, start_us)| {
        let mut tracks: Vec<Track> = Vec::new();
        for kind in kinds {
            let same = |track: &&Track| track.id.kind == CONFIGS[kind].0.kind();
            let index = tracks.iter().filter(same).count() as u8;
            tracks.push(track(CONFIGS[kind], index));
        }
        let mut dts_us = start_us;
        let frames: Vec<_> = frames
            .into_iter()
            .map(|(which, step_us, shift_ms, bytes)| {
                let track = &tracks[usize::from(which) % tracks.len()];
                dts_us += step_us;
                let shifted = matches!(track.codec, Codec::H264 | Codec::Hevc);
                let pts_us = dts_us + if shifted { shift_ms * 1_000 } else { 0 };
                let data = data(track.codec, &bytes);
                let keyframe = codec::is_keyframe(track.codec, &data);
                Event::Frame(Frame { track: track.id, dts_us, pts_us, keyframe, data })
            })
            .collect();
        tracks.into_iter().map(Event::Track).chain(frames).collect()
    })
}

/// Times as FLV can carry them: whole milliseconds, from where a 32-bit counter puts the first.
fn rounded(events: &[Event]) -> Vec<Event> {
    let first = events.iter().find_map(|event| match event {
        Event::Frame(frame) => Some(frame.dts_us.div_euclid(1_000)),
        _ => None,
    });
    let first_ms = first.unwrap_or(0);
    let moved_us = (i64::from(first_ms as u32) - first_ms) * 1_000;
    let ms = |us: i64| us.div_euclid(1_000) * 1_000 + moved_us;
    let rounded = |event: &Event| match event {
        Event::Frame(frame) => {
            let (dts_us, pts_us) = (ms(frame.dts_us), ms(frame.pts_us));
            Event::Frame(Frame { dts_us, pts_us, ..frame.clone() })
        }
        other => other.clone(),
    };
    events.iter().map(rounded).collect()
}

fn demuxed(mut demuxer: flv::Demuxer) -> Vec<Event> {
    let events = core::iter::from_fn(|| demuxer.poll_event());
    events.filter(|event| !matches!(event, Event::Metadata(_))).collect()
}

proptest! {
    #[test]
    fn amf_values(values in prop::collection::vec(value(), 0..4)) {
        let (mut zero, mut three) = (Vec::new(), Vec::new());
        for value in &values {
            amf0::encode(value, &mut zero);
            amf3::encode(value, &mut three);
        }
        prop_assert_eq!(amf0::decode(&zero, LIMITS).unwrap(), &values[..]);
        prop_assert_eq!(amf3::decode(&three, LIMITS).unwrap(), values);
    }

    #[test]
    fn media_events_through_flv_tags_and_files(events in events(), step in 1_usize..2_000) {
        let (mut muxer, mut tags) = (flv::Muxer::new(), Vec::new());
        events.iter().for_each(|event| muxer.push(event, &mut tags));
        let (mut by_tag, mut by_file) =
            (flv::Demuxer::new(flv::Config::default()), flv::Demuxer::new(flv::Config::default()));
        let mut file = flv::file::HEADER.to_vec();
        for tag in &tags {
            by_tag.push_tag(tag).unwrap();
            flv::file::write_tag(&mut file, tag);
        }
        file.chunks(step).for_each(|piece| by_file.push(piece).unwrap());
        let expected = rounded(&events);
        prop_assert_eq!(demuxed(by_tag), &expected[..]);
        prop_assert_eq!(demuxed(by_file), expected);
    }

    #[test]
    fn tags_from_client_to_server(
        chunk_bytes in prop_oneof![1_u32..300, Just(60_000)],
        digest in any::<bool>(),
        cuts in prop::collection::vec(1_usize..4_000, 1..30),
        tags in prop::collection::vec((0_usize..3, any::<u32>(), 0_usize..3_000), 0..12),
    ) {
        let kinds = [Kind::Audio, Kind::Video, Kind::Script];
        let tags = tags.into_iter().map(|(kind, timestamp_ms, bytes)| Tag {
            kind: kinds[kind],
            timestamp_ms,
            body: vec![5; bytes].into(),
        });
        let tags: Vec<Tag> = tags.collect();
        let config = rtmp::Config { chunk_bytes, digest, ..rtmp::Config::default() };
        prop_assert_eq!(carried(config, &cuts, &tags), tags);
    }
}

/// What reaches a server of `tags` when both directions are cut by `cuts`, again and again.
fn carried(config: rtmp::Config, cuts: &[usize], tags: &[Tag]) -> Vec<Tag> {
    let (app, tc_url) = ("live".into(), "rtmp://h/live".into());
    let target = Target { app, tc_url, name: "key".into(), intent: Intent::Publish };
    let mut client = Client::new(config.clone(), target, Time::ZERO, 1);
    let mut server = Server::new(config, Time::ZERO, 2);
    let (mut up, mut down, mut got) = (Vec::new(), Vec::new(), Vec::new());
    for cut in cuts.iter().cycle() {
        loop {
            match client.poll_output() {
                Output::Transmit(bytes) => up.extend(bytes),
                Output::Event(ClientEvent::Ready) => tags.iter().for_each(|tag| client.send(tag)),
                Output::Event(event) => panic!("{event:?}"),
                Output::Wait(_) => break,
            }
        }
        loop {
            match server.poll_output() {
                Output::Transmit(bytes) => down.extend(bytes),
                Output::Event(rtmp::Event::Publish { .. }) => server.accept(StreamId(1)),
                Output::Event(rtmp::Event::Media { tag, .. }) => got.push(tag),
                Output::Event(event) => panic!("{event:?}"),
                Output::Wait(_) => break,
            }
        }
        if up.is_empty() && down.is_empty() {
            break;
        }
        let piece: Vec<u8> = up.drain(..up.len().min(*cut)).collect();
        server.handle_input(Time::ZERO, &piece).unwrap();
        let piece: Vec<u8> = down.drain(..down.len().min(*cut)).collect();
        client.handle_input(Time::ZERO, &piece).unwrap();
    }
    got
}
