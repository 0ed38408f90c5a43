use std::net::SocketAddr;

use psyne_rtc::Time;
use psyne_rtc::stun::{Builder, Class, Key, Message, Method, attribute};
use psyne_rtc::turn::{
    AllocationId, Client, ClientConfig, ClientEvent, ClientOutput, Family, Flow, Framer, FromPeer,
    Server, ServerConfig, ServerOutput, Transport, Users, Via, issue,
};

/// A message that is read has all its parts within itself, and is signed by nobody's key.
pub fn stun(data: &[u8]) {
    let Some(message) = Message::parse(data) else { return };
    let bytes: usize = message.attributes().map(|(_, value)| value.len() + 4).sum();
    assert!(bytes <= data.len());
    assert!(!message.is_signed_by(&Key::long_term("nobody", "nowhere", "unknown")));
    message.addresses(attribute::XOR_PEER_ADDRESS).for_each(drop);
    let _ = (message.error_code(), message.text(attribute::REALM));
}

/// A stream is cut into the same frames wherever its pieces end.
pub fn stream(data: &[u8]) {
    let [step, data @ ..] = data else { return };
    let cut = |step: usize| {
        let mut framer = Framer::new(4_096);
        let mut frames = Vec::new();
        for piece in data.chunks(step) {
            framer.push(piece);
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return (frames, true),
                }
            }
        }
        (frames, false)
    };
    let (whole, broken) = cut(data.len().max(1));
    assert!(whole.iter().all(|frame| frame.len() <= 4_096 && frame.len() % 4 == 0));
    assert_eq!(cut(usize::from(*step).max(1)), (whole, broken));
}

const LIMIT: usize = 3;

fn server() -> Server {
    let users = Users { secrets: vec![b"s".to_vec()], ..Users::default() };
    let mut config = ServerConfig::new("r".into(), users, 0);
    config.own = vec![[203, 0, 113, 1].into()];
    config.families.push(Family::V6);
    config.allocations_max = LIMIT;
    config.allocation_peers_max = LIMIT;
    Server::new(config, [1; 32])
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n % 4], 1_000 + u16::from(n % 8)))
}

struct World {
    now: Time,
    server: Server,
    open: Vec<(AllocationId, SocketAddr)>,
    nonce: String,
}

/// A server and operations of two bytes, of which some take what follows as a frame: plain frames,
/// signed requests, datagrams of peers, time, connections that end.
pub fn server_ops(data: &[u8]) {
    let (now, nonce) = (Time::ZERO, String::new());
    let mut world = World { now, server: server(), open: Vec::new(), nonce };
    let mut data = data;
    while let [op, arg, rest @ ..] = data {
        data = world.perform(*op, *arg, rest);
        let metrics = world.server.metrics();
        assert!(metrics.allocations as usize <= LIMIT && world.open.len() <= LIMIT);
    }
}

impl World {
    fn perform<'a>(&mut self, op: u8, arg: u8, rest: &'a [u8]) -> &'a [u8] {
        let remote = addr(arg >> 4);
        let via = if op & 0x80 == 0 { Via::Datagrams(0) } else { Via::Stream(1) };
        let flow = Flow { via, remote };
        let (frame, later) = rest.split_at(usize::from(arg).min(rest.len()));
        match op & 0x7F {
            0 => {
                self.server.handle_client(self.now, flow, frame);
            }
            1 => {
                let id = self.open.get(usize::from(arg) % LIMIT).map(|(id, _)| *id);
                let mut frames = Vec::new();
                if let Some(allocation) = id {
                    let came = FromPeer { allocation, from: addr(arg), data: frame };
                    self.server.handle_peer(self.now, came, &mut frames);
                }
                assert!(frames.len() <= frame.len() + 64);
            }
            2 => {
                self.now += std::time::Duration::from_secs(u64::from(arg));
                self.server.handle_timeout(self.now);
            }
            3 => self.server.disconnected(flow),
            method @ 4..=7 => {
                self.request(flow, method, frame);
                self.drain(flow, frame.len());
                return later;
            }
            _ => return rest,
        }
        self.drain(flow, frame.len());
        if op & 0x7F < 2 { later } else { rest }
    }

    /// Signed as it must be, so that what is behind the signature is reached too.
    fn request(&mut self, flow: Flow, method: u8, attributes: &[u8]) {
        let methods =
            [Method::Allocate, Method::Refresh, Method::CreatePermission, Method::ChannelBind];
        let method = methods[usize::from(method) % 4];
        let credential = issue(b"s", "u", 1 << 40);
        let key = Key::long_term(&credential.username, "r", &credential.password);
        let mut request = Builder::new(Class::Request, method, [7; 12]);
        let mut left = attributes;
        while let [kind, length, more @ ..] = left {
            let (value, next) = more.split_at(usize::from(length % 32).min(more.len()));
            let kind = u16::from(*kind);
            request = match (kind, value) {
                (0x12, [a, b, ..]) => {
                    request.address(kind, SocketAddr::from(([8, 8, 8, *a], (*b).into())))
                }
                _ => request.attribute(kind, value),
            };
            left = next;
        }
        let request = request
            .attribute(attribute::USERNAME, credential.username.as_bytes())
            .attribute(attribute::REALM, b"r")
            .attribute(attribute::NONCE, self.nonce.as_bytes())
            .sign(&key)
            .finish();
        self.server.handle_client(self.now, flow, &request);
    }

    fn drain(&mut self, flow: Flow, length: usize) {
        for _ in 0..100 {
            match self.server.poll_output() {
                ServerOutput::Reply { frame, .. } => {
                    assert!(frame.len() <= length.max(160) + 64, "{}", frame.len());
                    let message = Message::parse(&frame).expect("what we write can be read");
                    if let Some(nonce) = message.text(attribute::NONCE) {
                        self.nonce = nonce.to_owned();
                    }
                }
                ServerOutput::Open { allocation, .. } => {
                    let fails = flow.remote.port() == 1_007;
                    let at = ([203, 0, 113, 1], 50_000 + self.open.len() as u16).into();
                    if !fails {
                        self.open.push((allocation, at));
                    }
                    self.server.opened(self.now, allocation, (!fails).then_some(at));
                }
                ServerOutput::Close { allocation } => {
                    self.open.retain(|(id, _)| *id != allocation);
                }
                ServerOutput::Wait(_) => return,
            }
        }
        panic!("the server does not come to rest");
    }
}

/// A client and whatever its server says: raw frames, and answers to the request that it made last.
pub fn client_ops(data: &[u8]) {
    let [kind, data @ ..] = data else { return };
    let mut config = ClientConfig::new(addr(1), addr(2), issue(b"s", "u", 1 << 40));
    config.transport = if kind & 1 == 0 { Transport::Udp } else { Transport::Stream };
    config.peers_max = LIMIT;
    let mut now = Time::ZERO;
    let mut client = Client::new(config, now, [1; 32]);
    let mut last = Vec::new();
    let mut data = data;
    while let [op, arg, rest @ ..] = data {
        let (frame, later) = rest.split_at(usize::from(*arg).min(rest.len()));
        data = later;
        match op % 5 {
            0 => client.handle(now, frame),
            1 => client.handle(now, &answer(&last, *arg, frame)),
            2 => client.send(now, addr(*arg), frame),
            3 => {
                now += std::time::Duration::from_secs(u64::from(*arg));
                client.handle_timeout(now);
            }
            _ if *arg == 0 => client.close(now),
            _ => {}
        }
        rest_of(&mut client, &mut last);
    }
}

/// An answer to a request: its head with another class, then whatever comes.
fn answer(request: &[u8], arg: u8, attributes: &[u8]) -> Vec<u8> {
    let Some(message) = Message::parse(request) else { return attributes.to_vec() };
    let class = if arg & 1 == 0 { Class::Success } else { Class::Error };
    let mut answer = Builder::new(class, message.method, message.transaction);
    if class == Class::Error {
        answer = answer
            .error([300, 401, 403, 437, 438, 486, 508][usize::from(arg / 2) % 7])
            .attribute(attribute::REALM, b"r")
            .attribute(attribute::NONCE, attributes);
    } else if arg & 2 == 0 {
        answer = answer.address(attribute::XOR_RELAYED_ADDRESS, addr(arg));
    }
    let credential = issue(b"s", "u", 1 << 40);
    answer.sign(&Key::long_term(&credential.username, "r", &credential.password)).finish()
}

fn rest_of(client: &mut Client, last: &mut Vec<u8>) {
    for _ in 0..10_000 {
        match client.poll_output() {
            ClientOutput::Transmit(frame) => {
                if Message::parse(&frame).is_some_and(|it| it.class == Class::Request) {
                    *last = frame.to_vec();
                }
            }
            ClientOutput::Event(ClientEvent::Data { data, .. }) => assert!(data.len() <= 65_536),
            ClientOutput::Event(_) => {}
            ClientOutput::Wait(_) => return,
        }
    }
    panic!("the client does not come to rest");
}
