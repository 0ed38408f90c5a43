//! A queue of typed messages with one sender and many receivers: each message goes to one of them,
//! whoever is free first.
//!
//! Messages are copied in and out: lending a slot would let a receiver that is killed keep it
//! (docs/decisions/0042). Between processes all can take from one ring, too
//! (docs/decisions/0072).

use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::claim::{self, Hall, In, Out, Take};
use crate::desk::{Pattern, Terms};
use crate::ends::Stats;
use crate::policy::{Door, Policy};
use crate::raw::zeroed;
use crate::{Config, Error, Layout, Message, team};

pub mod plain;
pub(crate) mod sides;

use sides::{Receivers, Senders};

/// Opens a queue between threads of this process.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Sender<T>, Receiver<T>), Error> {
    open(config, 1)
}

/// The same for so many senders at most.
pub(crate) fn open<T: Message>(
    config: &Config,
    senders_max: usize,
) -> Result<(Sender<T>, Receiver<T>), Error> {
    let hall = Hall::open(config, senders_max)?;
    // The receiver first: a sender without any is closed.
    let receiver = Receiver::join(&hall)?;
    Ok((Sender::join(&hall)?, receiver))
}

/// What a name must mean the same by at both ends.
pub(crate) const fn terms<T: Message>() -> Terms {
    terms_of(T::LAYOUT)
}

const fn terms_of(layout: Layout) -> Terms {
    Terms { pattern: Pattern::Crowd, layout, stride: claim::stride(layout.size) }
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender<T: Message> {
    out: Out,
    receivers: Receivers,
    policy: Policy,
    sent: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Sender<T> {
    /// The sender at `ipc://name`, for processes of this user, or at `memory://name`, within this
    /// process, for at most `config.receivers_max` receivers, which come by [`Receiver::open`] at
    /// any time. Messages wait in the ring, which ends with its sender.
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_among((address, 1), config)
    }

    /// The same as one of so many.
    pub(crate) fn open_among(at: (&str, usize), config: &Config) -> Result<Self, Error> {
        Self::open_on(at, const { terms::<T>() }, config)
    }

    fn open_on(at: (&str, usize), terms: Terms, config: &Config) -> Result<Self, Error> {
        let (team, out) = team::Receivers::open(at, terms, config)?;
        Ok(Self::of(out, Receivers::There(team), config))
    }

    fn join(hall: &Arc<Hall>) -> Result<Self, Error> {
        let member = hall.senders.join(hall.config.wait)?;
        let out = hall.enter::<T>(member.index())?;
        Ok(Self::of(out, Receivers::Here { hall: hall.clone(), member }, &hall.config))
    }

    fn of(out: Out, receivers: Receivers, config: &Config) -> Self {
        let policy = Policy::new(&config.full);
        Self { out, receivers, policy, sent: 0, _type: PhantomData }
    }

    /// Another sender to the same receivers, if they are of this process.
    pub(crate) fn beside(&self) -> Option<Result<Self, Error>> {
        match &self.receivers {
            Receivers::Here { hall, .. } => Some(Self::join(hall)),
            Receivers::There(_) => None,
        }
    }

    /// Sends one message; a full ring is treated as the configuration says.
    ///
    /// # Errors
    /// `Full`, `TimedOut`, `Closed`, `Corrupt`. At an address also `PeerDied`, once for each
    /// receiver whose process died: [`lost`](Self::lost) says what it may have had in hand. There,
    /// `Closed` is said once each time that the last receiver has finished: who goes on waits for
    /// others. Nothing was sent then.
    #[inline]
    pub fn send(&mut self, message: T) -> Result<(), Error> {
        self.room(1)?;
        self.put(&message)
    }

    /// Sends one message if there is room now, whatever the configuration says.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Corrupt`.
    #[inline]
    pub fn try_send(&mut self, message: T) -> Result<(), Error> {
        if self.look()? { self.put(&message) } else { Err(Error::Full) }
    }

    /// Sends one message and waits, as a task, as long as it takes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn send_async(&mut self, message: T) -> Result<(), Error> {
        let waiting = Waiting(&mut self.receivers, Receivers::forget);
        poll_fn(|context| waiting.0.poll(&mut self.out, context)).await?;
        drop(waiting);
        self.put(&message)
    }

    /// Takes the next `count` slots at once: one announcement for all of them.
    ///
    /// # Errors
    /// Those of [`send`](Self::send), and `TooLong` if the ring has fewer slots (in slots, not
    /// bytes).
    pub fn batch(&mut self, count: usize) -> Result<Batch<'_, T>, Error> {
        let slots_max = self.capacity();
        if count > slots_max {
            return Err(Error::TooLong { bytes: count, bytes_max: slots_max });
        }
        self.room(count as u64)?;
        Ok(Batch { sender: self, written: 0, count: count as u64 })
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.out.slots() as usize
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.receivers.counts();
        Stats { slots: self.sent, refused: self.policy.refused(), waits, sleeps }
    }

    /// Receivers that are there.
    pub fn receivers(&mut self) -> usize {
        self.receivers.count()
    }

    /// Messages that no receiver has taken yet.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.out.unread()
    }

    /// Messages that receivers which died may have had in hand: taken, and not yet let go by asking
    /// for the next. They were not given to others. Never more were lost, seldom fewer.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.receivers.lost()
    }

    #[inline]
    fn put(&mut self, message: &T) -> Result<(), Error> {
        self.out.write(0, message);
        self.publish(1)
    }

    #[inline]
    fn publish(&mut self, count: u64) -> Result<(), Error> {
        self.sent += count;
        self.out.publish(count);
        self.receivers.notify(count)
    }

    #[inline]
    fn look(&mut self) -> Result<bool, Error> {
        self.receivers.look(&mut self.out, 1)
    }

    #[inline]
    fn room(&mut self, count: u64) -> Result<(), Error> {
        if self.receivers.look(&mut self.out, count)? { Ok(()) } else { self.make_room(count) }
    }

    #[cold]
    fn make_room(&mut self, count: u64) -> Result<(), Error> {
        let Self { out, receivers, policy, .. } = self;
        let made = policy.make_room(&mut Wanted { out, receivers, count });
        if made == Err(Error::Full) {
            self.out.side().book().lost(self.policy.refused());
        }
        made
    }
}

impl<T: Message> Drop for Sender<T> {
    fn drop(&mut self) {
        self.receivers.leave(&self.out);
    }
}

/// A sender that wants so many slots.
struct Wanted<'a> {
    out: &'a mut Out,
    receivers: &'a mut Receivers,
    count: u64,
}

impl Door for Wanted<'_> {
    fn look(&mut self) -> Result<bool, Error> {
        self.receivers.look(self.out, self.count)
    }

    fn block(&mut self, time: Option<Duration>) -> Result<(), Error> {
        let limit = time.map(|time| Instant::now() + time);
        self.receivers.block(self.out, self.count, limit)
    }
}

/// Slots that are written one after the other and sent together. Dropped without
/// [`commit`](Self::commit), nothing was sent.
#[derive(Debug)]
pub struct Batch<'a, T: Message> {
    sender: &'a mut Sender<T>,
    written: u64,
    count: u64,
}

impl<T: Message> Batch<'_, T> {
    /// Writes the next message.
    ///
    /// # Errors
    /// `Full`: it holds as many as it was asked for.
    #[inline]
    pub fn push(&mut self, message: T) -> Result<(), Error> {
        if self.written == self.count {
            return Err(Error::Full);
        }
        self.sender.out.write(self.written, &message);
        self.written += 1;
        Ok(())
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    #[inline]
    pub fn commit(self) -> Result<(), Error> {
        self.sender.publish(self.written)
    }
}

/// An end that receives. When the last is dropped the channel is closed; what was not received is
/// lost.
#[derive(Debug)]
pub struct Receiver<T: Message> {
    senders: Senders,
    received: u64,
    /// Where it was opened, if at an address.
    at: Option<(String, Config)>,
    _type: PhantomData<T>,
}

impl<T: Message> Receiver<T> {
    /// A receiver at an address, where senders come at any time, before it or after: one of
    /// `receivers_max`, of each sender's configuration. It looks for at most
    /// `config.senders_max` senders.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a sender is there: `Crowded`,
    /// `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, const { terms::<T>() }, config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let team = team::Senders::open(address, terms, config)?;
        let at = Some((address.into(), config.clone()));
        Ok(Self { senders: Senders::There(team), received: 0, at, _type: PhantomData })
    }

    fn join(hall: &Arc<Hall>) -> Result<Self, Error> {
        let member = hall.receivers.join(hall.config.wait)?;
        let rings = In::open(hall, member.index());
        let senders = Senders::Here { hall: hall.clone(), rings, member };
        Ok(Self { senders, received: 0, at: None, _type: PhantomData })
    }

    /// Another receiver beside this one.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::receivers_max`. At an address those of [`open`](Self::open).
    pub fn try_clone(&self) -> Result<Self, Error> {
        match (&self.senders, &self.at) {
            (_, Some((address, config))) => Self::open(address, config),
            (Senders::Here { hall, .. }, None) => Self::join(hall),
            (Senders::There(_), None) => unreachable!("who is at an address knows it"),
        }
    }

    /// Waits for the next message. The one before counts as dealt with.
    ///
    /// # Errors
    /// `Closed` after the last message of the last sender; `Corrupt`. At an address also
    /// `PeerDied`, once for each sender whose process died, after its last message. There,
    /// `Closed` is said once each time that the last sender has finished, and `Corrupt` once for
    /// each that broke the protocol: who goes on waits for others.
    #[inline]
    pub fn recv(&mut self) -> Result<T, Error> {
        let mut message = zeroed();
        if self.senders.one_now(&mut message) || self.find(&mut message)? {
            return Ok(self.count(message));
        }
        self.wait(None)
    }

    /// Waits for the next message for so long.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv), `TimedOut`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.wait(Some(time))
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, Error> {
        let mut message = zeroed();
        if self.senders.one_now(&mut message)
            || self.find(&mut message)?
            || self.senders.find_again(Take::one(&mut message))?.is_some()
        {
            return Ok(Some(self.count(message)));
        }
        Ok(None)
    }

    #[inline(never)]
    fn find(&mut self, message: &mut T) -> Result<bool, Error> {
        Ok(self.senders.find(Take::one(message))?.is_some())
    }

    /// Waits for messages and takes as many of one sender as are there and fit: how many. One claim
    /// for all of them.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    #[inline]
    pub fn recv_into(&mut self, into: &mut [T]) -> Result<usize, Error> {
        if into.is_empty() {
            return Ok(0);
        }
        self.senders.end_turn();
        let mut take = |take: &mut Take, _| take.some(into);
        let count = match self.senders.find(&mut take)? {
            Some(count) => count,
            None => self.senders.block(None, take)?,
        };
        self.senders.end_turn();
        self.received += count as u64;
        Ok(count)
    }

    /// Waits for the next message, as a task.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        let waiting = Waiting(&mut self.senders, Senders::forget);
        let mut message = zeroed();
        poll_fn(|context| waiting.0.poll(context, Take::one(&mut message))).await?;
        drop(waiting);
        Ok(self.count(message))
    }

    /// The next message, or the task is woken when one comes. A task that stops asking should drop
    /// the receiver or receive otherwise: it may have been woken for a message.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        let mut message = zeroed();
        let polled = self.senders.poll(context, Take::one(&mut message));
        if polled.is_ready() {
            self.senders.settle();
        }
        polled.map_ok(|()| self.count(message))
    }

    /// Ready when a message is there, which another receiver may take first; else the task is woken
    /// when one comes. As [`poll_recv`](Self::poll_recv), who is told has to receive.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.senders.poll(context, |take, _| Ok(take.has()?.then_some(())))
    }

    /// Every message that is there, claimed one by one; it ends after as many as the rings hold.
    pub fn drain(&mut self) -> Drain<'_, T> {
        Drain { left: self.senders.slots(), receiver: self }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.senders.counts();
        Stats { slots: self.received, refused: 0, waits, sleeps }
    }

    #[inline]
    fn count(&mut self, message: T) -> T {
        self.received += 1;
        message
    }

    fn wait(&mut self, time: Option<Duration>) -> Result<T, Error> {
        let limit = time.map(|time| Instant::now() + time);
        let mut message = zeroed();
        self.senders.block(limit, Take::one(&mut message))?;
        Ok(self.count(message))
    }
}

impl<T: Message> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.senders.leave();
    }
}

/// A task that waits. Dropped, it is no longer woken, and another in its place if it was.
struct Waiting<'a, W>(&'a mut W, fn(&mut W));

impl<W> Drop for Waiting<'_, W> {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

/// What [`Receiver::drain`] yields. Ends early if an end broke the protocol: the next receive says
/// so.
#[derive(Debug)]
pub struct Drain<'a, T: Message> {
    receiver: &'a mut Receiver<T>,
    left: u64,
}

impl<T: Message> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let mut message = zeroed();
        self.receiver.senders.find(Take::one(&mut message)).ok().flatten()?;
        Some(self.receiver.count(message))
    }
}
