//! A ring with one producer and one consumer: who owns which slot, and how slots change hands.
//!
//! The proof that everything else leans on. Messages are numbered from 0; message `n` lies in slot
//! `n mod slots`. The producer owns what is in `tail .. head + slots`, the consumer what is in
//! `head .. tail`, where `head` counts what was released and `tail` what was published:
//!
//! - `tail` grows only in [`Producer::publish`], by a release store; the consumer learns of it by
//!   an acquire load. So what was written before is visible, and the producer never returns to it.
//! - `head` grows only in [`Consumer::release`], by a release store of a value that is never ahead
//!   of what was released; the producer learns of it by an acquire load. So reads are over before.
//! - Each side keeps its own number and the last that it heard privately, and refuses news that go
//!   back or exceed the ring: a faulty other side stops the ring, never reaches beyond it.
//! - There is one of each: [`lane`] makes a pair, neither can be cloned, and slots are lent for a
//!   borrow of the end that owns them. Between processes each has the other's region mapped to
//!   read; one that writes what it no longer owns changes bytes that the other looks at, and
//!   nothing else.
//! - A side that died is replaced: a producer gives its successor what `count` says was not
//!   released, a consumer reads its successor's ring from that one's beginning.

use super::region::{LINE, Region, Side};
use crate::Error;
use crate::sync::Ordering;

/// Where a message is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// By a sequence number in the message's own line: one line crosses for each message.
    Line,
    /// By one index for all: slots are whole lines, and neighbours are one slice.
    Wide,
}

impl Format {
    /// Bytes of a slot that are not the message's.
    #[inline]
    pub(crate) const fn overhead(self) -> usize {
        match self {
            Self::Line => 8,
            Self::Wide => 0,
        }
    }
}

#[derive(Debug)]
struct Ring {
    producer: Region,
    consumer: Region,
    slots: u64,
    stride: usize,
    format: Format,
}

impl Ring {
    fn new(producer: Region, consumer: Region, (slots, stride, format): Shape) -> Self {
        assert!(slots.is_power_of_two() && slots >= 2, "the configuration rounds up");
        assert!(format == Format::Wide || stride == LINE, "a line is a line");
        Self { producer, consumer, slots: slots as u64, stride, format }
    }

    #[inline]
    fn index(&self, number: u64) -> usize {
        (number & (self.slots - 1)) as usize
    }

    /// How many slots from message `number` on lie side by side.
    #[inline]
    fn contiguous(&self, number: u64) -> u64 {
        match self.format {
            Format::Line => 1,
            Format::Wide => self.slots - (number & (self.slots - 1)),
        }
    }

    /// Where in its slot a message begins, and how many bytes `count` neighbours have. Those that
    /// reach beyond the ring's end the region refuses.
    ///
    /// Panics for several lines: sequence numbers lie between them.
    #[inline]
    fn extent(&self, count: u64) -> (usize, usize) {
        match self.format {
            Format::Line => {
                assert!(count == 1, "lines are lent one by one");
                (8, LINE - 8)
            }
            Format::Wide => (0, count as usize * self.stride),
        }
    }
}

/// Slots of a ring (a power of two), bytes of each, and where messages are announced.
pub(crate) type Shape = (usize, usize, Format);

/// Makes both ends of a ring in this process.
pub(crate) fn lane(shape: Shape) -> Result<(Producer, Consumer), Error> {
    let producer = Region::private(shape.0, shape.1)?;
    let consumer = Region::private(0, LINE)?;
    let receiving = Consumer::over(producer.clone(), consumer.clone(), shape);
    Ok((Producer::over(producer, consumer, shape), receiving))
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct Producer {
    ring: Ring,
    /// Published by us.
    tail: u64,
    /// Released by the consumer, as far as we heard.
    head: u64,
}

impl Producer {
    /// Writes the first region and reads the words of the second. Nobody else of this process
    /// writes the first.
    pub(crate) fn over(producer: Region, consumer: Region, shape: Shape) -> Self {
        Self { ring: Ring::new(producer, consumer, shape), tail: 0, head: 0 }
    }

    /// Whether `count` slots are ours; asks the consumer only if they were not by the last news.
    #[inline]
    pub(crate) fn has_free(&mut self, count: u64) -> Result<bool, Error> {
        if count <= self.free() {
            return Ok(true);
        }
        let head = self.ring.consumer.side().position().load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return Err(Error::Corrupt("the receiver released what it never had"));
        }
        self.head = head;
        Ok(count <= self.free())
    }

    /// Slots that are ours by the last news.
    #[inline]
    pub(crate) fn free(&self) -> u64 {
        self.ring.slots - (self.tail - self.head)
    }

    /// The unpublished message `ahead` (0 is next) and `count - 1` neighbours, to write.
    ///
    /// Panics if they are not ours by the last news or not side by side.
    #[inline]
    pub(crate) fn slot(&mut self, ahead: u64, count: u64) -> &mut [u8] {
        assert!(ahead + count <= self.free(), "a slot is written after it came free");
        let number = self.tail + ahead;
        let (skip, bytes) = self.ring.extent(count);
        // SAFETY: by the first assertion the messages are in `tail .. head + slots`, which the
        // consumer does not touch before they are published (see the head of this file), and the
        // mutable borrow of the only producer lasts as long as the slice.
        unsafe { self.ring.producer.bytes_mut(self.ring.index(number), skip, bytes) }
    }

    /// The same to look at again.
    #[inline]
    pub(crate) fn written(&self, ahead: u64, count: u64) -> &[u8] {
        assert!(ahead + count <= self.free(), "a slot is ours after it came free");
        let number = self.tail + ahead;
        let (skip, bytes) = self.ring.extent(count);
        // SAFETY: as in `slot`: the consumer does not touch them, and writing needs the only
        // producer mutably, so not while the slice lives.
        unsafe { self.ring.producer.bytes(self.ring.index(number), skip, bytes) }
    }

    /// How many slots from the next on are side by side.
    #[inline]
    pub(crate) fn contiguous(&self) -> u64 {
        self.ring.contiguous(self.tail)
    }

    /// Hands the next `count` messages to the consumer.
    ///
    /// Panics if they are not ours.
    #[inline]
    pub(crate) fn publish(&mut self, count: u64) {
        assert!(count <= self.free(), "what is published was ours");
        match self.ring.format {
            // Backwards: a consumer that has seen the first need not wait for the others.
            Format::Line => {
                for number in (self.tail..self.tail + count).rev() {
                    let word = self.ring.producer.sequence(self.ring.index(number));
                    word.store(number + 1, Ordering::Release);
                }
            }
            Format::Wide => {
                let position = self.ring.producer.side().position();
                position.store(self.tail + count, Ordering::Release);
            }
        }
        self.tail += count;
        self.ring.producer.side().count().store(self.tail, Ordering::Release);
    }

    /// Goes on with another consumer, which begins at message `start`.
    ///
    /// # Errors
    /// `Corrupt` if the one before released what it never had.
    pub(crate) fn adopt(&mut self, consumer: Region, start: u64) -> Result<(), Error> {
        if start < self.head || start > self.tail {
            return Err(Error::Corrupt("the receiver released what it never had"));
        }
        self.ring.consumer = consumer;
        self.head = start;
        Ok(())
    }

    /// Messages published so far.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        self.tail
    }

    /// Slots of the ring.
    #[inline]
    pub(crate) fn slots(&self) -> u64 {
        self.ring.slots
    }

    /// Our words and the consumer's.
    #[inline]
    pub(crate) fn sides(&self) -> (&Side, &Side) {
        (self.ring.producer.side(), self.ring.consumer.side())
    }
}

/// The end that reads.
#[derive(Debug)]
pub(crate) struct Consumer {
    ring: Ring,
    /// Released by us.
    head: u64,
    /// Published by the producer, as far as we heard.
    tail: u64,
    /// What of `head` the producer was told.
    told: u64,
}

impl Consumer {
    /// Reads the first region and writes the words of the second.
    pub(crate) fn over(producer: Region, consumer: Region, shape: Shape) -> Self {
        Self { ring: Ring::new(producer, consumer, shape), head: 0, tail: 0, told: 0 }
    }

    /// Whether `count` messages are there; asks the producer only if they were not by the last
    /// news.
    #[inline]
    pub(crate) fn has(&mut self, count: u64) -> Result<bool, Error> {
        if count <= self.ready() {
            return Ok(true);
        }
        match self.ring.format {
            Format::Line => self.look(count),
            Format::Wide => self.hear()?,
        }
        Ok(count <= self.ready())
    }

    /// Messages that are there by the last news.
    #[inline]
    pub(crate) fn ready(&self) -> u64 {
        self.tail - self.head
    }

    #[inline]
    fn look(&mut self, count: u64) {
        let end = self.head + count.min(self.ring.slots);
        while self.tail < end {
            let word = self.ring.producer.sequence(self.ring.index(self.tail));
            if word.load(Ordering::Acquire) != self.tail + 1 {
                return;
            }
            self.tail += 1;
        }
    }

    #[inline]
    fn hear(&mut self) -> Result<(), Error> {
        let tail = self.ring.producer.side().position().load(Ordering::Acquire);
        if tail < self.tail || tail - self.head > self.ring.slots {
            return Err(Error::Corrupt("the sender published more than there is room for"));
        }
        self.tail = tail;
        Ok(())
    }

    /// The unread message `ahead` (0 is next) and `count - 1` neighbours.
    ///
    /// Panics if they are not there by the last news or not side by side.
    #[inline]
    pub(crate) fn slot(&self, ahead: u64, count: u64) -> &[u8] {
        assert!(ahead + count <= self.ready(), "a slot is read after it was published");
        let number = self.head + ahead;
        let (skip, bytes) = self.ring.extent(count);
        // SAFETY: by the first assertion the messages are in `head .. tail`, which the producer of
        // this process does not touch before they are released (see the head of this file);
        // releasing borrows the only consumer mutably, so not while the slice lives.
        unsafe { self.ring.producer.bytes(self.ring.index(number), skip, bytes) }
    }

    /// The first 8 bytes of the next message, read once: what a faulty sender changes afterwards
    /// does not change what was decided by them.
    ///
    /// Panics if there is none by the last news.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        assert!(self.ready() > 0, "a slot is read after it was published");
        // SAFETY: ours by the assertion, as in `slot`.
        unsafe { self.ring.producer.word(self.ring.index(self.head)) }
    }

    /// How many slots from the next on are side by side.
    #[inline]
    pub(crate) fn contiguous(&self) -> u64 {
        self.ring.contiguous(self.head)
    }

    /// Gives the next `count` slots back. The producer is told at each eighth of the ring: true
    /// then. Panics if they are not ours.
    #[inline]
    pub(crate) fn release(&mut self, count: u64) -> bool {
        assert!(count <= self.ready(), "what is released was read");
        self.head += count;
        self.ring.consumer.side().count().store(self.head, Ordering::Release);
        (self.head - self.told) * 8 >= self.ring.slots && self.tell()
    }

    /// Tells the producer now; true if that was news.
    #[inline]
    pub(crate) fn tell(&mut self) -> bool {
        if self.told == self.head {
            return false;
        }
        self.told = self.head;
        self.ring.consumer.side().position().store(self.head, Ordering::Release);
        true
    }

    /// Goes on with another producer, whose ring of `slots` slots is read from message `start` on;
    /// `ours` are the words that it reads.
    ///
    /// Panics unless `slots` is a power of two.
    pub(crate) fn adopt(&mut self, producer: Region, ours: Region, (slots, start): (u64, u64)) {
        assert!(slots.is_power_of_two() && slots >= 2, "who let it in has checked it");
        (self.ring.producer, self.ring.consumer, self.ring.slots) = (producer, ours, slots);
        (self.head, self.tail, self.told) = (start, start, start);
    }

    /// Messages received so far.
    #[inline]
    pub(crate) fn received(&self) -> u64 {
        self.head
    }

    /// Slots of the ring.
    #[inline]
    pub(crate) fn slots(&self) -> u64 {
        self.ring.slots
    }

    /// Our words and the producer's.
    #[inline]
    pub(crate) fn sides(&self) -> (&Side, &Side) {
        (self.ring.consumer.side(), self.ring.producer.side())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slots_change_hands() {
        for (format, stride) in [(Format::Line, 64), (Format::Wide, 128)] {
            let (mut producer, mut consumer) = lane((4, stride, format)).unwrap();
            for round in 0..10_u8 {
                assert!(producer.has_free(3).unwrap());
                for ahead in 0..3 {
                    producer.slot(ahead, 1)[0] = round + ahead as u8;
                }
                assert!(!consumer.has(1).unwrap());
                producer.publish(3);
                assert!(!producer.has_free(2).unwrap(), "{format:?}");
                assert!(consumer.has(3).unwrap() && !consumer.has(4).unwrap());
                for ahead in 0..3 {
                    assert_eq!(consumer.slot(ahead, 1)[0], round + ahead as u8);
                }
                consumer.release(3);
            }
            assert_eq!((producer.published(), consumer.received()), (30, 30));
        }
    }

    #[test]
    fn neighbours_are_one_slice_up_to_the_end() {
        let (mut producer, mut consumer) = lane((8, 64, Format::Wide)).unwrap();
        assert!(producer.has_free(8).unwrap());
        assert_eq!(producer.slot(0, 6).len(), 6 * 64);
        producer.publish(6);
        assert!(consumer.has(6).unwrap());
        consumer.release(6);
        assert!(producer.has_free(8).unwrap());
        assert_eq!((producer.contiguous(), consumer.contiguous()), (2, 2));
    }

    #[test]
    #[should_panic(expected = "after it was published")]
    fn nothing_is_read_before_it_is_there() {
        let (_producer, consumer) = lane((2, 64, Format::Line)).unwrap();
        let _ = consumer.slot(0, 1);
    }

    #[test]
    fn lies_of_the_other_side_are_refused() {
        let (mut producer, mut consumer) = lane((2, 64, Format::Wide)).unwrap();
        for lie in [3, u64::MAX] {
            consumer.ring.producer.side().position().store(lie, Ordering::Relaxed);
            assert_eq!(consumer.has(1).unwrap_err().code(), "corrupt");
            producer.ring.consumer.side().position().store(lie, Ordering::Relaxed);
            assert_eq!(producer.has_free(3).unwrap_err().code(), "corrupt");
        }
    }
}
