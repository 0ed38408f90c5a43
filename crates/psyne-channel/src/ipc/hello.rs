//! What guest and host tell each other: one message each way, of fixed size.
//!
//! Everything in it is foreign: read once, checked, and never believed beyond that.

use std::os::fd::{AsFd, OwnedFd};

use super::{CLAIM, Offer};
use crate::Error;
use crate::desk::{Stock, Terms};
use crate::raw::{LINE, Other, Rights};

/// "psyne" and the version of this exchange and of the words in regions.
const MAGIC: u64 = u64::from_be_bytes(*b"psyne\0\0\x01");
const WORDS: usize = 10;
/// Bytes of the message.
pub(super) const BYTES: usize = WORDS * 8;
/// Numbers of messages stay below, so that adding to them never overflows.
const START_MAX: u64 = 1 << 62;
/// Slots of a ring that is taken from others.
const SLOTS_MAX: u64 = 1 << 32;

/// Whether a guest is let in. A guest says `Welcome`, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Welcome,
    OtherPattern,
    OtherLayout,
    Crowded,
    /// Not now: come again.
    Later,
}

impl Answer {
    const ALL: [Self; 5] =
        [Self::Welcome, Self::OtherPattern, Self::OtherLayout, Self::Crowded, Self::Later];

    /// What to tell who offered what can't be taken.
    pub(super) fn to(error: &Error) -> Self {
        match error {
            Error::PatternMismatch => Self::OtherPattern,
            Error::LayoutMismatch => Self::OtherLayout,
            _ => Self::Later,
        }
    }

    /// Why it is final, if it is.
    pub(super) fn refusal(self, others_max: u64) -> Option<Error> {
        match self {
            Self::OtherPattern => Some(Error::PatternMismatch),
            Self::OtherLayout => Some(Error::LayoutMismatch),
            Self::Crowded => Some(Error::Crowded(others_max as usize)),
            Self::Welcome | Self::Later => None,
        }
    }
}

/// What came with it.
pub(super) struct Met {
    pub(super) other: Other,
    pub(super) stock: Option<Stock>,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) answer: Answer,
    terms: [u64; 5],
    /// Of the ring, if who speaks owns it.
    slots: u64,
    /// The message to begin with, if who speaks owns the ring.
    pub(super) start: u64,
    /// Of a guest: by pattern. Of a host: how many came before; in a refusal, how many are let in.
    pub(super) note: u64,
}

impl Hello {
    pub(super) fn new(answer: Answer, offer: &Offer, start: u64) -> Self {
        let slots = offer.ring.as_ref().map_or(0, |ring| ring.slots as u64);
        Self { answer, terms: words(&offer.terms), slots, start, note: offer.note }
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let [a, b, c, d, e] = self.terms;
        let rest = [self.slots, self.start, self.note];
        let all = [MAGIC, self.answer as u64, a, b, c, d, e, rest[0], rest[1], rest[2]];
        let mut bytes = [0; BYTES];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(all) {
            *to = word.to_ne_bytes();
        }
        bytes
    }

    /// Nothing if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (chunks, []) = bytes.as_chunks::<8>() else { return None };
        let chunks: &[[u8; 8]; WORDS] = chunks.try_into().ok()?;
        let [magic, answer, a, b, c, d, e, slots, start, note] = chunks.map(u64::from_ne_bytes);
        let answer = Answer::ALL.into_iter().find(|known| *known as u64 == answer)?;
        let sane = magic == MAGIC && start <= START_MAX;
        sane.then_some(Self { answer, terms: [a, b, c, d, e], slots, start, note })
    }

    /// Slots of the ring, whoever owns it.
    pub(super) fn ring_slots(&self, offer: &Offer) -> u64 {
        offer.ring.as_ref().map_or(self.slots, |ring| ring.slots as u64)
    }

    /// Maps what came with it, if both mean the same.
    ///
    /// # Errors
    /// `PatternMismatch`, `LayoutMismatch`, `Memory`.
    pub(super) fn meet(&self, offer: &Offer, files: &[OwnedFd]) -> Result<Met, Error> {
        let ours = words(&offer.terms);
        if self.terms[0] != ours[0] {
            return Err(Error::PatternMismatch);
        }
        let ring = (2..=SLOTS_MAX).contains(&self.slots) && self.slots.is_power_of_two();
        let fits = if offer.ring.is_some() { self.slots == 0 } else { ring };
        if self.terms != ours || !fits {
            return Err(Error::LayoutMismatch);
        }
        let Terms { pattern, stride, .. } = offer.terms;
        let (slots, rights) = (self.slots as usize + pattern.head_slots(), pattern.rights());
        let other = |file: &OwnedFd, size, rights| Other::of(file.as_fd(), size, rights);
        let alone = |other| Met { other, stock: None };
        match files {
            [words] if offer.ring.is_some() => other(words, (0, LINE), Rights::Maker).map(alone),
            [ring] if !pattern.has_pairs() => other(ring, (slots, stride), rights).map(alone),
            [words, ring, claim] if offer.ring.is_none() && pattern.has_pairs() => {
                let ring = other(ring, (slots, stride), rights)?.region().clone();
                let claim = other(claim, CLAIM, Rights::All)?.region().clone();
                let stock = Some(Stock { ring, claim });
                Ok(Met { other: other(words, (0, LINE), Rights::Maker)?, stock })
            }
            _ => Err(Error::LayoutMismatch),
        }
    }
}

fn words(terms: &Terms) -> [u64; 5] {
    let Terms { pattern, layout, stride } = terms;
    [*pattern as u64, layout.hash, layout.size as u64, layout.align as u64, *stride as u64]
}
