//! What docs/wire/sctp.md promises about packets that are wrong, and about peers that mean ill.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{RELIABLE, World, number, numbered};
use psyne_core::Time;
use psyne_rtc::Error;
use psyne_rtc::association::{Association, Closed, Event, Output};
use psyne_rtc::sctp::{self, Config};
use psyne_sim::Conditions;

/// One end of ours that is open, and the header that its peer writes.
struct Victim {
    end: sctp::Association,
    header: Vec<u8>,
    now: Time,
    /// TSN of the peer's first chunk of data.
    tsn: u32,
    packets: Vec<Bytes>,
    events: Vec<Event>,
}

fn config() -> Config {
    let mut config = Config { interleaving: false, ..Config::default() };
    config.common.receive_buffer_bytes_max = 32 * 1024;
    config.common.receive_message_bytes_max = 8 * 1024;
    config.common.streams_max = 16;
    config
}

impl Victim {
    fn open(config: Config) -> Self {
        let now = Time::from_millis(1);
        let mut end = sctp::Association::new(config.clone(), now, 1);
        let mut peer = sctp::Association::new(config, now, 2);
        peer.connect(now);
        let (mut header, mut tsn) = (Vec::new(), 0);
        for _ in 0..4 {
            while let Some(packet) = transmit(&mut peer) {
                if packet[12] == 1 {
                    tsn = u32::from_be_bytes(packet[28..32].try_into().expect("four bytes"));
                }
                header = [&packet[..8], &[0; 4]].concat();
                end.handle_packet(now, packet);
            }
            while let Some(packet) = transmit(&mut end) {
                peer.handle_packet(now, packet);
            }
        }
        let (packets, events) = (Vec::new(), Vec::new());
        Self { end, header, now, tsn, packets, events }
    }

    fn receive(&mut self, chunks: &[u8]) {
        self.receive_whole(&[&self.header[..], chunks].concat());
    }

    fn receive_whole(&mut self, packet: &[u8]) {
        self.end.handle_packet(self.now, Bytes::copy_from_slice(packet));
        loop {
            match self.end.poll_output() {
                Output::Transmit(packet) => self.packets.push(packet),
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => break,
            }
        }
    }

    /// Types of the chunks that were sent since the last call.
    fn answers(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        for packet in self.packets.drain(..) {
            let mut at = 12;
            while at + 4 <= packet.len() {
                kinds.push(packet[at]);
                let length = usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
                at += length.next_multiple_of(4).max(4);
            }
        }
        kinds
    }

    fn closed(&self) -> Option<Closed> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }
}

fn transmit(end: &mut sctp::Association) -> Option<Bytes> {
    loop {
        match end.poll_output() {
            Output::Transmit(packet) => return Some(packet),
            Output::Event(_) => {}
            Output::Wait(_) => return None,
        }
    }
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("short").to_be_bytes();
    let mut chunk = [&[kind, flags], &length[..], value].concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn data(tsn: u32, flags: u8, (stream, number): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let head = [&tsn.to_be_bytes()[..], &stream.to_be_bytes(), &number.to_be_bytes(), &[0; 4]];
    chunk(0, flags, &[&head.concat()[..], payload].concat())
}

const WHOLE: u8 = 3;
const ABORT: u8 = 6;
const ERROR: u8 = 9;
const SACK: u8 = 3;

#[test]
fn what_breaks_the_protocol_ends_the_association_and_is_told() {
    let tsn = Victim::open(config()).tsn;
    let long = vec![1; 1_000];
    let too_long: Vec<Vec<u8>> = (0..9)
        .map(|at| data(tsn.wrapping_add(at), if at == 0 { 2 } else { 0 }, (1, 0), &long))
        .collect();
    let cases: [(&str, Vec<Vec<u8>>); 9] = [
        ("no payload", vec![data(tsn, WHOLE, (1, 0), &[])]),
        ("too short", vec![chunk(0, WHOLE, &[0; 8])]),
        ("I-DATA that was not agreed", vec![chunk(64, WHOLE, &[0; 20])]),
        ("I-FORWARD-TSN that was not agreed", vec![chunk(194, 0, &[0; 4])]),
        ("SACK too short", vec![chunk(3, 0, &[0; 8])]),
        ("SACK of what was never sent", vec![chunk(3, 0, &[0x7f; 12])]),
        (
            "FORWARD-TSN cut off",
            vec![chunk(192, 0, &[&tsn.wrapping_add(3).to_be_bytes()[..], &[0; 2]].concat())],
        ),
        (
            "fragments of two messages side by side",
            vec![data(tsn, 2, (1, 0), b"a"), data(tsn.wrapping_add(1), 1, (2, 0), b"b")],
        ),
        ("a message longer than agreed", too_long),
    ];
    for (what, packets) in cases {
        let mut victim = Victim::open(config());
        packets.iter().for_each(|packet| victim.receive(packet));
        assert_eq!(victim.closed(), Some(Closed::Violation), "{what}");
        assert_eq!(victim.answers().last(), Some(&ABORT), "{what}");
    }
}

#[test]
fn what_proves_nothing_is_dropped_in_silence() {
    let victim = Victim::open(config());
    let whole = [&victim.header[..], &data(victim.tsn, WHOLE, (1, 0), b"x")].concat();
    let change = |at: usize, bit: u8| {
        let mut packet = whole.clone();
        packet[at] ^= bit;
        packet
    };
    let init = [&victim.header[..4], &[0; 8], &chunk(1, 0, &[1; 16])].concat();
    let cases = [
        ("shorter than a header", whole[..11].to_vec()),
        ("nothing but a header", whole[..12].to_vec()),
        ("another port", change(1, 1)),
        ("another tag", change(5, 1)),
        ("a wrong checksum", change(9, 1)),
        ("an INIT without its checksum", init),
        ("a forged cookie", [&victim.header[..], &chunk(10, 0, &[7; 46])].concat()),
        ("a reflected ABORT with our own tag", [&victim.header[..], &chunk(6, 1, &[])].concat()),
    ];
    for (what, packet) in cases {
        let mut victim = Victim::open(config());
        victim.receive_whole(&packet);
        assert_eq!((victim.answers(), victim.events.len()), (Vec::new(), 0), "{what}");
        // And nothing is harmed.
        victim.receive(&data(victim.tsn, WHOLE, (1, 0), b"x"));
        assert!(matches!(victim.events[..], [Event::Message(_)]), "{what}");
    }
}

#[test]
fn what_is_merely_strange_is_answered_and_survived() {
    let tsn = Victim::open(config()).tsn;
    let cases = [
        ("a stream that there is not", data(tsn, WHOLE, (16, 0), b"x"), vec![ERROR]),
        ("an unknown chunk that stops, reported", chunk(0x7f, 0, b"what"), vec![ERROR]),
        ("an unknown chunk to skip", chunk(0xbf, 0, b"what"), vec![]),
        ("a heartbeat", chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4]), vec![5]),
        (
            "a request to add streams",
            chunk(130, 0, &[0, 17, 0, 12, 0, 0, 0, 9, 0, 1, 0, 0]),
            vec![130],
        ),
        ("a chunk whose length lies", vec![0, 3, 0, 200, 1, 2, 3, 4], vec![]),
        (
            "a FORWARD-TSN far ahead",
            chunk(192, 0, &tsn.wrapping_add(0x7000_0000).to_be_bytes()),
            vec![SACK],
        ),
    ];
    for (what, packet, expected) in cases {
        let mut victim = Victim::open(config());
        victim.receive(&packet);
        assert_eq!(victim.closed(), None, "{what}");
        let mut answers = victim.answers();
        answers.retain(|kind| *kind != SACK || expected.contains(&SACK));
        assert_eq!(answers, expected, "{what}");
    }
}

#[test]
fn nothing_that_a_peer_sends_grows_without_a_bound() {
    let bound = |victim: &Victim, what: &str| {
        let held = victim.end.metrics().bytes_held;
        assert!(held <= 2 * 32 * 1024 + 4_096, "{what}: {held} bytes");
    };
    // Holes everywhere: each chunk leaves one before it.
    let mut holes = Victim::open(Config { holes_max: 64, ..config() });
    for at in 0..4_000 {
        holes.receive(&data(holes.tsn.wrapping_add(1 + 2 * at), WHOLE | 4, (1, 0), b"x"));
    }
    assert_eq!(holes.closed(), None);
    assert_eq!(holes.end.metrics().chunks_refused, 4_000 - 64, "holes_max");
    // Beginnings of messages that never end.
    let mut pieces = Victim::open(Config { pieces_max: 32, holes_max: 64, ..config() });
    for at in 0..4_000 {
        pieces.receive(&data(pieces.tsn.wrapping_add(at), 2 | 4, (1, 0), &[0; 200]));
        bound(&pieces, "beginnings");
    }
    assert_eq!(pieces.closed(), Some(Closed::Violation), "pieces_max");
    // Messages that wait for one that never comes.
    let mut early = Victim::open(config());
    for at in 1..4_000_u32 {
        early.receive(&data(early.tsn.wrapping_add(at), WHOLE, (1, at as u16), &[0; 200]));
        bound(&early, "early messages");
    }
    assert!(early.end.metrics().chunks_refused > 3_000, "receive_buffer_bytes_max");
    // Heartbeats whose answers nobody takes.
    let mut beats = Victim::open(config());
    for _ in 0..1_000 {
        let packet = [&beats.header[..], &chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4])].concat();
        beats.end.handle_packet(beats.now, packet.into());
    }
    beats.receive(&[]);
    assert_eq!(beats.answers().len(), Config::default().answers_max, "answers_max");
    // TSNs that no gap block could name.
    let mut far = Victim::open(config());
    far.receive(&data(far.tsn.wrapping_add(70_000), WHOLE, (1, 0), b"x"));
    assert_eq!(far.end.metrics().chunks_refused, 1);
}

#[test]
fn a_window_that_stays_shut_is_waited_for() {
    let mut config = config();
    config.common.send_buffer_bytes_max = 64 * 1024;
    let delay = Duration::from_millis(10);
    let now = Time::from_millis(1);
    let mut slow = sctp::Association::new(config.clone(), now, 8);
    slow.hold_messages(true);
    let ends: [Box<dyn Association>; 2] = [common::ours(&config, 7), Box::new(slow)];
    let mut world = World::new(ends, Conditions { delay, ..Conditions::default() }, 9);
    world.ends[0].connect(world.now);
    world.connect();
    let mut sent = 0;
    for _ in 0..200 {
        while world.ends[0].send(world.now, numbered(1, sent, 4_000), RELIABLE).is_ok() {
            sent += 1;
        }
        world.run(Duration::from_secs(1));
    }
    let full = world.ends[0].send(world.now, numbered(1, sent, 4_000), RELIABLE);
    assert_eq!(full, Err(Error::Full), "send_buffer_bytes_max");
    assert!(sent < 60, "{sent} messages went into 96 KiB of buffers");
    assert_eq!(world.closed(0), None, "a peer that is slow is not gone");
    assert!(world.messages[1].is_empty());
}

#[test]
fn messages_flow_again_when_they_are_taken() {
    let config = config();
    let now = Time::from_millis(1);
    let mut sender = sctp::Association::new(config.clone(), now, 7);
    let mut taker = sctp::Association::new(config, now, 8);
    sender.connect(now);
    taker.hold_messages(true);
    let (mut now, mut sent, mut got) = (now, 0, Vec::new());
    for turn in 0..4_000 {
        if turn == 1_000 {
            taker.hold_messages(false);
        }
        while sent < 100 && sender.send(now, numbered(1, sent, 2_000), RELIABLE).is_ok() {
            sent += 1;
        }
        now += Duration::from_millis(5);
        for side in 0..2 {
            let (from, to) =
                if side == 0 { (&mut sender, &mut taker) } else { (&mut taker, &mut sender) };
            from.handle_timeout(now);
            loop {
                match from.poll_output() {
                    Output::Transmit(packet) => to.handle_packet(now, packet),
                    Output::Event(Event::Message(message)) => got.push(number(&message)),
                    Output::Event(event) => assert_eq!(event, Event::Connected),
                    Output::Wait(_) => break,
                }
            }
        }
        assert!(turn >= 1_000 || got.is_empty());
    }
    assert_eq!(got, (0..100).collect::<Vec<_>>());
}
