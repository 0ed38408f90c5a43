//! The cookie: all that an association needs, kept by the peer until it proves that it can hear us
//! (RFC 9260, 5.1.3).

use bytes::{BufMut, BytesMut};
use core::fmt;
use core::time::Duration;
use psyne_core::Time;

use super::wire::{Offers, take_u16, take_u32, take_u64};

/// Bytes of the proof at the cookie's end.
const PROOF_BYTES: usize = 16;

/// What cookies are proved by. Nobody else may know it, so it is not shown.
pub(super) struct Key(pub(super) [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What the peer's INIT said, and which of our tags answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) made: Time,
    pub(super) tag: u32,
    pub(super) peer: Peer,
}

/// What an end says of itself in INIT or INIT ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) tag: u32,
    pub(super) tsn: u32,
    pub(super) window: u32,
    pub(super) streams_in: u16,
    pub(super) offers: Offers,
}

/// Why a cookie is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not ours, or changed.
    Forged,
    /// Ours, and by this much too old.
    Stale(Duration),
}

impl Cookie {
    pub(super) fn seal(&self, key: &Key) -> BytesMut {
        let mut out = BytesMut::with_capacity(64);
        out.put_u64(self.made.as_micros());
        out.put_u32(self.tag);
        out.put_u32(self.peer.tag);
        out.put_u32(self.peer.tsn);
        out.put_u32(self.peer.window);
        out.put_u16(self.peer.streams_in);
        out.put_u16(self.peer.offers.bits().into());
        let proof = blake3::keyed_hash(&key.0, &out);
        out.put_slice(&proof.as_bytes()[..PROOF_BYTES]);
        out
    }

    pub(super) fn open(bytes: &[u8], key: &Key, now: Time, life: Duration) -> Result<Self, Bad> {
        let cookie = Self::read(bytes, key).ok_or(Bad::Forged)?;
        match now.since(cookie.made).checked_sub(life) {
            Some(over) if !over.is_zero() => Err(Bad::Stale(over)),
            _ => Ok(cookie),
        }
    }

    fn read(bytes: &[u8], key: &Key) -> Option<Self> {
        let (mut rest, proof) = bytes.split_at_checked(bytes.len().checked_sub(PROOF_BYTES)?)?;
        let hash = blake3::keyed_hash(&key.0, rest);
        // In constant time, or the proof could be guessed byte by byte.
        let wrong = hash.as_bytes().iter().zip(proof).fold(0, |wrong, (a, b)| wrong | (a ^ b));
        if wrong != 0 {
            return None;
        }
        Some(Self {
            made: Time::from_micros(take_u64(&mut rest)?),
            tag: take_u32(&mut rest)?,
            peer: Peer {
                tag: take_u32(&mut rest)?,
                tsn: take_u32(&mut rest)?,
                window: take_u32(&mut rest)?,
                streams_in: take_u16(&mut rest)?,
                offers: Offers::from_bits(take_u16(&mut rest)? as u8),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_ours_unchanged_and_fresh_or_refused() {
        let offers = Offers { forward: true, reset: true, ..Offers::default() };
        let peer = Peer { tag: 1, tsn: 2, window: 3, streams_in: 4, offers };
        let cookie = Cookie { made: Time::from_millis(5), tag: 6, peer };
        let (key, life) = (Key([7; 32]), Duration::from_secs(1));
        let sealed = cookie.seal(&key);
        let open = |bytes: &[u8], key, at| Cookie::open(bytes, key, Time::from_millis(at), life);
        assert_eq!(open(&sealed, &key, 1_005), Ok(cookie));
        assert_eq!(open(&sealed, &key, 1_006), Err(Bad::Stale(Duration::from_millis(1))));
        assert_eq!(open(&sealed, &Key([8; 32]), 5), Err(Bad::Forged));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&changed, &key, 5), Err(Bad::Forged));
            assert_eq!(open(&sealed[..at], &key, 5), Err(Bad::Forged));
        }
    }
}
