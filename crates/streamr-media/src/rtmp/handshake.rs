//! The handshake: simple (RTMP 1.0 §5.2) and with digests (Adobe's Flash Player and media server,
//! undocumented; both places of the digest), in both roles.
//!
//! Each side sends a version byte and 1,536 bytes (C1, S1), answers the other's with 1,536 bytes
//! (C2, S2), and skips the answer it gets: peers put anything there.

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use psyne::Time;
use sha2::Sha256;

use super::malformed;
use crate::Error;

const BYTES: usize = 1_536;
const DIGEST_BYTES: usize = 32;
const VERSION: u8 = 3;

/// What follows the names below in the longer keys.
const SECRET: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
    0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];
const PLAYER_NAME: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_NAME: &[u8] = b"Genuine Adobe Flash Media Server 001";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

impl Role {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Client => PLAYER_NAME,
            Self::Server => SERVER_NAME,
        }
    }

    const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// What a peer that knows digests puts behind its time.
    const fn version(self) -> [u8; 4] {
        match self {
            Self::Client => [0x80, 0, 7, 2],
            Self::Server => [4, 5, 0, 1],
        }
    }
}

/// One side of a handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    role: Role,
    random: Random,
    /// The peer's version byte and 1,536 bytes, as far as they have come.
    first: Vec<u8>,
    /// What is left of the peer's answer, once its first bytes are answered.
    skip: Option<usize>,
}

impl Handshake {
    pub(super) const fn server(seed: u64) -> Self {
        Self { role: Role::Server, random: Random(seed), first: Vec::new(), skip: None }
    }

    /// Starts with C0 and C1 in `out`.
    pub(super) fn client(seed: u64, digest: bool, now: Time, out: &mut BytesMut) -> Self {
        let role = Role::Client;
        let mut random = Random(seed);
        let place = digest.then_some(Place::Late);
        out.put_u8(VERSION);
        out.put_slice(&hello(role, place, now, &mut random));
        Self { role, random, first: Vec::new(), skip: None }
    }

    /// Takes its bytes from `input`; true once the handshake is over.
    pub(super) fn next(
        &mut self,
        now: Time,
        input: &mut &[u8],
        out: &mut BytesMut,
    ) -> Result<bool, Error> {
        if self.skip.is_none() {
            self.first.reserve_exact(1 + BYTES - self.first.len());
            take(input, 1 + BYTES - self.first.len(), |piece| self.first.extend(piece));
            let version = self.first.first().copied().unwrap_or(VERSION);
            check_version(version)?;
            if self.first.len() <= BYTES {
                return Ok(false);
            }
            let first = core::mem::take(&mut self.first);
            self.answer(&first[1..], now, out);
            self.skip = Some(BYTES);
        }
        let left = self.skip.unwrap_or(0);
        let left = left - take(input, left, |_| ());
        self.skip = Some(left);
        Ok(left == 0)
    }

    /// S0, S1 and S2 to a client's C1, or C2 to a server's S1.
    fn answer(&mut self, first: &[u8], now: Time, out: &mut BytesMut) {
        let found = find_digest(first, self.role.peer());
        if self.role == Role::Server {
            out.put_u8(VERSION);
            let place = found.as_ref().map(|(place, _)| *place);
            out.put_slice(&hello(self.role, place, now, &mut self.random));
        }
        let Some((_, digest)) = found else { return out.put_slice(first) };
        let mut answer = [0; BYTES];
        self.random.fill(&mut answer);
        let key = hmac(&[self.role.name(), &SECRET].concat(), &[&digest]);
        let (body, signature) = answer.split_at_mut(BYTES - DIGEST_BYTES);
        signature.copy_from_slice(&hmac(&key, &[body]));
        out.put_slice(&answer);
    }
}

/// RTMP 1.0 §5.2.2: 0–2 are deprecated, 4–31 reserved (answer 3), 32–255 are not allowed so that
/// text protocols can be told apart.
const fn check_version(version: u8) -> Result<(), Error> {
    match version {
        6 => Err(Error::Unsupported { format: "RTMP", feature: "RTMPE encryption" }),
        0..32 => Ok(()),
        _ => Err(malformed("the first byte is not an RTMP version")),
    }
}

/// C1 or S1.
fn hello(role: Role, place: Option<Place>, now: Time, random: &mut Random) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    random.fill(&mut bytes[8..]);
    bytes[..4].copy_from_slice(&((now.as_micros() / 1_000) as u32).to_be_bytes());
    if let Some(place) = place {
        bytes[4..8].copy_from_slice(&role.version());
        let at = place.offset(&bytes);
        let digest = digest_at(&bytes, at, role);
        bytes[at..at + DIGEST_BYTES].copy_from_slice(&digest);
    }
    bytes
}

/// Where the digest hides: in the first or in the second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Early,
    Late,
}

impl Place {
    fn offset(self, bytes: &[u8]) -> usize {
        let base = match self {
            Self::Early => 8,
            Self::Late => 772,
        };
        let sum: usize = bytes[base..base + 4].iter().copied().map(usize::from).sum();
        base + 4 + sum % 728
    }
}

fn find_digest(bytes: &[u8], role: Role) -> Option<(Place, [u8; DIGEST_BYTES])> {
    if bytes[4..8] == [0; 4] {
        return None;
    }
    [Place::Early, Place::Late].into_iter().find_map(|place| {
        let at = place.offset(bytes);
        let digest = digest_at(bytes, at, role);
        (bytes[at..at + DIGEST_BYTES] == digest).then_some((place, digest))
    })
}

/// The digest over everything but itself.
fn digest_at(bytes: &[u8], at: usize, role: Role) -> [u8; DIGEST_BYTES] {
    hmac(role.name(), &[&bytes[..at], &bytes[at + DIGEST_BYTES..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any size");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Hands up to `count` bytes of `input` to `sink` and says how many.
fn take(input: &mut &[u8], count: usize, sink: impl FnOnce(&[u8])) -> usize {
    let (piece, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    sink(piece);
    piece.len()
}

/// SplitMix64: the handshake's random bytes only have to differ.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            piece.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes()[..piece.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets both sides talk in pieces of `step`; what the client sent and got.
    fn shake(digest: bool, step: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
        let mut client = Handshake::client(1, digest, Time::ZERO, &mut up);
        let mut server = Handshake::server(2);
        let (mut sent, mut got) = (vec![], vec![]);
        let (mut client_done, mut server_done) = (false, false);
        while !(client_done && server_done) {
            assert!(!up.is_empty() || !down.is_empty(), "stuck");
            for mut piece in up.split().chunks(step) {
                sent.extend(piece);
                server_done = server.next(Time::ZERO, &mut piece, &mut down).unwrap();
                assert!(piece.is_empty());
            }
            for mut piece in down.split().chunks(step) {
                got.extend(piece);
                client_done = client.next(Time::ZERO, &mut piece, &mut up).unwrap();
                assert!(piece.is_empty());
            }
        }
        (sent, got)
    }

    #[test]
    fn simple_handshakes_echo() {
        for step in [1, 7, 1_536, 5_000] {
            let (sent, got) = shake(false, step);
            assert_eq!((sent.len(), got.len()), (1 + 2 * BYTES, 1 + 2 * BYTES));
            assert_eq!(sent[1..=BYTES], got[1 + BYTES..]);
            assert_eq!(got[1..=BYTES], sent[1 + BYTES..]);
        }
    }

    #[test]
    fn digest_handshakes_sign_what_they_answer() {
        let (sent, got) = shake(true, 999);
        for (first, answer, role) in [(&sent, &got, Role::Server), (&got, &sent, Role::Client)] {
            let (_, digest) = find_digest(&first[1..=BYTES], role.peer()).unwrap();
            let key = hmac(&[role.name(), &SECRET].concat(), &[&digest]);
            let (body, signature) = answer[1 + BYTES..].split_at(BYTES - DIGEST_BYTES);
            assert_eq!(hmac(&key, &[body]), signature);
        }
    }

    #[test]
    fn both_places_of_the_digest_are_found() {
        for place in [Place::Early, Place::Late] {
            let bytes = hello(Role::Client, Some(place), Time::ZERO, &mut Random(7));
            assert_eq!(find_digest(&bytes, Role::Client).unwrap().0, place);
            assert_eq!(find_digest(&bytes, Role::Server), None);
        }
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_byte() {
        for (byte, fine) in [(3, true), (0, true), (31, true), (6, false), (b'G', false)] {
            let mut server = Handshake::server(0);
            let result = server.next(Time::ZERO, &mut [byte].as_slice(), &mut BytesMut::new());
            assert_eq!(result.is_ok(), fine, "{byte}");
        }
    }
}
