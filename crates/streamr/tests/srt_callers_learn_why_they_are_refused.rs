//! What an SRT caller asks for and this server does not have is refused by SRT's own codes and
//! named in the log: a packet filter, bonding, encryption that nobody expects, no stream key.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use support::{PATIENCE, Server, tools};

/// Extensions of a handshake (draft-sharabayko-srt §3.2.1.1; filter and group as libsrt has them).
const STREAM_ID: u16 = 5;
const KEY_REQUEST: u16 = 3;
const PACKET_FILTER: u16 = 7;
const GROUP: u16 = 8;

/// Flags that announce extensions, and the length of an AES key in eight bytes.
const HANDSHAKE_KEY_CONFIG: u16 = 7;
const AES_128: u16 = 2;

/// Types of a handshake.
const INDUCTION: u32 = 1;
const CONCLUSION: u32 = u32::MAX;

/// Rejections: 1,000 + libsrt's code, 2,000 + a code of the access control guidelines.
const UNSECURE: u32 = 1_011;
const BAD_REQUEST: u32 = 2_400;
const UNAUTHORIZED: u32 = 2_401;
const UNIMPLEMENTED: u32 = 2_501;

/// A handshake without extensions (§3.2.1): control header, then twelve words.
fn handshake(version: u32, key_and_flags: [u16; 2], kind: u32, cookie: u32) -> Vec<u8> {
    let [key, flags] = key_and_flags.map(u32::from);
    let words = [
        0x8000_0000,
        0,
        0,
        0,
        version,
        key << 16 | flags,
        1_234,
        1_500,
        8_192,
        kind,
        77,
        cookie,
        u32::from_le_bytes([127, 0, 0, 1]),
        0,
        0,
        0,
    ];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn word(packet: &[u8], index: usize) -> u32 {
    let bytes = packet[4 * index..4 * index + 4].try_into();
    u32::from_be_bytes(bytes.expect("four bytes"))
}

/// Bytes of an extension: texts have the bytes of each word turned round.
fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    let words = body.len().div_ceil(4);
    let mut body = body.to_vec();
    body.resize(words * 4, 0);
    if kind == STREAM_ID || kind == PACKET_FILTER {
        body.chunks_mut(4).for_each(<[u8]>::reverse);
    }
    [&kind.to_be_bytes()[..], &(words as u16).to_be_bytes(), &body].concat()
}

/// Says something until it is answered; what was answered before may come once more.
fn ask(socket: &UdpSocket, packet: &[u8], before: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 1_500];
    for _ in 0..PATIENCE.as_secs() {
        socket.send(packet).expect("sent");
        while let Ok(bytes) = socket.recv(&mut buffer) {
            if &buffer[..bytes] != before {
                return buffer[..bytes].to_vec();
            }
        }
    }
    panic!("nobody answers");
}

/// What the type of the answer to a caller with these extensions is.
fn answer(server: &Server, extensions: &[(u16, &[u8])]) -> u32 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server.srt).expect("an address");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let induction = ask(&socket, &handshake(4, [0, 2], INDUCTION, 0), &[]);
    let cookie = word(&induction, 11);
    let encrypts = extensions.iter().any(|(kind, _)| *kind == KEY_REQUEST);
    let key = if encrypts { AES_128 } else { 0 };
    let mut packet = handshake(5, [key, HANDSHAKE_KEY_CONFIG], CONCLUSION, cookie);
    // Version 1.5.1; what it can do; latencies.
    packet.extend(extension(1, &[0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120]));
    packet.extend(extensions.iter().flat_map(|(kind, body)| extension(*kind, body)));
    word(&ask(&socket, &packet, &induction), 9)
}

#[test]
fn each_reason_has_its_code_and_its_line() {
    let server = Server::start();
    let key = format!("publish:{}", server.key);
    let id = (STREAM_ID, key.as_bytes());
    let unsupported = "unsupported: the caller has no stream id, uses a packet filter or bonding";
    for (case, extensions, code, line) in [
        ("a filter", vec![id, (PACKET_FILTER, b"fec,cols:10,rows:5")], UNIMPLEMENTED, unsupported),
        ("bonding", vec![id, (GROUP, &[0x40, 0, 0, 1, 1, 0, 0, 0])], UNIMPLEMENTED, unsupported),
        ("no id", vec![], UNIMPLEMENTED, unsupported),
        ("encryption", vec![id, (KEY_REQUEST, &[7; 40])], UNSECURE, "unexpected_encryption"),
        ("a reader", vec![(STREAM_ID, b"read:main")], BAD_REQUEST, "only publishing is offered"),
        ("a wrong key", vec![(STREAM_ID, b"publish:x")], UNAUTHORIZED, "no stream has this key"),
    ] {
        let lines = || server.log().matches(line).count();
        let before = lines();
        assert_eq!(answer(&server, &extensions), code, "{case}:\n{}", server.log());
        server.eventually(case, || (lines() > before).then_some(()));
    }
    assert_eq!(server.state(), "ready");
}

/// ffmpeg cannot ask for a filter. This program does not always end when it was refused.
#[test]
fn libsrt_with_a_packet_filter_is_refused() {
    let server = Server::start();
    let url = format!("srt://{}?mode=caller&streamid=publish:{}", server.srt, server.key);
    let url = format!("{url}&packetfilter=fec,cols:10,rows:5");
    let from = format!("udp://{}", support::free_udp());
    let options = ["-a:no", "-loglevel:warn", &from, &url];
    let _caller = tools::Tool::start("srt-live-transmit", &options);
    let line = "unsupported: ";
    server.eventually("it is refused", || server.log().contains(line).then_some(()));
}
