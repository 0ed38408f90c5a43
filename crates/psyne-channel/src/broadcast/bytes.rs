//! A broadcast of byte strings of any length, read where they were written.
//!
//! Strings lie in a ring of lines, each in one piece. A string begins with a header of 16 bytes; up
//! to 48 bytes follow it in its line, longer ones begin at the next line and so are aligned to 64
//! bytes. What is left at the end of the ring when a string does not fit there is skipped.
//!
//! A receiver is lent a string by a guard, and while it has one, the sender does not overwrite that
//! string, whatever the receiver's [`Lag`]: one that skips holds the sender up only with a guard in
//! hand. Without, it costs the sender a look at each eighth of the ring.
//!
//! A sender may mark a string as one to begin with: who joins late can start there
//! ([`Sender::subscribe_at_mark`]), and who fell behind can go on there ([`Lag::SkipToMark`]).

use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Lag;
use crate::desk::{Arrival, Pattern, Terms};
use crate::ends::{Pressure, Room, Stats};
use crate::ipc::{self, Host, Member, NOBODYS_SLOTS};
use crate::place::Place;
use crate::raw::{self, Caster, LINE, Listener, Settled, Side, view, view_mut};
use crate::wait::{End, Link, Signal, is_gone, leave};
use crate::{Config, Error, Layout};

const HEADER_BYTES: usize = 16;
/// In a header: not a string, but lines to be skipped.
const SKIP: u64 = 1 << 63;
/// In a header: a string to begin with.
const MARK: u64 = 1 << 62;

/// A length with flags, then the number of the string from 0.
type Header = [u64; 2];

/// Lines of a string, with its header.
const fn lines(bytes: usize) -> u64 {
    if bytes + HEADER_BYTES <= LINE { 1 } else { 1 + bytes.div_ceil(LINE) as u64 }
}

/// Where in its lines a string lies.
const fn range(bytes: usize) -> core::ops::Range<usize> {
    let start = if bytes + HEADER_BYTES <= LINE { HEADER_BYTES } else { LINE };
    start..start + bytes
}

/// Opens a broadcast between threads of this process. `config.slots` counts lines of 64 bytes;
/// strings may be as long as half the ring. Receivers come by [`Sender::subscribe`].
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel(config: &Config) -> Result<Sender, Error> {
    let caster = Caster::new(config.ring_slots()?)?;
    Ok(Sender::over(caster, Signal::new(config.wait), config, None))
}

/// What a name must mean the same by at both ends.
pub(crate) const TERMS: Terms =
    Terms { pattern: Pattern::Cast, layout: Layout { hash: 0, size: 1, align: 1 }, stride: LINE };
/// What a receiver tells its sender when it comes.
const BLOCKS: u64 = 1;
const AT_MARK: u64 = 2;

/// The ring as the sender sees it, with a way to wake each receiver.
#[derive(Debug)]
struct Out(Caster<Link>);

impl End for Out {
    fn sides(&self) -> (&Side, &Side) {
        self.0.sides()
    }
}

impl Room for Out {
    #[inline]
    fn free(&self) -> u64 {
        self.0.free()
    }

    fn has_room(&mut self, count: u64) -> Result<bool, Error> {
        if self.0.has_free(count) {
            return Ok(true);
        }
        self.0.forget(is_gone);
        Ok(self.0.has_free(count))
    }
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender {
    out: Out,
    pressure: Pressure,
    config: Config,
    /// Where receivers of other processes come, if the broadcast has a name.
    host: Option<Host>,
}

impl Sender {
    /// The broadcast at `ipc://name`, for processes of this user, or at `memory://name`, within
    /// this process. Receivers come by [`Receiver::open`], and hear what is sent from then on.
    ///
    /// # Errors
    /// `Crowded` if there is a sender; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let signal = Signal::new(config.wait);
        let lines = config.ring_slots()?;
        let (host, ring) = Host::open(address, TERMS, (lines, config.receivers_max), &signal)?;
        Ok(Self::over(Caster::over(ring, lines), signal, config, Some(host)))
    }

    fn over(caster: Caster<Link>, mut signal: Signal, config: &Config, host: Option<Host>) -> Self {
        let out = Out(caster);
        signal.open(&out);
        let pressure = Pressure::new(signal, &config.full);
        Self { out, pressure, config: config.clone(), host }
    }

    /// Lets receivers of other processes in.
    #[inline]
    fn admit(&mut self) {
        while let Some(arrival) = self.host.as_ref().and_then(Host::next) {
            let words = arrival.theirs.region().clone();
            let how = (arrival.note & BLOCKS != 0, arrival.note & AT_MARK != 0);
            self.out.0.admit(words, how, Link::far(arrival.wire));
        }
    }

    /// Copies a string in and sends it to whoever has subscribed. Only receivers with
    /// [`Lag::Block`], or with a guard in hand, can make the channel full; then its configuration
    /// says what happens.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut loan = self.loan(bytes.len())?;
        raw::copy(&mut loan, bytes, Place::Unknown);
        loan.commit();
        Ok(())
    }

    /// The same for a string that a receiver can begin with.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`.
    pub fn send_marked(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut loan = self.loan(bytes.len())?;
        raw::copy(&mut loan, bytes, Place::Unknown);
        loan.mark();
        loan.commit();
        Ok(())
    }

    /// Lends room for `bytes` bytes, to be written where they will be read. It holds older bytes or
    /// zeros. A full channel is treated as its configuration says.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`.
    pub fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        let bytes_max = self.bytes_max();
        if bytes > bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        let lines = lines(bytes);
        let left = self.out.0.contiguous();
        let skip = if left < lines { left } else { 0 };
        self.pressure.room(&mut self.out, skip + lines)?;
        if skip > 0 {
            *view_mut::<u64>(self.out.0.lines(0, 1)) = SKIP;
        }
        Ok(Loan { sender: self, skip, bytes, flags: 0 })
    }

    /// Longest string that fits: half the ring, so that it fits wherever the ring stands.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        ((self.out.0.lines_max() as usize / 2 - 1) * LINE).max(LINE - HEADER_BYTES)
    }

    /// A new receiver of everything that is sent from now on.
    ///
    /// # Errors
    /// `Crowded`, `Memory`.
    pub fn subscribe(&mut self, lag: Lag) -> Result<Receiver, Error> {
        self.attach(lag, false)
    }

    /// A new receiver that begins with the newest marked string, if it was not overwritten yet,
    /// else with what is sent from now on; with [`Lag::SkipToMark`], with the next marked one.
    ///
    /// # Errors
    /// `Crowded`, `Memory`.
    pub fn subscribe_at_mark(&mut self, lag: Lag) -> Result<Receiver, Error> {
        self.attach(lag, true)
    }

    fn attach(&mut self, lag: Lag, at_mark: bool) -> Result<Receiver, Error> {
        if self.receivers() >= self.config.receivers_max {
            return Err(Error::Crowded(self.config.receivers_max));
        }
        let signal = Signal::new(self.config.wait);
        let holds = (lag == Lag::Block, at_mark);
        let (listener, next) = self.out.0.attach(holds, Link::to(&signal))?;
        let seeks = at_mark && next == self.out.0.sent() && lag == Lag::SkipToMark;
        let link = Link::to(&self.pressure.signal);
        let input = In { listener, link, lag, next: Some(next), seeks, at_mark };
        Ok(Receiver::over(input, signal, Member::default()))
    }

    /// Receivers that are there.
    pub fn receivers(&mut self) -> usize {
        self.admit();
        self.out.0.forget(is_gone);
        self.out.0.listeners().1.len()
    }

    /// What the slowest receiver with [`Lag::Block`] has not released yet, in lines.
    pub fn unread(&mut self) -> u64 {
        self.admit();
        self.out.0.forget(is_gone);
        self.out.0.unread()
    }

    /// Strings sent, and how this end waited.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.pressure.stats(self.out.0.sent())
    }

    /// After a string was published: who came before finds it, who comes later is woken for it.
    fn notify(&mut self) {
        self.admit();
        let (ours, receivers) = self.out.0.listeners();
        let mut gone = false;
        for (theirs, link) in receivers {
            gone |= link.notify(ours, theirs).is_err();
        }
        if gone {
            self.out.0.forget(is_gone);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.admit();
        let (ours, receivers) = self.out.0.listeners();
        leave(ours);
        for (theirs, link) in receivers {
            link.rouse(ours, theirs);
        }
    }
}

/// Room for a string that is being written. Dropped without [`commit`](Self::commit), nothing was
/// sent.
#[derive(Debug)]
pub struct Loan<'a> {
    sender: &'a mut Sender,
    skip: u64,
    bytes: usize,
    flags: u64,
}

impl Loan<'_> {
    /// Makes it a string that a receiver can begin with.
    pub fn mark(&mut self) {
        self.flags = MARK;
    }

    /// Sends it.
    pub fn commit(self) {
        let Self { sender, skip, bytes, flags } = self;
        let header: Header = [bytes as u64 | flags, sender.out.0.sent()];
        *view_mut(sender.out.0.lines(skip, 1)) = header;
        sender.out.0.publish(skip + lines(bytes), (flags == MARK).then_some(skip));
        sender.notify();
    }

    /// Sends only its first `bytes` bytes.
    ///
    /// Panics if that is more than was asked for.
    pub fn commit_first(mut self, bytes: usize) {
        assert!(bytes <= self.bytes, "a loan is as long as was asked for");
        let (from, to) = (range(self.bytes).start, range(bytes).start);
        self.lines_mut().copy_within(from..from + bytes.min(LINE), to);
        self.bytes = bytes;
        self.commit();
    }

    fn lines_mut(&mut self) -> &mut [u8] {
        self.sender.out.0.lines(self.skip, lines(self.bytes))
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.sender.out.0.written(self.skip, lines(self.bytes))[range(self.bytes)]
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = range(self.bytes);
        &mut self.lines_mut()[range]
    }
}

/// What lies next in the ring, pinned.
#[derive(Clone, Copy, Debug)]
struct Found {
    bytes: usize,
    marked: bool,
}

#[derive(Debug)]
struct In {
    listener: Listener,
    /// To the sender.
    link: Link,
    lag: Lag,
    /// The number of the next string, if we know it.
    next: Option<u64>,
    /// Passes everything that is not marked.
    seeks: bool,
    /// Whether it wants to begin with a mark.
    at_mark: bool,
}

impl End for In {
    fn sides(&self) -> (&Side, &Side) {
        self.listener.sides()
    }

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        let ours = arrival.ours.expect("who reads has words for each other side");
        let what = (arrival.slots, arrival.start, arrival.note);
        self.listener.adopt(arrival.theirs.region().clone(), ours, what);
        self.link = Link::far(arrival.wire);
        (self.next, self.seeks) = (None, self.at_mark && self.lag == Lag::SkipToMark);
        Ok(())
    }
}

impl In {
    /// Whether we are where we begin; then there is something if `has_news` says so.
    fn is_settled(&mut self) -> Result<bool, Error> {
        let settled = self.listener.settle(self.lag == Lag::Block)?;
        if let Settled::Now(next) = settled {
            self.next = next;
            // Where we begin may be what the sender waited for.
            self.notify();
        }
        Ok(settled != Settled::NotYet)
    }

    fn has_news(&mut self) -> Result<bool, Error> {
        Ok(self.is_settled()? && self.listener.has_news()?)
    }

    /// The next string, if one is there. What is there stays until [`release`](Self::release).
    fn look(&mut self) -> Result<Option<Found>, Error> {
        let found = self.seek();
        if !matches!(found, Ok(Some(_))) {
            self.let_go();
        }
        found
    }

    /// Whatever was pinned, if only while looking, may be what the sender waits for.
    #[inline]
    fn let_go(&mut self) {
        if self.listener.unpin() {
            self.notify();
        }
    }

    #[inline]
    fn notify(&mut self) {
        let (ours, theirs) = self.listener.sides();
        // A sender that is gone has left strings to be read.
        let _ = self.link.notify(ours, theirs);
    }

    fn seek(&mut self) -> Result<Option<Found>, Error> {
        while self.has_news()? {
            if !self.listener.pin()? {
                self.let_go();
                let to_mark = self.lag == Lag::SkipToMark;
                self.seeks = !self.listener.resume(to_mark)? && to_mark;
                continue;
            }
            let header = self.listener.word();
            if header == SKIP {
                let end = self.listener.contiguous();
                // At the ring's beginning every string fits.
                if self.listener.ready() < end || end == self.listener.lines_max() {
                    return Err(Error::Corrupt("the sender skipped lines that it had not sent"));
                }
                self.listener.pass(end);
                continue;
            }
            let found = self.check(header)?;
            if self.seeks && !found.marked {
                self.listener.pass(lines(found.bytes));
                continue;
            }
            self.seeks = false;
            return self.count().map(|()| Some(found));
        }
        Ok(None)
    }

    /// What the header claims is believed only if such a string is there in one piece.
    fn check(&self, header: u64) -> Result<Found, Error> {
        let marked = header & MARK != 0;
        let bytes = header & !MARK;
        let end = self.listener.contiguous().min(self.listener.ready());
        if bytes > end * LINE as u64 || lines(bytes as usize) > end {
            return Err(Error::Corrupt("the sender announced a string that is not there"));
        }
        Ok(Found { bytes: bytes as usize, marked })
    }

    /// Compares the string's number with what was to come: once for what was lost, then again.
    fn count(&mut self) -> Result<(), Error> {
        let [_, number] = *view::<Header>(self.listener.lines(1));
        let due = self.next.replace(number).unwrap_or(number);
        match number.checked_sub(due) {
            Some(0) => Ok(()),
            Some(lost) if self.lag != Lag::Block => Err(Error::Lagged(lost)),
            _ => Err(Error::Corrupt("the sender counts its strings wrongly")),
        }
    }

    /// What was passed over for a mark that never came, once the sender is gone.
    fn passed_over(&mut self) -> u64 {
        let sent = self.listener.sent();
        sent.saturating_sub(self.next.replace(sent).unwrap_or(sent))
    }

    fn release(&mut self, found: Found) {
        self.listener.pass(lines(found.bytes));
        self.next = self.next.map(|next| next.wrapping_add(1));
    }
}

/// An end that receives. Dropped, it is forgotten by the sender.
#[derive(Debug)]
pub struct Receiver {
    input: In,
    signal: Signal,
    received: u64,
    lost: u64,
    _member: Member,
}

impl Receiver {
    /// A receiver of the broadcast at an address, as [`Sender::open`], of what is sent from now on;
    /// it may come before its sender. After `PeerDied` it waits for another sender to take the
    /// place.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; if a sender is there: `Crowded`, `LayoutMismatch`,
    /// `PatternMismatch`.
    pub fn open(address: &str, lag: Lag, config: &Config) -> Result<Self, Error> {
        Self::join(address, (lag, false), config)
    }

    /// The same, but it begins with the newest marked string, if it was not overwritten yet when
    /// the sender lets it in, which is when it next sends; with [`Lag::SkipToMark`] and without
    /// such a string, with the next marked one.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_at_mark(address: &str, lag: Lag, config: &Config) -> Result<Self, Error> {
        Self::join(address, (lag, true), config)
    }

    fn join(address: &str, (lag, at_mark): (Lag, bool), config: &Config) -> Result<Self, Error> {
        let blocks = if lag == Lag::Block { BLOCKS } else { 0 };
        let note = blocks | if at_mark { AT_MARK } else { 0 };
        let guest = ipc::guest(address, config, TERMS, (NOBODYS_SLOTS, note))?;
        let listener = Listener::vacant(guest.nobody, NOBODYS_SLOTS as u64)?;
        let (link, next, seeks) = (Link::default(), None, false);
        let input = In { listener, link, lag, next, seeks, at_mark };
        Ok(Self::over(input, guest.signal, guest.member))
    }

    fn over(input: In, mut signal: Signal, member: Member) -> Self {
        signal.open(&input);
        Self { input, signal, received: 0, lost: 0, _member: member }
    }

    /// Waits for the next string and lends it where it lies; the sender may overwrite it when the
    /// guard drops.
    ///
    /// # Errors
    /// `Lagged`; `Closed` after the last string of a sender that is gone; `Corrupt`.
    pub fn recv(&mut self) -> Result<Received<'_>, Error> {
        self.recv_within(None)
    }

    /// The same for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Lagged`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<Received<'_>, Error> {
        self.recv_within(Some(Instant::now() + time))
    }

    /// The same as a task.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<Received<'_>, Error> {
        let found = poll_fn(|context| self.poll_look(context)).await;
        self.lend(found)
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        let news = |input: &mut In| Ok(input.has_news()?.then_some(()));
        let polled = self.signal.poll(&mut self.input, context, news);
        self.tell(polled.is_pending());
        polled
    }

    /// The next string, if it is there.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `Corrupt`.
    pub fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        let mut found = self.input.look().transpose();
        if found.is_none() {
            let gone = is_gone(self.input.sides().1);
            found = self.input.look().transpose();
            if found.is_none() && gone {
                found = self.signal.succeed(&mut self.input).err().map(Err);
            }
        }
        match found {
            Some(found) => self.lend(found).map(Some),
            None => {
                self.tell(true);
                Ok(None)
            }
        }
    }

    /// Strings received, and how this end waited. What was lost is counted as `refused`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.received, refused: self.lost, waits, sleeps }
    }

    fn recv_within(&mut self, limit: Option<Instant>) -> Result<Received<'_>, Error> {
        let found = match self.input.look() {
            Ok(None) => {
                self.tell(true);
                self.signal.block(&mut self.input, limit, In::look)
            }
            other => other.map(|found| found.expect("none was handled")),
        };
        self.lend(found)
    }

    fn poll_look(&mut self, context: &Context<'_>) -> Poll<Result<Found, Error>> {
        let polled = self.signal.poll(&mut self.input, context, In::look);
        if polled.is_pending() {
            self.tell(true);
        }
        polled
    }

    fn lend(&mut self, found: Result<Found, Error>) -> Result<Received<'_>, Error> {
        let error = match found {
            Ok(found) => return Ok(Received { receiver: self, found }),
            Err(Error::Closed(reason)) => match self.input.passed_over() {
                0 => Error::Closed(reason),
                lost => Error::Lagged(lost),
            },
            Err(error) => {
                if matches!(error, Error::PeerDied { .. }) {
                    self.lost += self.input.passed_over();
                }
                error
            }
        };
        if let Error::Lagged(lost) = error {
            self.lost += lost;
        }
        Err(error)
    }

    /// Says where we are, if that is worth it or `now`.
    fn tell(&mut self, now: bool) {
        if self.input.listener.tell(now) {
            self.signal.kept_up(&self.input);
            self.input.notify();
        }
    }

    fn release(&mut self, found: Found) {
        self.input.release(found);
        self.received += 1;
        if self.input.listener.blocks() {
            self.tell(false);
        } else {
            self.input.let_go();
            self.signal.kept_up(&self.input);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.input.listener.leave();
        let (ours, theirs) = self.input.listener.sides();
        leave(ours);
        self.input.link.rouse(ours, theirs);
    }
}

/// A string where it lies.
#[derive(Debug)]
pub struct Received<'a> {
    receiver: &'a mut Receiver,
    found: Found,
}

impl Received<'_> {
    /// Whether the sender marked it as a string to begin with.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.found.marked
    }
}

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = self.found.bytes;
        &self.receiver.input.listener.lines(lines(bytes))[range(bytes)]
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.receiver.release(self.found);
    }
}
