//! A queue of typed messages with many senders and one receiver.
//!
//! Each sender has a ring of its own and with it all that [`spsc`] gives: messages of one sender
//! arrive in order, nothing is lost, and whoever is killed or blocks stops nobody else. The
//! receiver looks at the rings in turn.

use core::future::poll_fn;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::desk::{Pattern, Terms};
use crate::ends::{self, Inlet, Stats};
use crate::ipc::{self, Host};
use crate::lanes::{Door, Lanes, Mail, lanes_max};
use crate::raw::{Format, view};
use crate::wait::Signal;
use crate::{Config, Error, Message, spsc};

pub mod plain;

/// Opens a queue between threads of this process. Each sender has a ring of `config.slots`.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Sender<T>, Receiver<T>), Error> {
    let mut signal = Signal::new(config.wait);
    let (lanes, mail) = Lanes::open(config, &mut signal)?;
    let sender = Sender::join(config, &mail)?;
    Ok((sender, Receiver { lanes, signal, received: 0, _type: PhantomData }))
}

/// What a name must mean the same by at both ends.
const fn terms<T: Message>() -> Terms {
    Terms { pattern: Pattern::Lanes, layout: T::LAYOUT, stride: spsc::shape::<T>().1 }
}

/// An end that sends: a [`spsc::Sender`] that others can stand beside. The channel is closed when
/// the last is dropped.
#[derive(Debug)]
pub struct Sender<T: Message> {
    queue: spsc::Sender<T>,
    to: To,
    config: Config,
}

/// Where the receiver is.
#[derive(Debug)]
enum To {
    /// In this process: new senders introduce themselves by mail.
    Here(Arc<Mail<Inlet>>),
    /// At an address.
    There(String),
}

impl<T: Message> Sender<T> {
    /// A sender to the receiver at `ipc://name`, for processes of this user, or at `memory://name`,
    /// within this process: one of `senders_max`, of the receiver's configuration. The receiver
    /// may come later, and another may take its place; messages wait in the ring, which ends
    /// with its sender.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a receiver is there: `Crowded`,
    /// `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let tx = ipc::sender(address, config, const { terms::<T>() }, spsc::shape::<T>().0)?;
        let (queue, to) = (spsc::Sender::of(tx), To::There(address.into()));
        Ok(Self { queue, to, config: config.clone() })
    }

    fn join(config: &Config, mail: &Arc<Mail<Inlet>>) -> Result<Self, Error> {
        mail.reserve()?;
        let shape = const { spsc::shape::<T>() };
        match ends::join(config, shape, mail.link()) {
            Ok((tx, inlet)) => {
                mail.post(inlet);
                let (to, config) = (To::Here(mail.clone()), config.clone());
                Ok(Self { queue: spsc::Sender::of(tx), to, config })
            }
            Err(error) => {
                mail.forgo();
                Err(error)
            }
        }
    }

    /// Another sender to the same receiver, with a ring of its own.
    ///
    /// # Errors
    /// `Crowded`: there are `Config::senders_max`, or some are gone whose messages were not yet
    /// received. `Closed`, `Memory`, `System`.
    pub fn try_clone(&mut self) -> Result<Self, Error> {
        let mail = match &self.to {
            To::Here(mail) => mail,
            To::There(address) => return Self::open(address, &self.config),
        };
        let sender = Self::join(&self.config, mail)?;
        // A receiver that sleeps does not hear a ring that it does not know.
        self.queue.rouse();
        Ok(sender)
    }
}

impl<T: Message> Deref for Sender<T> {
    type Target = spsc::Sender<T>;

    #[inline]
    fn deref(&self) -> &spsc::Sender<T> {
        &self.queue
    }
}

impl<T: Message> DerefMut for Sender<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut spsc::Sender<T> {
        &mut self.queue
    }
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
pub struct Receiver<T: Message> {
    lanes: Lanes<Inlet>,
    signal: Signal,
    received: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Receiver<T> {
    /// The receiver at an address, for at most `config.senders_max` senders, which come by
    /// [`Sender::open`] at any time, before it or after.
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms::<T>(), const { spsc::shape::<T>().0 }, config)
    }

    fn open_on(
        address: &str,
        terms: Terms,
        format: Format,
        config: &Config,
    ) -> Result<Self, Error> {
        let (mut signal, lanes_max) = (Signal::new(config.wait), lanes_max(config)?);
        let host = Host::gather(address, terms, config.senders_max, &signal)?;
        let door = Door { host, shape: (format, terms.stride), enter: Inlet::of };
        let lanes = Lanes::behind(door, lanes_max, &mut signal);
        Ok(Self { lanes, signal, received: 0, _type: PhantomData })
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `Closed` after the last message of the last sender; `Corrupt`, once, if a sender broke the
    /// protocol: the others go on. At an address also `PeerDied`, once for each sender whose
    /// process died, after its last message. There, `Closed` is said once each time that the last
    /// sender has finished: who goes on waits for others.
    #[inline]
    pub fn recv(&mut self) -> Result<T, Error> {
        self.wait(None)?;
        Ok(self.take())
    }

    /// Waits for the next message for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.wait(Some(time))?;
        Ok(self.take())
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<T>, Error> {
        Ok(if self.lanes.find()? || self.look_again()? { Some(self.take()) } else { None })
    }

    /// Waits for the next message, as a task.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next message, or the task is woken when one comes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        self.poll_ready(context).map_ok(|()| self.take())
    }

    /// Ready when a message is there; else the task is woken when one comes.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        if !self.lanes.find()? {
            self.lanes.tell();
        }
        self.signal.poll(&mut self.lanes, context, is_there)
    }

    /// Waits for the next message and lends it where it lies; its slot is free when the guard
    /// drops.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    #[inline]
    pub fn recv_ref(&mut self) -> Result<Received<'_, T>, Error> {
        self.wait(None)?;
        self.lanes.current_mut().lane.lay_out();
        Ok(Received { receiver: self })
    }

    /// Every message that is there, sender after sender.
    pub fn drain(&mut self) -> Drain<'_, T> {
        let left = self.lanes.count();
        Drain { receiver: self, taken: 0, ready: 0, left }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.received, refused: 0, waits, sleeps }
    }

    #[inline]
    fn wait(&mut self, time: Option<Duration>) -> Result<(), Error> {
        if self.lanes.find()? { Ok(()) } else { self.wait_slowly(time) }
    }

    fn wait_slowly(&mut self, time: Option<Duration>) -> Result<(), Error> {
        self.lanes.tell();
        let limit = time.map(|time| Instant::now() + time);
        self.signal.block(&mut self.lanes, limit, is_there)
    }

    /// Nothing there: a good moment to say what is free, and to see whether anybody is left.
    fn look_again(&mut self) -> Result<bool, Error> {
        self.lanes.tell();
        self.lanes.check().map(|()| false)
    }

    #[inline]
    fn take(&mut self) -> T {
        let message = self.lanes.current_mut().lane.read(0);
        self.release(1);
        message
    }

    #[inline]
    fn release(&mut self, count: u64) {
        self.received += count;
        if self.lanes.current_mut().release(count) {
            self.signal.kept_up(&self.lanes);
        }
    }
}

fn is_there(lanes: &mut Lanes<Inlet>) -> Result<Option<()>, Error> {
    Ok(lanes.find()?.then_some(()))
}

/// A message where it lies.
#[derive(Debug)]
pub struct Received<'a, T: Message> {
    receiver: &'a mut Receiver<T>,
}

impl<T: Message> Deref for Received<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        view(self.receiver.lanes.current().lane.slot(0, 1))
    }
}

impl<T: Message> Drop for Received<'_, T> {
    fn drop(&mut self) {
        self.receiver.release(1);
    }
}

/// What [`Receiver::drain`] yields. Passes over senders that broke the protocol: the next receive
/// says so.
#[derive(Debug)]
pub struct Drain<'a, T: Message> {
    receiver: &'a mut Receiver<T>,
    /// Read of the current ring but not released, and what is there in all.
    taken: u64,
    ready: u64,
    /// Rings not looked at yet.
    left: usize,
}

impl<T: Message> Drain<'_, T> {
    /// Goes on to the next ring that has something.
    #[cold]
    fn more(&mut self) -> bool {
        self.give_back();
        while self.left > 0 {
            self.left -= 1;
            let lane = &mut self.receiver.lanes.next().lane;
            // All that is there by now, whether there is a ring full or not.
            let _ = lane.has(lane.slots());
            self.ready = lane.ready();
            if self.ready > 0 {
                return true;
            }
        }
        false
    }

    fn give_back(&mut self) {
        if self.taken > 0 {
            self.receiver.release(self.taken);
        }
        (self.taken, self.ready) = (0, 0);
    }
}

impl<T: Message> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.taken == self.ready && !self.more() {
            return None;
        }
        let lane = &mut self.receiver.lanes.current_mut().lane;
        let message = lane.read(self.taken);
        self.taken += 1;
        Some(message)
    }
}

impl<T: Message> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.give_back();
        self.receiver.lanes.tell();
    }
}
