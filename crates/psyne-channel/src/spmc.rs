//! A queue of typed messages with one sender and many receivers: each message goes to one of them,
//! whoever is free first.
//!
//! Messages are copied in and out: lending a slot would let a receiver that is killed keep it
//! (docs/decisions/0042).

use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::claim::{Hall, In, Out};
use crate::crowd::Waiter;
use crate::ends::Stats;
use crate::policy::{Door, Policy};
use crate::{Config, Error, Message, Reason};

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

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender<T: Message> {
    out: Out,
    member: Waiter,
    policy: Policy,
    sent: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Sender<T> {
    fn join(hall: &Arc<Hall>) -> Result<Self, Error> {
        let member = hall.senders.join(hall.config.wait)?;
        let out = Out::open::<T>(hall, member.index())?;
        let policy = Policy::new(&hall.config.full);
        Ok(Self { out, member, policy, sent: 0, _type: PhantomData })
    }

    /// Another sender to the same receivers.
    pub(crate) fn beside(&self) -> Result<Self, Error> {
        Self::join(&self.out.hall)
    }

    /// Sends one message; a full ring is treated as the configuration says.
    ///
    /// # Errors
    /// `Full`, `TimedOut`, `Closed`, `Corrupt`.
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
        if self.out.look(1)? { self.put(&message) } else { Err(Error::Full) }
    }

    /// Sends one message and waits, as a task, as long as it takes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn send_async(&mut self, message: T) -> Result<(), Error> {
        let waiting = Waiting(&mut self.member);
        let mut look = || Ok(self.out.look(1)?.then_some(()));
        poll_fn(|context| waiting.0.poll(context, &mut look)).await?;
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
        let (waits, sleeps) = self.member.counts();
        Stats { slots: self.sent, refused: self.policy.refused(), waits, sleeps }
    }

    #[inline]
    fn put(&mut self, message: &T) -> Result<(), Error> {
        self.out.write(0, message);
        self.sent += 1;
        self.member.kept_up();
        self.out.publish(1)
    }

    #[inline]
    fn room(&mut self, count: u64) -> Result<(), Error> {
        if self.out.has_room(count)? { Ok(()) } else { self.make_room(count) }
    }

    #[cold]
    fn make_room(&mut self, count: u64) -> Result<(), Error> {
        self.policy.make_room(&mut Wanted { out: &mut self.out, member: &mut self.member, count })
    }
}

impl<T: Message> Drop for Sender<T> {
    fn drop(&mut self) {
        // First, so that whoever has its number next finds the ring as it is.
        self.out.leave();
        self.member.leave();
        self.out.hall.receivers.notify_these(u64::MAX);
    }
}

/// A sender that wants so many slots.
struct Wanted<'a> {
    out: &'a mut Out,
    member: &'a mut Waiter,
    count: u64,
}

impl Door for Wanted<'_> {
    fn look(&mut self) -> Result<bool, Error> {
        self.out.look(self.count)
    }

    fn block(&mut self, time: Option<Duration>) -> Result<(), Error> {
        let limit = time.map(|time| Instant::now() + time);
        self.member.block(limit, || Ok(self.out.look(self.count)?.then_some(())))
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
        self.sender.sent += self.written;
        self.sender.out.publish(self.written)
    }
}

/// An end that receives. When the last is dropped the channel is closed; what was not received is
/// lost.
#[derive(Debug)]
pub struct Receiver<T: Message> {
    input: In,
    member: Waiter,
    hall: Arc<Hall>,
    received: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Receiver<T> {
    fn join(hall: &Arc<Hall>) -> Result<Self, Error> {
        let member = hall.receivers.join(hall.config.wait)?;
        let input = In::open(hall, member.index())?;
        Ok(Self { input, member, hall: hall.clone(), received: 0, _type: PhantomData })
    }

    /// Another receiver beside this one.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::receivers_max`.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Self::join(&self.hall)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `Closed` after the last message of the last sender; `Corrupt`.
    #[inline]
    pub fn recv(&mut self) -> Result<T, Error> {
        match self.input.take()? {
            Some(message) => Ok(self.count(message)),
            None => self.wait(None),
        }
    }

    /// Waits for the next message for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.wait(Some(time))
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, Error> {
        match self.input.take()? {
            Some(message) => Ok(Some(self.count(message))),
            None => self.look_again(),
        }
    }

    /// Waits for messages and takes as many of one sender as are there and fit: how many. One claim
    /// for all of them.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline]
    pub fn recv_into(&mut self, into: &mut [T]) -> Result<usize, Error> {
        if into.is_empty() {
            return Ok(0);
        }
        let count = match self.input.take_into(into)? {
            Some(count) => count,
            None => {
                self.input.tell();
                let take = |input: &mut In| input.take_into(into);
                self.member.block(None, look(&mut self.input, take))?
            }
        };
        self.received += count as u64;
        Ok(count)
    }

    /// Waits for the next message, as a task.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        let waiting = Waiting(&mut self.member);
        let input = &mut self.input;
        let message = poll_fn(|context| waiting.0.poll(context, look(input, In::take))).await?;
        drop(waiting);
        Ok(self.count(message))
    }

    /// The next message, or the task is woken when one comes. A task that stops asking should drop
    /// the receiver or receive otherwise: it may have been woken for a message.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        let polled = self.member.poll(context, look(&mut self.input, In::take));
        polled.map_ok(|message| self.count(message))
    }

    /// Every message that is there, claimed one by one; it ends after a ring full.
    pub fn drain(&mut self) -> Drain<'_, T> {
        Drain { left: self.input.slots(), receiver: self }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.member.counts();
        Stats { slots: self.received, refused: 0, waits, sleeps }
    }

    #[inline]
    fn count(&mut self, message: T) -> T {
        self.received += 1;
        self.member.kept_up();
        message
    }

    fn wait(&mut self, time: Option<Duration>) -> Result<T, Error> {
        self.input.tell();
        let limit = time.map(|time| Instant::now() + time);
        let message = self.member.block(limit, look(&mut self.input, In::take))?;
        Ok(self.count(message))
    }

    /// Nothing there: a good moment to say so, and to see whether anybody is left.
    fn look_again(&mut self) -> Result<Option<T>, Error> {
        self.input.tell();
        let found = look(&mut self.input, In::take)()?;
        Ok(found.map(|message| self.count(message)))
    }
}

/// Looks for something, and says `Closed` if there will be nothing.
fn look<R>(
    input: &mut In,
    mut take: impl FnMut(&mut In) -> Result<Option<R>, Error>,
) -> impl FnMut() -> Result<Option<R>, Error> {
    move || {
        let over = input.is_over();
        match take(input)? {
            None if over => Err(Error::Closed(Reason::Finished)),
            found => Ok(found),
        }
    }
}

impl<T: Message> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.member.leave();
        self.input.tell();
    }
}

/// A task that waits. Dropped, it is no longer woken, and another in its place if it was.
struct Waiting<'a>(&'a mut Waiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.forget();
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
        let message = self.receiver.input.take().ok().flatten()?;
        Some(self.receiver.count(message))
    }
}
