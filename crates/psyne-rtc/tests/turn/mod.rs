//! Sessions, a TURN server, a virtual clock and a network that carries nothing but what goes to or
//! comes from the server.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::turn::{
    AllocationId, ClientConfig, Credential, Flow, FromPeer, Server, ServerConfig, ServerOutput,
    Users, Via, issue,
};
use psyne_rtc::{Certificate, ChannelEvent, Config, Event, Local, Output, Payload, Session};
use psyne_sim::{Conditions, Link};

pub const SERVER: &str = "203.0.113.1:3478";
pub const SECRET: &[u8] = b"a secret";
/// 2026-01-01.
pub const UNIX_S: u64 = 1_767_225_600;

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn server_config() -> ServerConfig {
    let users = Users { secrets: vec![SECRET.to_vec()], ..Users::default() };
    let mut config = ServerConfig::new("psyne".into(), users, UNIX_S);
    config.own = vec![addr(SERVER).ip()];
    config
}

pub fn credential(user: &str) -> Credential {
    issue(SECRET, user, UNIX_S + 86_400)
}

/// A server and its sockets.
pub struct Relay {
    pub server: Server,
    pub sockets: BTreeMap<SocketAddr, AllocationId>,
    next_port: u16,
    wait: Option<Time>,
}

/// From, to, what.
pub type Datagram = (SocketAddr, SocketAddr, Bytes);

impl Relay {
    pub fn new(config: ServerConfig) -> Self {
        let server = Server::new(config, [3; 32]);
        Self { server, sockets: BTreeMap::new(), next_port: 49_152, wait: None }
    }

    fn addr_of(&self, id: AllocationId) -> SocketAddr {
        *self.sockets.iter().find(|(_, other)| **other == id).expect("it has a socket").0
    }

    /// A datagram came to one of its addresses; what it sends.
    pub fn handle(&mut self, now: Time, datagram: &Datagram) -> Vec<Datagram> {
        let (from, to, data) = datagram;
        let mut sent = vec![];
        if let Some(id) = self.sockets.get(to) {
            let mut frames = vec![];
            let came = FromPeer { allocation: *id, from: *from, data };
            if let Some(flow) = self.server.handle_peer(now, came, &mut frames) {
                sent.push((addr(SERVER), flow.remote, frames.into()));
            }
        } else {
            let flow = Flow { via: Via::Datagrams(0), remote: *from };
            if let Some(out) = self.server.handle_client(now, flow, data) {
                let data = Bytes::copy_from_slice(out.data);
                sent.push((self.addr_of(out.allocation), out.to, data));
            }
        }
        sent.extend(self.drain(now));
        sent
    }

    pub fn handle_timeout(&mut self, now: Time) -> Vec<Datagram> {
        if self.wait.is_some_and(|wait| wait <= now) {
            self.server.handle_timeout(now);
        }
        self.drain(now)
    }

    fn drain(&mut self, now: Time) -> Vec<Datagram> {
        let mut sent = vec![];
        loop {
            match self.server.poll_output() {
                ServerOutput::Reply { flow, frame } => {
                    sent.push((addr(SERVER), flow.remote, frame));
                }
                ServerOutput::Open { allocation, .. } => {
                    let at = SocketAddr::new(addr(SERVER).ip(), self.next_port);
                    self.next_port += 1;
                    self.sockets.insert(at, allocation);
                    self.server.opened(now, allocation, Some(at));
                }
                ServerOutput::Close { allocation } => {
                    self.sockets.retain(|_, other| *other != allocation);
                }
                ServerOutput::Wait(wait) => {
                    self.wait = wait;
                    return sent;
                }
            }
        }
    }
}

pub struct Side {
    pub session: Session,
    pub addr: SocketAddr,
    pub events: Vec<Event>,
    wait: Option<Time>,
}

impl Side {
    pub fn connected(&self) -> bool {
        self.events.contains(&Event::Connected)
    }

    pub fn relayed(&self) -> Option<SocketAddr> {
        self.events.iter().find_map(|event| match event {
            Event::Relayed { relayed, .. } => Some(*relayed),
            _ => None,
        })
    }

    pub fn texts(&self) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Channel(ChannelEvent::Message { payload: Payload::Text(text), .. }) => {
                Some(text.to_string())
            }
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }
}

pub struct World {
    pub now: Time,
    pub sides: [Side; 2],
    pub relay: Relay,
    /// Sides are heard by the server's own port alone, and hear it alone.
    pub walled: bool,
    link: Link,
    cargo: VecDeque<Option<Datagram>>,
    gone: usize,
}

pub const CONDITIONS: Conditions = Conditions {
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(10),
    loss_ppm: 20_000,
    doubled_ppm: 10_000,
    corrupt_ppm: 0,
    rate: None,
    queue_bytes_max: 0,
};

impl World {
    pub fn new(config: ServerConfig, conditions: Conditions, seed: u64) -> Self {
        let side = |who: u8, at: &str| Side {
            session: Session::new(
                Config::new(Instant::now(), Certificate::generate([who; 32])),
                Time::ZERO,
                [who + 10; 32],
            ),
            addr: addr(at),
            events: vec![],
            wait: None,
        };
        Self {
            now: Time::ZERO,
            sides: [side(1, "192.0.2.1:1000"), side(2, "198.51.100.2:2000")],
            relay: Relay::new(config),
            walled: true,
            link: Link::new(conditions, seed),
            cargo: VecDeque::new(),
            gone: 0,
        }
    }

    /// Each side asks the server for an address.
    pub fn ask(&mut self, credential: &Credential) {
        for side in &mut self.sides {
            let config = ClientConfig::new(side.addr, addr(SERVER), credential.clone());
            side.session.add_local(self.now, Local::Host(side.addr)).unwrap();
            side.session.add_relay(self.now, config).unwrap();
        }
    }

    /// The first offers, the second answers; candidates trickle.
    pub fn signal(&mut self) {
        let offer = self.sides[0].session.offer(self.now).unwrap();
        let answer = self.sides[1].session.answer(self.now, &offer).unwrap();
        self.sides[0].session.accept(self.now, &answer).unwrap();
    }

    pub fn until(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + patience;
        self.drain();
        while !done(self) {
            let heard = [&self.sides[0].events, &self.sides[1].events];
            assert!(self.now < end, "not within {patience:?}: {heard:?}");
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

    fn step(&mut self, end: Time) {
        let waits = [self.sides[0].wait, self.sides[1].wait, self.relay.wait];
        let next = waits.into_iter().chain([self.link.next_time()]).flatten().min();
        let least = self.now + Duration::from_micros(1);
        self.now = next.unwrap_or(end).clamp(least, end.max(least));
        while let Some(number) = self.link.pop(self.now) {
            let number =
                usize::try_from(u64::from_be_bytes(number[..].try_into().unwrap())).unwrap();
            if let Some(Some(datagram)) = self.cargo.get(number - self.gone).cloned() {
                self.arrive(&datagram);
            }
        }
        let sent = self.relay.handle_timeout(self.now);
        sent.into_iter().for_each(|datagram| self.push(datagram));
        for side in &mut self.sides {
            if side.wait.is_some_and(|wait| wait <= self.now) {
                side.session.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    fn arrive(&mut self, datagram: &Datagram) {
        let (from, to, data) = datagram;
        let server = addr(SERVER);
        if to.ip() == server.ip() {
            let sent = self.relay.handle(self.now, datagram);
            return sent.into_iter().for_each(|datagram| self.push(datagram));
        }
        if self.walled && *from != server {
            return;
        }
        for side in &mut self.sides {
            if side.addr == *to {
                side.session.handle_datagram(self.now, *to, *from, data);
            }
        }
        self.drain();
    }

    fn push(&mut self, datagram: Datagram) {
        let server = addr(SERVER);
        let inside = datagram.0.ip() == server.ip() && datagram.1.ip() == server.ip();
        let passes = inside || !self.walled || datagram.0 == server || datagram.1 == server;
        if !passes {
            return;
        }
        let number = (self.gone + self.cargo.len()) as u64;
        self.cargo.push_back(Some(datagram));
        if self.cargo.len() > 100_000 {
            self.cargo.drain(..50_000);
            self.gone += 50_000;
        }
        self.link.push(self.now, Bytes::copy_from_slice(&number.to_be_bytes()));
    }

    fn drain(&mut self) {
        for at in [0, 1] {
            loop {
                match self.sides[at].session.poll_output() {
                    Output::Transmit(out) => self.push((out.from, out.to, out.data)),
                    Output::Event(Event::Candidate(text)) => {
                        self.sides[1 - at].session.add_remote(self.now, &text).unwrap();
                    }
                    Output::Event(event) => self.sides[at].events.push(event),
                    Output::Wait(wait) => {
                        self.sides[at].wait = wait;
                        break;
                    }
                }
            }
        }
    }
}
