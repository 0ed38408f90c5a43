//! The datagrams of `udp://` (docs/wire/channel.md).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest datagram: what goes through nearly every path in one piece, as QUIC has it.
pub(super) const DATAGRAM_BYTES_MAX: usize = 1200;
/// Before a frame.
pub(super) const HEADER_BYTES: usize = 13;
/// A hello is longer than any answer to it.
const HELLO_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"psyne\r\n\0";
const VERSION: u8 = 1;
const HELLO: u8 = 0x10;
const COOKIE: u8 = 0x11;
const WELCOME: u8 = 0x12;
const DATA: u8 = 0x13;

/// What who connects says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// By which it knows the answers.
    pub(super) nonce: [u8; 8],
    /// What the listener gave it; zeros at first.
    pub(super) cookie: [u8; 16],
    /// Longest message that it takes.
    pub(super) message_bytes_max: u32,
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Hello(Hello),
    /// Say hello again, with this.
    Cookie {
        nonce: [u8; 8],
        cookie: [u8; 16],
    },
    /// The channel is open.
    Welcome {
        nonce: [u8; 8],
        token: [u8; 8],
        message_bytes_max: u32,
    },
    /// A frame, numbered by its sender.
    Data {
        token: [u8; 8],
        number: u32,
        frame: Bytes,
    },
}

impl Packet {
    pub(super) fn encode(&self) -> BytesMut {
        let mut into = BytesMut::with_capacity(DATAGRAM_BYTES_MAX);
        match self {
            Self::Hello(hello) => {
                into.put_u8(HELLO);
                into.put_slice(MAGIC);
                into.put_u8(VERSION);
                into.put_slice(&hello.nonce);
                into.put_slice(&hello.cookie);
                into.put_u32(hello.message_bytes_max);
                into.resize(HELLO_BYTES, 0);
            }
            Self::Cookie { nonce, cookie } => {
                into.put_u8(COOKIE);
                into.put_slice(nonce);
                into.put_slice(cookie);
            }
            Self::Welcome { nonce, token, message_bytes_max } => {
                into.put_u8(WELCOME);
                into.put_slice(nonce);
                into.put_slice(token);
                into.put_u32(*message_bytes_max);
            }
            Self::Data { token, number, frame } => {
                into.put_u8(DATA);
                into.put_slice(token);
                into.put_u32(*number);
                into.put_slice(frame);
            }
        }
        into
    }

    /// `None`: that is none of ours.
    pub(super) fn decode(mut from: Bytes) -> Option<Self> {
        match from.try_get_u8().ok()? {
            HELLO if from.len() == HELLO_BYTES - 1 => {
                let magic: [u8; 8] = array(&mut from)?;
                (magic == *MAGIC && from.try_get_u8().ok()? == VERSION).then_some(())?;
                let (nonce, cookie) = (array(&mut from)?, array(&mut from)?);
                let message_bytes_max = from.try_get_u32().ok()?;
                Some(Self::Hello(Hello { nonce, cookie, message_bytes_max }))
            }
            COOKIE if from.len() == 24 => {
                Some(Self::Cookie { nonce: array(&mut from)?, cookie: array(&mut from)? })
            }
            WELCOME if from.len() == 20 => Some(Self::Welcome {
                nonce: array(&mut from)?,
                token: array(&mut from)?,
                message_bytes_max: from.try_get_u32().ok()?,
            }),
            DATA => Some(Self::Data {
                token: array(&mut from)?,
                number: from.try_get_u32().ok()?,
                frame: from,
            }),
            _ => None,
        }
    }
}

fn array<const N: usize>(from: &mut Bytes) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    from.try_copy_to_slice(&mut bytes).ok()?;
    Some(bytes)
}

/// Which numbers came: each is taken once, and those that are missing are counted.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The highest, once there is one.
    highest: Option<u32>,
    /// Which of it and the 63 before it came.
    seen: u64,
    expected: u64,
    came: u64,
    told: (u64, u64),
}

impl Arrivals {
    /// Whether this one came for the first time, and not too late to know.
    pub(super) fn is_new(&mut self, number: u32) -> bool {
        let Some(highest) = self.highest else {
            (self.highest, self.seen, self.expected, self.came) = (Some(number), 1, 1, 1);
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        if ahead == 0 {
            return false;
        }
        if ahead < 1 << 31 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = Some(number);
            self.expected += u64::from(ahead);
        } else {
            let behind = highest.wrapping_sub(number);
            let bit = 1_u64.checked_shl(behind).unwrap_or(0);
            if bit == 0 || self.seen & bit != 0 {
                return false;
            }
            self.seen |= bit;
        }
        self.came += 1;
        true
    }

    /// Since it was last asked: how many there should be, and how many of those did not come.
    pub(super) fn since(&mut self) -> (u64, u64) {
        let (expected, came) = (self.expected - self.told.0, self.came - self.told.1);
        self.told = (self.expected, self.came);
        (expected, expected.saturating_sub(came))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn datagrams_are_read_as_they_were_written_and_no_answer_is_longer_than_a_hello() {
        let hello = Hello { nonce: [1; 8], cookie: [2; 16], message_bytes_max: 3 };
        let all = [
            Packet::Hello(hello),
            Packet::Cookie { nonce: [4; 8], cookie: [5; 16] },
            Packet::Welcome { nonce: [6; 8], token: [7; 8], message_bytes_max: 8 },
            Packet::Data { token: [9; 8], number: 10, frame: Bytes::from_static(b"frame") },
        ];
        for packet in &all {
            assert_eq!(Packet::decode(packet.encode().freeze()).as_ref(), Some(packet));
        }
        let hello = all[0].encode();
        assert!(all[1..3].iter().all(|answer| answer.encode().len() < hello.len()));
        assert_eq!(Packet::decode(hello.freeze().slice(..63)), None, "a short hello is none");
    }

    #[test]
    fn a_number_is_taken_once_and_gaps_are_losses() {
        let mut arrivals = Arrivals::default();
        let taken = |arrivals: &mut Arrivals, number| arrivals.is_new(number);
        for (number, new) in [(5, true), (5, false), (8, true), (6, true), (6, false), (8, false)] {
            assert_eq!(taken(&mut arrivals, number), new, "{number}");
        }
        assert_eq!(arrivals.since(), (4, 1), "5 to 8 without 7");
        assert_eq!(
            (taken(&mut arrivals, 200), taken(&mut arrivals, 100)),
            (true, false),
            "too old"
        );
        assert_eq!(arrivals.since(), (192, 191));
        let mut round = Arrivals::default();
        assert!([u32::MAX, 0, 1].map(|number| round.is_new(number)).iter().all(|new| *new));
        assert_eq!(round.since(), (3, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_datagram_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            if let Some(packet) = Packet::decode(bytes.clone().into()) {
                let again = packet.encode();
                prop_assert_eq!(Packet::decode(again.freeze()), Some(packet));
            }
        }

        #[test]
        fn whatever_comes_no_more_is_lost_than_expected(
            numbers in proptest::collection::vec(any::<u32>(), 0..99),
        ) {
            let mut arrivals = Arrivals::default();
            for number in numbers {
                arrivals.is_new(number);
                let (expected, lost) = arrivals.since();
                prop_assert!(lost <= expected);
            }
        }
    }
}
