//! However writers and readers interleave and however little a socket takes, what a player gets is
//! a valid byte stream whose only gaps end at key frames, and memory stays within its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use psyne::Time;
use rml_rtmp::chunk_io::ChunkDeserializer;
use streamr_media::fanout::{Config, Framing, Reader, Role, Window, Writer};
use streamr_media::flv::{Kind, Tag};

#[derive(Clone, Debug)]
enum Op {
    Picture { key: bool, bytes: usize },
    Sound { bytes: usize },
    Header,
    Seal,
    Pass { ms: u64 },
    Join { framing: Framing },
    Take { reader: usize, bytes: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::bool::weighted(0.2), 8..3_000usize)
            .prop_map(|(key, bytes)| Op::Picture { key, bytes }),
        3 => (8..300usize).prop_map(|bytes| Op::Sound { bytes }),
        1 => Just(Op::Header),
        3 => Just(Op::Seal),
        2 => (1..900u64).prop_map(|ms| Op::Pass { ms }),
        1 => prop_oneof![Just(Framing::Rtmp), Just(Framing::Flv)]
            .prop_map(|framing| Op::Join { framing }),
        6 => (0..8usize, 1..4_000usize).prop_map(|(reader, bytes)| Op::Take { reader, bytes }),
    ]
}

fn config() -> Config {
    Config {
        chunk_bytes: 700,
        batch_bytes_max: 2_000,
        lag_max: Duration::from_secs(2),
        group_max: Duration::from_secs(5),
        window_bytes_max: 20_000,
        ..Config::default()
    }
}

struct Bench {
    writer: Writer,
    window: Window,
    readers: Vec<(Framing, Reader, Vec<u8>)>,
    now: Time,
    number: u32,
}

impl Bench {
    fn new() -> Self {
        let writer = Writer::new(config());
        let (window, readers) = (writer.window(), Vec::new());
        let mut bench = Self { writer, window, readers, now: Time::ZERO, number: 0 };
        bench.push(Kind::Video, &[0x17, 0, 0, 0, 0], 20);
        bench.push(Kind::Audio, &[0xaf, 0], 8);
        bench
    }

    /// Pushes a tag of `bytes` whose body ends with its number.
    fn push(&mut self, kind: Kind, head: &[u8], bytes: usize) {
        let mut body = head.to_vec();
        body.resize(bytes.max(head.len() + 4) - 4, 0x5a);
        body.extend(self.number.to_be_bytes());
        self.number += 1;
        let timestamp_ms = (self.now.as_micros() / 1_000) as u32;
        let tag = Tag { kind, timestamp_ms, body: Bytes::from(body) };
        self.writer.push(self.now, &tag).expect("the tag is within the limits");
    }

    fn play(&mut self, op: &Op) {
        match *op {
            Op::Picture { key: true, bytes } => self.push(Kind::Video, &[0x17, 1, 0, 0, 0], bytes),
            Op::Picture { key: false, bytes } => {
                self.push(Kind::Video, &[0x27, 1, 0, 0, 0], bytes);
            }
            Op::Sound { bytes } => self.push(Kind::Audio, &[0xaf, 1], bytes),
            Op::Header => self.push(Kind::Video, &[0x17, 0, 0, 0, 0], 30),
            Op::Seal => self.writer.seal(),
            Op::Pass { ms } => self.now += Duration::from_millis(ms),
            Op::Join { framing } => {
                self.readers.push((framing, Reader::new(framing, Bytes::new()), Vec::new()));
            }
            Op::Take { reader, bytes } => self.take(reader, bytes),
        }
    }

    fn take(&mut self, reader: usize, bytes: usize) {
        let Some((_, reader, got)) = self.readers.get_mut(reader) else { return };
        self.window.refresh();
        if let Some(next) = reader.peek(&self.window) {
            let n = bytes.min(next.len());
            assert!(n > 0, "a reader never offers nothing");
            got.extend(&next[..n]);
            reader.advance(n);
        }
    }

    fn drain(&mut self) {
        self.writer.seal();
        for index in 0..self.readers.len() {
            self.window.refresh();
            while self.readers[index].1.peek(&self.window).is_some() {
                self.take(index, usize::MAX);
            }
        }
    }
}

fn decode_rtmp(bytes: &[u8]) -> Vec<Tag> {
    let mut decoder = ChunkDeserializer::new();
    decoder.set_max_chunk_size(config().chunk_bytes as usize).expect("a valid chunk size");
    let (mut tags, mut input) = (Vec::new(), bytes);
    while let Some(message) = decoder.get_next_message(input).expect("valid chunks") {
        assert_eq!(message.message_stream_id, 1);
        let kind = Kind::of(message.type_id).expect("a media message");
        tags.push(Tag { kind, timestamp_ms: message.timestamp.value, body: message.data });
        input = &[];
    }
    tags
}

fn decode_flv(mut bytes: &[u8]) -> Vec<Tag> {
    let number = |b: &[u8]| b.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
    let mut tags = Vec::new();
    while !bytes.is_empty() {
        let length = number(&bytes[1..4]);
        let timestamp_ms = number(&bytes[4..7]) | usize::from(bytes[7]) << 24;
        assert_eq!(number(&bytes[8..11]), 0, "stream id");
        assert_eq!(number(&bytes[11 + length..15 + length]), length + 11, "previous tag size");
        tags.push(Tag {
            kind: Kind::of(bytes[0]).expect("a media tag"),
            timestamp_ms: timestamp_ms as u32,
            body: Bytes::copy_from_slice(&bytes[11..11 + length]),
        });
        bytes = &bytes[15 + length..];
    }
    tags
}

fn number_of(tag: &Tag) -> u32 {
    u32::from_be_bytes(tag.body[tag.body.len() - 4..].try_into().expect("four bytes"))
}

/// Gaps are allowed only before the headers and the key frame that a player continues with.
fn check_order(tags: &[Tag]) {
    let mut last: Option<u32> = None;
    let mut headers = BTreeMap::new();
    let mut replay = false;
    for tag in tags {
        let number = number_of(tag);
        if let Role::Header { .. } = Role::of(tag) {
            // Either the next message, or a replay of one that is not newer than what follows.
            replay |= last != number.checked_sub(1);
            headers.insert(tag.kind as u8, number);
            last = if replay { last } else { Some(number) };
            continue;
        }
        let follows = last.is_some_and(|last| last + 1 == number);
        if !follows || replay {
            assert!(tag.kind == Kind::Video && Role::of(tag) == Role::Keyframe, "starts at a key");
            assert_eq!(headers.len(), 2, "headers come before the key frame");
            assert!(last.is_none_or(|last| last < number), "never backwards");
            replay = false;
        }
        last = Some(number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_player_sees_whole_messages(ops in prop::collection::vec(op(), 1..400)) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.play(op);
            let limits = config();
            // One message may be longer than the rest of its batch.
            let slack = limits.batch_bytes_max + 3_100;
            prop_assert!(bench.writer.bytes() <= limits.window_bytes_max.max(slack));
        }
        bench.drain();
        for (framing, _, bytes) in &bench.readers {
            let tags = match framing {
                Framing::Rtmp => decode_rtmp(bytes),
                Framing::Flv => decode_flv(bytes),
            };
            check_order(&tags);
        }
    }
}

#[test]
fn who_stops_reading_goes_on_at_a_later_keyframe() {
    let mut bench = Bench::new();
    bench.play(&Op::Join { framing: Framing::Rtmp });
    bench.play(&Op::Picture { key: true, bytes: 3_000 });
    bench.play(&Op::Seal);
    bench.take(0, 100);
    bench.take(0, 100);
    for second in 0..6 {
        bench.play(&Op::Pass { ms: 1_000 });
        bench.play(&Op::Picture { key: second % 2 == 0, bytes: 1_000 });
        bench.play(&Op::Seal);
    }
    bench.drain();
    let tags = decode_rtmp(&bench.readers[0].2);
    check_order(&tags);
    let frames: Vec<u32> = tags
        .iter()
        .filter(|tag| !matches!(Role::of(tag), Role::Header { .. }))
        .map(number_of)
        .collect();
    assert_eq!(frames, [2, 7, 8], "the picture in hand, then the newest group");
    assert_eq!(bench.readers[0].1.skips(), 1);
}

#[test]
fn sound_alone_can_be_joined_at_any_batch() {
    let mut writer = Writer::new(config());
    let mut push = |body: &'static [u8]| {
        let tag = Tag { kind: Kind::Audio, timestamp_ms: 0, body: Bytes::from_static(body) };
        writer.push(Time::ZERO, &tag).expect("within the limits");
        writer.seal();
    };
    push(b"\xaf\x00header");
    push(b"\xaf\x01one");
    push(b"\xaf\x01two");
    let mut reader = Reader::new(Framing::Flv, Bytes::from_static(b"greeting"));
    let mut got = Vec::new();
    while let Some(next) = reader.peek(&writer.window()) {
        got.extend(next);
        let n = next.len();
        reader.advance(n);
    }
    let tags = decode_flv(got.strip_prefix(b"greeting").expect("the greeting comes first"));
    let bodies: Vec<&[u8]> = tags.iter().map(|tag| &tag.body[2..]).collect();
    assert_eq!(bodies, [&b"header"[..], b"two"]);
}

#[test]
fn limits_are_reached_and_named() {
    let mut writer = Writer::new(Config { message_bytes_max: 10, headers_max: 2, ..config() });
    let tag = |body: Vec<u8>| Tag { kind: Kind::Video, timestamp_ms: 0, body: body.into() };
    let multitrack = |track| tag(vec![0x96, 0x00, b'a', b'v', b'0', b'1', track]);
    let code = |result: Result<(), streamr_media::Error>| result.err().map(|e| e.to_string());
    assert_eq!(code(writer.push(Time::ZERO, &tag(vec![0x17; 10]))), None);
    let refused = code(writer.push(Time::ZERO, &tag(vec![0x17; 11])));
    assert!(refused.is_some_and(|text| text.contains("message_bytes_max")));
    assert_eq!(code(writer.push(Time::ZERO, &multitrack(0))), None);
    assert_eq!(code(writer.push(Time::ZERO, &multitrack(1))), None);
    let refused = code(writer.push(Time::ZERO, &multitrack(2)));
    assert!(refused.is_some_and(|text| text.contains("headers_max")));
}
