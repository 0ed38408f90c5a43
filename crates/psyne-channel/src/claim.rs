//! A ring with one sender from which many take: each message goes to whoever claims it.
//!
//! A slot is the message's words. Message `n` (from 0) is there once the sender's count is beyond
//! `n`; it is taken once the claim, a word that only receivers write, is beyond `n`.
//!
//! - A receiver that saw the count (acquire) sees what the sender wrote before (release). It looks
//!   at it again only when it has taken all that it knew of: who falls behind learns of many at a
//!   time.
//! - A receiver copies the message and then moves the claim from `n` to `n + 1` at once or not at
//!   all. Its loads come before that store (release), the sender writes the slot again only after
//!   it saw that store (acquire): so a copy whose claim succeeded is whole, and nobody else has it.
//! - A copy whose claim failed may be torn. It is thrown away; as all words are atomics, having
//!   read them is no harm.
//! - Between two instructions of a receiver nothing is half taken: one that is killed has its
//!   message or has not. None holds a slot.
//! - Between processes a receiver says in words of its own what it is about to take, and what it
//!   has let go of: so its sender knows how much a killed one may have had in hand.

use std::sync::{Arc, Mutex, PoisonError};

use crate::crowd::Crowd;
use crate::lanes::{ENDS_MAX, TURN};
use crate::raw::{LINE, Side, Words, load, prefetch, store};
use crate::sync::{AtomicU64, Ordering};
use crate::{Config, Error, Message, Reason};

/// How far ahead a receiver that finds message after message fetches: a claim is a locked
/// instruction, which the loads after it wait for, so that only one line would be on its way.
const AHEAD: u64 = 4;

/// Claims stay below, so that adding to them never overflows.
const CLAIM_MAX: u64 = 1 << 62;

/// Looks at a claim that somebody else moved each time: whoever loses so often is lied to.
const TRIES_MAX: usize = 1 << 20;

const RESTLESS: Error = Error::Corrupt("what is taken changes all the time");

/// Bytes of a slot.
pub(crate) const fn stride(message_bytes: usize) -> usize {
    let lines = message_bytes.div_ceil(LINE);
    LINE * if lines == 0 { 1 } else { lines }
}

/// What all ends of a queue in this process share.
#[derive(Debug)]
pub(crate) struct Hall {
    pub(crate) senders: Crowd,
    pub(crate) receivers: Crowd,
    pub(crate) config: Config,
    /// The ring of each sender and what was sent on it: its next sender goes on from there.
    lanes: [Mutex<Option<(Ring, u64)>>; ENDS_MAX],
}

impl Hall {
    /// For so many senders at most.
    pub(crate) fn open(config: &Config, senders_max: usize) -> Result<Arc<Self>, Error> {
        let (senders, receivers) = Crowd::pair((senders_max, config.receivers_max))?;
        let lanes = [const { Mutex::new(None) }; ENDS_MAX];
        Ok(Arc::new(Self { senders, receivers, config: config.clone(), lanes }))
    }

    fn lane(&self, index: usize) -> Option<(Ring, u64)> {
        self.lanes[index].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ring of sender `index`, with what an earlier one of that number left in it.
    pub(crate) fn enter<T: Message>(&self, index: usize) -> Result<Out, Error> {
        let (ring, tail) = match self.lane(index) {
            Some(lane) => lane,
            None => {
                let slots = self.config.exact_slots()?;
                let words = Words::private(slots, stride(size_of::<T>()))?;
                (Ring::over(words, self.senders.claim(index), slots as u64), 0)
            }
        };
        self.keep(index, &ring, tail);
        self.opened().fetch_or(1 << index, Ordering::Release);
        Ok(Out::over(ring, tail))
    }

    /// Leaves the ring of sender `index` to the next of its number.
    pub(crate) fn leave(&self, index: usize, out: &Out) {
        self.keep(index, &out.ring, out.tail);
    }

    fn keep(&self, index: usize, ring: &Ring, tail: u64) {
        let mut lane = self.lanes[index].lock().unwrap_or_else(PoisonError::into_inner);
        *lane = Some((ring.clone(), tail));
    }

    /// A bit for each lane that ever was opened.
    fn opened(&self) -> &AtomicU64 {
        self.senders.count()
    }
}

/// The word that says how many messages of a ring were taken.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    words: Words,
    slot: usize,
}

impl Claim {
    /// The first word of a slot that nobody else uses.
    pub(crate) fn over(words: Words, slot: usize) -> Self {
        Self { words, slot }
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        &self.words.slot(self.slot)[0]
    }
}

/// A ring and its claim.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    words: Words,
    claim: Claim,
    slots: u64,
}

impl Ring {
    /// Of so many slots, a power of two.
    pub(crate) fn over(words: Words, claim: Claim, slots: u64) -> Self {
        Self { words, claim, slots }
    }

    /// What its sender says of it.
    pub(crate) fn side(&self) -> &Side {
        self.words.side()
    }

    #[inline]
    fn slot(&self, number: u64) -> &[AtomicU64] {
        self.words.slot((number & (self.slots - 1)) as usize)
    }
}

/// A ring as its sender sees it.
#[derive(Debug)]
pub(crate) struct Out {
    ring: Ring,
    /// Messages sent.
    tail: u64,
    /// Messages taken, as far as we heard.
    head: u64,
}

impl Out {
    /// Goes on after `tail` messages.
    pub(crate) fn over(ring: Ring, tail: u64) -> Self {
        // What was taken is asked for when there seems to be no room.
        let head = tail.saturating_sub(ring.slots);
        Self { ring, tail, head }
    }

    #[inline]
    pub(crate) fn has_room(&mut self, count: u64) -> Result<bool, Error> {
        if self.ring.slots - (self.tail - self.head) >= count {
            return Ok(true);
        }
        let head = self.ring.claim.word().load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return Err(Error::Corrupt("receivers took more than there was"));
        }
        self.head = head;
        Ok(self.ring.slots - (self.tail - self.head) >= count)
    }

    /// Writes the message that is `ahead` (0 is next). There must be room.
    #[inline]
    pub(crate) fn write<T: Message>(&self, ahead: u64, message: &T) {
        self.write_by(ahead, |words| store(words, message));
    }

    /// The same for who writes its words.
    #[inline]
    pub(crate) fn write_by(&self, ahead: u64, write: impl FnOnce(&[AtomicU64])) {
        write(self.ring.slot(self.tail + ahead));
    }

    /// Hands the next `count` over, which were written.
    #[inline]
    pub(crate) fn publish(&mut self, count: u64) {
        self.tail += count;
        self.ring.side().count().store(self.tail, Ordering::Release);
    }

    /// Messages that nobody took yet.
    pub(crate) fn unread(&self) -> u64 {
        self.tail.saturating_sub(self.ring.claim.word().load(Ordering::Acquire))
    }

    /// Slots of the ring.
    #[inline]
    pub(crate) fn slots(&self) -> u64 {
        self.ring.slots
    }

    /// What we say of it.
    pub(crate) fn side(&self) -> &Side {
        self.ring.side()
    }
}

/// A ring as a receiver sees it.
#[derive(Debug)]
pub(crate) struct Take {
    ring: Ring,
    /// Messages taken by anybody, as far as we heard.
    head: u64,
    /// Messages sent, as far as we heard.
    known: u64,
    /// Messages that we took.
    taken: u64,
    /// Where we say what we take, if our sender is to know of it.
    own: Option<Words>,
    /// Whether the sender may wait for what was taken since it was told.
    news: bool,
}

impl Take {
    /// Goes on where all receivers are.
    pub(crate) fn over(ring: Ring, own: Option<Words>) -> Self {
        let head = ring.claim.word().load(Ordering::Acquire).min(CLAIM_MAX);
        Self { ring, head, known: 0, taken: 0, own, news: false }
    }

    /// Slots of the ring.
    pub(crate) fn slots(&self) -> u64 {
        self.ring.slots
    }

    /// Messages that we took.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the sender should be told, since this was last asked.
    #[inline]
    pub(crate) fn news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether a message is there that others may have taken meanwhile.
    #[inline]
    pub(crate) fn may_have(&mut self) -> Result<bool, Error> {
        if self.head < self.known {
            return Ok(true);
        }
        self.ask()
    }

    /// Hears what was sent.
    fn ask(&mut self) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            self.known = self.ring.side().count().load(Ordering::Acquire);
            if self.known.saturating_sub(self.head) <= self.ring.slots {
                return Ok(self.head < self.known);
            }
            // Others took messages meanwhile, and the sender went on.
            if self.is_current()? {
                return Err(Error::Corrupt("the sender overwrote what nobody had taken"));
            }
        }
        Err(RESTLESS)
    }

    /// Whether a message is there that nobody has taken.
    pub(crate) fn has(&mut self) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            if !self.may_have()? {
                return Ok(false);
            }
            if self.is_current()? {
                return Ok(true);
            }
        }
        Err(RESTLESS)
    }

    /// Whether a message is there, and nobody has taken one since we last heard.
    fn is_neglected(&mut self) -> Result<bool, Error> {
        Ok(self.is_current()? && self.may_have()?)
    }

    /// Takes the next message; if `busy`, others are expected after it. Not as a result, in which
    /// it would be copied from each to the next.
    #[inline]
    pub(crate) fn one<T: Message>(
        message: &mut T,
    ) -> impl FnMut(&mut Self, bool) -> Result<Option<()>, Error> {
        |take, busy| take.one_by(busy, |words| *message = load(words))
    }

    /// The same if it is known to be there and nobody else is faster: most messages are taken here,
    /// and nothing that can fail is handed from one to the next.
    #[inline(always)]
    fn one_now<T: Message>(&mut self, message: &mut T) -> bool {
        if self.head >= self.known {
            return false;
        }
        *message = load(self.ring.slot(self.head));
        prefetch(self.ring.slot(self.head + AHEAD));
        self.try_claim(1).is_ok()
    }

    /// As [`one`](Self::one) for who reads its words, again if another was faster.
    #[inline]
    pub(crate) fn one_by<R>(
        &mut self,
        busy: bool,
        mut read: impl FnMut(&[AtomicU64]) -> R,
    ) -> Result<Option<R>, Error> {
        for _ in 0..TRIES_MAX {
            if !self.may_have()? {
                return Ok(None);
            }
            let message = read(self.ring.slot(self.head));
            if busy {
                prefetch(self.ring.slot(self.head + AHEAD));
            }
            if self.claim(1)? {
                return Ok(Some(message));
            }
        }
        Err(RESTLESS)
    }

    /// Takes as many messages as are there and have room in `into`.
    pub(crate) fn some<T: Message>(&mut self, into: &mut [T]) -> Result<Option<usize>, Error> {
        for _ in 0..TRIES_MAX {
            if !self.may_have()? || into.is_empty() {
                return Ok(None);
            }
            let there = self.head..self.known;
            for (message, number) in into.iter_mut().zip(there.clone()) {
                *message = load(self.ring.slot(number));
            }
            let count = (there.end - there.start).min(into.len() as u64);
            if self.claim(count)? {
                return Ok(Some(count as usize));
            }
        }
        Err(RESTLESS)
    }

    /// What was taken is dealt with.
    #[inline]
    pub(crate) fn let_go(&self) {
        if let Some(own) = &self.own {
            own.side().count().store(self.taken, Ordering::Release);
        }
    }

    /// Says what we took, or are about to: never less.
    #[inline]
    fn say(&self, taken: u64) {
        if let Some(own) = &self.own {
            own.side().position().store(taken, Ordering::Release);
        }
    }

    /// Whether what we heard of the claim is so still.
    #[inline]
    fn is_current(&mut self) -> Result<bool, Error> {
        self.hear(self.ring.claim.word().load(Ordering::Acquire)).map(|news| !news)
    }

    /// Moves the claim on by `count`, unless somebody did.
    #[inline]
    fn claim(&mut self, count: u64) -> Result<bool, Error> {
        match self.try_claim(count) {
            Ok(()) => Ok(true),
            Err(now) => self.hear(now).map(|_| false),
        }
    }

    /// The same, or how far it is.
    #[inline(always)]
    fn try_claim(&mut self, count: u64) -> Result<(), u64> {
        let (before, after) = (self.head, self.head + count);
        self.say(self.taken + count);
        let word = self.ring.claim.word();
        match word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.head = after;
                self.taken += count;
                // Once in an eighth of the ring, which is a power of two as the ring is.
                let step = (self.ring.slots / 8).max(1);
                self.news |= (before ^ after) >= step;
                Ok(())
            }
            Err(now) => {
                self.say(self.taken);
                Err(now)
            }
        }
    }

    #[inline]
    fn hear(&mut self, now: u64) -> Result<bool, Error> {
        if now < self.head || now > CLAIM_MAX {
            return Err(Error::Corrupt("a receiver gave back what it had taken"));
        }
        let news = now != self.head;
        self.head = now;
        Ok(news)
    }
}

/// All rings of this process as a receiver sees them.
#[derive(Debug)]
pub(crate) struct In {
    hall: Arc<Hall>,
    /// By the number of their sender.
    lanes: Vec<(usize, Take)>,
    /// The lane that was looked at last, and what is left of its turn.
    at: usize,
    turn: u32,
    /// Lanes that we know of, a bit each.
    known: u64,
}

impl In {
    /// For the receiver of this number: receivers begin at different rings.
    pub(crate) fn open(hall: &Arc<Hall>, index: usize) -> Self {
        let lanes = Vec::with_capacity(1);
        Self { hall: hall.clone(), lanes, at: index, turn: 0, known: 0 }
    }

    /// Looks for a ring from which something can be taken, and takes it.
    #[inline]
    pub(crate) fn find<R>(
        &mut self,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        if self.turn > 0 {
            self.turn -= 1;
            let found = self.take_here(&mut take);
            if !matches!(found, Ok(None)) {
                return found;
            }
        }
        self.search(take)
    }

    /// Takes the next message of the ring whose turn it is, if that is all there is to it.
    #[inline]
    pub(crate) fn one_now<T: Message>(&mut self, message: &mut T) -> bool {
        if self.turn == 0 {
            return false;
        }
        let (index, lane) = &mut self.lanes[self.at];
        let taken = lane.one_now(message);
        if taken {
            self.turn -= 1;
            if lane.news() {
                self.hall.senders.notify_these(1 << *index);
            }
        }
        taken
    }

    /// The next look begins with the next ring.
    pub(crate) fn end_turn(&mut self) {
        self.turn = 0;
    }

    /// Messages that are there at most.
    pub(crate) fn slots(&mut self) -> u64 {
        self.adopt(self.hall.opened().load(Ordering::Acquire));
        self.lanes.iter().map(|(_, lane)| lane.slots()).sum()
    }

    /// Whoever waits for room may go on.
    pub(crate) fn tell(&self) {
        self.hall.senders.notify_these(u64::MAX);
    }

    /// The same, and `Closed` if there will be nothing.
    pub(crate) fn look<R>(
        &mut self,
        take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        let over = self.hall.senders.is_empty();
        match self.find(take)? {
            None if over => Err(Error::Closed(Reason::Finished)),
            found => Ok(found),
        }
    }

    fn search<R>(
        &mut self,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        let opened = self.hall.opened().load(Ordering::Acquire);
        if opened != self.known {
            self.adopt(opened);
        }
        if self.lanes.is_empty() {
            return Ok(None);
        }
        self.go_to_the_neglected()?;
        for _ in 0..self.lanes.len() {
            let found = self.take_here(&mut take)?;
            if found.is_some() {
                self.turn = TURN - 1;
                return Ok(found);
            }
            self.at = (self.at + 1) % self.lanes.len();
        }
        self.turn = 0;
        Ok(None)
    }

    /// A ring from which nobody took anything since we looked at it comes next. Where each has a
    /// receiver, each stays: two at one ring would take the claim from each other all the time.
    fn go_to_the_neglected(&mut self) -> Result<(), Error> {
        self.at %= self.lanes.len();
        for ahead in 1..=self.lanes.len() {
            let at = (self.at + ahead) % self.lanes.len();
            if self.lanes[at].1.is_neglected()? {
                self.at = at;
                break;
            }
        }
        Ok(())
    }

    #[cold]
    fn adopt(&mut self, opened: u64) {
        let mut new = opened & !self.known;
        self.known |= opened;
        while new != 0 {
            let index = new.trailing_zeros() as usize;
            new &= new - 1;
            if let Some((ring, _)) = self.hall.lane(index) {
                self.lanes.push((index, Take::over(ring, None)));
            }
        }
    }

    #[inline]
    fn take_here<R>(
        &mut self,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        let (index, lane) = &mut self.lanes[self.at];
        let found = take(lane, self.turn > 0);
        if lane.news() {
            self.hall.senders.notify_these(1 << *index);
        }
        found
    }
}
