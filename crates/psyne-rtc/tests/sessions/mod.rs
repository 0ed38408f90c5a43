//! Two sessions, a virtual clock and a link that does to datagrams what networks do.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::association::{Delivery, Reliability};
use psyne_rtc::{
    Certificate, ChannelEvent, ChannelId, Closed, Config, Event, Local, Open, Output, Payload,
    Session,
};

/// What a link does, in thousandths of all datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub lost: u64,
    pub doubled: u64,
    pub delayed: u64,
    pub corrupted: u64,
    pub delay: Duration,
}

impl Link {
    pub const CLEAN: Self =
        Self { lost: 0, doubled: 0, delayed: 0, corrupted: 0, delay: Duration::from_millis(10) };
    pub const BAD: Self =
        Self { lost: 50, doubled: 30, delayed: 100, corrupted: 20, ..Self::CLEAN };
}

/// A small generator (splitmix64), so that a seed says everything about a link.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn hits(&mut self, thousandths: u64) -> bool {
        self.next() % 1_000 < thousandths
    }
}

/// One side and what it has heard.
pub struct Side {
    pub session: Session,
    pub addr: SocketAddr,
    pub events: Vec<Event>,
    wait: Option<Time>,
}

impl Side {
    pub fn open(&self, label: &str) -> Option<ChannelId> {
        self.events.iter().find_map(|event| match event {
            Event::Channel(ChannelEvent::Opened { channel, open }) if open.label == label => {
                Some(*channel)
            }
            _ => None,
        })
    }

    pub fn messages(&self, of: ChannelId) -> Vec<Payload> {
        let message = |event: &Event| match event {
            Event::Channel(ChannelEvent::Message { channel, payload }) if *channel == of => {
                Some(payload.clone())
            }
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    pub fn closed(&self) -> Option<Closed> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    pub fn connected(&self) -> bool {
        self.events.contains(&Event::Connected)
    }
}

/// The two of them.
pub struct World {
    pub now: Time,
    pub a: Side,
    pub b: Side,
    pub link: Link,
    /// Nothing comes through.
    pub cut: bool,
    seed: u64,
    random: Random,
    flying: BTreeMap<(Time, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
}

pub const A: &str = "192.0.2.1:1000";
pub const B: &str = "198.51.100.2:2000";

pub fn config(who: u8) -> Config {
    Config::new(Instant::now(), Certificate::generate([who; 32]))
}

pub fn open(label: &str, ordered: bool, reliability: Reliability) -> Open {
    let delivery = Delivery { ordered, reliability };
    Open { label: label.into(), protocol: String::new(), delivery }
}

pub fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

pub fn bytes(count: usize, value: u8) -> Payload {
    Payload::Binary(Bytes::from(vec![value; count]))
}

impl World {
    pub fn new(link: Link, seed: u64) -> Self {
        Self::with(link, seed, config(1), config(2))
    }

    pub fn with(link: Link, seed: u64, a: Config, b: Config) -> Self {
        let side = |config, addr: &str, who| Side {
            session: Session::new(config, Time::ZERO, [who; 32]),
            addr: addr.parse().unwrap(),
            events: vec![],
            wait: None,
        };
        Self {
            now: Time::ZERO,
            a: side(a, A, 11),
            b: side(b, B, 12),
            link,
            cut: false,
            seed,
            random: Random(seed),
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Both have their address; `a` offers, `b` answers.
    pub fn signal(&mut self) {
        for side in [&mut self.a, &mut self.b] {
            side.session.add_local(self.now, Local::Host(side.addr)).unwrap();
        }
        let offer = self.a.session.offer(self.now).unwrap();
        let answer = self.b.session.answer(self.now, &offer).unwrap();
        self.a.session.accept(self.now, &answer).unwrap();
    }

    /// Signals and runs until both are connected.
    pub fn connect(&mut self) {
        self.signal();
        self.until(Duration::from_secs(60), |world| world.a.connected() && world.b.connected());
    }

    /// Runs until something holds.
    pub fn until(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + patience;
        self.drain();
        while !done(self) {
            let heard = (&self.a.events, &self.b.events);
            assert!(self.now < end, "seed {}: not within {patience:?}: {heard:?}", self.seed);
            self.step(end);
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        while self.now < end {
            self.step(end);
        }
    }

    /// To the next thing that happens, or to the end.
    fn step(&mut self, end: Time) {
        let flying = self.flying.keys().next().map(|(time, _)| *time);
        let next = [flying, self.a.wait, self.b.wait].into_iter().flatten().min();
        // Time goes on, or a timer that is not moved on would hold it.
        let least = self.now + Duration::from_micros(1);
        self.now = next.unwrap_or(end).clamp(least, end.max(least));
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now)
        {
            let (from, to, data) = entry.remove();
            for side in [&mut self.a, &mut self.b] {
                if side.addr == to {
                    side.session.handle_datagram(self.now, to, from, &data);
                }
            }
            self.drain();
        }
        for side in [&mut self.a, &mut self.b] {
            if side.wait.is_some_and(|wait| wait <= self.now) {
                side.session.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    pub fn drain(&mut self) {
        for a in [true, false] {
            loop {
                let side = if a { &mut self.a } else { &mut self.b };
                match side.session.poll_output() {
                    Output::Transmit(out) => {
                        assert!(out.data.len() <= 1_280, "{} bytes", out.data.len());
                        self.carry(out.from, out.to, out.data.to_vec());
                    }
                    Output::Event(event) => side.events.push(event),
                    Output::Wait(wait) => {
                        side.wait = wait;
                        break;
                    }
                }
            }
        }
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, mut data: Vec<u8>) {
        let (link, random) = (self.link, &mut self.random);
        if self.cut || random.hits(link.lost) {
            return;
        }
        // UDP's checksum catches nearly all of it. What gets through during the handshake ends it,
        // by DTLS's own rules: nothing proves its messages until the last.
        let secret = self.a.connected() && self.b.connected();
        if random.hits(link.corrupted) && secret {
            let at = usize::try_from(random.next()).unwrap() % data.len();
            data[at] ^= 1 << (random.next() % 8);
        }
        let copies = if random.hits(link.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if random.hits(link.delayed) { 1 + random.next() % 40 } else { 0 };
            let at = self.now + link.delay + Duration::from_millis(late);
            self.sent += 1;
            self.flying.insert((at, self.sent), (from, to, data.clone()));
        }
    }
}
