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
//! - A message announces itself by a word of its own line where one fits: the last, which is an
//!   atomic and never lent. For [`Format::Full`] that word is also the message's: the consumer
//!   keeps the words that it saw, so messages of that format are copied, never lent.
//! - Many such messages at a time are announced by `tail` instead, so that their lines are written
//!   whole, at once, and past the caches where that is quicker. Before any of them is written their
//!   producer says, by `bulk`, up to which message lines may not be trusted; that store is released
//!   by a fence before the last words are written, so who sees one of those sees it, too.
//! - A side that died is replaced: a producer gives its successor what `count` says was not
//!   released, a consumer reads its successor's ring from that one's beginning.

use super::message::{self, Message};
use super::region::{LINE, Region, Side};
use crate::Error;
use crate::place::{Place, Places, timed};
use crate::sync::Ordering;

/// Slots after which a producer measures again how far its consumer is: the clock costs some 50 ns.
const MEASURED: u64 = 512;

/// Batches of one size that are said to come by the first of them: a fence once in so many.
const BATCHES: u64 = 8;

/// Bytes of a line before its last word.
const HEAD: usize = LINE - 8;

/// Where a message is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// By a sequence number, the last word of the message's own line: one line crosses for each.
    Line,
    /// By the last word of the message itself, which fills the line: [`mask`]ed, so that it differs
    /// from what lay there before. The one in 2^64 that does not is announced by an index.
    Full,
    /// By one index for all: slots are whole lines, and neighbours are one slice.
    Wide,
}

impl Format {
    /// How messages of so many bytes are announced, and the bytes of a slot.
    pub(crate) const fn of(message_bytes: usize) -> (Self, usize) {
        if message_bytes > LINE {
            return (Self::Wide, message_bytes.next_multiple_of(LINE));
        }
        (if message_bytes > HEAD { Self::Full } else { Self::Line }, LINE)
    }
}

/// What the last word of message `number` is mixed with: another value each time that the ring
/// comes round, so that a message that repeats its predecessor shows all the same.
#[inline]
fn mask(number: u64, slots: u64) -> u64 {
    // An odd factor maps no two numbers to one: 2^64 over the golden ratio spreads neighbours.
    (number | (slots - 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A message on its way to or from a line whose last word is not lent.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Desk([u64; LINE / 8]);

#[derive(Debug)]
struct Ring {
    producer: Region,
    consumer: Region,
    slots: u64,
    stride: usize,
    format: Format,
    /// The last words, as the consumer saw them. Only if the format is `Full`.
    words: Box<[u64]>,
    desk: Desk,
}

impl Ring {
    fn new(producer: Region, consumer: Region, (slots, stride, format): Shape) -> Self {
        assert!(slots.is_power_of_two() && slots >= 2, "the configuration rounds up");
        assert!(format == Format::Wide || stride == LINE, "a line is a line");
        let (words, desk) = (Box::default(), Desk([0; LINE / 8]));
        Self { producer, consumer, slots: slots as u64, stride, format, words, desk }
    }

    #[inline]
    fn index(&self, number: u64) -> usize {
        (number & (self.slots - 1)) as usize
    }

    /// How many slots from message `number` on lie side by side.
    #[inline]
    fn contiguous(&self, number: u64) -> u64 {
        match self.format {
            Format::Line | Format::Full => 1,
            Format::Wide => self.slots - (number & (self.slots - 1)),
        }
    }

    /// How many bytes `count` neighbours have. Those that reach beyond the ring's end the region
    /// refuses.
    ///
    /// Panics for several lines: the words that announce them lie between.
    #[inline]
    fn extent(&self, count: u64) -> usize {
        match self.format {
            Format::Line | Format::Full => {
                assert!(count == 1, "lines are lent one by one");
                HEAD
            }
            Format::Wide => count as usize * self.stride,
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
    /// How far the consumer is, and when that is measured again.
    places: Places,
    due: u64,
    /// Messages before this one are announced by `tail`, which the consumer was told.
    bulk: u64,
    /// The last word of the next message, where [`Format::Full`] and written but not published.
    word: u64,
}

impl Producer {
    /// Writes the first region and reads the words of the second. Nobody else of this process
    /// writes the first.
    pub(crate) fn over(producer: Region, consumer: Region, shape: Shape) -> Self {
        let ring = Ring::new(producer, consumer, shape);
        Self { ring, tail: 0, head: 0, places: Places::default(), due: 0, bulk: 0, word: 0 }
    }

    /// Whether `count` slots are ours; asks the consumer only if they were not by the last news.
    #[inline(always)]
    pub(crate) fn has_free(&mut self, count: u64) -> Result<bool, Error> {
        if count <= self.free() {
            return Ok(true);
        }
        self.hear()?;
        Ok(count <= self.free())
    }

    #[cold]
    fn hear(&mut self) -> Result<(), Error> {
        let look = || self.ring.consumer.side().position().load(Ordering::Acquire);
        let head = if self.tail < self.due { look() } else { self.measure() };
        if head < self.head || head > self.tail {
            return Err(Error::Corrupt("the receiver released what it never had"));
        }
        self.head = head;
        Ok(())
    }

    /// What the consumer says, and how far it is: a word that changed came from there.
    fn measure(&mut self) -> u64 {
        let position = self.ring.consumer.side().position();
        let (head, took) = timed(|| position.load(Ordering::Acquire));
        if head != self.head {
            self.places.saw(took);
            self.due = self.tail + MEASURED;
        }
        head
    }

    /// How far the consumer was when that was last measured.
    #[inline]
    pub(crate) fn consumer_place(&self) -> Place {
        self.places.agreed()
    }

    /// Slots that are ours by the last news.
    #[inline]
    pub(crate) fn free(&self) -> u64 {
        self.ring.slots - (self.tail - self.head)
    }

    /// The unpublished message `ahead` (0 is next) and `count - 1` neighbours, to write. If lines
    /// are full it is a copy of the next, which [`settle`](Self::settle) puts in its place.
    ///
    /// Panics if they are not ours by the last news or not side by side.
    #[inline]
    pub(crate) fn slot(&mut self, ahead: u64, count: u64) -> &mut [u8] {
        if self.ring.format == Format::Full {
            return message::bytes_mut(&mut self.ring.desk.0);
        }
        self.place(ahead, count)
    }

    #[inline]
    fn place(&mut self, ahead: u64, count: u64) -> &mut [u8] {
        assert!(ahead + count <= self.free(), "a slot is written after it came free");
        let number = self.tail + ahead;
        let bytes = self.ring.extent(count);
        // SAFETY: by the first assertion the messages are in `tail .. head + slots`, which the
        // consumer does not touch before they are published (see the head of this file), and the
        // mutable borrow of the only producer lasts as long as the slice. The last word of a line
        // is not among the bytes.
        unsafe { self.ring.producer.bytes_mut(self.ring.index(number), bytes) }
    }

    /// The same as [`slot`](Self::slot) to look at again.
    #[inline]
    pub(crate) fn written(&self, ahead: u64, count: u64) -> &[u8] {
        if self.ring.format == Format::Full {
            return message::bytes(&self.ring.desk.0);
        }
        assert!(ahead + count <= self.free(), "a slot is ours after it came free");
        let number = self.tail + ahead;
        let bytes = self.ring.extent(count);
        // SAFETY: as in `place`: the consumer does not touch them, and writing needs the only
        // producer mutably, so not while the slice lives.
        unsafe { self.ring.producer.bytes(self.ring.index(number), bytes) }
    }

    /// Writes the next message, to be published by itself.
    ///
    /// Panics if its slot is not ours by the last news.
    #[inline(always)]
    pub(crate) fn write<T: Message>(&mut self, message: &T) {
        if size_of::<T>() > LINE {
            *message::view_mut(self.place(0, 1)) = *message;
            return;
        }
        assert!(self.free() > 0, "a slot is written after it came free");
        // SAFETY: as in `place`.
        let head = unsafe { self.ring.producer.bytes_mut(self.ring.index(self.tail), HEAD) };
        if size_of::<T>() <= HEAD {
            *message::view_mut(head) = *message;
        } else {
            self.word = message::put(head, message) ^ mask(self.tail, self.ring.slots);
        }
    }

    /// Says that the next `count` messages are announced together. `format` is that of the ring.
    #[inline]
    pub(crate) fn begin(&mut self, format: Format, count: u64) {
        if format != Format::Wide && self.tail + count > self.bulk {
            self.renew(count);
        }
    }

    #[cold]
    fn renew(&mut self, count: u64) {
        self.bulk = self.tail + count.saturating_mul(BATCHES);
        let side = self.ring.producer.side();
        // What is there already stays there.
        side.position().store(self.tail, Ordering::Release);
        side.bulk().store(self.bulk, Ordering::Release);
        self.ring.producer.fence();
    }

    /// Writes message `ahead` of those that are announced together.
    ///
    /// Panics if its slot is not ours by the last news, or nothing was begun.
    #[inline(always)]
    pub(crate) fn push<T: Message>(&mut self, ahead: u64, message: &T) {
        if size_of::<T>() > LINE {
            *message::view_mut(self.place(ahead, 1)) = *message;
            return;
        }
        let number = self.tail + ahead;
        assert!(ahead < self.free() && number < self.bulk, "a slot is written after it came free");
        let mut line = message::line(message);
        if size_of::<T>() > HEAD {
            line[LINE / 8 - 1] ^= mask(number, self.ring.slots);
        } else {
            line[LINE / 8 - 1] = number + 1;
        }
        let (index, past) = (self.ring.index(number), self.places.agreed() == Place::Far);
        // SAFETY: as in `place`; the last word may be seen, but by the second assertion nobody
        // trusts it.
        unsafe { self.ring.producer.write_line(index, &line, past) };
    }

    /// What was written to [`slot`](Self::slot) 0 is complete.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.ring.format == Format::Full {
            let desk = self.ring.desk;
            self.write(&desk.0);
        }
    }

    /// How many slots from the next on are side by side.
    #[inline]
    pub(crate) fn contiguous(&self) -> u64 {
        self.ring.contiguous(self.tail)
    }

    /// Hands the next message to the consumer, or, where slots are wide, the next `count`; `format`
    /// is that of the ring.
    ///
    /// Panics if they are not ours.
    #[inline(always)]
    pub(crate) fn publish(&mut self, format: Format, count: u64) {
        assert!(count <= self.free(), "what is published was ours");
        match format {
            Format::Line | Format::Full => {
                assert!(count == 1, "many are announced together");
                self.show(format);
            }
            Format::Wide => return self.publish_all(count),
        }
        self.tail += 1;
        self.ring.producer.side().count().store(self.tail, Ordering::Release);
    }

    /// Stores the last word of a line.
    #[inline(always)]
    fn show(&self, format: Format) {
        let word = self.ring.producer.last(self.ring.index(self.tail));
        let new = if format == Format::Full { self.word } else { self.tail + 1 };
        let same = format == Format::Full && word.load(Ordering::Relaxed) == new;
        word.store(new, Ordering::Release);
        if same || self.tail < self.bulk {
            self.tell_all();
        }
    }

    /// A message looks like what lay there before, or its line is not trusted.
    #[cold]
    fn tell_all(&self) {
        self.ring.producer.side().position().store(self.tail + 1, Ordering::Release);
    }

    /// Hands the next `count` messages to the consumer, which were announced together.
    ///
    /// Panics if they are not ours.
    #[inline(always)]
    pub(crate) fn publish_all(&mut self, count: u64) {
        assert!(count <= self.free(), "what is published was ours");
        self.tail += count;
        let wide = self.ring.format == Format::Wide;
        if !wide && self.places.agreed() == Place::Far {
            self.ring.producer.fence();
        }
        let side = self.ring.producer.side();
        side.position().store(self.tail, Ordering::Release);
        side.count().store(self.tail, Ordering::Release);
        if wide {
            // While the other side looks at these, the next ones can come back from it.
            self.ring.producer.ask_to_write(self.ring.index(self.tail));
        }
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

    /// Where messages are announced.
    #[inline]
    pub(crate) fn format(&self) -> Format {
        self.ring.format
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
    /// Where [`Format::Full`], messages before this one are believed by the producer's count: we do
    /// not know what lay in their slots before.
    strange: u64,
}

impl Consumer {
    /// Reads the first region and writes the words of the second.
    pub(crate) fn over(producer: Region, consumer: Region, shape: Shape) -> Self {
        let mut ring = Ring::new(producer, consumer, shape);
        ring.words = vec![0; if shape.2 == Format::Full { shape.0 } else { 0 }].into();
        Self { ring, head: 0, tail: 0, told: 0, strange: 0 }
    }

    /// Whether `count` messages are there; asks the producer only if they were not by the last
    /// news.
    #[inline]
    pub(crate) fn has(&mut self, count: u64) -> Result<bool, Error> {
        if count <= self.ready() {
            return Ok(true);
        }
        match self.ring.format {
            Format::Wide => self.hear()?,
            Format::Full if self.tail < self.strange => self.hear_of_strange()?,
            Format::Line | Format::Full => {
                // So many that a producer that waits for room is not kept waiting.
                let most = self.head + count.max(self.ring.slots / 8).min(self.ring.slots);
                self.tail = self.announced().min(most).max(self.tail);
                let end = self.head + count.min(self.ring.slots);
                while self.tail < end && self.spot(self.ring.format) {}
            }
        }
        Ok(count <= self.ready())
    }

    /// Whether a message is there, as [`has`](Self::has): the one question that is asked again and
    /// again while a message is on its way. `format` is that of the ring, known to who knows the
    /// type. Nothing if `has` is to be asked instead.
    #[inline(always)]
    pub(crate) fn glance(&mut self, format: Format) -> Option<bool> {
        if self.head != self.tail {
            return Some(true);
        }
        match format {
            Format::Full if self.tail < self.strange => None,
            Format::Line | Format::Full => Some(self.spot(format)),
            Format::Wide => {
                let tail = self.announced();
                let news = tail.wrapping_sub(self.tail);
                self.tail = if news <= self.ring.slots { tail } else { return None };
                Some(news > 0)
            }
        }
    }

    /// Messages that are there by the last news.
    #[inline]
    pub(crate) fn ready(&self) -> u64 {
        self.tail - self.head
    }

    /// Whether the line of the first message that we have not heard of announces it.
    #[inline(always)]
    fn spot(&mut self, format: Format) -> bool {
        let index = self.ring.index(self.tail);
        let word = self.ring.producer.last(index).load(Ordering::Acquire);
        let shown = match format {
            Format::Full => word != self.ring.words[index],
            _ if word != self.tail + 1 => return false,
            _ => true,
        };
        // If it was written among many, that word came after what it says here.
        let trusted = || self.tail >= self.ring.producer.side().bulk().load(Ordering::Acquire);
        let there = (shown && trusted()) || self.announced() > self.tail;
        self.tail += u64::from(there);
        there
    }

    /// What the producer's index says: of lines, how far those are there that are announced
    /// together, or that look like what lay there before.
    #[inline]
    fn announced(&self) -> u64 {
        self.ring.producer.side().position().load(Ordering::Acquire)
    }

    #[cold]
    fn hear_of_strange(&mut self) -> Result<(), Error> {
        let tail = self.ring.producer.side().count().load(Ordering::Acquire);
        self.believe(tail)
    }

    #[inline]
    fn hear(&mut self) -> Result<(), Error> {
        self.believe(self.announced())
    }

    #[inline]
    fn believe(&mut self, tail: u64) -> Result<(), Error> {
        if tail < self.tail || tail - self.head > self.ring.slots {
            return Err(Error::Corrupt("the sender published more than there is room for"));
        }
        self.tail = tail;
        Ok(())
    }

    /// The unread message `ahead` (0 is next) and `count - 1` neighbours. If lines are full it is
    /// what [`lay_out`](Self::lay_out) copied.
    ///
    /// Panics if they are not there by the last news or not side by side.
    #[inline]
    pub(crate) fn slot(&self, ahead: u64, count: u64) -> &[u8] {
        if self.ring.format == Format::Full {
            return message::bytes(&self.ring.desk.0);
        }
        self.place(ahead, count)
    }

    /// Makes the next message one that [`slot`](Self::slot) shows.
    #[inline]
    pub(crate) fn lay_out(&mut self) {
        if self.ring.format == Format::Full {
            self.ring.desk.0 = self.read(0);
        }
    }

    /// A copy of the unread message `ahead`, each byte read once: whatever another process does to
    /// them meanwhile, the copy stays what it is.
    ///
    /// Panics if it is not there by the last news.
    #[inline(always)]
    pub(crate) fn read<T: Message>(&mut self, ahead: u64) -> T {
        if size_of::<T>() > LINE {
            return message::read(self.place(ahead, 1));
        }
        assert!(ahead < self.ready(), "a slot is read after it was published");
        let number = self.head + ahead;
        let index = self.ring.index(number);
        // SAFETY: ours by the assertion, as in `place`, with its last word, which the producer
        // stores only to publish.
        let mut words = unsafe { self.ring.producer.line(index) };
        if size_of::<T>() > HEAD {
            // Another word there, the next time that the ring comes round, is another message.
            self.ring.words[index] = words[LINE / 8 - 1];
            words[LINE / 8 - 1] ^= mask(number, self.ring.slots);
        }
        message::first(&words)
    }

    #[inline]
    fn place(&self, ahead: u64, count: u64) -> &[u8] {
        assert!(ahead + count <= self.ready(), "a slot is read after it was published");
        let number = self.head + ahead;
        let bytes = self.ring.extent(count);
        // SAFETY: by the first assertion the messages are in `head .. tail`, which the producer of
        // this process does not touch before they are released (see the head of this file);
        // releasing borrows the only consumer mutably, so not while the slice lives.
        unsafe { self.ring.producer.bytes(self.ring.index(number), bytes) }
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
    #[inline(always)]
    pub(crate) fn release(&mut self, count: u64) -> bool {
        assert!(count <= self.ready(), "what is released was read");
        self.head += count;
        self.ring.consumer.side().count().store(self.head, Ordering::Release);
        (self.head - self.told) * 8 >= self.ring.slots && self.tell()
    }

    /// Whether the producer knows what is free.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        self.told == self.head
    }

    /// Tells the producer now; true if that was news.
    #[inline]
    pub(crate) fn tell(&mut self) -> bool {
        if self.is_told() {
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
        if self.ring.format == Format::Full {
            self.ring.words = vec![0; slots as usize].into();
            // Nothing was overwritten in a ring of which nothing was read.
            self.strange = if start == 0 { 0 } else { start.saturating_add(slots) };
        }
    }

    /// Where messages are announced.
    #[inline]
    pub(crate) fn format(&self) -> Format {
        self.ring.format
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn slots_change_hands() {
        let (mut producer, mut consumer) = lane((4, 128, Format::Wide)).unwrap();
        for round in 0..10_u8 {
            assert!(producer.has_free(3).unwrap());
            for ahead in 0..3 {
                producer.slot(ahead, 1)[0] = round + ahead as u8;
            }
            assert!(!consumer.has(1).unwrap());
            producer.publish(Format::Wide, 3);
            assert!(!producer.has_free(2).unwrap());
            assert!(consumer.has(3).unwrap() && !consumer.has(4).unwrap());
            for ahead in 0..3 {
                assert_eq!(consumer.slot(ahead, 1)[0], round + ahead as u8);
            }
            consumer.release(3);
        }
        assert_eq!((producer.published(), consumer.received()), (30, 30));
    }

    #[test]
    fn what_was_pushed_is_there_once_all_of_it_is_published() {
        for format in [Format::Line, Format::Full] {
            let (mut producer, mut consumer) = lane((8, 64, format)).unwrap();
            let (mut sent, mut received) = (0_u64, 0_u64);
            for round in 0..60_u64 {
                producer.places = Places::default();
                let took = Duration::from_nanos(if round % 3 == 0 { 500 } else { 5 });
                (0..2).for_each(|_| producer.places.saw(took));
                let count = round % 5;
                assert!(producer.has_free(count + 1).unwrap());
                producer.begin(format, count);
                for ahead in 0..count {
                    push(&mut producer, ahead, sent + ahead);
                    assert_ne!(consumer.glance(format), Some(true), "{format:?} {round}");
                    assert!(!consumer.has(1).unwrap(), "{format:?} {round}");
                }
                // Every fourth is dropped, and what it left is no message.
                if round % 4 != 3 {
                    producer.publish_all(count);
                    sent += count;
                }
                if round % 2 == 0 {
                    write(&mut producer, sent);
                    producer.publish(format, 1);
                    sent += 1;
                }
                let there = sent - received;
                let seen = if round % 7 == 0 { consumer.glance(format) } else { None };
                assert!(seen.is_none_or(|seen| seen == (there > 0)), "{format:?} {round}");
                assert_eq!(consumer.has(there + 1), Ok(false), "{format:?} {round}");
                assert_eq!(consumer.ready(), there, "{format:?} {round}");
                (0..there).for_each(|_| {
                    assert_eq!(read(&mut consumer), received);
                    consumer.release(1);
                    received += 1;
                });
                consumer.tell();
                if round % 11 == 10 {
                    let (theirs, ours) = (consumer.ring.producer, consumer.ring.consumer);
                    consumer = Consumer::over(theirs.clone(), ours.clone(), (8, 64, format));
                    consumer.adopt(theirs, ours, (8, received));
                }
            }
        }
    }

    fn push(producer: &mut Producer, ahead: u64, value: u64) {
        match producer.format() {
            Format::Full => producer.push(ahead, &[value; 8]),
            _ => producer.push(ahead, &[value; 7]),
        }
    }

    fn write(producer: &mut Producer, value: u64) {
        match producer.format() {
            Format::Full => producer.write(&[value; 8]),
            _ => producer.write(&[value; 7]),
        }
    }

    fn read(consumer: &mut Consumer) -> u64 {
        match consumer.format() {
            Format::Full => same(&consumer.read::<[u64; 8]>(0)),
            _ => same(&consumer.read::<[u64; 7]>(0)),
        }
    }

    fn same(words: &[u64]) -> u64 {
        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        words[0]
    }

    #[test]
    fn neighbours_are_one_slice_up_to_the_end() {
        let (mut producer, mut consumer) = lane((8, 64, Format::Wide)).unwrap();
        assert!(producer.has_free(8).unwrap());
        assert_eq!(producer.slot(0, 6).len(), 6 * 64);
        producer.publish(Format::Wide, 6);
        assert!(consumer.has(6).unwrap());
        consumer.release(6);
        assert!(producer.has_free(8).unwrap());
        assert_eq!((producer.contiguous(), consumer.contiguous()), (2, 2));
    }

    #[test]
    fn a_full_line_shows_whatever_it_holds() {
        let (mut producer, mut consumer) = lane((2, 64, Format::Full)).unwrap();
        // As the words before, with whatever the next lap mixes them: zeros at first.
        let mut before = [0; 2];
        for number in 0..20_u64 {
            let alike = before[number as usize % 2] ^ mask(number, 2);
            let last = if number % 5 == 4 { number } else { alike };
            assert_eq!(consumer.glance(Format::Full), Some(false), "{number}");
            assert!(producer.has_free(1).unwrap());
            producer.write(&[number, 1, 2, 3, 4, 5, 6, last]);
            producer.publish(Format::Full, 1);
            before[number as usize % 2] = last ^ mask(number, 2);
            assert_eq!(consumer.glance(Format::Full), Some(true), "{number}");
            assert_eq!(consumer.read::<[u64; 8]>(0), [number, 1, 2, 3, 4, 5, 6, last]);
            consumer.release(1);
            consumer.tell();
        }
    }

    #[test]
    fn a_successor_believes_the_count_for_a_lap() {
        let (mut producer, mut consumer) = lane((4, 64, Format::Full)).unwrap();
        let (theirs, ours) = (consumer.ring.producer.clone(), consumer.ring.consumer.clone());
        for number in 0..3_u64 {
            assert!(producer.has_free(1).unwrap());
            producer.write(&[number; 8]);
            producer.publish(Format::Full, 1);
        }
        assert!(consumer.has(3).unwrap());
        consumer.release(3);
        consumer.tell();
        let mut successor = Consumer::over(theirs.clone(), ours.clone(), (2, 64, Format::Full));
        successor.adopt(theirs, ours, (4, 3));
        for number in 3..20 {
            assert!(!successor.has(1).unwrap(), "{number}");
            assert!(producer.has_free(1).unwrap());
            producer.write(&[number; 8]);
            producer.publish(Format::Full, 1);
            assert_eq!(successor.glance(Format::Full), (number >= 7).then_some(true));
            assert!(successor.has(1).unwrap(), "{number}");
            assert_eq!(successor.read::<[u64; 8]>(0), [number; 8]);
            successor.release(1);
            successor.tell();
        }
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
