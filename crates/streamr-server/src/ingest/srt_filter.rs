//! What the kernel hands to the SRT library: only packets that it can take.
//!
//! srt-protocol 0.4 panics on packets that any stranger can send, some of them quite ordinary: key
//! material that nobody expects, a handshake extension other than the stream id (a caller with
//! `packetfilter` or a bonding group), congestion warnings, hostile loss reports. A server that
//! only receives needs none of these. So the socket has a filter (classic BPF) that drops them
//! before the library sees them, and others notice nothing.
//!
//! A handshake with an extension that is not for the library is not dropped but cut off behind its
//! first extension. So the library hears a caller that has no stream id, who gets an answer: see
//! `refusal` in `srt`.

use socket2::{SockFilter, SockRef};
use tokio::net::UdpSocket;

/// The filter sees the UDP header first (8 bytes), then the packet. An SRT packet has a header of
/// 16 bytes, and a handshake 48 more before its extensions (draft-sharabayko-srt §3, §3.2.1).
const PACKET: u32 = 8;
const EXTENSIONS: u32 = PACKET + 16 + 48;
/// Handshake, key material and stream id are three.
const EXTENSIONS_MAX: usize = 4;

/// The handshake extension is always three words. libsrt sends it first, the stream id second.
const FIRST_IS_HANDSHAKE_REQUEST: u32 = HANDSHAKE_REQUEST << 16 | 3;
const FIRST_BYTES: u32 = 4 + 3 * 4;

/// Control types (§3.2): keep-alive, shutdown, acknowledged acknowledgement, drop request.
const HARMLESS: [u32; 4] = [1, 5, 6, 7];
const HANDSHAKE: u32 = 0;
const USER_DEFINED: u32 = 0x7fff;

/// Extensions of a handshake, and subtypes of user-defined packets (§3.2.1.1).
const HANDSHAKE_REQUEST: u32 = 1;
const KEY_REQUEST: u32 = 3;
const STREAM_ID: u32 = 5;

/// Drops or cuts off what the library must not see. Key material passes only if callers have to
/// encrypt.
///
/// # Errors
/// The kernel takes no filter.
pub(super) fn attach(socket: &UdpSocket, encrypted: bool) -> std::io::Result<()> {
    SockRef::from(socket).attach_filter(&program(encrypted))
}

// Operations of classic BPF (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_LENGTH: u16 = 0x80;
const X_FROM: u16 = 0x01;
const A_TO_X: u16 = 0x07;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const SUB_X: u16 = 0x1c;
const SHIFT_LEFT: u16 = 0x64;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const fn step(code: u16, k: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, k)
}

const fn accept() -> SockFilter {
    step(RETURN, u32::MAX)
}

const fn drop_it() -> SockFilter {
    step(RETURN, 0)
}

/// Hands over so many bytes from the UDP header on.
const fn cut(bytes: u32) -> SockFilter {
    step(RETURN, bytes)
}

/// Does the next step if the condition holds, and else the one after.
const fn only_if(condition: u16, k: u32) -> SockFilter {
    SockFilter::new(condition, 0, 1, k)
}

/// Leaves out the next step if the condition holds.
const fn unless(condition: u16, k: u32) -> SockFilter {
    SockFilter::new(condition, 1, 0, k)
}

fn program(encrypted: bool) -> Vec<SockFilter> {
    let mut program = vec![
        // Media.
        step(LOAD_WORD, PACKET),
        unless(IF_ANY_BIT, 1 << 31),
        accept(),
        step(LOAD_HALF, PACKET),
        step(AND, 0x7fff),
    ];
    for kind in HARMLESS {
        program.extend([only_if(IF_EQUAL, kind), accept()]);
    }
    if encrypted {
        // New keys for a connection that stands.
        program.extend([
            SockFilter::new(IF_EQUAL, 0, 4, USER_DEFINED),
            step(LOAD_HALF, PACKET + 2),
            only_if(IF_EQUAL, KEY_REQUEST),
            accept(),
            drop_it(),
        ]);
    }
    program.extend([unless(IF_EQUAL, HANDSHAKE), drop_it(), step(X_FROM, EXTENSIONS)]);
    for _ in 0..EXTENSIONS_MAX {
        program.extend(extension(encrypted));
    }
    program.push(drop_it());
    program
}

/// Looks at the extension at X and moves X behind it; accepts if nothing is there, and cuts off
/// what the library must not see.
fn extension(encrypted: bool) -> [SockFilter; 17] {
    let key = if encrypted { KEY_REQUEST } else { STREAM_ID };
    [
        step(LOAD_LENGTH, 0),
        step(SUB_X, 0),
        // The library takes four bytes for padding. Before the end of the handshake this
        // underflows, and loading below drops the packet.
        unless(IF_AT_LEAST, 5),
        accept(),
        step(LOAD_HALF_AT_X, 0),
        SockFilter::new(IF_EQUAL, 6, 0, HANDSHAKE_REQUEST),
        SockFilter::new(IF_EQUAL, 5, 0, STREAM_ID),
        SockFilter::new(IF_EQUAL, 4, 0, key),
        step(LOAD_WORD, EXTENSIONS),
        only_if(IF_EQUAL, FIRST_IS_HANDSHAKE_REQUEST),
        cut(EXTENSIONS + FIRST_BYTES),
        cut(EXTENSIONS),
        step(LOAD_HALF_AT_X, 2),
        step(SHIFT_LEFT, 2),
        step(ADD, 4),
        step(ADD_X, 0),
        step(A_TO_X, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn control(kind: u16, subtype: u16) -> Vec<u8> {
        let mut packet = (0x8000 | kind).to_be_bytes().to_vec();
        packet.extend(subtype.to_be_bytes());
        packet.resize(16, 0);
        packet
    }

    fn handshake(extensions: &[(u16, usize)]) -> Vec<u8> {
        let mut packet = control(0, 0);
        packet.resize(64, 0);
        for (kind, words) in extensions {
            packet.extend(kind.to_be_bytes());
            packet.extend((*words as u16).to_be_bytes());
            packet.resize(packet.len() + words * 4, 7);
        }
        packet
    }

    /// What comes of a packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Whole,
        /// So many bytes of it.
        Cut(usize),
        Dropped,
    }

    async fn fate(packet: &[u8], encrypted: bool) -> Fate {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        attach(&receiver, encrypted).expect("a filter");
        let sender = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        sender.connect(receiver.local_addr().expect("bound")).await.expect("an address");
        sender.send(packet).await.expect("sent");
        // Media always passes, and nothing overtakes on loopback.
        sender.send(&[0; 17]).await.expect("sent");
        let mut buffer = [0; 2_000];
        let first = tokio::time::timeout(Duration::from_secs(60), receiver.recv(&mut buffer));
        let bytes = first.await.expect("the sentinel").expect("received");
        assert!(bytes == 17 || buffer[..bytes] == packet[..bytes], "other bytes");
        match bytes {
            17 => Fate::Dropped,
            bytes if bytes == packet.len() => Fate::Whole,
            bytes => Fate::Cut(bytes),
        }
    }

    #[tokio::test]
    async fn only_what_the_library_can_take_passes() {
        const BARE: Fate = Fate::Cut(64);
        const FIRST: Fate = Fate::Cut(80);
        let both = [Fate::Whole; 2];
        let neither = [Fate::Dropped; 2];
        let mut long = handshake(&[(1, 3), (5, 4)]);
        long.extend([0; 4]);
        let short = handshake(&[(1, 3)])[..70].to_vec();
        let lies = [&handshake(&[])[..], &[0, 1, 0xff, 0xff, 0, 0, 0, 0]].concat();
        for (case, packet, expected) in [
            ("media", vec![0x7f; 1_316], both),
            ("keep-alive", control(1, 0), both),
            ("shutdown", control(5, 0), both),
            ("acknowledgement of what we never send", control(2, 0), neither),
            ("loss report", control(3, 0), neither),
            ("congestion warning", control(4, 0), neither),
            ("peer error", control(8, 0), neither),
            ("new keys", control(0x7fff, 3), [Fate::Dropped, Fate::Whole]),
            ("a group", control(0x7fff, 8), neither),
            ("induction", handshake(&[]), both),
            ("a caller", handshake(&[(1, 3)]), both),
            ("a caller with a stream id", handshake(&[(1, 3), (5, 40)]), both),
            ("padding", long, both),
            ("key material", handshake(&[(1, 3), (3, 10), (5, 4)]), [FIRST, Fate::Whole]),
            ("key material last", handshake(&[(1, 3), (5, 4), (3, 10)]), [FIRST, Fate::Whole]),
            ("an answer with key material", handshake(&[(1, 3), (4, 10)]), [FIRST; 2]),
            ("congestion control", handshake(&[(1, 3), (5, 4), (6, 1)]), [FIRST; 2]),
            ("packet filter", handshake(&[(1, 3), (5, 4), (7, 5)]), [FIRST; 2]),
            ("a caller in a group", handshake(&[(1, 3), (5, 4), (8, 2)]), [FIRST; 2]),
            ("packet filter first", handshake(&[(7, 5), (1, 3)]), [BARE; 2]),
            ("a handshake of another length", handshake(&[(1, 4), (7, 5)]), [BARE; 2]),
            ("no end of extensions", handshake(&[(1, 3); 5]), neither),
            ("a length that is not there", lies, neither),
            ("cut", short, neither),
            ("half a header", vec![0x80], neither),
        ] {
            for (encrypted, expected) in [false, true].into_iter().zip(expected) {
                assert_eq!(fate(&packet, encrypted).await, expected, "{case}, {encrypted}");
            }
        }
    }
}
