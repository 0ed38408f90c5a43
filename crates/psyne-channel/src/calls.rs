//! The slots in which requests go there and replies back (`request.rs`).
//!
//! All of it is atomics, and a slot's words are read by each side only while the state says that
//! they are its own: a faulty other side makes a wrong value, nothing worse.
//!
//! Between processes a slot that was taken says by which server of those that followed each other:
//! if that one died, nobody will answer it. What was not taken yet waits for the next.

use std::ops::Range;

use crate::desk::{Arrival, Terms};
use crate::ipc::{self, Member};
use crate::lanes::{Lane, leave, notify};
use crate::place::{Place, place, timed};
use crate::raw::{LINE, Side, Words, load};
use crate::sync::{AtomicU64, Ordering};
use crate::wait::{End, Fate, Link, Signal, fate, is_gone};
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
/// Between state and number, if it was taken: the number of the server. More of them than can
/// follow each other while a call is under way.
const SERVER_BITS: u32 = 13;
const SERVERS: u64 = 1 << SERVER_BITS;
const NUMBER_SHIFT: u32 = STATE_BITS + SERVER_BITS;

/// Most calls of one client at a time: a bit each in a word.
const CALLS_MAX: usize = 64;

/// Futile looks by compare-and-swap after which the line is left where it is: its client may be
/// doing something else, and pays for its return.
const EAGER: u32 = 512;

/// Requests after which the server measures again how long a line takes to cross: the host moves
/// cores about, though seldom.
const PROBE: u64 = 64;

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
        self.number << NUMBER_SHIFT | state
    }

    #[inline]
    fn taken_by(self, server: u64) -> u64 {
        self.is(TAKEN) | server << STATE_BITS
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reply is there.
    Answered,
    /// There is none.
    Refused,
    /// The server that took it died, and may have done what was asked, or not.
    Lost,
}

/// The slots as their client sees them.
#[derive(Debug)]
pub(crate) struct Calls {
    words: Words,
    server: Words,
    /// Which of the servers that followed each other that is.
    turn: u64,
    /// Who died last.
    died: u32,
    /// Slots that no call of ours has, a bit each.
    free: u64,
    /// Slots whose call was given up after the server took it.
    given_up: u64,
    /// Calls begun by slot, and in all.
    numbers: Vec<u64>,
    asked: u64,
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
        let slots = slots(config)?;
        let (words, ours) =
            (Words::private(slots, stride(message_bytes))?, Words::private(0, LINE)?);
        let calls = Self::over(words.clone(), ours.clone(), slots);
        let mut signal = Signal::linked(config.wait, server);
        signal.open(&calls);
        let hatch = Hatch::over(words, ours, Link::to(&signal), (slots, 0));
        Ok((calls, signal, hatch))
    }

    /// The slots of a client whose server is at an address, its waiting, and what keeps its place.
    ///
    /// # Errors
    /// Those of [`ipc::asker`].
    pub(crate) fn named(
        address: &str,
        config: &Config,
        terms: Terms,
    ) -> Result<(Self, Signal, Member), Error> {
        let slots = slots(config)?;
        let mut asker = ipc::asker(address, config, terms, slots)?;
        let calls = Self::over(Words::over(asker.slots), Words::over(asker.nobody), slots);
        asker.signal.open(&calls);
        Ok((calls, asker.signal, asker.member))
    }

    fn over(words: Words, server: Words, slots: usize) -> Self {
        let free = u64::MAX >> (CALLS_MAX - slots);
        let numbers = vec![0; slots];
        Self { words, server, turn: 0, died: 0, free, given_up: 0, numbers, asked: 0 }
    }

    /// Puts a request into a slot of its own.
    ///
    /// # Errors
    /// `Full` if there is none.
    #[inline]
    pub(crate) fn ask(&mut self, write: impl FnOnce(&[AtomicU64])) -> Result<Asked, Error> {
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
        write(&words[HEAD_WORDS..]);
        words[0].store(asked.is(ASKED), Ordering::Release);
        self.asked += 1;
        self.words.side().count().store(self.asked, Ordering::Relaxed);
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
        if state == asked.is(ASKED) {
            return Ok(None);
        }
        if state == asked.is(REFUSED) {
            return Ok(Some(Outcome::Refused));
        }
        let server = state >> STATE_BITS & (SERVERS - 1);
        if state != asked.taken_by(server) {
            return Err(Error::Corrupt("the server answered what was not asked"));
        }
        Ok(if self.has_died(server) { Some(Outcome::Lost) } else { None })
    }

    /// Whether its reply is there.
    #[inline(always)]
    pub(crate) fn is_answered(&self, asked: Asked) -> bool {
        let state = self.words.slot(asked.slot)[0].load(Ordering::Acquire);
        state == asked.is(ANSWERED)
    }

    /// Whether the server of this number is none of those that may still answer.
    #[inline]
    fn has_died(&self, server: u64) -> bool {
        // A successor that we have not met yet may have taken it.
        let before = self.turn.wrapping_sub(server) & (SERVERS - 1);
        let fate = || fate(self.server.side());
        match before {
            0 => is_gone(self.server.side()) && matches!(fate(), Fate::Died(_)),
            before => before < SERVERS / 2,
        }
    }

    /// The server that died last.
    pub(crate) fn who_died(&self) -> u32 {
        match fate(self.server.side()) {
            Fate::Died(pid) => pid,
            _ => self.died,
        }
    }

    /// The reply of a call that was answered; its slot is free again.
    #[inline]
    pub(crate) fn read<A: Message>(&mut self, asked: Asked) -> A {
        self.free(asked);
        load(self.message(asked))
    }

    /// The words of a call: its reply, once it was answered and until its slot is used again.
    #[inline]
    pub(crate) fn message(&self, asked: Asked) -> &[AtomicU64] {
        &self.words.slot(asked.slot)[HEAD_WORDS..]
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

    /// Frees the slots of calls that were given up and in which the last server left nonsense.
    fn clean(&mut self) {
        for slot in 0..self.numbers.len() {
            let asked = Asked { slot, number: self.numbers[slot] };
            if self.given_up & asked.bit() != 0 && self.outcome(asked).is_err() {
                self.words.slot(slot)[0].store(asked.is(IDLE), Ordering::Relaxed);
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

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        self.died = self.who_died();
        self.server = Words::over(arrival.theirs.region().clone());
        self.turn = arrival.start & (SERVERS - 1);
        self.clean();
        Ok(())
    }
}

fn slots(config: &Config) -> Result<usize, Error> {
    if config.calls_max == 0 || config.calls_max > CALLS_MAX {
        return Err(Error::Config("calls_max is not between 1 and 64"));
    }
    Ok(config.calls_max)
}

/// Bytes of a slot for messages of so many bytes.
pub(crate) const fn stride(message_bytes: usize) -> usize {
    (HEAD_WORDS * 8 + message_bytes).next_multiple_of(LINE)
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
    /// Our number among those who answer this client.
    turn: u64,
}

impl Hatch {
    fn over(words: Words, ours: Words, link: Link, (slots, turn): (usize, u64)) -> Self {
        let next = Asked { slot: 0, number: 1 };
        let (taken, looks, far, served) = (None, 0, false, 0);
        Self { words, ours, link, slots, taken, next, looks, far, served, turn }
    }

    /// The slots of a client in another process.
    pub(crate) fn of(arrival: Arrival) -> Option<Self> {
        let slots = arrival.note.clamp(1, arrival.slots.min(CALLS_MAX as u64)) as usize;
        let words = Words::over(arrival.theirs.region().clone());
        let ours = Words::over(arrival.ours?);
        ours.side().count().store(0, Ordering::Relaxed);
        let turn = arrival.start & (SERVERS - 1);
        Some(Self::over(words, ours, Link::far(arrival.wire), (slots, turn)))
    }

    /// The words of the request that was taken.
    ///
    /// Panics if there is none.
    #[inline]
    pub(crate) fn message(&self) -> &[AtomicU64] {
        let asked = self.taken.expect("a request is read after it was taken");
        &self.words.slot(asked.slot)[HEAD_WORDS..]
    }

    /// Replies to it where it lies.
    #[inline]
    pub(crate) fn answer_by(&mut self, write: impl FnOnce(&[AtomicU64])) {
        if self.taken.is_some() {
            write(self.message());
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
            self.ours.side().count().store(self.served, Ordering::Relaxed);
            notify(self);
        }
    }

    /// Takes a request, or says which state its slot has.
    #[inline]
    fn take(&mut self, asked: Asked) -> Result<(), u64> {
        let state = &self.words.slot(asked.slot)[0];
        let (from, to) = (asked.is(ASKED), asked.taken_by(self.turn));
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
        let asked = Asked { number: state >> NUMBER_SHIFT, ..self.next };
        state == asked.is(ASKED) && self.take(asked).is_ok()
    }

    /// Looks at these slots, counted from the one where the next call is most likely.
    fn scan(&mut self, ahead: Range<usize>) -> bool {
        for ahead in ahead {
            let slot = (self.next.slot + ahead) % self.slots;
            let state = self.words.slot(slot)[0].load(Ordering::Relaxed);
            let asked = Asked { slot, number: state >> NUMBER_SHIFT };
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
        let (taken, took) = timed(|| self.take(asked).is_ok());
        self.far = place(took) == Place::Far;
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
