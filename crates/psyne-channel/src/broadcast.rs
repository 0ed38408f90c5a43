//! One ring, many receivers, each at its own pace: a message is written once, whoever reads it.
//!
//! A receiver decides what happens if it falls behind by a whole ring: either the sender waits for
//! it ([`Lag::Block`]), or it loses what was overwritten and is told how much ([`Lag::Skip`]).
//!
//! Messages are announced by one index, the sender's position: a receiver that fell behind learns
//! of several at a time. Before the sender writes, it claims the slots of some messages ahead by
//! another word. A receiver looks at that one after it copied a message out, and throws the copy
//! away if its slot was claimed again. Copies are made word by word with atomics, so that one that
//! is overtaken is a wrong value for a moment and nothing worse (docs/decisions/0052).

use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::desk::{Arrival, Pattern, Terms};
use crate::ends::{Pressure, Room, Stats};
use crate::ipc::{self, Host, Member, NOBODYS_SLOTS};
use crate::raw::{LINE, Side, Words, load, store};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::wait::{End, Link, Signal, is_gone, leave};
use crate::{Config, Error, Layout, Message};

pub mod bytes;
pub mod plain;
pub mod values;

/// So many times in a ring the sender claims slots: receivers that skip keep a ring less one part
/// of these, and a ring of fewer slots than these is claimed one by one.
const CLAIMS: u64 = 64;

/// What happens when a receiver falls behind by a whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// The sender finds the channel full and does what its configuration says.
    Block,
    /// The oldest messages are overwritten; the receiver is told `Lagged` and goes on after them.
    Skip,
    /// The same, but the receiver goes on at the newest message that the sender marked as one to
    /// begin with, or waits for the next of those. For broadcasts that have marks.
    SkipToMark,
}

/// Opens a broadcast between threads of this process. Receivers come by [`Sender::subscribe`].
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<Sender<T>, Error> {
    let slots = config.ring_slots()?;
    let ring = Words::private(slots, terms(T::LAYOUT).stride)?;
    Ok(Sender::over(ring, Signal::new(config.wait), config, None))
}

/// What a name must mean the same by at both ends.
pub(crate) const fn terms(layout: Layout) -> Terms {
    let lines = layout.size.div_ceil(LINE);
    Terms { pattern: Pattern::Broadcast, layout, stride: LINE * if lines == 0 { 1 } else { lines } }
}

/// A receiver as the sender knows it.
#[derive(Debug)]
struct Reader {
    words: Words,
    link: Link,
    lag: Lag,
    /// Where it began: one in another process hears of that only after us.
    start: u64,
    /// Where it was when we last heard.
    heard: u64,
}

#[derive(Debug)]
struct Out {
    ring: Words,
    slots: u64,
    /// Messages sent.
    tail: u64,
    /// Messages whose slots are ours to write, as receivers were told.
    claimed: u64,
    /// What may be sent without looking at receivers again.
    limit: u64,
    readers: Vec<Reader>,
    /// The words of the receiver that set the limit.
    slowest: Option<Words>,
}

impl End for Out {
    fn sides(&self) -> (&Side, &Side) {
        (self.ring.side(), self.slowest.as_ref().unwrap_or(&self.ring).side())
    }
}

impl Room for Out {
    #[inline]
    fn free(&self) -> u64 {
        // A receiver that came just now may be further behind than a ring.
        self.limit.saturating_sub(self.tail)
    }

    fn has_room(&mut self, count: u64) -> Result<bool, Error> {
        if self.free() < count {
            self.survey();
        }
        Ok(self.free() >= count)
    }
}

impl Out {
    /// Looks at who holds the ring up. Who is gone does not, nor who claims what can't be.
    fn survey(&mut self) {
        let tail = self.tail;
        self.readers.retain_mut(|reader| {
            let position = reader.words.side().position().load(Ordering::Acquire);
            let position = position.max(reader.start);
            let sane = position >= reader.heard && position <= tail;
            reader.heard = position;
            sane && !is_gone(reader.words.side())
        });
        let blocking = self.readers.iter().filter(|reader| reader.lag == Lag::Block);
        let slowest = blocking.min_by_key(|reader| reader.heard);
        self.limit = slowest.map_or(u64::MAX, |reader| reader.heard + self.slots);
        self.slowest = slowest.map(|reader| reader.words.clone());
    }

    #[cold]
    fn admit(&mut self, arrival: &Arrival) {
        let words = Words::over(arrival.theirs.region().clone());
        let lag = if arrival.note == Lag::Skip as u64 { Lag::Skip } else { Lag::Block };
        let link = Link::far(arrival.wire.clone());
        self.readers.push(Reader { words, link, lag, start: arrival.start, heard: arrival.start });
        self.survey();
    }

    #[inline]
    fn publish(&mut self, write: impl FnOnce(&[AtomicU64])) {
        if self.tail == self.claimed {
            self.claim();
        }
        write(self.ring.slot((self.tail & (self.slots - 1)) as usize));
        self.tail += 1;
        self.ring.side().position().store(self.tail, Ordering::Release);
    }

    /// Says which slots are written from now on, none of which holds up a receiver that we wait
    /// for.
    #[inline(never)]
    fn claim(&mut self) {
        let some = self.tail + (self.slots / CLAIMS).max(1);
        self.claimed = some.min(self.limit.max(self.tail + 1));
        self.ring.side().claimed().store(self.claimed, Ordering::Release);
        // Who sees a word of what is written now sees the claim.
        fence(Ordering::Release);
    }
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender<T: Message> {
    out: Out,
    pressure: Pressure,
    config: Config,
    /// Where receivers of other processes come, if the broadcast has a name.
    host: Option<Host>,
    _type: PhantomData<T>,
}

impl<T: Message> Sender<T> {
    /// The broadcast at `ipc://name`, for processes of this user, or at `memory://name`, within
    /// this process. Receivers come by [`Receiver::open`], and hear what is sent from then on.
    ///
    /// # Errors
    /// `Crowded` if there is a sender; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms(T::LAYOUT), config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let signal = Signal::new(config.wait);
        let size = (config.ring_slots()?, config.receivers_max);
        let (host, ring) = Host::open(address, terms, size, &signal)?;
        Ok(Self::over(Words::over(ring), signal, config, Some(host)))
    }

    fn over(ring: Words, mut signal: Signal, config: &Config, host: Option<Host>) -> Self {
        let slots = config.ring_slots().expect("the ring was made of so many") as u64;
        let (limit, readers) = (u64::MAX, Vec::new());
        let out = Out { ring, slots, tail: 0, claimed: 0, limit, readers, slowest: None };
        signal.open(&out);
        let pressure = Pressure::new(signal, &config.full);
        Self { out, pressure, config: config.clone(), host, _type: PhantomData }
    }

    /// Lets receivers of other processes in. That is done after a message was written: who came
    /// before finds it, who comes later is woken for it.
    #[inline]
    fn admit(&mut self) {
        if let Some(host) = &self.host {
            while let Some(arrival) = host.next() {
                self.out.admit(&arrival);
            }
        }
    }

    /// Sends one message to whoever has subscribed. Only receivers with [`Lag::Block`] can make the
    /// channel full; then its configuration says what happens.
    ///
    /// # Errors
    /// `Full`, `TimedOut`.
    #[inline]
    pub fn send(&mut self, message: T) -> Result<(), Error> {
        self.pressure.room(&mut self.out, 1)?;
        self.publish(|words| store(words, &message));
        Ok(())
    }

    /// Sends one message and waits, as a task, as long as it takes.
    ///
    /// # Errors
    /// None today: a broadcast is never closed from the other side.
    pub async fn send_async(&mut self, message: T) -> Result<(), Error> {
        poll_fn(|context| self.pressure.poll(&mut self.out, context)).await?;
        self.publish(|words| store(words, &message));
        Ok(())
    }

    #[inline]
    fn publish(&mut self, write: impl FnOnce(&[AtomicU64])) {
        self.out.publish(write);
        self.admit();
        let ours = self.out.ring.side();
        let mut gone = false;
        for reader in &mut self.out.readers {
            gone |= reader.link.notify(ours, reader.words.side()).is_err();
        }
        if gone {
            self.out.survey();
        }
    }

    /// A new receiver of everything that is sent from now on.
    ///
    /// # Errors
    /// `Crowded`, `Memory`; `Config` for [`Lag::SkipToMark`].
    pub fn subscribe(&mut self, lag: Lag) -> Result<Receiver<T>, Error> {
        if lag == Lag::SkipToMark {
            return Err(Error::Config("messages of one size have no marks"));
        }
        self.out.survey();
        if self.out.readers.len() >= self.config.receivers_max {
            return Err(Error::Crowded(self.config.receivers_max));
        }
        let words = Words::private(0, LINE)?;
        let at = self.out.tail;
        words.side().position().store(at, Ordering::Release);
        let link = Link::to(&self.pressure.signal);
        let mut signal = Signal::linked(self.config.wait, link);
        let input = In {
            ring: self.out.ring.clone(),
            words: words.clone(),
            slots: self.out.slots,
            head: at,
            known: at,
            told: at,
            lag,
            fresh: false,
        };
        signal.open(&input);
        let link = Link::to(&signal);
        self.out.readers.push(Reader { words, link, lag, start: at, heard: at });
        self.out.survey();
        Ok(Receiver { input, signal, lost: 0, _member: Member::default(), _type: PhantomData })
    }

    /// Messages that the slowest receiver with [`Lag::Block`] has not received yet, as far as it
    /// has said; those that skip don't count.
    pub fn unread(&mut self) -> u64 {
        self.admit();
        self.out.survey();
        let Out { tail, limit, slots, .. } = self.out;
        if limit == u64::MAX { 0 } else { tail + slots - limit }
    }

    /// Receivers that are there.
    pub fn receivers(&mut self) -> usize {
        self.admit();
        self.out.survey();
        self.out.readers.len()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.pressure.stats(self.out.tail)
    }
}

impl<T: Message> Drop for Sender<T> {
    fn drop(&mut self) {
        let ours = self.out.ring.side();
        leave(ours);
        for reader in &mut self.out.readers {
            reader.link.rouse(ours, reader.words.side());
        }
    }
}

#[derive(Debug)]
struct In {
    ring: Words,
    words: Words,
    slots: u64,
    /// Messages received or lost since the sender began.
    head: u64,
    /// Messages that the sender had sent when we last looked.
    known: u64,
    /// What of `head` the sender was told.
    told: u64,
    lag: Lag,
    /// Whether it came by a name and has received nothing yet: a sender may overtake it until it
    /// hears that it has to wait, and what was sent before is not for this receiver.
    fresh: bool,
}

impl End for In {
    fn sides(&self) -> (&Side, &Side) {
        (self.words.side(), self.ring.side())
    }

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        let ours = arrival.ours.expect("who reads has words for each other side");
        self.words = Words::over(ours);
        self.ring = Words::over(arrival.theirs.region().clone());
        (self.slots, self.fresh) = (arrival.slots, true);
        (self.head, self.known, self.told) = (arrival.start, arrival.start, arrival.start);
        Ok(())
    }
}

impl In {
    /// The next message, if it is there and still whole.
    #[inline]
    fn read<T: Message>(&mut self) -> Result<Option<T>, Error> {
        self.read_by(load)
    }

    /// What `copy` makes of its words; thrown away if they changed meanwhile.
    #[inline]
    fn read_by<T>(&mut self, copy: impl FnOnce(&[AtomicU64]) -> T) -> Result<Option<T>, Error> {
        if !self.is_there() {
            return Ok(None);
        }
        let message = copy(self.message());
        if self.take() {
            return Ok(Some(message));
        }
        self.skip().map(|()| None)
    }

    /// Whether the next message was sent.
    #[inline(always)]
    fn is_there(&mut self) -> bool {
        if self.head >= self.known {
            self.known = self.ring.side().position().load(Ordering::Acquire);
        }
        self.head < self.known
    }

    /// The words of the next message, which was sent.
    #[inline(always)]
    fn message(&self) -> &[AtomicU64] {
        self.ring.slot((self.head & (self.slots - 1)) as usize)
    }

    /// Goes on to the one after it if what was read of its words is whole.
    #[inline(always)]
    fn take(&mut self) -> bool {
        // Who sees a word of a later message sees that its slot was claimed.
        fence(Ordering::Acquire);
        let claimed = self.ring.side().claimed().load(Ordering::Relaxed);
        let whole = claimed.max(self.known).saturating_sub(self.head) <= self.slots;
        if whole {
            self.head += 1;
            self.fresh = false;
        }
        whole
    }

    /// Whether there is something to be read, if only that it was overwritten.
    fn has_news(&self) -> bool {
        self.ring.side().position().load(Ordering::Acquire) > self.head
    }

    /// Goes on after what was overwritten, an eighth of the ring before the sender does that again.
    #[cold]
    fn skip(&mut self) -> Result<(), Error> {
        // The claim was read relaxed; the position that it was made at was stored before.
        fence(Ordering::Acquire);
        let tail = self.ring.side().position().load(Ordering::Acquire);
        let kept = self.slots - (self.slots / 8).max(1);
        // No sender ever sends so many: numbers of slots are twice as great.
        let tail = Some(tail).filter(|tail| *tail < u64::MAX / 4);
        match tail.and_then(|tail| tail.checked_sub(kept)?.checked_sub(self.head)) {
            Some(lost) if lost > 0 && self.fresh && self.lag == Lag::Block => {
                self.head += lost;
                Ok(())
            }
            Some(lost) if lost > 0 && self.lag == Lag::Skip => {
                self.head += lost;
                Err(Error::Lagged(lost))
            }
            _ => Err(Error::Corrupt("the sender overwrote what it had not sent or been given")),
        }
    }

    /// For observers: who skips tells its sender nothing.
    fn note(&self) {
        self.words.side().count().store(self.head, Ordering::Relaxed);
    }

    /// Says where we are, if that is worth it or `now`; true if it was.
    #[inline]
    fn tell(&mut self, now: bool) -> bool {
        if now {
            self.note();
        }
        let news = self.head - self.told;
        if self.lag == Lag::Skip || news == 0 || (!now && news < self.slots.div_ceil(8)) {
            return false;
        }
        self.told = self.head;
        self.words.side().position().store(self.head, Ordering::Release);
        true
    }
}

/// An end that receives. Dropped, it is forgotten by the sender.
#[derive(Debug)]
pub struct Receiver<T: Message> {
    input: In,
    signal: Signal,
    lost: u64,
    _member: Member,
    _type: PhantomData<T>,
}

impl<T: Message> Receiver<T> {
    /// A receiver of the broadcast at an address, as [`Sender::open`]; it may come before its
    /// sender. After `PeerDied` it waits for another sender to take the place.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; `Config` for [`Lag::SkipToMark`]; if a sender is there:
    /// `Crowded`, `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, lag: Lag, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms(T::LAYOUT), lag, config)
    }

    fn open_on(address: &str, terms: Terms, lag: Lag, config: &Config) -> Result<Self, Error> {
        if lag == Lag::SkipToMark {
            return Err(Error::Config("messages of one size have no marks"));
        }
        let note = (NOBODYS_SLOTS, lag as u64);
        let guest = ipc::guest(address, config, terms, note)?;
        let input = In {
            ring: Words::over(guest.nobody),
            words: Words::private(0, LINE)?,
            slots: NOBODYS_SLOTS as u64,
            head: 0,
            known: 0,
            told: 0,
            lag,
            fresh: true,
        };
        let mut signal = guest.signal;
        signal.open(&input);
        Ok(Self { input, signal, lost: 0, _member: guest.member, _type: PhantomData })
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `Lagged`; `Closed` after the last message of a sender that is gone; `Corrupt`.
    #[inline]
    pub fn recv(&mut self) -> Result<T, Error> {
        match self.take() {
            Some(message) => Ok(message),
            None => self.wait(None, In::read),
        }
    }

    /// The next message, if it is there and whole. By itself, because a message that is handed on
    /// in a result of a result is copied each time.
    #[inline(always)]
    fn take(&mut self) -> Option<T> {
        if !self.input.is_there() {
            return None;
        }
        let message = load(self.input.message());
        if !self.input.take() {
            return None;
        }
        self.keep_up();
        Some(message)
    }

    /// Waits for the next message for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Lagged`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.wait(Some(Instant::now() + time), In::read)
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `Corrupt`.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, Error> {
        match self.take() {
            Some(message) => Ok(Some(message)),
            None => self.look(In::read),
        }
    }

    fn look(
        &mut self,
        mut read: impl FnMut(&mut In) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let mut found = read(&mut self.input).transpose();
        if found.is_none() {
            let gone = is_gone(self.input.ring.side());
            found = read(&mut self.input).transpose();
            if found.is_none() && gone {
                self.signal.succeed(&mut self.input)?;
            }
        }
        match found {
            Some(found) => self.count(found).map(Some),
            None => {
                self.tell();
                Ok(None)
            }
        }
    }

    /// Waits for the next message, as a task.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next message, or the task is woken when it comes.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `Corrupt`.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        let polled = self.signal.poll(&mut self.input, context, In::read);
        match polled {
            Poll::Ready(found) => Poll::Ready(self.count(found)),
            Poll::Pending => {
                self.tell();
                Poll::Pending
            }
        }
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        let news = |input: &mut In| Ok(input.has_news().then_some(()));
        let polled = self.signal.poll(&mut self.input, context, news);
        if polled.is_pending() {
            self.tell();
        }
        polled
    }

    /// Slots received or lost, and how this end waited. What was lost is counted as `refused`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.input.head, refused: self.lost, waits, sleeps }
    }

    fn wait(
        &mut self,
        limit: Option<Instant>,
        read: impl FnMut(&mut In) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        self.tell();
        let found = self.signal.block(&mut self.input, limit, read);
        self.count(found)
    }

    #[inline]
    fn count(&mut self, found: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Lagged(lost)) = found {
            self.lost += lost;
            self.input.words.side().book().lost(self.lost);
            self.input.note();
        }
        self.keep_up();
        found
    }

    /// Something was received: says so, if that is worth it.
    #[inline]
    fn keep_up(&mut self) {
        if self.input.tell(false) {
            self.signal.kept_up(&self.input);
            let _ = self.signal.notify(&self.input);
        }
    }

    fn tell(&mut self) {
        if self.input.tell(true) {
            // A sender that is gone has left messages to be read.
            let _ = self.signal.notify(&self.input);
        }
    }
}

impl<T: Message> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.signal.close(&self.input);
    }
}
