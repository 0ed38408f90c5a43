//! Our client and our server, and an independent client with our server, in memory.

use bytes::Bytes;
use psyne::Time;
use streamr_media::flv::{self, Kind, Tag};
use streamr_media::rtmp::{
    Client, ClientEvent, Closed, Config, Event, Intent, Output, PlayerEvent, Reject, Server,
    StreamId, Target,
};

fn tags() -> Vec<Tag> {
    let bodies = [1, 100, 127, 128, 129, 4_096, 70_000];
    let kinds = [Kind::Script, Kind::Audio, Kind::Video];
    let times = [0, 40, 0xff_fffe, 0xff_ffff, 0x0100_0000, u32::MAX, 3];
    let shape = bodies.into_iter().zip(kinds.into_iter().cycle()).zip(times);
    shape
        .map(|((bytes, kind), timestamp_ms)| Tag {
            kind,
            timestamp_ms,
            body: Bytes::from(vec![7; bytes]),
        })
        .collect()
}

/// Pieces of random size, at least one byte each.
struct Cuts(u64);

impl Cuts {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (self.0 >> 33) as usize % 3_000
    }
}

struct Pair {
    client: Client,
    server: Server,
    cuts: Cuts,
    up: Vec<u8>,
    down: Vec<u8>,
    at_client: Vec<ClientEvent>,
    at_server: Vec<Event>,
}

impl Pair {
    fn new(intent: Intent, chunk_bytes: u32, digest: bool, seed: u64) -> Self {
        let config = Config { chunk_bytes, digest, window_bytes: 5_000, ..Config::default() };
        let (app, tc_url) = ("live".into(), "rtmp://h/live".into());
        let target = Target { app, tc_url, name: "n?q=1".into(), intent };
        Self {
            client: Client::new(config.clone(), target, Time::ZERO, seed),
            server: Server::new(config, Time::ZERO, seed + 1),
            cuts: Cuts(seed),
            up: vec![],
            down: vec![],
            at_client: vec![],
            at_server: vec![],
        }
    }

    /// Carries bytes until neither side has more to say.
    fn run(&mut self) {
        loop {
            self.drain();
            if self.up.is_empty() && self.down.is_empty() {
                return;
            }
            let cut = self.cuts.next().min(self.up.len());
            let piece: Vec<u8> = self.up.drain(..cut).collect();
            self.server.handle_input(Time::ZERO, &piece).unwrap();
            let cut = self.cuts.next().min(self.down.len());
            let piece: Vec<u8> = self.down.drain(..cut).collect();
            self.client.handle_input(Time::ZERO, &piece).unwrap();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Transmit(bytes) => self.up.extend(bytes),
                Output::Event(event) => self.at_client.push(event),
                Output::Wait(_) => break,
            }
        }
        loop {
            match self.server.poll_output() {
                Output::Transmit(bytes) => self.down.extend(bytes),
                Output::Event(event) => self.at_server.push(event),
                Output::Wait(_) => break,
            }
        }
    }
}

#[test]
fn what_is_published_arrives_at_any_chunk_size_and_cut() {
    for (seed, chunk_bytes) in [(1, 1), (2, 128), (3, 4_096), (4, 60_000)] {
        let mut pair = Pair::new(Intent::Publish, chunk_bytes, seed % 2 == 0, seed);
        pair.run();
        let stream = StreamId(1);
        let (app, name, query) = ("live".into(), "n".into(), "q=1".into());
        assert_eq!(pair.at_server, [Event::Publish { stream, app, name, query }]);
        assert_eq!(pair.at_client, []);
        pair.server.accept(stream);
        pair.run();
        assert_eq!(pair.at_client, [ClientEvent::Ready]);
        for tag in tags() {
            pair.client.send(&tag);
        }
        pair.client.close();
        pair.run();
        let media = tags().into_iter().map(|tag| Event::Media { stream, tag });
        let expected: Vec<Event> = media.chain([Event::Unpublish { stream }]).collect();
        assert_eq!(pair.at_server[1..], expected);
    }
}

#[test]
fn what_is_played_arrives_and_the_socket_can_be_handed_over() {
    let mut pair = Pair::new(Intent::Play, 128, true, 9);
    pair.run();
    let stream = StreamId(1);
    assert!(matches!(pair.at_server[..], [Event::Play { .. }]));
    pair.server.accept(stream);
    pair.run();
    for tag in tags() {
        pair.server.send(stream, &tag);
    }
    pair.run();
    let media: Vec<_> = tags().into_iter().map(ClientEvent::Media).collect();
    assert_eq!(pair.at_client[0], ClientEvent::Ready);
    assert_eq!(pair.at_client[1..], media);

    let mut parts = pair.server.into_player(stream);
    assert_eq!((parts.chunk_bytes, parts.stream), (128, stream));
    assert!(size_of_val(&parts.control) <= 320, "{}", size_of_val(&parts.control));
    pair.client.pause(true);
    pair.client.close();
    while let Output::Transmit(bytes) = pair.client.poll_output() {
        parts.control.handle_input(&bytes).unwrap();
    }
    assert!(matches!(parts.control.poll_output(), Output::Transmit(_)));
    assert_eq!(parts.control.poll_output(), Output::Event(PlayerEvent::Left));
    assert_eq!(parts.control.poll_output(), Output::Event(PlayerEvent::Paused));
}

#[test]
fn refusals_carry_the_protocols_own_status() {
    let cases = [
        (Intent::Publish, Reject::Denied, "NetStream.Publish.Denied"),
        (Intent::Publish, Reject::InUse, "NetStream.Publish.BadName"),
        (Intent::Play, Reject::NotFound, "NetStream.Play.StreamNotFound"),
        (Intent::Play, Reject::Unavailable, "NetStream.Failed"),
    ];
    for (intent, reason, expected) in cases {
        let mut pair = Pair::new(intent, 4_096, false, 5);
        pair.run();
        pair.server.reject(StreamId(1), reason);
        pair.run();
        assert_eq!(pair.at_server.last(), Some(&Event::Closed(Closed::Rejected)));
        let [ClientEvent::Refused { code, .. }] = &pair.at_client[..] else {
            panic!("{:?}", pair.at_client)
        };
        assert_eq!(code, expected);
    }
}

#[test]
fn silence_ends_a_connection_at_its_deadline() {
    let mut pair = Pair::new(Intent::Publish, 4_096, false, 5);
    pair.run();
    let Output::Wait(Some(deadline)) = pair.server.poll_output() else { panic!("no deadline") };
    pair.server.handle_timeout(deadline);
    pair.run();
    assert_eq!(pair.at_server.last(), Some(&Event::Closed(Closed::SetupTimeout)));
    assert_eq!(pair.server.poll_output(), Output::Wait(None));
}

#[test]
fn a_publisher_learns_why_its_media_cannot_be_carried() {
    // What ffmpeg sends as FLV unless it is told otherwise: Sorenson's H.263, and MP3.
    let bodies: [(Kind, &[u8], &str); 2] = [
        (
            Kind::Video,
            b"\x12\0\0\x84\0",
            "a video codec other than H.264, HEVC, AV1 and VP9 (ffmpeg: -c:v libx264)",
        ),
        (
            Kind::Audio,
            b"\x2f\xff\xfb\x90",
            "an audio codec other than AAC and Opus (ffmpeg: -c:a aac)",
        ),
    ];
    for (kind, body, reason) in bodies {
        let mut pair = Pair::new(Intent::Publish, 4_096, false, 5);
        pair.run();
        pair.server.accept(StreamId(1));
        pair.run();
        pair.client.send(&Tag { kind, timestamp_ms: 0, body: Bytes::from_static(body) });
        pair.run();
        let Some(Event::Media { stream, tag }) = pair.at_server.pop() else { panic!("no media") };
        let mut demuxer = flv::Demuxer::new(flv::Config::default());
        let error = demuxer.push_tag(&tag).unwrap_err();
        pair.server.reject_media(stream, &error);
        pair.run();
        assert_eq!(pair.at_server.last(), Some(&Event::Closed(Closed::Rejected)));
        let Some(ClientEvent::Refused { code, description }) = pair.at_client.last() else {
            panic!("{:?}", pair.at_client)
        };
        assert_eq!(code, "NetStream.Publish.Rejected");
        assert!(description.contains(reason), "{description}");
    }
}
