use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use psyne_rtc::association::{Delivery, Reliability};
use psyne_rtc::{
    Certificate, ChannelEvent, ChannelId, Config, Event, Local, Open, Output, Payload, Session,
    Time,
};

/// More outputs than any single input may cause.
const OUTPUTS_MAX: usize = 5_000;
const FLYING_MAX: usize = 512;

static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| {
    let origin = Instant::now();
    [1, 2].map(|who| {
        let mut config = Config::new(origin, Certificate::generate([who; 32]));
        // Small limits, so that short inputs reach them.
        config.channels.channels_max = 4;
        config.local_candidates_max = 3;
        config.sdp.candidates_max = 6;
        config.sources_max = 3;
        config.association.send_buffer_bytes_max = 64 * 1024;
        config
    })
});

type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

struct Side {
    session: Session,
    addr: SocketAddr,
    wait: Option<Time>,
    channels: Vec<ChannelId>,
    candidates: Vec<String>,
    closed: bool,
}

struct World {
    now: Time,
    sides: [Side; 2],
    flying: VecDeque<Datagram>,
}

/// Two sessions and a network that does what the input says: each operation is two bytes, some take
/// what follows as text or a datagram.
pub fn session(data: &[u8]) {
    let mut world = World::new();
    let mut data = data;
    while let [op, arg, rest @ ..] = data {
        data = world.perform(*op, *arg, rest);
    }
}

impl World {
    fn new() -> Self {
        let side = |at: usize, addr: &str| Side {
            session: Session::new(CONFIGS[at].clone(), Time::ZERO, [at as u8; 32]),
            addr: addr.parse().expect("an address"),
            wait: None,
            channels: vec![],
            candidates: vec![],
            closed: false,
        };
        let sides = [side(0, "192.0.2.1:1"), side(1, "192.0.2.2:2")];
        Self { now: Time::ZERO, sides, flying: VecDeque::new() }
    }

    /// What it leaves of the input.
    fn perform<'a>(&mut self, op: u8, arg: u8, rest: &'a [u8]) -> &'a [u8] {
        let at = usize::from(op >> 7);
        let taken = rest.len().min(usize::from(arg));
        let (text, behind) = rest.split_at(taken);
        let mut left = rest;
        match op & 0x0F {
            0 => self.run(Duration::from_millis(u64::from(arg) * 8)),
            1 => self.signal(at, arg & 1 == 1),
            2 => self.gather(at, arg),
            3 => self.open(at, arg),
            4 => self.send(at, arg),
            5 => self.close_channel(at, arg),
            6 => self.disturb(arg),
            7 => {
                self.describe(at, &String::from_utf8_lossy(text));
                left = behind;
            }
            8 => {
                let text = String::from_utf8_lossy(text);
                let _ = self.sides[at].session.add_remote(self.now, &text);
                left = behind;
            }
            9 => {
                let from = self.sides[1 - at].addr;
                self.flying.push_back((from, self.sides[at].addr, text.to_vec()));
                left = behind;
            }
            10 => self.trickle(at),
            11 => {
                let ip = [192, 0, 2, arg].into();
                self.sides[at].session.resolved(self.now, "x.local", Some(ip));
            }
            12 if arg == 0xFF => self.sides[at].session.close(self.now),
            _ => self.sides[at].session.handle_timeout(self.now),
        }
        self.drain();
        left
    }

    /// Offer, answer, acceptance, as far as either side wants it.
    fn signal(&mut self, at: usize, restart: bool) {
        let now = self.now;
        let session = &mut self.sides[at].session;
        let offer = if restart { session.restart(now) } else { session.offer(now) };
        let Ok(offer) = offer else { return };
        if let Ok(answer) = self.sides[1 - at].session.answer(now, &offer) {
            let _ = self.sides[at].session.accept(now, &answer);
        }
    }

    fn gather(&mut self, at: usize, arg: u8) {
        let side = &mut self.sides[at];
        let addr =
            if arg & 1 == 0 { side.addr } else { SocketAddr::new([10, 0, 0, arg].into(), 9) };
        let local = match arg % 3 {
            1 => Local::Reflexive { addr, base: side.addr },
            2 => Local::Relayed { addr, base: side.addr },
            _ => Local::Host(addr),
        };
        let _ = side.session.add_local(self.now, local);
    }

    fn open(&mut self, at: usize, arg: u8) {
        let reliability = match arg % 3 {
            1 => Reliability::Retransmits(u32::from(arg) / 3),
            2 => Reliability::Lifetime(Duration::from_millis(arg.into())),
            _ => Reliability::Reliable,
        };
        let delivery = Delivery { ordered: arg & 4 == 0, reliability };
        let open = Open { label: "x".repeat(arg.into()), protocol: String::new(), delivery };
        let session = &mut self.sides[at].session;
        let opened = if arg & 8 == 0 {
            session.open(self.now, open)
        } else {
            session.open_negotiated(self.now, open, arg.into())
        };
        if let Ok(channel) = opened {
            self.sides[at].channels.push(channel);
        }
    }

    fn channel(&self, at: usize, arg: u8) -> Option<ChannelId> {
        let channels = &self.sides[at].channels;
        channels.get(usize::from(arg) % channels.len().max(1)).copied()
    }

    fn send(&mut self, at: usize, arg: u8) {
        let Some(channel) = self.channel(at, arg) else { return };
        let bytes = vec![arg; usize::from(arg) * 97];
        let payload = Payload::Binary(bytes.into());
        let _ = self.sides[at].session.send(self.now, channel, payload);
    }

    fn close_channel(&mut self, at: usize, arg: u8) {
        if let Some(channel) = self.channel(at, arg) {
            self.sides[at].session.close_channel(self.now, channel);
        }
    }

    /// Loses, doubles, turns round or changes the datagram that is next.
    fn disturb(&mut self, arg: u8) {
        let Some(mut next) = self.flying.pop_front() else { return };
        match arg % 4 {
            0 => {}
            1 => self.flying.extend([next.clone(), next]),
            2 => self.flying.push_back(next),
            _ => {
                let at = usize::from(arg) % next.2.len().max(1);
                if let Some(byte) = next.2.get_mut(at) {
                    *byte ^= arg;
                }
                self.flying.push_front(next);
            }
        }
    }

    fn describe(&mut self, at: usize, text: &str) {
        let session = &mut self.sides[at].session;
        let _ = session.accept(self.now, text);
        let _ = session.answer(self.now, text);
    }

    fn trickle(&mut self, at: usize) {
        for candidate in std::mem::take(&mut self.sides[at].candidates) {
            let _ = self.sides[1 - at].session.add_remote(self.now, &candidate);
        }
    }

    /// Time passes, and what flies arrives at once.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        // Each round takes at least 1 ms, or a timer that stands still would hold the clock.
        while self.now < end {
            self.drain();
            while let Some((from, to, data)) = self.flying.pop_front() {
                let side = self.sides.iter_mut().find(|side| side.addr == to);
                if let Some(side) = side {
                    side.session.handle_datagram(self.now, to, from, &data);
                }
                self.drain();
            }
            let next = self.sides.iter().filter_map(|side| side.wait).min().unwrap_or(end);
            self.now =
                next.clamp(self.now + Duration::from_millis(1), end + Duration::from_millis(1));
            for side in &mut self.sides {
                if side.wait.is_some_and(|wait| wait <= self.now) {
                    side.session.handle_timeout(self.now);
                }
            }
        }
    }

    fn drain(&mut self) {
        for side in &mut self.sides {
            for count in 0.. {
                assert!(count < OUTPUTS_MAX, "it never waits");
                let output = side.session.poll_output();
                if let Output::Wait(wait) = output {
                    assert!(!side.closed || wait.is_none(), "nothing is waited for after the end");
                    side.wait = wait;
                    break;
                }
                assert!(!side.closed, "{output:?} after the end");
                match output {
                    Output::Transmit(out) => {
                        assert!((1..=1_280).contains(&out.data.len()));
                        self.flying.push_back((out.from, out.to, out.data.to_vec()));
                    }
                    Output::Event(event) => side.note(event),
                    Output::Wait(_) => {}
                }
            }
        }
        while self.flying.len() > FLYING_MAX {
            self.flying.pop_front();
        }
    }
}

impl Side {
    fn note(&mut self, event: Event) {
        match event {
            Event::Closed(_) => self.closed = true,
            Event::Candidate(candidate) => self.candidates.push(candidate),
            Event::Channel(ChannelEvent::Opened { channel, .. }) => self.channels.push(channel),
            Event::Channel(ChannelEvent::Closed { channel }) => {
                self.channels.retain(|known| *known != channel);
            }
            _ => {}
        }
    }
}
