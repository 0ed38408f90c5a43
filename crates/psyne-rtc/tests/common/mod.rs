//! Two ends, two links and one virtual clock.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod stock;

use std::time::Duration;

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::association::{Association, Closed, Delivery, Event, Message, Output, Reliability};
use psyne_rtc::sctp;
use psyne_sim::{Conditions, Link};

/// Turns of the clock without which a test does not end.
const TURNS_MAX: u64 = 5_000_000;

/// In order, until it arrives.
pub(crate) const RELIABLE: Delivery =
    Delivery { ordered: true, reliability: Reliability::Reliable };

/// Two ends and what lies between them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) ends: [Box<dyn Association>; 2],
    /// From each end to the other.
    pub(crate) links: [Link; 2],
    pub(crate) messages: [Vec<Message>; 2],
    pub(crate) events: [Vec<Event>; 2],
    wakes: [Option<Time>; 2],
    turns: u64,
}

impl World {
    pub(crate) fn new(ends: [Box<dyn Association>; 2], conditions: Conditions, seed: u64) -> Self {
        Self {
            now: Time::from_millis(1),
            ends,
            links: [Link::new(conditions, seed), Link::new(conditions, !seed)],
            messages: [Vec::new(), Vec::new()],
            events: [Vec::new(), Vec::new()],
            wakes: [None; 2],
            turns: 0,
        }
    }

    /// Two of ours, and the first has begun.
    pub(crate) fn ours(config: &sctp::Config, conditions: Conditions, seed: u64) -> Self {
        let mut world = Self::new([ours(config, seed), ours(config, !seed)], conditions, seed);
        world.ends[0].connect(world.now);
        world
    }

    /// Takes all that the ends have to say.
    pub(crate) fn drain(&mut self) {
        for side in 0..2 {
            loop {
                match self.ends[side].poll_output() {
                    Output::Transmit(packet) => self.links[side].push(self.now, packet),
                    Output::Event(Event::Message(message)) => self.messages[side].push(message),
                    Output::Event(event) => self.events[side].push(event),
                    Output::Wait(time) => {
                        self.wakes[side] = time;
                        break;
                    }
                }
            }
        }
    }

    /// Goes to when something happens next, if that is not after `end`; `false`: nothing does.
    pub(crate) fn turn(&mut self, end: Time) -> bool {
        self.drain();
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the world turns without coming to an end");
        let [a, b] = &self.links;
        let times = [a.next_time(), b.next_time(), self.wakes[0], self.wakes[1]];
        let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        for side in 0..2 {
            while let Some(packet) = self.links[side].pop(self.now) {
                self.ends[1 - side].handle_packet(self.now, packet);
            }
            if self.wakes[side].is_some_and(|wake| wake <= self.now) {
                self.ends[side].handle_timeout(self.now);
            }
        }
        true
    }

    /// Goes on until `done`; panics if it is not within a virtual `limit`.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return;
            }
            let lives = self.turn(end);
            assert!(lives || done(self), "{what}: not within {limit:?}; {self:?}");
        }
    }

    /// Goes on for a while.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.turn(end) {}
    }

    pub(crate) fn connect(&mut self) {
        self.until(Duration::from_secs(120), "connected", |world| {
            world.events.iter().all(|events| events.contains(&Event::Connected))
        });
    }

    pub(crate) fn closed(&self, side: usize) -> Option<Closed> {
        self.events[side].iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    /// Sends, and goes on while there is no room.
    pub(crate) fn send(&mut self, side: usize, message: Message, delivery: Delivery) {
        let mut sent = false;
        self.until(Duration::from_secs(600), "room", |world| {
            sent = sent || world.ends[side].send(world.now, message.clone(), delivery).is_ok();
            sent
        });
    }
}

pub(crate) fn ours(config: &sctp::Config, seed: u64) -> Box<dyn Association> {
    Box::new(sctp::Association::new(config.clone(), Time::from_millis(1), seed))
}

pub(crate) fn stock(config: &sctp::Config) -> Box<dyn Association> {
    Box::new(stock::Stock::new(&config.common))
}

/// A message whose bytes tell its number and that they are whole.
pub(crate) fn numbered(stream: u16, number: u32, bytes: usize) -> Message {
    let mut data = Vec::with_capacity(bytes.max(4));
    data.extend_from_slice(&number.to_be_bytes());
    data.extend((4..bytes).map(|at| (at as u32).wrapping_mul(31).wrapping_add(number) as u8));
    Message { stream, ppid: 53, data: Bytes::from(data) }
}

/// The number of a whole message; panics if it is torn.
pub(crate) fn number(message: &Message) -> u32 {
    let number = u32::from_be_bytes(message.data[..4].try_into().expect("a number first"));
    assert_eq!(*message, numbered(message.stream, number, message.data.len()), "torn");
    number
}
