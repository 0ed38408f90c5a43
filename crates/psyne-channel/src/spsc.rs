//! A queue of typed messages with one sender and one receiver, in order, nothing lost.

use core::future::poll_fn;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::Duration;

use crate::desk::{Pattern, Terms};
use crate::ends::{self, Rx, Stats, Tx};
use crate::raw::{Format, LINE, view, view_mut};
use crate::{Config, Error, Message, ipc};

/// How messages of this type are announced, and the bytes of a slot.
pub(crate) const fn shape<T: Message>() -> (Format, usize) {
    assert!(align_of::<T>() <= LINE, "a Message is aligned to a line at most");
    Format::of(size_of::<T>())
}

/// Where messages of this type are announced.
const fn format<T: Message>() -> Format {
    shape::<T>().0
}

/// Opens a queue between threads of this process.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Sender<T>, Receiver<T>), Error> {
    let (format, stride) = const { shape::<T>() };
    let (tx, rx) = ends::open(config, stride, format)?;
    Ok((Sender::of(tx), Receiver { rx, _type: PhantomData }))
}

/// What a name must mean the same by at both ends.
const fn terms<T: Message>() -> Terms {
    Terms { pattern: Pattern::Queue, layout: T::LAYOUT, stride: shape::<T>().1 }
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender<T: Message> {
    tx: Tx,
    _type: PhantomData<T>,
}

impl<T: Message> Sender<T> {
    pub(crate) fn of(tx: Tx) -> Self {
        Self { tx, _type: PhantomData }
    }

    pub(crate) fn rouse(&mut self) {
        self.tx.rouse();
    }

    /// The sending end of the queue at `ipc://name`, for processes of this user, or at
    /// `memory://name`, within this process. The receiver may come later: until then messages wait
    /// in the ring, which ends with its sender.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a receiver is there: `Crowded` if it has a
    /// sender, `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let tx = ipc::sender(address, config, const { terms::<T>() }, format::<T>())?;
        Ok(Self { tx, _type: PhantomData })
    }

    /// Sends one message; a full channel is treated as its configuration says.
    ///
    /// # Errors
    /// `Full`, `TimedOut`, `Closed`, `Corrupt`.
    #[inline(always)]
    pub fn send(&mut self, message: T) -> Result<(), Error> {
        self.tx.room(1)?;
        self.tx.lane.write(&message);
        self.tx.commit(format::<T>(), 1)
    }

    /// Sends one message if there is room now, whatever the configuration says.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Corrupt`.
    #[inline(always)]
    pub fn try_send(&mut self, message: T) -> Result<(), Error> {
        self.tx.room_now(1)?;
        self.tx.lane.write(&message);
        self.tx.commit(format::<T>(), 1)
    }

    /// Sends one message and waits, as a task, as long as it takes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn send_async(&mut self, message: T) -> Result<(), Error> {
        poll_fn(|context| self.tx.poll_room(context)).await?;
        self.tx.lane.write(&message);
        self.tx.commit(format::<T>(), 1)
    }

    /// Lends the next slot, to be written where it will be read. It holds an older message's bytes,
    /// or zeros. Waits as [`send`](Self::send) does.
    ///
    /// # Errors
    /// `Full`, `TimedOut`, `Closed`, `Corrupt`.
    #[inline]
    pub fn loan(&mut self) -> Result<Loan<'_, T>, Error> {
        self.tx.room(1)?;
        Ok(Loan { tx: &mut self.tx, _type: PhantomData })
    }

    /// Lends the next `count` slots at once: one announcement for all of them.
    ///
    /// # Errors Those of [`loan`](Self::loan), and `TooLong` if the ring has fewer slots (in
    /// slots, not bytes).
    pub fn batch(&mut self, count: usize) -> Result<Batch<'_, T>, Error> {
        let slots_max = self.capacity();
        if count > slots_max {
            return Err(Error::TooLong { bytes: count, bytes_max: slots_max });
        }
        self.tx.room(count as u64)?;
        self.tx.lane.begin(format::<T>(), count as u64);
        Ok(Batch { tx: &mut self.tx, written: 0, count: count as u64, _type: PhantomData })
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.tx.lane.slots() as usize
    }

    /// What was sent and not released by the receiver yet, in messages. A sender that is about to
    /// end its process before a receiver came has something to wait for as long as this is not 0.
    ///
    /// # Errors
    /// `Closed`: nobody will read it.
    pub fn unread(&mut self) -> Result<u64, Error> {
        self.tx.unread()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.tx.stats()
    }
}

/// A slot that is being written. Dropped without [`commit`](Self::commit), nothing was sent.
#[derive(Debug)]
pub struct Loan<'a, T: Message> {
    tx: &'a mut Tx,
    _type: PhantomData<T>,
}

impl<T: Message> Loan<'_, T> {
    /// Sends it. From here on nobody can write to it.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    #[inline]
    pub fn commit(self) -> Result<(), Error> {
        self.tx.commit_slot()
    }
}

impl<T: Message> Deref for Loan<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        view(self.tx.lane.written(0, 1))
    }
}

impl<T: Message> DerefMut for Loan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        view_mut(self.tx.lane.slot(0, 1))
    }
}

/// Slots that are written one after the other and sent together. Dropped without
/// [`commit`](Self::commit), nothing was sent.
#[derive(Debug)]
pub struct Batch<'a, T: Message> {
    tx: &'a mut Tx,
    written: u64,
    count: u64,
    _type: PhantomData<T>,
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
        self.tx.lane.push(self.written, &message);
        self.written += 1;
        Ok(())
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    #[inline]
    pub fn commit(self) -> Result<(), Error> {
        self.tx.commit_all(self.written)
    }
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
pub struct Receiver<T: Message> {
    rx: Rx,
    _type: PhantomData<T>,
}

impl<T: Message> Receiver<T> {
    /// The receiving end of the queue at an address, as [`Sender::open`]. The ring is the sender's:
    /// only how this end waits is taken from its configuration.
    ///
    /// # Errors
    /// `Crowded` if there is a receiver; `Address`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let rx = ipc::receiver(address, config, const { terms::<T>() }, format::<T>())?;
        Ok(Self { rx, _type: PhantomData })
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `Closed` after the last message of a sender that is gone; `Corrupt`.
    #[inline(always)]
    pub fn recv(&mut self) -> Result<T, Error> {
        self.rx.wait(format::<T>(), None)?;
        Ok(self.take())
    }

    /// Waits for the next message for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.rx.wait(format::<T>(), Some(time))?;
        Ok(self.take())
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<T>, Error> {
        self.rx.look(format::<T>())?;
        Ok(if self.rx.lane.ready() > 0 { Some(self.take()) } else { None })
    }

    /// Waits for the next message, as a task.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next message, or the task is woken when it comes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        self.rx.poll(context).map_ok(|()| self.take())
    }

    /// Ready when a message is there; else the task is woken when one comes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.rx.poll(context)
    }

    /// Waits for the next message and lends it where it lies; its slot is free when the guard
    /// drops.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline]
    pub fn recv_ref(&mut self) -> Result<Received<'_, T>, Error> {
        self.rx.wait(format::<T>(), None)?;
        self.rx.lane.lay_out();
        Ok(Received { rx: &mut self.rx, _type: PhantomData })
    }

    /// Every message that is there; it ends after two rings full even if the sender never does.
    pub fn drain(&mut self) -> Drain<'_, T> {
        let left = self.rx.lane.slots();
        Drain { rx: &mut self.rx, taken: 0, left, _type: PhantomData }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.rx.stats()
    }

    #[inline(always)]
    fn take(&mut self) -> T {
        take(&mut self.rx)
    }
}

#[inline(always)]
fn take<T: Message>(rx: &mut Rx) -> T {
    let message = rx.lane.read(0);
    rx.release(1);
    message
}

/// A message where it lies.
#[derive(Debug)]
pub struct Received<'a, T: Message> {
    rx: &'a mut Rx,
    _type: PhantomData<T>,
}

impl<T: Message> Deref for Received<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        view(self.rx.lane.slot(0, 1))
    }
}

impl<T: Message> Drop for Received<'_, T> {
    fn drop(&mut self) {
        self.rx.release(1);
    }
}

/// What [`Receiver::drain`] yields. Ends early if the sender broke the protocol: the next receive
/// says so.
#[derive(Debug)]
pub struct Drain<'a, T: Message> {
    rx: &'a mut Rx,
    /// Read but not released: slots are given back when nothing more is known to be there, so that
    /// reading one message is little work and many lines are on their way at once.
    taken: u64,
    left: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Drain<'_, T> {
    #[cold]
    fn more(&mut self) -> bool {
        self.rx.release(self.taken);
        self.left = self.left.saturating_sub(self.taken);
        self.taken = 0;
        self.left > 0 && self.rx.has_more()
    }
}

impl<T: Message> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.taken == self.rx.lane.ready() && !self.more() {
            return None;
        }
        let message = self.rx.lane.read(self.taken);
        self.taken += 1;
        Some(message)
    }
}

impl<T: Message> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.rx.release(self.taken);
        self.rx.tell();
    }
}
