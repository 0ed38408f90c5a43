//! The slots in which requests go there and replies back (`request.rs`).
//!
//! All of it is atomics, and a slot's words are read by each side only while the state says that
//! they are its own: a faulty other side makes a wrong value, nothing worse.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::lanes::{Lane, leave, notify};
use crate::raw::{LINE, Side, Words, load, store};
use crate::sync::Ordering;
use crate::wait::{End, Link, Signal};
use crate::{Config, Error, Message};

/// Words of a slot before its message: its state.
const HEAD_WORDS: usize = 1;

/// The states of a slot, below the number of its call.
const IDLE: u64 = 0;
const ASKED: u64 = 1;
const TAKEN: u64 = 2;
const ANSWERED: u64 = 3;
const REFUSED: u64 = 4;
const STATE_BITS: u32 = 3;

/// Most calls of one client at a time: a bit each in a word.
const CALLS_MAX: usize = 64;

/// Futile looks by compare-and-swap after which the line is left where it is: its client may be
/// doing something else, and pays for its return.
const EAGER: u32 = 512;

/// Requests after which the server measures again how long a line takes to cross: the host moves
/// cores about, though seldom.
const PROBE: u64 = 64;
/// A crossing that takes longer is far. Measured: 50 and 245 ns, and 25 for the clock.
const FAR: Duration = Duration::from_nanos(150);

/// Requests after which a client's other slots are looked at before the one that is likely.
const FAIR: u64 = 8;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    slot: usize,
    number: u64,
}

impl Asked {
    /// Its slot's.
    pub(crate) fn bit(self) -> u64 {
        1 << self.slot
    }

    #[inline]
    fn is(self, state: u64) -> u64 {
        self.number << STATE_BITS | state
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reply is there.
    Answered,
    /// There is none.
    Refused,
}

/// The slots as their client sees them.
#[derive(Debug)]
pub(crate) struct Calls {
    words: Words,
    server: Words,
    /// Slots that no call of ours has, a bit each.
    free: u64,
    /// Slots whose call was given up after the server took it.
    given_up: u64,
    /// Calls begun by slot.
    numbers: Vec<u64>,
}

impl Calls {
    /// The slots of a new client, its waiting, and the server's end of them.
    ///
    /// # Errors
    /// `Config`, `Memory`.
    pub(crate) fn open(
        config: &Config,
        message_bytes: usize,
        server: Link,
    ) -> Result<(Self, Signal, Hatch), Error> {
        let slots = config.calls_max;
        if slots == 0 || slots > CALLS_MAX {
            return Err(Error::Config("calls_max is not between 1 and 64"));
        }
        let stride = (HEAD_WORDS * 8 + message_bytes).next_multiple_of(LINE);
        let (words, ours) = (Words::private(slots, stride)?, Words::private(0, LINE)?);
        let calls = Self {
            words: words.clone(),
            server: ours.clone(),
            free: u64::MAX >> (CALLS_MAX - slots),
            given_up: 0,
            numbers: vec![0; slots],
        };
        let mut signal = Signal::linked(config.wait, server);
        signal.open(&calls);
        let link = Link::to(&signal);
        let next = Asked { slot: 0, number: 1 };
        let hatch =
            Hatch { words, ours, link, slots, taken: None, next, looks: 0, far: false, served: 0 };
        Ok((calls, signal, hatch))
    }

    /// Puts a request into a slot of its own.
    ///
    /// # Errors
    /// `Full` if there is none.
    #[inline]
    pub(crate) fn ask<Q: Message>(&mut self, request: &Q) -> Result<Asked, Error> {
        if self.free == 0 {
            self.reclaim();
        }
        if self.free == 0 {
            return Err(Error::Full);
        }
        let slot = self.free.trailing_zeros() as usize;
        self.numbers[slot] += 1;
        let asked = Asked { slot, number: self.numbers[slot] };
        self.free &= !asked.bit();
        let words = self.words.slot(slot);
        store(&words[HEAD_WORDS..], request);
        words[0].store(asked.is(ASKED), Ordering::Release);
        Ok(asked)
    }

    /// How a call ended, if it did.
    ///
    /// # Errors
    /// `Corrupt`.
    #[inline]
    pub(crate) fn outcome(&self, asked: Asked) -> Result<Option<Outcome>, Error> {
        let state = self.words.slot(asked.slot)[0].load(Ordering::Acquire);
        if state == asked.is(ANSWERED) {
            return Ok(Some(Outcome::Answered));
        }
        if state == asked.is(TAKEN) || state == asked.is(ASKED) {
            return Ok(None);
        }
        if state == asked.is(REFUSED) {
            return Ok(Some(Outcome::Refused));
        }
        Err(Error::Corrupt("the server answered what was not asked"))
    }

    /// The reply of a call that was answered; its slot is free again.
    #[inline]
    pub(crate) fn read<A: Message>(&mut self, asked: Asked) -> A {
        self.free(asked);
        load(&self.words.slot(asked.slot)[HEAD_WORDS..])
    }

    /// The slot of a call that ended is free again.
    #[inline]
    pub(crate) fn free(&mut self, asked: Asked) {
        self.free |= asked.bit();
    }

    /// The reply is not wanted any more. If the server has not taken the request it never will.
    pub(crate) fn give_up(&mut self, asked: Asked) {
        let state = &self.words.slot(asked.slot)[0];
        let (from, to) = (asked.is(ASKED), asked.is(IDLE));
        match state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => self.free |= asked.bit(),
            Err(_) => self.given_up |= asked.bit(),
        }
    }

    /// The same for the calls in these slots.
    pub(crate) fn give_up_these(&mut self, mut slots: u64) {
        while slots != 0 {
            let slot = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            self.give_up(Asked { slot, number: self.numbers[slot] });
        }
    }

    /// Frees the slots of calls that were given up and have ended since.
    #[cold]
    fn reclaim(&mut self) {
        let mut slots = self.given_up;
        while slots != 0 {
            let slot = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            let asked = Asked { slot, number: self.numbers[slot] };
            if let Ok(Some(_)) = self.outcome(asked) {
                self.free(asked);
                self.given_up &= !asked.bit();
            }
        }
    }
}

impl End for Calls {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        (self.words.side(), self.server.side())
    }
}

/// The slots of one client as the server sees them. Dropped, it closes them.
#[derive(Debug)]
pub(crate) struct Hatch {
    words: Words,
    ours: Words,
    link: Link,
    slots: usize,
    /// The request that is being served.
    taken: Option<Asked>,
    /// The call that is most likely the next: a client that waits for each uses one slot.
    next: Asked,
    /// Futile looks since the last request.
    looks: u32,
    /// Whether lines took long to cross when that was last measured.
    far: bool,
    served: u64,
}

impl Hatch {
    /// The request that was taken.
    ///
    /// Panics if there is none.
    #[inline]
    pub(crate) fn read<Q: Message>(&self) -> Q {
        let asked = self.taken.expect("a request is read after it was taken");
        load(&self.words.slot(asked.slot)[HEAD_WORDS..])
    }

    /// Replies to it where it lies.
    #[inline]
    pub(crate) fn answer<A: Message>(&mut self, reply: &A) {
        if let Some(asked) = self.taken {
            store(&self.words.slot(asked.slot)[HEAD_WORDS..], reply);
            self.end(ANSWERED);
        }
    }

    /// Lets it go without a reply, if it has none.
    #[inline]
    pub(crate) fn refuse(&mut self) {
        if self.taken.is_some() {
            self.end(REFUSED);
        }
    }

    #[inline]
    fn end(&mut self, state: u64) {
        if let Some(asked) = self.taken.take() {
            self.words.slot(asked.slot)[0].store(asked.is(state), Ordering::Release);
            notify(self);
        }
    }

    /// Takes a request, or says which state its slot has.
    #[inline]
    fn take(&mut self, asked: Asked) -> Result<(), u64> {
        let state = &self.words.slot(asked.slot)[0];
        let (from, to) = (asked.is(ASKED), asked.is(TAKEN));
        state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)?;
        self.taken = Some(asked);
        self.next = Asked { number: asked.number + 1, ..asked };
        self.looks = 0;
        self.served += 1;
        Ok(())
    }

    /// Takes what lies in the slot of the next call, whatever its number: if one was taken back it
    /// is not the one that was guessed.
    #[inline]
    fn take_likely(&mut self) -> bool {
        let Err(state) = self.take(self.next) else { return true };
        let asked = Asked { number: state >> STATE_BITS, ..self.next };
        state == asked.is(ASKED) && self.take(asked).is_ok()
    }

    /// Looks at these slots, counted from the one where the next call is most likely.
    fn scan(&mut self, ahead: Range<usize>) -> bool {
        for ahead in ahead {
            let slot = (self.next.slot + ahead) % self.slots;
            let state = self.words.slot(slot)[0].load(Ordering::Relaxed);
            let asked = Asked { slot, number: state >> STATE_BITS };
            if state == asked.is(ASKED) && self.take_timed(asked) {
                return true;
            }
        }
        false
    }

    /// Takes a request that was seen. Its client has the line, too, so that taking it is one
    /// crossing: now and then that is measured.
    #[inline]
    fn take_timed(&mut self, asked: Asked) -> bool {
        if !self.served.is_multiple_of(PROBE) {
            return self.take(asked).is_ok();
        }
        let start = Instant::now();
        let taken = self.take(asked).is_ok();
        self.far = start.elapsed() > FAR;
        taken
    }
}

impl End for Hatch {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        (self.ours.side(), self.words.side())
    }
}

impl Lane for Hatch {
    #[inline]
    fn has(&mut self) -> Result<bool, Error> {
        if self.taken.is_some() {
            return Ok(true);
        }
        // Now and then the other slots come first, or a client's other calls would wait for ever.
        let first = usize::from(self.served % FAIR == FAIR / 2);
        // Far apart, looking by compare-and-swap is quicker: the line comes once, to be read and to
        // be written. Close together it is slower: the client has to wait for its line.
        let eager = self.far && first == 0 && !self.served.is_multiple_of(PROBE);
        if eager && self.looks < EAGER {
            self.looks += 1;
            return Ok(self.take_likely() || self.scan(1..self.slots));
        }
        Ok(self.scan(first..first + self.slots))
    }

    #[inline]
    fn parts(&mut self) -> (&mut Link, &Side, &Side) {
        (&mut self.link, self.ours.side(), self.words.side())
    }

    fn tell(&mut self) -> bool {
        false
    }
}

impl Drop for Hatch {
    fn drop(&mut self) {
        self.refuse();
        leave(self);
    }
}
