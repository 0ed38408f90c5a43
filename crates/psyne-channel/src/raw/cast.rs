//! A ring of lines with one caster and many listeners: who may touch which line when.
//!
//! Lines are numbered from 0; line `n` lies in slot `n mod lines`. The caster writes lines in
//! `tail .. claimed + lines`, listeners read below `tail`. So all hangs on `claimed`, the first
//! line that was not taken away from listeners:
//!
//! - A listener that blocks says where it is, by release stores of a position that never goes
//!   back; it reads nothing before that position.
//! - A listener that skips says NOTHING, and holds nothing, until it *pins*: it stores where it is,
//!   passes a full fence, and reads `floor`. It reads only if `floor` is not beyond it.
//! - The caster raises `claimed` only in [`Caster::claim`]: it stores `floor`, passes a full fence,
//!   reads every listener's position and claims up to the least of them and `floor`.
//!
//! Of the two fences one is first. If the pin's is, the caster sees the pin and stops there. If the
//! caster's is, the listener sees `floor` and does not read. A listener leaves the list only by
//! saying LEFT, after which it reads nothing; all its stores are releases, so whatever it read was
//! read before what the caster writes.
//!
//! A listener of another process may come while the caster writes. It reads nothing before the
//! caster has taken its words into the list, noted where it begins, and counted it in `admitted`.
//! From there on one that blocks holds the ring up, said or not. A note is overwritten by that of
//! the eighth listener after it: who comes too late to read it settles by a pin, wherever it may.
//!
//! `floor` moves from one noted boundary of messages to another, an eighth of the ring apart: a
//! listener that was overtaken can go on there, and casters look at listeners eight times a round.

use std::collections::VecDeque;

use super::region::{LINE, Region, Side};
use crate::Error;
use crate::sync::{AtomicU64, Ordering, fence};

/// Slots before the lines: what the caster tells besides its position.
pub(crate) const WORDS: usize = FIXED_WORDS + NOTES * NOTE_WORDS;
const FIXED_WORDS: usize = 4;
/// Notes for listeners of other processes that came last, and the words of each: which listener,
/// the line, the number of the message.
const NOTES: usize = 8;
const NOTE_WORDS: usize = 3;
/// What a listener says that holds nothing.
const NOTHING: u64 = u64::MAX;
/// What a listener says at its end.
const LEFT: u64 = u64::MAX - 1;
/// Noted boundaries between two rounds.
const BOUNDARIES: u64 = 8;

#[derive(Clone, Debug)]
struct Ring {
    region: Region,
    lines: u64,
}

impl Ring {
    #[inline]
    fn index(&self, line: u64) -> usize {
        WORDS + (line & (self.lines - 1)) as usize
    }

    /// The first line that listeners may still read.
    #[inline]
    fn floor(&self) -> &AtomicU64 {
        self.region.sequence(0)
    }

    /// One more than the line where the newest marked message begins; 0 if there was none.
    #[inline]
    fn mark(&self) -> &AtomicU64 {
        self.region.sequence(1)
    }

    /// Messages published; at least those up to the position that was heard before.
    #[inline]
    fn sent(&self) -> &AtomicU64 {
        self.region.sequence(2)
    }

    /// Listeners of other processes that were taken into the list, in the order in which they came.
    #[inline]
    fn admitted(&self) -> &AtomicU64 {
        self.region.sequence(3)
    }

    /// The words of the note for listener `number` of other processes.
    fn note(&self, number: u64) -> [&AtomicU64; NOTE_WORDS] {
        let first = FIXED_WORDS + (number % NOTES as u64) as usize * NOTE_WORDS;
        [0, 1, 2].map(|word| self.region.sequence(first + word))
    }

    /// Writes it.
    fn write_note(&self, number: u64, (line, message): (u64, u64)) {
        let [who, at, first] = self.note(number);
        who.store(0, Ordering::Release);
        fence(Ordering::Release);
        at.store(line, Ordering::Relaxed);
        first.store(message, Ordering::Relaxed);
        who.store(number + 1, Ordering::Release);
    }

    /// Line and message that it names, if it is still there.
    fn read_note(&self, number: u64) -> Option<(u64, u64)> {
        let [who, at, first] = self.note(number);
        let before = who.load(Ordering::Acquire);
        let note = (at.load(Ordering::Relaxed), first.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = who.load(Ordering::Relaxed) == before && before == number.wrapping_add(1);
        same.then_some(note)
    }

    /// How many lines from `line` on lie side by side.
    #[inline]
    fn contiguous(&self, line: u64) -> u64 {
        self.lines - (line & (self.lines - 1))
    }
}

/// A listener as the caster knows it.
#[derive(Debug)]
struct Known<T> {
    words: Region,
    blocks: bool,
    /// If it is of another process and has said nothing yet: where it holds the ring up.
    holds: Option<u64>,
    far: bool,
    with: T,
}

impl<T> Known<T> {
    /// Where it says that it is, if it holds the ring up.
    fn position(&self) -> u64 {
        let said = self.words.side().position().load(Ordering::Acquire);
        self.holds.filter(|_| said == NOTHING && self.blocks).unwrap_or(said)
    }
}

/// The end that writes. `T` is what its owner keeps with each listener.
#[derive(Debug)]
pub(crate) struct Caster<T> {
    ring: Ring,
    tail: u64,
    /// Messages.
    sent: u64,
    claimed: u64,
    floor: u64,
    /// Line and number of the newest marked message.
    mark: Option<(u64, u64)>,
    /// Where messages begin, after `floor`, an eighth of the ring apart.
    boundaries: VecDeque<u64>,
    listeners: Vec<Known<T>>,
    /// Of other processes, so far.
    admitted: u64,
    /// The words of the listener that is furthest behind of those that hold the ring up.
    slowest: Option<Region>,
}

impl<T> Caster<T> {
    /// A ring of `lines` lines, a power of two.
    pub(crate) fn new(lines: usize) -> Result<Self, Error> {
        Ok(Self::over(Region::private(WORDS + lines, LINE)?, lines))
    }

    /// The same in this region, of so many lines after [`WORDS`].
    pub(crate) fn over(region: Region, lines: usize) -> Self {
        assert!(lines.is_power_of_two() && lines >= 2, "the configuration rounds up");
        let ring = Ring { region, lines: lines as u64 };
        let (tail, sent, claimed, floor) = (0, 0, 0, 0);
        let (mark, slowest) = (None, None);
        let (boundaries, listeners) = (VecDeque::new(), Vec::new());
        let admitted = 0;
        Self { ring, tail, sent, claimed, floor, mark, boundaries, listeners, admitted, slowest }
    }

    /// A listener of another process, as [`attach`](Self::attach).
    pub(crate) fn admit(&mut self, words: Region, (blocks, at_mark): (bool, bool), with: T) {
        let begin = self.begin(at_mark);
        self.listeners.push(Known { words, blocks, holds: Some(begin.0), far: true, with });
        self.ring.write_note(self.admitted, begin);
        self.admitted += 1;
        self.ring.admitted().store(self.admitted, Ordering::Release);
        self.survey();
    }

    /// Line and number of the message that a new listener begins with.
    fn begin(&self, at_mark: bool) -> (u64, u64) {
        let mark = self.mark.filter(|mark| at_mark && mark.0 >= self.floor);
        mark.unwrap_or((self.tail, self.sent))
    }

    /// Forgets those of whom this is true.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&Side) -> bool) {
        self.listeners.retain(|listener| !is_gone(listener.words.side()));
        self.survey();
    }

    /// A new listener, and the number of its first message: the newest marked one if that is wanted
    /// and still there, else what comes next. A listener that blocks holds the ring up, others only
    /// while they pin.
    pub(crate) fn attach(
        &mut self,
        (blocks, at_mark): (bool, bool),
        with: T,
    ) -> Result<(Listener, u64), Error> {
        let words = Region::private(0, LINE)?;
        let (at, number) = self.begin(at_mark);
        words.side().position().store(if blocks { at } else { NOTHING }, Ordering::Release);
        let (holds, far) = (None, false);
        self.listeners.push(Known { words: words.clone(), blocks, holds, far, with });
        let mut listener = Listener::over(self.ring.clone(), words, blocks);
        (listener.head, listener.told, listener.tail) = (at, at, self.tail);
        Ok((listener, number))
    }

    /// Whether `count` lines, at most all, are ours; looks at listeners only if they were not.
    #[inline]
    pub(crate) fn has_free(&mut self, count: u64) -> bool {
        count <= self.free() || self.claim(count)
    }

    /// Lines that are ours by the last look.
    #[inline]
    pub(crate) fn free(&self) -> u64 {
        self.claimed + self.ring.lines - self.tail
    }

    #[cold]
    fn claim(&mut self, count: u64) -> bool {
        let need = (self.tail + count).saturating_sub(self.ring.lines);
        // Nothing is taken from those who skip while others would not give it.
        if self.floor < need && self.blocked_at() >= need {
            while self.floor < need {
                self.floor = self.boundaries.pop_front().unwrap_or(self.tail);
            }
            self.ring.floor().store(self.floor, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        self.survey();
        count <= self.free()
    }

    /// Where the last of those who block is.
    fn blocked_at(&self) -> u64 {
        let blocking = self.listeners.iter().filter(|listener| listener.blocks);
        // Of those that came too late, none holds yet.
        let positions = blocking.map(Known::position).filter(|at| *at >= self.claimed);
        positions.min().unwrap_or(u64::MAX)
    }

    /// Lines that the slowest of those who block has not read yet.
    pub(crate) fn unread(&self) -> u64 {
        self.tail - self.blocked_at().min(self.tail)
    }

    /// Looks at where listeners are; forgets those that left, or say what can't be.
    pub(crate) fn survey(&mut self) {
        let (tail, claimed) = (self.tail, self.claimed);
        let (mut least, mut slowest) = (u64::MAX, None);
        self.listeners.retain(|listener| {
            let position = listener.position();
            if position == NOTHING && (listener.far || !listener.blocks) {
                return true;
            }
            // Less than what was claimed: a pin that will not hold, as its listener sees.
            let late = position < claimed;
            if position > tail || (late && listener.blocks && !listener.far) {
                return false;
            }
            if !late && position < least {
                (least, slowest) = (position, Some(listener.words.clone()));
            }
            true
        });
        (self.claimed, self.slowest) = (least.min(self.floor), slowest);
    }

    /// The unpublished lines from `ahead` on (0 is next), to write.
    ///
    /// Panics if they are not ours by the last look or not side by side.
    #[inline]
    pub(crate) fn lines(&mut self, ahead: u64, count: u64) -> &mut [u8] {
        let (index, bytes) = self.place(ahead, count);
        // SAFETY: `place` saw that they are in `tail .. claimed + lines`, which no listener reads
        // (see the head of this file), and the mutable borrow of the only caster lasts as long as
        // the slice.
        unsafe { self.ring.region.bytes_mut(index, bytes) }
    }

    /// The same to look at again.
    #[inline]
    pub(crate) fn written(&self, ahead: u64, count: u64) -> &[u8] {
        let (index, bytes) = self.place(ahead, count);
        // SAFETY: as in `lines`: writing needs the only caster mutably, so not while this lives.
        unsafe { self.ring.region.bytes(index, bytes) }
    }

    #[inline]
    fn place(&self, ahead: u64, count: u64) -> (usize, usize) {
        assert!(ahead + count <= self.free(), "a line is written after it came free");
        let first = self.tail + ahead;
        assert!(count <= self.ring.contiguous(first), "lines side by side are lent");
        (self.ring.index(first), count as usize * LINE)
    }

    /// How many lines from the next on are side by side.
    #[inline]
    pub(crate) fn contiguous(&self) -> u64 {
        self.ring.contiguous(self.tail)
    }

    /// Hands the next `count` lines, which end with a message and hold no other, to listeners.
    /// `mark`: how far ahead it begins, if they may want to start with it.
    ///
    /// Panics if they are not ours.
    #[inline]
    pub(crate) fn publish(&mut self, count: u64, mark: Option<u64>) {
        assert!(count <= self.free(), "what is published was ours");
        let mark = mark.map(|ahead| (self.tail + ahead, self.sent));
        self.tail += count;
        self.sent += 1;
        let last = self.boundaries.back().copied().unwrap_or(self.floor);
        if self.tail - last >= (self.ring.lines / BOUNDARIES).max(1) {
            self.boundaries.push_back(self.tail);
        }
        self.ring.sent().store(self.sent, Ordering::Relaxed);
        self.ring.region.side().position().store(self.tail, Ordering::Release);
        if let Some((line, _)) = mark {
            self.mark = mark;
            self.ring.mark().store(line + 1, Ordering::Release);
        }
    }

    /// Messages published.
    #[inline]
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Lines of the ring.
    pub(crate) fn lines_max(&self) -> u64 {
        self.ring.lines
    }

    /// Our words, then those of the listener that holds the ring up, or ours again.
    #[inline]
    pub(crate) fn sides(&self) -> (&Side, &Side) {
        (self.side(), self.slowest.as_ref().map_or(self.side(), Region::side))
    }

    /// Our words.
    #[inline]
    pub(crate) fn side(&self) -> &Side {
        self.ring.region.side()
    }

    /// Listeners' words, and what is kept with them.
    #[inline]
    pub(crate) fn listeners(&mut self) -> (&Side, impl ExactSizeIterator<Item = (&Side, &mut T)>) {
        let each = self.listeners.iter_mut().map(|known| (known.words.side(), &mut known.with));
        (self.ring.region.side(), each)
    }
}

/// Whether a listener knows where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    NotYet,
    /// By this call: with which message, if it knows.
    Now(Option<u64>),
    Before,
}

/// An end that reads.
#[derive(Debug)]
pub(crate) struct Listener {
    ring: Ring,
    words: Region,
    blocks: bool,
    /// What we said holds the caster up, as it was in time.
    pinned: bool,
    /// We said something else than NOTHING, and do not block.
    said: bool,
    left: bool,
    /// Lines that we are through with.
    head: u64,
    /// What of that the caster was told, if we block.
    told: u64,
    /// Published, as far as we heard.
    tail: u64,
    /// How many have to be admitted before we are, if we are not yet.
    waits_for: Option<u64>,
}

impl Listener {
    fn over(ring: Ring, words: Region, blocks: bool) -> Self {
        let (pinned, said, left, waits_for) = (false, false, false, None);
        Self { ring, words, blocks, pinned, said, left, head: 0, told: 0, tail: 0, waits_for }
    }

    /// Of an empty ring in place of a caster's that has not come.
    pub(crate) fn vacant(nobody: Region, lines: u64) -> Result<Self, Error> {
        let words = Region::private(0, LINE)?;
        Ok(Self::over(Ring { region: nobody, lines }, words, false))
    }

    /// Goes on with another caster, whose ring has `lines` lines: as the one of this number that
    /// came to it, when `start` lines were published. Nothing is said of it before
    /// [`settle`](Self::settle).
    ///
    /// Panics unless `lines` is a power of two.
    pub(crate) fn adopt(
        &mut self,
        region: Region,
        ours: Region,
        (lines, start, number): (u64, u64, u64),
    ) {
        assert!(lines.is_power_of_two() && lines >= 2, "who let it in has checked it");
        *self = Self::over(Ring { region, lines }, ours, false);
        (self.head, self.told, self.tail) = (start, start, start);
        self.waits_for = Some(number);
    }

    /// Whether the caster has taken us into its list, and so where we begin is decided. Then, once,
    /// the number of the message that we begin with, if it was noted.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn settle(&mut self, blocks: bool) -> Result<Settled, Error> {
        let Some(number) = self.waits_for else { return Ok(Settled::Before) };
        if self.ring.admitted().load(Ordering::Acquire) <= number {
            return Ok(Settled::NotYet);
        }
        self.waits_for = None;
        let note = self.ring.read_note(number);
        match note {
            Some((line, _)) => self.head = line,
            None => self.hold()?,
        }
        self.blocks = blocks;
        if blocks {
            (self.pinned, self.said, self.told) = (false, false, self.head);
            // What the caster holds for us until we say it.
            self.words.side().position().store(self.head, Ordering::Release);
        } else {
            self.unpin();
        }
        Ok(Settled::Now(note.map(|(_, message)| message)))
    }

    /// Pins what comes next, be it there or not, or as soon after it as may be: each round of a
    /// correct caster's ring is another try.
    #[cold]
    fn hold(&mut self) -> Result<(), Error> {
        loop {
            self.words.side().position().store(self.head, Ordering::Release);
            fence(Ordering::SeqCst);
            self.said = true;
            if self.ring.floor().load(Ordering::Acquire) <= self.head {
                return Ok(());
            }
            self.unpin();
            self.resume(false)?;
        }
    }

    /// Whether a line is there; asks the caster only if it was not by the last news.
    #[inline]
    pub(crate) fn has_news(&mut self) -> Result<bool, Error> {
        if self.head < self.tail {
            return Ok(true);
        }
        let tail = self.ring.region.side().position().load(Ordering::Acquire);
        if tail < self.tail || tail < self.head {
            return Err(Error::Corrupt("the sender took back what it had sent"));
        }
        self.tail = tail;
        Ok(self.head < tail)
    }

    /// Makes sure that what is there stays until it is let go of; false if it was overwritten. In
    /// any case the caster may wait from now on until [`unpin`](Self::unpin).
    #[inline]
    pub(crate) fn pin(&mut self) -> Result<bool, Error> {
        assert!(!self.left, "who left reads nothing");
        if !self.blocks && !self.pinned {
            let position = self.words.side().position();
            position.store(self.head, Ordering::Release);
            fence(Ordering::SeqCst);
            self.said = true;
            if self.ring.floor().load(Ordering::Acquire) > self.head {
                return Ok(false);
            }
            self.pinned = true;
        }
        if self.tail - self.head > self.ring.lines {
            return Err(Error::Corrupt("the sender published more than there is room for"));
        }
        Ok(true)
    }

    /// Lets go of what was pinned; true if the caster may have waited for that.
    #[inline]
    pub(crate) fn unpin(&mut self) -> bool {
        if self.said {
            (self.said, self.pinned) = (false, false);
            self.words.side().position().store(NOTHING, Ordering::Release);
            return true;
        }
        false
    }

    /// The next lines.
    ///
    /// Panics if they are not there, not pinned or not side by side.
    #[inline]
    pub(crate) fn lines(&self, count: u64) -> &[u8] {
        self.check(count);
        // SAFETY: `check` saw that they are below `tail` and that nobody claims them: they are at
        // or after the position of a listener that blocks or that pinned with success (see the head
        // of this file). That ends by methods that borrow the only listener mutably.
        unsafe { self.ring.region.bytes(self.ring.index(self.head), count as usize * LINE) }
    }

    /// The first 8 bytes of the next line, read once: what a faulty sender changes afterwards does
    /// not change what was decided by them.
    ///
    /// Panics as [`lines`](Self::lines).
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.check(1);
        // SAFETY: ours to read by the check, as in `lines`.
        unsafe { self.ring.region.word(self.ring.index(self.head)) }
    }

    #[inline]
    fn check(&self, count: u64) {
        assert!(self.pinned || self.blocks, "lines are read while they are pinned");
        assert!(self.head + count <= self.tail, "a line is read after it was published");
        assert!(count <= self.contiguous(), "lines side by side are lent");
    }

    /// Lines of the ring.
    pub(crate) fn lines_max(&self) -> u64 {
        self.ring.lines
    }

    /// Lines that are there by the last news.
    #[inline]
    pub(crate) fn ready(&self) -> u64 {
        self.tail - self.head
    }

    /// How many lines from the next on are side by side.
    #[inline]
    pub(crate) fn contiguous(&self) -> u64 {
        self.ring.contiguous(self.head)
    }

    /// Messages published: those up to what we heard of, or more.
    pub(crate) fn sent(&self) -> u64 {
        self.ring.sent().load(Ordering::Relaxed)
    }

    /// Goes past the next `count` lines.
    ///
    /// Panics if they are not there.
    #[inline]
    pub(crate) fn pass(&mut self, count: u64) {
        assert!(self.head + count <= self.tail, "what is passed was there");
        self.head += count;
    }

    /// If we block: tells the caster where we are, if that is worth it or `now`; true if it was.
    #[inline]
    pub(crate) fn tell(&mut self, now: bool) -> bool {
        let news = self.head - self.told;
        if !self.blocks || news == 0 || (!now && news * 8 < self.ring.lines) {
            return false;
        }
        self.told = self.head;
        self.words.side().position().store(self.head, Ordering::Release);
        true
    }

    /// Goes on where the caster says that messages are still there; or, `to_mark`, at the newest
    /// marked one, and if there is none (false) at what comes next.
    ///
    /// Panics for a listener that blocks: it is never overtaken.
    #[cold]
    pub(crate) fn resume(&mut self, to_mark: bool) -> Result<bool, Error> {
        assert!(!self.blocks && !self.pinned, "only who skips is overtaken");
        let floor = self.ring.floor().load(Ordering::Acquire);
        let mark = self.ring.mark().load(Ordering::Acquire).checked_sub(1);
        let mark = mark.filter(|mark| to_mark && *mark >= floor && *mark > self.head);
        let tail = self.ring.region.side().position().load(Ordering::Acquire);
        let at = mark.unwrap_or(if to_mark { tail } else { floor });
        if at < self.head || at > tail {
            return Err(Error::Corrupt("the sender overwrote what it had not sent"));
        }
        (self.head, self.tail) = (at, tail);
        Ok(mark.is_some())
    }

    /// Whether the caster waits for this listener even while it holds nothing.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks
    }

    /// Holds nothing up any more, and can't be read from.
    pub(crate) fn leave(&mut self) {
        (self.left, self.blocks) = (true, false);
        (self.said, self.pinned) = (false, false);
        self.words.side().position().store(LEFT, Ordering::Release);
    }

    /// Our words and the caster's.
    #[inline]
    pub(crate) fn sides(&self) -> (&Side, &Side) {
        (self.words.side(), self.ring.region.side())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn attach(caster: &mut Caster<()>, blocks: bool) -> Listener {
        caster.attach((blocks, false), ()).unwrap().0
    }

    #[test]
    fn what_is_pinned_is_not_claimed() {
        let mut caster = Caster::new(8).unwrap();
        let mut listener = attach(&mut caster, false);
        for line in 0..8 {
            caster.lines(0, 1)[0] = line;
            caster.publish(1, None);
        }
        assert!(listener.has_news().unwrap() && listener.pin().unwrap());
        assert!(!caster.has_free(1));
        assert_eq!(listener.lines(8)[3 * LINE], 3);
        assert!(listener.unpin() && caster.has_free(1));
        assert!(!listener.pin().unwrap() && listener.unpin());
        assert!(!listener.resume(false).unwrap());
        assert!(listener.pin().unwrap());
        assert_eq!(listener.lines(1)[0], 1);
    }

    #[test]
    fn who_blocks_holds_the_ring_up_until_it_leaves() {
        let mut caster = Caster::new(4).unwrap();
        let mut listener = attach(&mut caster, true);
        caster.publish(4, None);
        assert!(!caster.has_free(1) && caster.has_free(0));
        assert!(listener.has_news().unwrap() && listener.pin().unwrap());
        listener.pass(2);
        assert!(listener.tell(false) && caster.has_free(2) && !caster.has_free(3));
        drop(listener);
        assert!(caster.has_free(4));
        assert_eq!(caster.listeners().1.len(), 0);
    }

    #[test]
    fn lies_of_either_side_are_refused() {
        let mut caster = Caster::new(2).unwrap();
        let mut listener = attach(&mut caster, true);
        for lie in [3, LEFT] {
            caster.side().position().store(lie, Ordering::Relaxed);
            let heard = listener.has_news().and_then(|_| listener.pin());
            assert_eq!(heard.unwrap_err().code(), "corrupt");
        }
        caster.publish(2, None);
        listener.words.side().position().store(3, Ordering::Relaxed);
        assert!(caster.has_free(2), "who says what can't be holds nothing up");
        assert_eq!(caster.listeners().1.len(), 0);
    }

    #[test]
    #[should_panic(expected = "while they are pinned")]
    fn nothing_is_read_unpinned() {
        let mut caster = Caster::new(2).unwrap();
        let mut listener = attach(&mut caster, false);
        caster.publish(1, None);
        assert!(listener.has_news().unwrap());
        let _ = listener.lines(1);
    }
}
