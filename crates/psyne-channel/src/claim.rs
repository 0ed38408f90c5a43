//! A ring with one sender from which many take: each message goes to whoever claims it.
//!
//! A slot is a number and the message's words. Message `n` (from 0) is there once its slot's number
//! is `n + 1`; it is taken once the claim, a word that only receivers write, is beyond `n`.
//!
//! - A receiver copies the message and then moves the claim from `n` to `n + 1` at once or not at
//!   all. Its loads come before that store (release), the sender writes the slot again only after
//!   it saw that store (acquire): so a copy whose claim succeeded is whole, and nobody else has it.
//! - A copy whose claim failed may be torn. It is thrown away; as all words are atomics, having
//!   read them is no harm.
//! - Between two instructions of a receiver nothing is half taken: one that is killed has its
//!   message or has not. None holds a slot.

use std::sync::{Arc, Mutex, PoisonError};

use crate::crowd::Crowd;
use crate::lanes::{ENDS_MAX, TURN};
use crate::raw::{LINE, Words, load, prefetch, store};
use crate::sync::{AtomicU64, Ordering};
use crate::{Config, Error, Message, Reason};

/// Words of a slot before its message: its number.
const HEAD_WORDS: usize = 1;

/// How far ahead a receiver that finds message after message fetches: a claim is a locked
/// instruction, which the loads after it wait for, so that only one line would be on its way.
const AHEAD: u64 = 4;

/// What all ends of a queue share.
#[derive(Debug)]
pub(crate) struct Hall {
    pub(crate) senders: Crowd,
    pub(crate) receivers: Crowd,
    pub(crate) config: Config,
    /// The ring of each sender and what was sent on it: its next sender goes on from there.
    lanes: [Mutex<Option<(Words, u64)>>; ENDS_MAX],
}

impl Hall {
    /// For so many senders at most.
    pub(crate) fn open(config: &Config, senders_max: usize) -> Result<Arc<Self>, Error> {
        let (senders, receivers) = Crowd::pair((senders_max, config.receivers_max))?;
        let lanes = [const { Mutex::new(None) }; ENDS_MAX];
        Ok(Arc::new(Self { senders, receivers, config: config.clone(), lanes }))
    }

    fn lane(&self, index: usize) -> Option<(Words, u64)> {
        self.lanes[index].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, index: usize, words: &Words, tail: u64) {
        let mut lane = self.lanes[index].lock().unwrap_or_else(PoisonError::into_inner);
        *lane = Some((words.clone(), tail));
    }

    /// A bit for each lane that ever was opened.
    fn opened(&self) -> &AtomicU64 {
        self.senders.count()
    }

    /// How many messages of a lane were taken.
    #[inline]
    fn claim(&self, index: usize) -> &AtomicU64 {
        self.senders.word_of(index)
    }
}

/// The ring of a sender.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) hall: Arc<Hall>,
    index: usize,
    words: Words,
    slots: u64,
    /// Messages sent.
    tail: u64,
    /// Messages taken, as far as we heard.
    head: u64,
}

impl Out {
    /// The ring of sender `index`, with what an earlier one of that number left in it.
    pub(crate) fn open<T: Message>(hall: &Arc<Hall>, index: usize) -> Result<Self, Error> {
        let slots = hall.config.exact_slots()?;
        let stride = (HEAD_WORDS * 8 + size_of::<T>()).next_multiple_of(LINE);
        let (words, tail) = match hall.lane(index) {
            Some(lane) => lane,
            None => (Words::private(slots, stride)?, 0),
        };
        hall.keep(index, &words, tail);
        hall.opened().fetch_or(1 << index, Ordering::Release);
        // What was taken is asked for when there seems to be no room.
        let head = tail.saturating_sub(slots as u64);
        Ok(Self { hall: hall.clone(), index, words, slots: slots as u64, tail, head })
    }

    /// Leaves the ring to the next sender of its number.
    pub(crate) fn leave(&self) {
        self.hall.keep(self.index, &self.words, self.tail);
    }

    #[inline]
    pub(crate) fn has_room(&mut self, count: u64) -> Result<bool, Error> {
        if self.slots - (self.tail - self.head) >= count {
            return Ok(true);
        }
        let head = self.hall.claim(self.index).load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return Err(Error::Corrupt("receivers took more than there was"));
        }
        self.head = head;
        Ok(self.slots - (self.tail - self.head) >= count)
    }

    /// The same, and an error if nobody is left to make room.
    pub(crate) fn look(&mut self, count: u64) -> Result<bool, Error> {
        if self.has_room(count)? {
            return Ok(true);
        }
        match self.hall.receivers.is_empty() {
            true => Err(Error::Closed(Reason::Finished)),
            false => Ok(false),
        }
    }

    #[inline]
    fn slot(&self, number: u64) -> &[AtomicU64] {
        self.words.slot((number & (self.slots - 1)) as usize)
    }

    /// Writes the message that is `ahead` (0 is next). There must be room.
    #[inline]
    pub(crate) fn write<T: Message>(&self, ahead: u64, message: &T) {
        store(&self.slot(self.tail + ahead)[HEAD_WORDS..], message);
    }

    /// Hands the next `count` over, which were written, and wakes as many receivers.
    ///
    /// # Errors
    /// `Closed` if there are none.
    #[inline]
    pub(crate) fn publish(&mut self, count: u64) -> Result<(), Error> {
        // Backwards: a receiver that has seen the first need not wait for the others.
        for number in (self.tail..self.tail + count).rev() {
            self.slot(number)[0].store(number + 1, Ordering::Release);
        }
        self.tail += count;
        self.hall.receivers.notify(count)
    }

    /// Slots of the ring.
    #[inline]
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }
}

/// One ring as a receiver sees it.
#[derive(Debug)]
struct Lane {
    index: usize,
    words: Words,
    /// Messages taken by anybody, as far as we heard.
    head: u64,
}

/// All rings as a receiver sees them.
#[derive(Debug)]
pub(crate) struct In {
    hall: Arc<Hall>,
    slots: u64,
    lanes: Vec<Lane>,
    /// The lane that was looked at last, and what is left of its turn.
    at: usize,
    turn: u32,
    /// Lanes that we know of, a bit each.
    known: u64,
}

impl In {
    /// For the receiver of this number: receivers begin at different rings.
    pub(crate) fn open(hall: &Arc<Hall>, index: usize) -> Result<Self, Error> {
        let slots = hall.config.exact_slots()? as u64;
        let lanes = Vec::with_capacity(1);
        Ok(Self { hall: hall.clone(), slots, lanes, at: index, turn: 0, known: 0 })
    }

    /// Takes the next message.
    #[inline]
    pub(crate) fn take<T: Message>(&mut self) -> Result<Option<T>, Error> {
        if self.turn > 0 {
            self.turn -= 1;
            let found = self.take_here();
            if !matches!(found, Ok(None)) {
                return found;
            }
        }
        self.search(Self::take_here)
    }

    /// Takes as many messages of one sender as are there and have room in `into`.
    #[inline]
    pub(crate) fn take_into<T: Message>(&mut self, into: &mut [T]) -> Result<Option<usize>, Error> {
        self.search(|rings| rings.take_some_here(into))
    }

    /// Slots of each ring.
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// Whoever waits for room may go on.
    pub(crate) fn tell(&self) {
        self.hall.senders.notify_these(u64::MAX);
    }

    /// Whether all senders are gone.
    pub(crate) fn is_over(&self) -> bool {
        self.hall.senders.is_empty()
    }

    fn search<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let opened = self.hall.opened().load(Ordering::Acquire);
        if opened != self.known {
            self.adopt(opened);
        }
        for _ in 0..self.lanes.len() {
            self.at = (self.at + 1) % self.lanes.len();
            let found = take(self)?;
            if found.is_some() {
                self.turn = TURN - 1;
                return Ok(found);
            }
        }
        self.turn = 0;
        Ok(None)
    }

    #[cold]
    fn adopt(&mut self, opened: u64) {
        let mut new = opened & !self.known;
        self.known |= opened;
        while new != 0 {
            let index = new.trailing_zeros() as usize;
            new &= new - 1;
            if let Some((words, _)) = self.hall.lane(index) {
                let head = self.hall.claim(index).load(Ordering::Acquire);
                self.lanes.push(Lane { index, words, head });
            }
        }
    }

    #[inline]
    fn take_here<T: Message>(&mut self) -> Result<Option<T>, Error> {
        let lane = &mut self.lanes[self.at];
        loop {
            let number = lane.head;
            let slot = lane.words.slot((number & (self.slots - 1)) as usize);
            if slot[0].load(Ordering::Acquire) != number + 1 {
                if lane.is_current(&self.hall)? {
                    return Ok(None);
                }
                continue;
            }
            let message = load(&slot[HEAD_WORDS..]);
            if self.turn > 0 {
                let ahead = (number + AHEAD) & (self.slots - 1);
                prefetch(lane.words.slot(ahead as usize));
            }
            if lane.claim((&self.hall, self.slots), 1)? {
                return Ok(Some(message));
            }
        }
    }

    fn take_some_here<T: Message>(&mut self, into: &mut [T]) -> Result<Option<usize>, Error> {
        let lane = &mut self.lanes[self.at];
        loop {
            let mut count = 0;
            for (message, number) in into.iter_mut().zip(lane.head..lane.head + self.slots) {
                let slot = lane.words.slot((number & (self.slots - 1)) as usize);
                if slot[0].load(Ordering::Acquire) != number + 1 {
                    break;
                }
                *message = load(&slot[HEAD_WORDS..]);
                count += 1;
            }
            if count == 0 && lane.is_current(&self.hall)? {
                return Ok(None);
            }
            if count > 0 && lane.claim((&self.hall, self.slots), count)? {
                return Ok(Some(count as usize));
            }
        }
    }
}

impl Lane {
    /// Whether what we heard of the claim is so still.
    #[inline]
    fn is_current(&mut self, hall: &Hall) -> Result<bool, Error> {
        self.hear(hall.claim(self.index).load(Ordering::Acquire)).map(|news| !news)
    }

    /// Moves the claim on by `count`, unless somebody did.
    #[inline]
    fn claim(&mut self, (hall, slots): (&Hall, u64), count: u64) -> Result<bool, Error> {
        let (before, after) = (self.head, self.head + count);
        let claim = hall.claim(self.index);
        match claim.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.head = after;
                let step = (slots / 8).max(1);
                if before / step != after / step {
                    hall.senders.notify_these(1 << self.index);
                }
                Ok(true)
            }
            Err(now) => self.hear(now).map(|_| false),
        }
    }

    #[inline]
    fn hear(&mut self, now: u64) -> Result<bool, Error> {
        if now < self.head {
            return Err(Error::Corrupt("a receiver gave back what it had taken"));
        }
        let news = now != self.head;
        self.head = now;
        Ok(news)
    }
}
