//! A TURN server and hostile, careless and plain clients, message by message.

mod turn;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use psyne_core::Time;
use psyne_rtc::stun::{Builder, Class, Key, Message, Method, Transaction, attribute};
use psyne_rtc::turn::{Credential, ServerConfig};
use turn::{Relay, SERVER, addr, credential, server_config};

const CLIENT: &str = "192.0.2.1:1000";
const PEER: &str = "198.51.100.9:9000";
const UDP: (u16, &[u8]) = (attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

/// A client that says what it likes.
struct Client {
    relay: Relay,
    at: SocketAddr,
    now: Time,
    credential: Credential,
    nonce: String,
    transaction: u8,
}

impl Client {
    fn new(config: ServerConfig) -> Self {
        let (at, credential) = (addr(CLIENT), credential("ann"));
        let (relay, now, nonce) = (Relay::new(config), Time::ZERO, String::new());
        let mut client = Self { relay, at, now, credential, nonce, transaction: 0 };
        client.fetch_nonce();
        client
    }

    fn fetch_nonce(&mut self) {
        let answer = self.raw(Builder::new(Class::Request, Method::Allocate, [0; 12]).finish());
        let answer = answer.expect("it asks who we are");
        let message = Message::parse(&answer).expect("well formed");
        assert_eq!(message.error_code(), Some(401));
        self.nonce = message.text(attribute::NONCE).expect("a nonce").to_owned();
    }

    /// What comes back to the client.
    fn raw(&mut self, bytes: Vec<u8>) -> Option<Bytes> {
        let sent = self.relay.handle(self.now, &(self.at, addr(SERVER), bytes.into()));
        let mut back = sent.into_iter().filter(|(_, to, _)| *to == self.at);
        let frame = back.next().map(|(_, _, data)| data);
        assert!(back.next().is_none(), "one answer at most");
        frame
    }

    fn key(&self) -> Key {
        Key::long_term(&self.credential.username, "psyne", &self.credential.password)
    }

    fn sign(&self, builder: Builder) -> Vec<u8> {
        builder
            .attribute(attribute::USERNAME, self.credential.username.as_bytes())
            .attribute(attribute::REALM, b"psyne")
            .attribute(attribute::NONCE, self.nonce.as_bytes())
            .sign(&self.key())
            .finish()
    }

    fn next_transaction(&mut self) -> Transaction {
        self.transaction = self.transaction.wrapping_add(1);
        [self.transaction; 12]
    }

    /// The code of the answer to a signed request; 0 is success.
    fn ask(&mut self, method: Method, attributes: &[(u16, &[u8])]) -> u16 {
        let builder = Builder::new(Class::Request, method, self.next_transaction());
        let add = |builder: Builder, (kind, value): &(u16, &[u8])| builder.attribute(*kind, value);
        let request = self.sign(attributes.iter().fold(builder, add));
        code(&self.raw(request).expect("an answer"))
    }

    fn ask_for(&mut self, method: Method, peer: &str, number: Option<u16>) -> u16 {
        let mut builder = Builder::new(Class::Request, method, self.next_transaction())
            .address(attribute::XOR_PEER_ADDRESS, addr(peer));
        if let Some(number) = number {
            let number = u32::from(number) << 16;
            builder = builder.attribute(attribute::CHANNEL_NUMBER, &number.to_be_bytes());
        }
        let request = self.sign(builder);
        code(&self.raw(request).expect("an answer"))
    }

    fn allocate(&mut self) -> SocketAddr {
        let before: Vec<_> = self.relay.sockets.keys().copied().collect();
        assert_eq!(self.ask(Method::Allocate, &[UDP]), 0);
        let mut new = self.relay.sockets.keys().filter(|at| !before.contains(at));
        *new.next().expect("a socket was opened")
    }

    /// What leaves for peers when this frame comes.
    fn forwarded(&mut self, frame: Vec<u8>) -> Vec<(SocketAddr, SocketAddr, Bytes)> {
        self.relay.handle(self.now, &(self.at, addr(SERVER), frame.into()))
    }

    fn send(&mut self, peer: &str, data: &[u8]) -> usize {
        let indication = Builder::new(Class::Indication, Method::Send, [9; 12])
            .address(attribute::XOR_PEER_ADDRESS, addr(peer))
            .attribute(attribute::DATA, data)
            .finish();
        self.forwarded(indication).len()
    }
}

fn code(frame: &[u8]) -> u16 {
    let message = Message::parse(frame).expect("well formed");
    match message.class {
        Class::Success => 0,
        _ => message.error_code().expect("an error has a code"),
    }
}

#[test]
fn each_request_has_its_answer() {
    let mut client = Client::new(server_config());
    for (attributes, expected) in [
        (&[][..], 400),
        (&[(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0][..])], 442),
        (&[UDP, (attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])], 440),
        (&[UDP, (attribute::REQUESTED_ADDRESS_FAMILY, &[7, 0, 0, 0])], 440),
        (&[UDP, (attribute::EVEN_PORT, &[0x80])], 508),
        (&[UDP, (attribute::RESERVATION_TOKEN, &[0; 8])], 508),
        (&[UDP, (0x0026, &[0; 4])], 420),
        (&[UDP, (0x001A, &[])], 420),
        (&[UDP, (attribute::EVEN_PORT, &[0])], 0),
        (&[UDP], 437),
    ] {
        assert_eq!(client.ask(Method::Allocate, attributes), expected, "{attributes:?}");
    }
    for (number, peer, expected) in [
        (0x3FFF, PEER, 400),
        (0x7FFF, PEER, 400),
        (0x4000, "[2001:db8::1]:1", 443),
        (0x4000, "10.0.0.1:1", 403),
        (0x4000, PEER, 0),
        (0x4000, PEER, 0),
        (0x4001, PEER, 400),
    ] {
        assert_eq!(client.ask_for(Method::ChannelBind, peer, Some(number)), expected, "{peer}");
    }
    assert_eq!(client.ask(Method::CreatePermission, &[]), 400);
    let family = [(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0][..])];
    assert_eq!(client.ask(Method::Refresh, &family), 440);
    assert_eq!(client.ask(Method::Refresh, &[(attribute::LIFETIME, &[0; 4])]), 0);
    assert_eq!(client.ask(Method::Refresh, &[]), 437);
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 437);
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut client = Client::new(server_config());
    let request = client
        .sign(Builder::new(Class::Request, Method::Allocate, [5; 12]).attribute(UDP.0, UDP.1));
    let first = client.raw(request.clone()).expect("an answer");
    assert_eq!(client.raw(request).expect("an answer"), first);
    assert_eq!(client.relay.server.metrics().allocations_made, 1);
}

#[test]
fn nothing_but_public_addresses_and_lent_ones_is_sent_to() {
    let mut client = Client::new(server_config());
    client.allocate();
    for peer in [
        "127.0.0.1:22",
        "10.1.2.3:80",
        "169.254.169.254:80",
        "172.20.0.1:1",
        "192.168.1.1:53",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "0.0.0.0:1",
        "100.64.0.1:1",
    ] {
        assert_eq!(client.ask_for(Method::CreatePermission, peer, None), 403, "{peer}");
        assert_eq!(client.ask_for(Method::ChannelBind, peer, Some(0x4000)), 403, "{peer}");
        assert_eq!(client.send(peer, b"x"), 0, "{peer}");
    }
    // The server's own ports are not for clients, whatever else they may.
    assert_eq!(client.ask_for(Method::CreatePermission, SERVER, None), 0);
    for port in ["22", "3478", "49153"] {
        assert_eq!(client.send(&format!("203.0.113.1:{port}"), b"x"), 0, "{port}");
    }
    assert_eq!(client.send("203.0.113.1:49152", b"x"), 1, "what is lent may be reached");
}

#[test]
fn data_passes_with_permission_only_and_only_while_it_holds() {
    let mut client = Client::new(server_config());
    let relayed = client.allocate();
    let from_peer = |client: &mut Client| {
        let datagram = (addr(PEER), relayed, Bytes::from_static(b"back"));
        client.relay.handle(client.now, &datagram)
    };
    assert_eq!((client.send(PEER, b"x"), from_peer(&mut client).len()), (0, 0));
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 0);
    assert_eq!((client.send(PEER, b"x"), from_peer(&mut client).len()), (1, 1));
    let other_port = client.send("198.51.100.9:1", b"x");
    assert_eq!((other_port, client.send("198.51.100.8:9000", b"x")), (1, 0));
    client.now = Time::from_millis(300_001);
    assert_eq!((client.send(PEER, b"x"), from_peer(&mut client).len()), (0, 0));
    assert!(client.relay.server.metrics().datagrams_forbidden >= 4);
}

#[test]
fn channels_carry_both_ways_with_four_bytes_more() {
    let mut client = Client::new(server_config());
    let relayed = client.allocate();
    assert_eq!(client.ask_for(Method::ChannelBind, PEER, Some(0x4ABC)), 0);
    let sent = client.forwarded([&[0x4A, 0xBC, 0, 5][..], b"hello"].concat());
    assert_eq!(sent, [(relayed, addr(PEER), Bytes::from_static(b"hello"))]);
    let datagram = (addr(PEER), relayed, Bytes::from_static(b"back"));
    let back = client.relay.handle(client.now, &datagram);
    assert_eq!(&back[0].2[..], [&[0x4A, 0xBC, 0, 4][..], b"back"].concat());
    for bad in [&[0x4A, 0xBC, 0, 6, 1][..], &[0x4A, 0xBD, 0, 0], &[0x4A], &[0x7A, 0xBC, 0, 0]] {
        assert!(client.forwarded(bad.to_vec()).is_empty(), "{bad:?}");
    }
}

#[test]
fn a_stranger_gets_no_more_bytes_than_it_must_and_not_often() {
    let bare = |method| Builder::new(Class::Request, method, [1; 12]).finish();
    let mut longer = vec![];
    let mut config = server_config();
    config.stranger_answers_per_s = 1_000;
    let mut client = Client::new(config);
    client.at = addr("192.0.2.77:7");
    let garbage = client.sign(bare_builder(Method::Refresh));
    for request in [
        bare(Method::Binding),
        bare(Method::Allocate),
        bare(Method::Refresh),
        bare(Method::CreatePermission),
        bare(Method::ChannelBind),
        bare(Method::Send),
        bare_builder(Method::Binding).attribute(0x7FFF, &[]).finish(),
        bare_builder(Method::Allocate).sign(&Key::long_term("", "", "")).finish(),
        garbage,
        vec![0x40, 0, 0, 0],
        vec![0; 20],
    ] {
        if let Some(answer) = client.raw(request.clone()).filter(|it| it.len() > request.len()) {
            longer.push((code(&answer), answer.len()));
        }
    }
    // An address, and the way to show credentials.
    assert_eq!(longer[0], (0, 32));
    assert!(longer[1..].iter().all(|answer| *answer == (401, 68)), "{longer:?}");
    assert_eq!(client.relay.server.metrics().allocations, 0);
}

fn bare_builder(method: Method) -> Builder {
    Builder::new(Class::Request, method, [1; 12])
}

#[test]
fn a_strict_server_says_no_more_than_strangers_said_and_our_clients_still_pass() {
    let mut config = server_config();
    config.strict = true;
    let mut relay = Relay::new(config.clone());
    for method in [Method::Binding, Method::Allocate, Method::Refresh] {
        let request: Bytes = bare_builder(method).finish().into();
        assert!(relay.handle(Time::ZERO, &(addr(CLIENT), addr(SERVER), request)).is_empty());
    }
    let mut world = turn::World::new(config, psyne_sim::Conditions::default(), 1);
    world.ask(&credential("ann"));
    world.until(Duration::from_secs(60), |world| {
        world.sides.iter().all(|side| side.relayed().is_some())
    });
}

#[test]
fn a_flood_of_strangers_is_answered_up_to_a_rate() {
    let mut relay = Relay::new(server_config());
    let request: Bytes = bare_builder(Method::Allocate).finish().into();
    let mut flood = |from: SocketAddr, now| {
        let flood = (0..1_000).map(|_| relay.handle(now, &(from, addr(SERVER), request.clone())));
        flood.flatten().count()
    };
    assert_eq!(flood(addr(CLIENT), Time::ZERO), 65);
    assert_eq!(flood(addr("192.0.2.1:2"), Time::ZERO), 0, "another port is no other stranger");
    assert_eq!(flood(addr("192.0.2.99:2"), Time::ZERO), 65);
    assert_eq!(flood(addr(CLIENT), Time::from_millis(1_000)), 32);
    assert!(relay.server.metrics().strangers_unanswered > 3_000);
}

#[test]
fn a_stolen_request_is_worth_nothing_elsewhere_or_later() {
    let mut client = Client::new(server_config());
    let request = client
        .sign(Builder::new(Class::Request, Method::Allocate, [5; 12]).attribute(UDP.0, UDP.1));
    client.at = addr("192.0.2.66:6");
    assert_eq!(code(&client.raw(request.clone()).expect("an answer")), 438);
    client.at = addr(CLIENT);
    client.now = Time::from_millis(601_000);
    assert_eq!(code(&client.raw(request).expect("an answer")), 438);
    assert_eq!(client.relay.server.metrics().allocations, 0);
}

#[test]
fn an_allocation_is_its_users_alone() {
    let mut client = Client::new(server_config());
    client.allocate();
    client.credential = credential("ben");
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 441);
    client.credential.password.push('x');
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 401);
    client.credential = credential("ann");
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 0);
}

#[test]
fn limits_of_an_allocation_and_of_a_user_are_reached() {
    let mut config = server_config();
    config.stranger_answers_per_s = 1_000;
    let mut client = Client::new(config);
    client.allocate();
    let peer = |n: u32| format!("198.51.{}.{}:9", n / 200, n % 200 + 1);
    let permits = (0..100).map(|n| client.ask_for(Method::CreatePermission, &peer(n), None));
    let answers: Vec<_> = permits.collect();
    assert_eq!(answers.iter().filter(|code| **code == 0).count(), 64);
    assert!(answers[64..].iter().all(|code| *code == 508));
    let numbers = (0..100_u16).map(|n| {
        client.ask_for(Method::ChannelBind, &format!("198.51.0.1:{}", n + 1), Some(0x4000 + n))
    });
    assert_eq!(numbers.filter(|code| *code == 0).count(), 64);
    for n in 2..=20_u16 {
        client.at = SocketAddr::new(client.at.ip(), 1_000 + n);
        client.fetch_nonce();
        let expected = if n <= 16 { 0 } else { 486 };
        assert_eq!(client.ask(Method::Allocate, &[UDP]), expected, "allocation {n}");
    }
}

#[test]
fn an_allocation_carries_no_more_than_its_rate() {
    let mut config = server_config();
    config.allocation_bytes_per_s = 64_000;
    let mut client = Client::new(config);
    let relayed = client.allocate();
    assert_eq!(client.ask_for(Method::CreatePermission, PEER, None), 0);
    let sent: usize = (0..1_000).map(|_| client.send(PEER, &[0; 1_000])).sum();
    assert!((15..=17).contains(&sent), "{sent}: a quarter of a second at once");
    let datagram = (addr(PEER), relayed, Bytes::from_static(&[0; 1_000]));
    assert!(client.relay.handle(client.now, &datagram).is_empty(), "both ways together");
    client.now = Time::from_millis(10_000);
    let later: usize = (0..1_000).map(|_| client.send(PEER, &[0; 1_000])).sum();
    assert!((15..=17).contains(&later), "{later}: what was not used is not saved up");
}
