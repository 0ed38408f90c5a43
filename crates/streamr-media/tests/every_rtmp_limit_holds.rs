//! Clients that ask the server for more than its config allows, limit by limit, in bytes written by
//! hand.

use bytes::Bytes;
use psyne::Time;
use streamr_media::Error;
use streamr_media::amf::{Value, amf0};
use streamr_media::rtmp::chunk::{self, Header, kind};
use streamr_media::rtmp::{Config, Event, Output, Server, StreamId};

/// A server behind the handshake.
struct Peer(Server);

impl Peer {
    fn new(config: Config) -> Self {
        let mut peer = Self(Server::new(config, Time::ZERO, 1));
        let mut handshake = vec![0; 1 + 2 * 1_536];
        handshake[0] = 3;
        peer.0.handle_input(Time::ZERO, &handshake).unwrap();
        peer
    }

    /// One that has connected, created stream 1 and asked to publish.
    fn publishing(config: Config) -> Self {
        let mut peer = Self::new(config);
        peer.command(0, "connect", 1.0, &[app("live")]).unwrap();
        peer.command(0, "createStream", 2.0, &[Value::Null]).unwrap();
        let name = [Value::Null, Value::string("key"), Value::string("live")];
        peer.command(1, "publish", 3.0, &name).unwrap();
        let (_, events) = peer.drain();
        assert!(matches!(events[..], [Event::Publish { .. }]));
        peer
    }

    fn command(
        &mut self,
        stream: u32,
        name: &str,
        transaction: f64,
        values: &[Value],
    ) -> Result<(), Error> {
        let mut body = Vec::new();
        amf0::encode(&Value::string(name), &mut body);
        amf0::encode(&Value::Number(transaction), &mut body);
        values.iter().for_each(|value| amf0::encode(value, &mut body));
        self.say(&message(kind::COMMAND_AMF0, stream, &body))
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.handle_input(Time::ZERO, bytes)
    }

    fn drain(&mut self) -> (Vec<u8>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        loop {
            match self.0.poll_output() {
                Output::Transmit(bytes) => sent.extend(bytes),
                Output::Event(event) => events.push(event),
                Output::Wait(_) => return (sent, events),
            }
        }
    }
}

fn app(name: &str) -> Value {
    Value::object([("app", Value::string(name))])
}

/// Cut into chunks of the size that a connection starts with.
fn message(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header { chunk_stream: 3, kind, stream, timestamp_ms: 0 };
    chunk::write_message(&mut bytes, chunk::CHUNK_BYTES_INITIAL, &header, body);
    bytes
}

fn limit(result: Result<(), Error>) -> &'static str {
    match result {
        Err(Error::Limit { limit, .. }) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_may_be_as_long_as_it_is_allowed_to_be() {
    let config = Config { command_bytes_max: 300, ..Config::default() };
    let mut peer = Peer::new(config);
    peer.command(0, "connect", 1.0, &[app("live")]).unwrap();
    let padding = |bytes| [Value::string("x".repeat(bytes))];
    // Name 9, number 9 and the string's own header 3.
    peer.command(0, "nobody", 0.0, &padding(300 - 21)).unwrap();
    assert_eq!(limit(peer.command(0, "nobody", 0.0, &padding(301 - 21))), "command_bytes_max");
}

#[test]
fn applications_queries_and_names_may_not_be_endless() {
    let config = Config { name_bytes_max: 20, ..Config::default() };
    let long = "a".repeat(21);
    for app_name in [long.clone(), format!("live?{long}")] {
        let mut peer = Peer::new(config.clone());
        let result = peer.command(0, "connect", 1.0, &[app(&app_name)]);
        assert_eq!(limit(result), "name_bytes_max", "{app_name}");
    }
    for command in ["publish", "play"] {
        let mut peer = Peer::new(config.clone());
        peer.command(0, "connect", 1.0, &[app(&long[1..])]).unwrap();
        peer.command(0, "createStream", 2.0, &[Value::Null]).unwrap();
        let result = peer.command(1, command, 3.0, &[Value::Null, Value::string(&long)]);
        assert_eq!(limit(result), "name_bytes_max", "{command}");
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_live_on() {
    let mut peer = Peer::new(Config { streams_max: 2, ..Config::default() });
    peer.command(0, "connect", 1.0, &[app("live")]).unwrap();
    for _ in 0..2 {
        peer.command(0, "createStream", 2.0, &[Value::Null]).unwrap();
    }
    peer.drain();
    peer.command(0, "createStream", 2.0, &[Value::Null]).unwrap();
    let refusal = peer.drain().0;
    let says = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|piece| piece == text);
    assert!(says(&refusal, b"_error") && says(&refusal, b"NetConnection.Call.Failed"));
    peer.command(2, "publish", 3.0, &[Value::Null, Value::string("key")]).unwrap();
    assert!(matches!(peer.drain().1[..], [Event::Publish { stream: StreamId(2), .. }]));
    peer.command(0, "deleteStream", 0.0, &[Value::Null, Value::Number(1.0)]).unwrap();
    peer.command(0, "createStream", 2.0, &[Value::Null]).unwrap();
    assert!(says(&peer.drain().0, b"_result"), "a number that was given back is free");
}

#[test]
fn media_before_the_answer_is_held_up_to_the_limit_even_if_it_is_empty() {
    let config = Config { held_bytes_max: 1_000, ..Config::default() };
    for body_bytes in [0, 1, 100] {
        let mut peer = Peer::publishing(config.clone());
        let media = message(kind::AUDIO, 1, &vec![0xaf; body_bytes]);
        let mut sent = 0;
        let result = (0..1_000).try_for_each(|_| {
            sent += 1;
            peer.say(&media)
        });
        assert_eq!(limit(result), "held_bytes_max");
        assert!((5..=50).contains(&sent), "{sent} tags of {body_bytes} bytes were held");
    }
}

#[test]
fn what_was_held_comes_behind_the_answer() {
    let mut peer = Peer::publishing(Config::default());
    for byte in [1, 2, 3] {
        peer.say(&message(kind::AUDIO, 1, &[0xaf, 1, byte])).unwrap();
    }
    assert_eq!(peer.drain().1, []);
    peer.0.accept(StreamId(1));
    let bodies: Vec<Bytes> = peer
        .drain()
        .1
        .into_iter()
        .map(|event| match event {
            Event::Media { tag, .. } => tag.body,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bodies, [&[0xaf, 1, 1][..], &[0xaf, 1, 2], &[0xaf, 1, 3]]);
}

#[test]
fn one_input_may_not_make_endless_events() {
    let mut peer = Peer::publishing(Config { events_max: 10, ..Config::default() });
    peer.0.accept(StreamId(1));
    let media = message(kind::AUDIO, 1, &[0xaf]);
    for _ in 0..100 {
        peer.say(&media.repeat(10)).unwrap();
        peer.drain();
    }
    assert_eq!(limit(peer.say(&media.repeat(11))), "events_max");
}

#[test]
fn replies_that_nobody_fetches_are_bounded() {
    let ping = message(kind::USER_CONTROL, 0, &[0, 6, 0, 0, 0, 9]);
    let window = message(kind::SET_PEER_BANDWIDTH, 0, &[0, 0, 0, 9, 2]);
    for flood in [ping, window] {
        let mut peer = Peer::new(Config { output_bytes_max: 4_000, ..Config::default() });
        for _ in 0..100 {
            peer.say(&flood).unwrap();
            peer.drain();
        }
        assert_eq!(limit(peer.say(&flood.repeat(500))), "output_bytes_max");
        assert!(peer.drain().0.len() < 5_000);
    }
}

#[test]
fn what_a_client_says_of_itself_is_not_echoed_at_length() {
    // Bytes that are no UTF-8 triple when they are replaced: beyond what an AMF0 name may have.
    let mut body = Vec::new();
    amf0::encode(&Value::string("connect"), &mut body);
    amf0::encode(&Value::Number(1.0), &mut body);
    let name = [&30_000_u16.to_be_bytes()[..], &[0xff; 30_000]].concat();
    body.extend(b"\x03\0\x03app\x02\0\x04live\0\x0eobjectEncoding\x03");
    body.extend(name);
    body.extend(b"\x05\0\0\x09\0\0\x09");
    let mut peer = Peer::new(Config::default());
    peer.say(&message(kind::COMMAND_AMF0, 0, &body)).unwrap();
    assert!(peer.drain().0.len() < 5_000);
}
