use std::time::Duration;

use bytes::Bytes;
use psyne::Time;
use streamr_media::flv;
use streamr_media::rtmp::{
    Client, ClientEvent, Config, Event, Intent, Output, PlayerControl, PlayerEvent, Reject, Server,
    StreamId, Target,
};

/// Small limits, so that short inputs reach them.
fn config() -> Config {
    Config {
        message_bytes_max: 4_096,
        partial_bytes_max: 6_000,
        chunk_streams_max: 6,
        command_bytes_max: 1_024,
        held_bytes_max: 2_048,
        events_max: 64,
        output_bytes_max: 16 << 10,
        streams_max: 3,
        ..Config::default()
    }
}

const HANDSHAKE_BYTES: usize = 1 + 1_536 + 1_536;

/// C0, C1 and C2 of a simple handshake, or S0, S1 and S2.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE_BYTES];
    bytes[0] = 3;
    bytes
}

/// Cuts `data` into an option byte, a step and the rest.
fn options(data: &[u8]) -> Option<(u8, usize, &[u8])> {
    let [flags, step, rest @ ..] = data else { return None };
    Some((*flags, usize::from(*step) + 1, rest))
}

/// Bytes from a client, cut anywhere. Bit 0 of the first byte puts a handshake in front, bit 1
/// accepts whatever is asked.
pub fn server_bytes(data: &[u8]) {
    let Some((flags, step, rest)) = options(data) else { return };
    let mut server = Server::new(config(), Time::ZERO, 1);
    let mut input = if flags & 1 == 1 { handshake() } else { Vec::new() };
    input.extend(rest);
    for piece in input.chunks(step) {
        let result = server.handle_input(Time::ZERO, piece);
        for event in drain(&mut server) {
            if let (Event::Publish { stream, .. } | Event::Play { stream, .. }, 2) =
                (event, flags & 2)
            {
                server.accept(stream);
            }
        }
        drain(&mut server);
        if result.is_err() {
            return;
        }
    }
}

/// Bytes from a server, cut anywhere. Bit 0 of the first byte puts a handshake in front, bit 1
/// makes the client publish.
pub fn client_bytes(data: &[u8]) {
    let Some((flags, step, rest)) = options(data) else { return };
    let intent = if flags & 2 == 2 { Intent::Publish } else { Intent::Play };
    let (app, tc_url) = ("live".into(), "rtmp://h/live".into());
    let target = Target { app, tc_url, name: "n".into(), intent };
    let mut client = Client::new(config(), target, Time::ZERO, 1);
    let mut input = if flags & 1 == 1 { handshake() } else { Vec::new() };
    input.extend(rest);
    for piece in input.chunks(step) {
        let result = client.handle_input(Time::ZERO, piece);
        loop {
            match client.poll_output() {
                Output::Event(ClientEvent::Ready) if intent == Intent::Publish => {
                    client.send(&tag(3));
                }
                Output::Wait(_) => break,
                _ => {}
            }
        }
        if result.is_err() {
            return;
        }
    }
    client.close();
}

/// A sequence of operations: each byte names one, the next its argument.
pub fn server_ops(data: &[u8]) {
    let mut now = Time::ZERO;
    let mut server = Server::new(config(), now, 1);
    let mut closed = false;
    let mut rest = data;
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let stream = StreamId(u32::from(argument % 4));
        let result = match operation % 10 {
            0 => {
                let (piece, tail) = rest.split_at(rest.len().min((*argument).into()));
                rest = tail;
                server.handle_input(now, piece)
            }
            1 => server.handle_input(now, &handshake()),
            2 => server.handle_input(now, prefab(*argument)),
            3 => {
                now += Duration::from_secs((*argument).into());
                server.handle_timeout(now);
                Ok(())
            }
            4 => {
                server.accept(stream);
                Ok(())
            }
            5 => {
                let reasons =
                    [Reject::Denied, Reject::InUse, Reject::NotFound, Reject::Unavailable];
                server.reject(stream, reasons[usize::from(argument / 4 % 4)]);
                Ok(())
            }
            6 => {
                server.send(stream, &tag(*argument));
                Ok(())
            }
            7 => {
                server.end(stream);
                Ok(())
            }
            8 => {
                closed = drained(&mut server, closed);
                Ok(())
            }
            _ => {
                if let Some(playing) = drain_for_player(&mut server) {
                    return player_ops(server.into_player(playing).control, rest);
                }
                Ok(())
            }
        };
        if result.is_err() {
            drain(&mut server);
            return;
        }
    }
    drained(&mut server, closed);
}

/// What is left once the socket was handed over.
fn player_ops(mut control: PlayerControl, mut rest: &[u8]) {
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let result = match operation % 3 {
            0 => {
                let (piece, tail) = rest.split_at(rest.len().min((*argument).into()));
                rest = tail;
                control.handle_input(piece)
            }
            1 => control.handle_input(prefab(*argument)),
            _ => {
                control.end();
                Ok(())
            }
        };
        let mut left = 0;
        loop {
            match control.poll_output() {
                Output::Event(PlayerEvent::Left) => left += 1,
                Output::Wait(_) => break,
                _ => {}
            }
        }
        assert!(left <= 1);
        if result.is_err() {
            return;
        }
    }
}

/// A player that was accepted by being asked for; the first that is found.
fn drain_for_player(server: &mut Server) -> Option<StreamId> {
    drain(server).into_iter().find_map(|event| match event {
        Event::Play { stream, .. } => {
            server.accept(stream);
            Some(stream)
        }
        _ => None,
    })
}

/// Drains the machine and checks that nothing comes behind `Closed`.
fn drained(server: &mut Server, mut closed: bool) -> bool {
    for event in drain(server) {
        assert!(!closed, "{event:?} behind Closed");
        closed = matches!(event, Event::Closed(_));
    }
    closed
}

fn drain(server: &mut Server) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match server.poll_output() {
            Output::Transmit(bytes) => assert!(!bytes.is_empty()),
            Output::Event(event) => events.push(event),
            Output::Wait(_) => return events,
        }
    }
}

fn tag(argument: u8) -> flv::Tag {
    let kinds = [flv::Kind::Audio, flv::Kind::Video, flv::Kind::Script];
    flv::Tag {
        kind: kinds[usize::from(argument % 3)],
        timestamp_ms: u32::from(argument) << 20,
        body: Bytes::from(vec![argument; argument.into()]),
    }
}

/// Well-formed messages, so that sequences get past the gate.
fn prefab(argument: u8) -> &'static [u8] {
    const MESSAGES: [&[u8]; 9] = [
        b"\x03\0\0\0\0\0\x23\x14\0\0\0\0\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\
          \x04live\0\0\x09",
        b"\x03\0\0\0\0\0\x19\x14\0\0\0\0\x02\0\x0ccreateStream\0\x40\0\0\0\0\0\0\0\x05",
        b"\x03\0\0\0\0\0\x18\x14\x01\0\0\0\x02\0\x07publish\0\0\0\0\0\0\0\0\0\x05\x02\0\x01k",
        b"\x03\0\0\0\0\0\x15\x14\x01\0\0\0\x02\0\x04play\0\0\0\0\0\0\0\0\0\x05\x02\0\x01k",
        b"\x03\0\0\0\0\0\x22\x14\0\0\0\0\x02\0\x0cdeleteStream\0\0\0\0\0\0\0\0\0\x05\0\x3f\xf0\0\0\
          \0\0\0\0",
        b"\x03\0\0\0\0\0\x15\x14\x01\0\0\0\x02\0\x05pause\0\0\0\0\0\0\0\0\0\x05\x01\x01\x05",
        b"\x04\0\0\x10\0\0\x04\x08\x01\0\0\0\xaf\0\x12\x10",
        b"\x02\0\0\0\0\0\x06\x04\0\0\0\0\0\x06\0\0\0\x07",
        b"\x02\0\0\0\0\0\x04\x05\0\0\0\0\0\0\0\x01",
    ];
    MESSAGES[usize::from(argument) % MESSAGES.len()]
}
