//! Our SCTP association: packets of a hostile peer, and two ends that do anything in any order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::association::{Association, Delivery, Event, Message, Output, Reliability};
use psyne_rtc::sctp::{self, Config};

/// A target: its name, which is also the folder of its seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the association.
pub const TARGETS: &[Target] = &[("sctp_ops", operations), ("sctp_packets", packets)];

/// Small bounds, so that an input reaches them.
fn config(interleaving: bool) -> Config {
    let mut config = Config { interleaving, holes_max: 16, pieces_max: 32, ..Config::default() };
    config.common.receive_buffer_bytes_max = 64 * 1024;
    config.common.receive_message_bytes_max = 16 * 1024;
    config.common.send_message_bytes_max = 16 * 1024;
    config.common.streams_max = 64;
    config
}

struct Pair {
    now: Time,
    ends: [sctp::Association; 2],
    wires: [VecDeque<Bytes>; 2],
    got: [Vec<Message>; 2],
    over: bool,
    /// The header that the last packet of each end had.
    headers: [[u8; 8]; 2],
}

impl Pair {
    fn open(interleaving: bool) -> Self {
        let now = Time::from_millis(1);
        let end = |seed| sctp::Association::new(config(interleaving), now, seed);
        let mut pair = Self {
            now,
            ends: [end(1), end(2)],
            wires: Default::default(),
            got: Default::default(),
            over: false,
            headers: [[0; 8]; 2],
        };
        pair.ends[0].connect(now);
        pair.settle();
        pair
    }

    /// Takes what the ends say; the number of outputs of one turn is bounded.
    fn drain(&mut self) -> Option<Time> {
        let mut wake = None;
        for (side, end) in self.ends.iter_mut().enumerate() {
            for output in 0.. {
                assert!(output < 10_000, "an end never waits");
                match end.poll_output() {
                    Output::Transmit(packet) => {
                        self.headers[side].copy_from_slice(&packet[..8]);
                        self.wires[side].push_back(packet);
                    }
                    Output::Event(Event::Message(message)) => self.got[side].push(message),
                    Output::Event(Event::Closed(_)) => self.over = true,
                    Output::Event(_) => {}
                    Output::Wait(time) => {
                        wake = wake.into_iter().chain(time).min();
                        break;
                    }
                }
            }
            let held = end.metrics().bytes_held;
            assert!(held <= 2 * 64 * 1024 + 200 * 1024, "{held} bytes are held");
        }
        wake
    }

    /// Hands over all packets, and those that answer them.
    fn settle(&mut self) {
        self.drain();
        for _ in 0..64 {
            for side in 0..2 {
                for packet in std::mem::take(&mut self.wires[side]) {
                    self.ends[1 - side].handle_packet(self.now, packet);
                }
            }
            self.drain();
            if self.wires.iter().all(VecDeque::is_empty) {
                break;
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
        self.drain();
    }
}

/// The first byte chooses I-DATA; then length and bytes of chunks, packet by packet.
pub fn packets(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let mut pair = Pair::open(first & 1 != 0);
    while let Some((&length, more)) = rest.split_first() {
        let (chunks, more) = more.split_at(more.len().min(usize::from(length)));
        rest = more;
        let packet = [&pair.headers[1][..], &[0; 4], chunks].concat();
        pair.ends[0].handle_packet(pair.now, packet.into());
        pair.wait(Duration::from_millis(u64::from(length)));
        pair.wires.iter_mut().for_each(VecDeque::clear);
    }
    pair.wait(Duration::from_secs(20));
}

/// Each byte is something that happens; in the end all that was promised has arrived.
pub fn operations(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut pair = Pair::open(first & 1 != 0);
    let mut promised = [Vec::new(), Vec::new()];
    for (at, byte) in rest.iter().take(400).enumerate() {
        let (side, argument) = (usize::from(byte & 1), byte >> 4);
        match (byte >> 1) & 7 {
            0 | 1 => send(&mut pair, side, (at, argument), &mut promised),
            2 => drop(pair.wires[side].pop_front()),
            3 => {
                let turn = usize::from(argument).min(pair.wires[side].len());
                pair.wires[side].rotate_left(turn);
            }
            4 => {
                let packets: Vec<_> = pair.wires[side].drain(..).collect();
                packets.into_iter().for_each(|p| pair.ends[1 - side].handle_packet(pair.now, p));
            }
            5 => {
                let twice = pair.wires[side].front().cloned();
                pair.wires[side].extend(twice);
            }
            6 => pair.wait(Duration::from_millis(1 << argument.min(12))),
            _ if argument == 0 => pair.ends[side].reset(pair.now, 1 + u16::from(argument & 3)),
            _ => pair.ends[side].hold_messages(argument & 1 != 0),
        }
        pair.drain();
    }
    pair.ends.iter_mut().for_each(|end| end.hold_messages(false));
    finish(&mut pair, &promised);
}

type Promised = [Vec<(u16, usize)>; 2];

fn send(pair: &mut Pair, side: usize, (at, argument): (usize, u8), promised: &mut Promised) {
    let stream = 1 + u16::from(argument & 3);
    let reliable = argument & 4 != 0;
    let reliability = if reliable { Reliability::Reliable } else { Reliability::Retransmits(0) };
    let bytes = 8 + (at * 397) % 9_000;
    let mut data = vec![at as u8; bytes];
    data[..8].copy_from_slice(&(at as u64).to_be_bytes());
    let message = Message { stream, ppid: 53, data: data.into() };
    let delivery = Delivery { ordered: argument & 8 == 0, reliability };
    if pair.ends[side].send(pair.now, message, delivery).is_ok() && reliable {
        promised[side].push((stream, at));
    }
}

/// The path is good again: what was promised arrives, once and whole.
fn finish(pair: &mut Pair, promised: &Promised) {
    for _ in 0..400 {
        pair.settle();
        let arrived = |side: usize| {
            let got: Vec<_> = pair.got[1 - side].iter().map(read).collect();
            promised[side].iter().all(|one| got.contains(one))
        };
        if pair.over || arrived(0) && arrived(1) {
            break;
        }
        pair.wait(Duration::from_millis(200));
    }
    pair.settle();
    if pair.over {
        // An end may have given up after too much silence, but nobody broke a rule.
        return;
    }
    for (side, promised) in promised.iter().enumerate() {
        let got: Vec<(u16, usize)> = pair.got[1 - side].iter().map(read).collect();
        for one in promised {
            assert!(got.contains(one), "{one:?} never arrived");
        }
        let mut once = got.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), got.len(), "a message came twice");
    }
}

fn read(message: &Message) -> (u16, usize) {
    let at = u64::from_be_bytes(message.data[..8].try_into().expect("its number")) as usize;
    assert_eq!(message.data.len(), 8 + (at * 397) % 9_000, "whole");
    assert!(message.data[8..].iter().all(|byte| *byte == at as u8), "its own bytes");
    (message.stream, at)
}
