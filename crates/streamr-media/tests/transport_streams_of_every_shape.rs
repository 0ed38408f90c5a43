//! Transport streams written by hand: what real muxers do seldom, and what hostile ones do.

use std::collections::HashMap;

use proptest::prelude::*;
use streamr_media::media::{Codec, Demux, Event, Frame, TrackId};
use streamr_media::ts::{Config, Demuxer};

const SPS: &[u8] = &[
    0x67, 0x64, 0, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0,
    0x3c, 0x0f, 0x16, 0x2d, 0x96,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
const AUD: &[u8] = &[9, 0xf0];
const IDR: &[u8] = &[0x65, 0x88, 0x84];
/// Begin with first_mb_in_slice 0, and not.
const SLICE: &[u8] = &[0x41, 0x9a, 0x11];
const SECOND_SLICE: &[u8] = &[0x41, 0x4a, 0x12];
const SEI: &[u8] = &[6, 5, 1, 9, 0x80];

const MAP_PID: u16 = 0x100;
const H264: u8 = 0x1b;
const AAC: u8 = 0x0f;

/// Writes packets.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    counters: HashMap<u16, u8>,
    /// Of the next program map.
    version: u8,
}

impl Stream {
    /// One with a program association and a map of these streams.
    fn of(streams: &[(u8, u16)]) -> Self {
        let mut stream = Self::default();
        stream.section(0, &[0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0]);
        stream.map(streams);
        stream
    }

    fn map(&mut self, streams: &[(u8, u16)]) {
        let length = 13 + 5 * streams.len() as u8;
        let flags = 0xc1 | self.version << 1;
        let mut section = vec![2, 0xb0, length, 0, 1, flags, 0, 0, 0xe1, 1, 0xf0, 0];
        for (kind, pid) in streams {
            section.extend([*kind, (pid >> 8) as u8 | 0xe0, *pid as u8, 0xf0, 0]);
        }
        self.version += 1;
        self.section(MAP_PID, &section);
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        let crc = section.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
                crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        let mut payload = [&[0][..], section, &crc.to_be_bytes()].concat();
        payload.resize(184, 0xff);
        self.packets(pid, &payload);
    }

    /// A PES packet without a stated length, as video has them.
    fn pes(&mut self, pid: u16, pts: Option<u64>, units: &[&[u8]]) {
        let payload: Vec<u8> =
            units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect();
        self.raw_pes(pid, pts, &payload, false);
    }

    fn raw_pes(&mut self, pid: u16, pts: Option<u64>, payload: &[u8], stated: bool) {
        let times = pts.map_or(vec![], |pts| {
            let byte = |shift: u32| (pts >> shift) as u8;
            vec![0x21 | byte(29) & 0x0e, byte(22), byte(14) | 1, byte(7), byte(0) << 1 | 1]
        });
        let flags = if pts.is_some() { 0x80 } else { 0 };
        let length = if stated { 3 + times.len() + payload.len() } else { 0 };
        let length = u16::try_from(length).unwrap().to_be_bytes();
        let head = [0, 0, 1, 0xe0, length[0], length[1], 0x80, flags, times.len() as u8];
        self.packets(pid, &[&head, &times[..], payload].concat());
    }

    fn packets(&mut self, pid: u16, payload: &[u8]) {
        for (at, piece) in payload.chunks(184).enumerate() {
            let counter = self.counters.entry(pid).or_default();
            let start = if at == 0 { 0x40 } else { 0 };
            let stuffing = 184 - piece.len();
            let field = if stuffing > 0 { 0x30 } else { 0x10 };
            self.bytes.extend([0x47, start | (pid >> 8) as u8, pid as u8, field | *counter]);
            *counter = (*counter + 1) & 15;
            if stuffing > 0 {
                self.bytes.push(stuffing as u8 - 1);
                self.bytes.extend([&[0][..], &[0xff; 183]].concat().iter().take(stuffing - 1));
            }
            self.bytes.extend(piece);
        }
    }

    fn events(&self) -> Vec<Event> {
        read(&self.bytes, &[], Config::default())
    }
}

/// All events when `bytes` come in pieces that end at `cuts`.
fn read(bytes: &[u8], cuts: &[usize], config: Config) -> Vec<Event> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let (mut demuxer, mut events, mut from) = (Demuxer::new(config), Vec::new(), 0);
    for to in cuts {
        demuxer.push(&bytes[from..to]).unwrap();
        from = to;
        events.extend(core::iter::from_fn(|| demuxer.poll_event()));
    }
    demuxer.finish();
    events.extend(core::iter::from_fn(|| demuxer.poll_event()));
    events
}

fn frames(events: &[Event]) -> Vec<&Frame> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Frame(frame) => Some(frame),
            _ => None,
        })
        .collect()
}

/// Decoding time in milliseconds and bytes of each frame.
fn shape(events: &[Event]) -> Vec<(i64, usize)> {
    frames(events).iter().map(|frame| (frame.dts_us / 1_000, frame.data.len())).collect()
}

/// Bytes of these units with their lengths.
fn size(units: &[&[u8]]) -> usize {
    units.iter().map(|unit| unit.len() + 4).sum()
}

fn adts(payload_bytes: usize) -> Vec<u8> {
    let bytes = payload_bytes + 7;
    let head = [0xff, 0xf1, 0x4c, 0x80 | (bytes >> 11) as u8, (bytes >> 3) as u8];
    [&head[..], &[(bytes as u8) << 5 | 0x1f, 0xfc], &vec![0x21; payload_bytes]].concat()
}

const VIDEO: u16 = 0x101;
const SOUND: u16 = 0x102;
/// 90 kHz ticks of a millisecond.
const MS: u64 = 90;

#[test]
fn access_units_that_share_a_packet_come_one_by_one() {
    let key: &[&[u8]] = &[AUD, SPS, PPS, IDR];
    let delimited = [key, &[AUD, SLICE, SECOND_SLICE, AUD, SEI, SLICE]].concat();
    let plain = [&key[1..], &[SLICE, SECOND_SLICE, SEI, SLICE]].concat();
    let sizes = [size(&[SPS, PPS, IDR]), size(&[SLICE, SECOND_SLICE]), size(&[SEI, SLICE])];
    for units in [delimited, plain] {
        let mut stream = Stream::of(&[(H264, VIDEO)]);
        for packet in 0..3 {
            stream.pes(VIDEO, Some((1_000 + packet * 120) * MS), &units);
        }
        // The header says 30 frames a second, until the packets themselves say 25.
        let times = [1_000, 1_033, 1_066, 1_120, 1_160, 1_200, 1_240, 1_280, 1_320];
        let expected: Vec<_> = times.into_iter().zip(sizes.into_iter().cycle()).collect();
        assert_eq!(shape(&stream.events()), expected);
    }
}

#[test]
fn a_packet_without_a_time_follows_the_one_before_it() {
    let mut stream = Stream::of(&[(H264, VIDEO)]);
    stream.pes(VIDEO, None, &[AUD, SPS, PPS, IDR]);
    stream.pes(VIDEO, Some(1_000 * MS), &[AUD, SPS, PPS, IDR]);
    stream.pes(VIDEO, Some(1_020 * MS), &[AUD, SLICE]);
    stream.pes(VIDEO, None, &[AUD, SLICE]);
    stream.pes(VIDEO, None, &[AUD, SLICE]);
    stream.pes(VIDEO, Some(1_080 * MS), &[AUD, SLICE]);
    let times: Vec<_> = shape(&stream.events()).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [1_000, 1_020, 1_040, 1_060, 1_080], "nothing can be said of the first");
}

/// A picture of three slices in as many PES packets, the last cut within a slice.
#[test]
fn a_picture_in_several_packets_is_put_together_from_the_second_on() {
    for stated in [false, true] {
        let mut stream = Stream::of(&[(H264, VIDEO)]);
        let unit = |unit: &[u8]| [&[0, 0, 0, 1][..], unit].concat();
        stream.pes(VIDEO, Some(1_000 * MS), &[AUD, SPS, PPS, IDR]);
        for picture in 1..=3 {
            let time = (1_000 + picture * 40) * MS;
            let first = [unit(AUD), unit(SLICE)].concat();
            stream.raw_pes(VIDEO, Some(time), &first, stated);
            stream.raw_pes(
                VIDEO,
                None,
                &[unit(SECOND_SLICE), unit(&[0x41, 0x4b])].concat(),
                stated,
            );
            stream.raw_pes(VIDEO, None, &[0x13, 0x14], stated);
        }
        let slices: &[&[u8]] = &[SLICE, SECOND_SLICE, &[0x41, 0x4b, 0x13, 0x14]];
        let expected = [
            (1_000, size(&[SPS, PPS, IDR])),
            (1_040, size(&[SLICE])), // nobody knew yet
            (1_080, size(slices)),
            (1_120, size(slices)),
        ];
        assert_eq!(shape(&stream.events()), expected, "{stated}");
    }
}

#[test]
fn a_picture_that_never_ends_is_dropped_at_the_limit() {
    let mut stream = Stream::of(&[(H264, VIDEO)]);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    stream.raw_pes(VIDEO, None, &[7; 10], true);
    stream.pes(VIDEO, Some(40 * MS), &[AUD, SLICE]);
    for _ in 0..100 {
        stream.raw_pes(VIDEO, None, &[7; 100], true);
    }
    stream.pes(VIDEO, Some(80 * MS), &[AUD, SLICE]);
    let config = Config { pes_bytes_max: 1_000, ..Config::default() };
    let events = read(&stream.bytes, &[], config);
    let times: Vec<_> = shape(&events).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [0, 80]);
}

#[test]
fn a_picture_comes_as_soon_as_the_next_begins() {
    let mut stream = Stream::of(&[(H264, VIDEO)]);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    let one = stream.bytes.len();
    stream.pes(VIDEO, Some(40 * MS), &[AUD, SLICE]);
    let mut demuxer = Demuxer::new(Config::default());
    demuxer.push(&stream.bytes[..one]).unwrap();
    assert_eq!(demuxer.poll_event(), None);
    demuxer.push(&stream.bytes[one..]).unwrap();
    assert!(matches!(demuxer.poll_event(), Some(Event::Track(_))));
    assert!(matches!(demuxer.poll_event(), Some(Event::Frame(_))));
    assert_eq!(demuxer.poll_event(), None);
}

#[test]
fn a_stated_length_ends_a_picture_at_once() {
    let mut stream = Stream::of(&[(H264, VIDEO)]);
    let units = [&[0, 0, 1][..], AUD, &[0, 0, 1], SPS, &[0, 0, 1], PPS, &[0, 0, 1], IDR].concat();
    stream.raw_pes(VIDEO, Some(0), &units, true);
    let mut demuxer = Demuxer::new(Config::default());
    demuxer.push(&[&stream.bytes[..], &[0x47]].concat()).unwrap();
    let events: Vec<_> = core::iter::from_fn(|| demuxer.poll_event()).collect();
    assert_eq!(frames(&events).len(), 1);
}

#[test]
fn every_stream_of_the_program_is_a_track() {
    let mut stream = Stream::of(&[(H264, VIDEO), (AAC, SOUND), (0x42, 0x1ff), (AAC, 0x103)]);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    for pid in [SOUND, 0x103] {
        stream.raw_pes(pid, Some(7 * MS), &[adts(10), adts(20)].concat(), true);
    }
    let events = stream.events();
    let tracks: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Track(track) => Some((track.id, track.codec)),
            _ => None,
        })
        .collect();
    let second = TrackId { index: 1, ..TrackId::AUDIO };
    for expected in
        [(TrackId::VIDEO, Codec::H264), (TrackId::AUDIO, Codec::Aac), (second, Codec::Aac)]
    {
        assert!(tracks.contains(&expected), "{expected:?} is not in {tracks:?}");
    }
    let of = |id| frames(&events).iter().filter(|frame| frame.track == id).count();
    assert_eq!([of(TrackId::VIDEO), of(TrackId::AUDIO), of(second)], [1, 2, 2]);
}

#[test]
fn streams_beyond_the_limit_are_ignored() {
    let pids = 0x102..0x10a;
    let streams: Vec<_> = pids.clone().map(|pid| (AAC, pid)).collect();
    let mut stream = Stream::of(&streams);
    pids.for_each(|pid| stream.raw_pes(pid, Some(0), &adts(10), true));
    let config = Config { streams_max: 3, ..Config::default() };
    let mut tracks: Vec<_> =
        frames(&read(&stream.bytes, &[], config)).iter().map(|frame| frame.track.index).collect();
    tracks.sort_unstable();
    assert_eq!(tracks, [0, 1, 2]);
}

#[test]
fn what_is_not_carried_is_named_once() {
    const MP3: u8 = 0x03;
    const DATA: u8 = 0x15;
    let mut stream = Stream::of(&[(H264, VIDEO), (MP3, SOUND), (DATA, 0x108)]);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    stream.map(&[(H264, VIDEO), (MP3, 0x105), (0x81, SOUND)]);
    stream.pes(VIDEO, Some(40 * MS), &[AUD, SLICE]);
    let mut demuxer = Demuxer::new(Config::default());
    demuxer.push(&stream.bytes).unwrap();
    assert_eq!(demuxer.take_left_out(), ["MP3 or MP2 sound", "AC-3 sound"]);
    assert!(demuxer.take_left_out().is_empty());
}

#[test]
fn a_program_may_change_while_it_runs() {
    let mut stream = Stream::of(&[(AAC, SOUND), (H264, VIDEO)]);
    stream.raw_pes(SOUND, Some(0), &adts(10), true);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    // The sound moves to another PID; the picture stays where it is, in the middle of its packet.
    stream.map(&[(H264, VIDEO), (AAC, 0x105)]);
    stream.pes(VIDEO, Some(40 * MS), &[AUD, SLICE]);
    stream.raw_pes(SOUND, Some(40 * MS), &adts(11), true);
    stream.raw_pes(0x105, Some(40 * MS), &adts(12), true);
    let events = stream.events();
    let sound: Vec<_> = frames(&events)
        .into_iter()
        .filter(|frame| frame.track == TrackId::AUDIO)
        .map(|frame| frame.data.len())
        .collect();
    assert_eq!(sound, [10, 12], "what is no longer in the map is not followed");
    let video = frames(&events).into_iter().filter(|frame| frame.track == TrackId::VIDEO);
    assert_eq!(video.count(), 2);
}

#[test]
fn a_packet_over_the_limit_is_dropped_and_the_next_is_not() {
    let mut stream = Stream::of(&[(H264, VIDEO)]);
    stream.pes(VIDEO, Some(0), &[AUD, SPS, PPS, IDR]);
    stream.pes(VIDEO, Some(40 * MS), &[AUD, SLICE, &[0x41; 5_000]]);
    stream.pes(VIDEO, Some(80 * MS), &[AUD, SLICE]);
    let config = Config { pes_bytes_max: 2_000, ..Config::default() };
    let times: Vec<_> =
        shape(&read(&stream.bytes, &[], config)).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [0, 80]);
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        sizes in prop::collection::vec(1_usize..700, 1..12),
    ) {
        let mut stream = Stream::of(&[(H264, VIDEO), (AAC, SOUND)]);
        for (number, bytes) in sizes.into_iter().enumerate() {
            let time = Some(number as u64 * 40 * MS);
            let picture = [&[0x65, 0x88][..], &vec![0x5a; bytes]].concat();
            stream.pes(VIDEO, time, &[AUD, SPS, PPS, &picture]);
            stream.raw_pes(SOUND, time, &adts(bytes), number % 2 == 0);
        }
        let whole = stream.events();
        prop_assert!(!frames(&whole).is_empty());
        prop_assert_eq!(read(&stream.bytes, &cuts, Config::default()), whole);
    }
}
