//! One type for the ends of every pattern, chosen when they are opened: what the bindings of other
//! languages stand on. Who knows the pattern when compiling uses its own module.

use core::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::broadcast::{self, Lag};
use crate::{Config, Error, Layout, Stats, bytes, latest, plain};

mod copied;

pub use crate::raw::lease::{Lease, Lender};

const NO_LATEST: Error = Error::Config("only a latest value has a newest message");

/// A pattern, and what its messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A queue of byte strings of any length ([`bytes`]).
    Bytes,
    /// A queue of messages of one layout ([`spsc`](crate::spsc), [`plain`]).
    Queue(Layout),
    /// One ring of messages of one layout for many receivers ([`broadcast`]).
    Broadcast {
        /// What the messages are.
        layout: Layout,
        /// What happens when a receiver falls behind; to a sender it says nothing.
        lag: Lag,
    },
    /// The newest value of one layout ([`latest`]): sending replaces it, receiving waits until it
    /// is newer.
    Latest(Layout),
}

/// Opens both ends of a queue between threads of this process. What has many ends is opened by
/// `memory://name`.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel(kind: &Kind, config: &Config) -> Result<(Sender, Receiver), Error> {
    Ok(match kind {
        Kind::Bytes => {
            let (sender, receiver) = bytes::channel(config)?;
            (Sender::Bytes(sender), Receiver::Bytes(receiver))
        }
        Kind::Queue(layout) => {
            let (sender, receiver) = plain::channel(layout, config)?;
            (Sender::Queue(sender), Receiver::Queue(receiver))
        }
        Kind::Broadcast { .. } | Kind::Latest(_) => {
            return Err(Error::Config("only a queue is opened with both ends"));
        }
    })
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
#[non_exhaustive]
pub enum Sender {
    /// Of byte strings.
    Bytes(bytes::Sender),
    /// Of messages of one layout.
    Queue(plain::Sender),
    /// Of a broadcast, or a latest value.
    Copied(copied::Sender),
}

impl Sender {
    /// The sending end at `ipc://name` or `memory://name`.
    ///
    /// # Errors
    /// Those of the pattern's own `open`.
    pub fn open(address: &str, kind: &Kind, config: &Config) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Bytes => Self::Bytes(bytes::Sender::open(address, config)?),
            Kind::Queue(layout) => Self::Queue(plain::Sender::open(address, layout, config)?),
            Kind::Broadcast { layout, .. } => {
                Self::Copied(broadcast::plain::Sender::open(address, layout, config)?.into())
            }
            Kind::Latest(layout) => {
                Self::Copied(latest::plain::Writer::open(address, layout, config)?.into())
            }
        })
    }

    /// Copies a message in and sends it.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`, `Closed`, `PeerDied`, `Corrupt`.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        match self {
            Self::Bytes(sender) => sender.send(message),
            Self::Queue(sender) => sender.send(message),
            Self::Copied(sender) => sender.send(message),
        }
    }

    /// Lends room for a message of `bytes` bytes, to be written where it will be read; that of a
    /// broadcast or a latest value, which is copied when it is committed, holds the one before.
    ///
    /// # Errors
    /// `TooLong`, also if messages of one layout have another size; `Full`, `TimedOut`, `Closed`,
    /// `PeerDied`, `Corrupt`.
    pub fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        match self {
            Self::Bytes(sender) => sender.loan(bytes).map(Loan::Bytes),
            Self::Queue(sender) => {
                let bytes_max = sender.message_bytes();
                if bytes != bytes_max {
                    return Err(Error::TooLong { bytes, bytes_max });
                }
                sender.loan().map(Loan::Queue)
            }
            Self::Copied(sender) => sender.loan(bytes).map(Loan::Copied),
        }
    }

    /// What was sent and not released by the receiver yet: 0 once all of it was read. Receivers of
    /// a broadcast that skip, and of a latest value, leave nothing unread.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`: nobody will read it.
    pub fn unread(&mut self) -> Result<u64, Error> {
        match self {
            Self::Bytes(sender) => sender.unread(),
            Self::Queue(sender) => sender.unread(),
            Self::Copied(sender) => Ok(sender.unread()),
        }
    }

    /// Receivers of a broadcast that are there.
    ///
    /// # Errors
    /// `Config` for another pattern.
    pub fn receivers(&mut self) -> Result<usize, Error> {
        let receivers = match self {
            Self::Copied(sender) => sender.receivers(),
            _ => None,
        };
        receivers.ok_or(Error::Config("only a broadcast counts its receivers"))
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Bytes(sender) => sender.stats(),
            Self::Queue(sender) => sender.stats(),
            Self::Copied(sender) => sender.stats(),
        }
    }
}

/// Room for a message that is being written. Dropped without [`commit`](Self::commit), nothing was
/// sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Loan<'a> {
    /// Of a byte string.
    Bytes(bytes::Loan<'a>),
    /// Of a message of the queue's layout.
    Queue(plain::Loan<'a>),
    /// Of what is copied when it is committed.
    Copied(copied::Loan<'a>),
}

impl Loan<'_> {
    /// Sends it.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`: there is nobody to receive it.
    pub fn commit(self) -> Result<(), Error> {
        match self {
            Self::Bytes(loan) => loan.commit(),
            Self::Queue(loan) => loan.commit(),
            Self::Copied(loan) => loan.commit(),
        }
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(loan) => loan,
            Self::Queue(loan) => loan,
            Self::Copied(loan) => loan,
        }
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Bytes(loan) => loan,
            Self::Queue(loan) => loan,
            Self::Copied(loan) => loan,
        }
    }
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
#[non_exhaustive]
pub enum Receiver {
    /// Of byte strings.
    Bytes(bytes::Receiver),
    /// Of messages of one layout.
    Queue(plain::Receiver),
    /// Of a broadcast, or a latest value.
    Copied(copied::Receiver),
}

impl Receiver {
    /// The receiving end at `ipc://name` or `memory://name`.
    ///
    /// # Errors
    /// Those of the pattern's own `open`.
    pub fn open(address: &str, kind: &Kind, config: &Config) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Bytes => Self::Bytes(bytes::Receiver::open(address, config)?),
            Kind::Queue(layout) => Self::Queue(plain::Receiver::open(address, layout, config)?),
            Kind::Broadcast { layout, lag } => Self::Copied(
                broadcast::plain::Receiver::open(address, layout, *lag, config)?.into(),
            ),
            Kind::Latest(layout) => {
                Self::Copied(latest::plain::Reader::open(address, layout, config)?.into())
            }
        })
    }

    /// Waits for the next message, as long as it takes or for `time`, and lends it where it lies.
    /// The next of a latest value is one that is newer than the last that this end got.
    ///
    /// # Errors
    /// `TimedOut`, `Lagged`, `Corrupt`; `Closed` or `PeerDied` after the last message of a sender
    /// that is gone.
    pub fn recv(&mut self, time: Option<Duration>) -> Result<Received<'_>, Error> {
        match (self, time) {
            (Self::Bytes(receiver), None) => receiver.recv().map(Received::Bytes),
            (Self::Bytes(receiver), Some(time)) => receiver.recv_timeout(time).map(Received::Bytes),
            (Self::Queue(receiver), time) => receiver.recv(time).map(Received::Queue),
            (Self::Copied(receiver), time) => receiver.recv(time).map(Received::Copied),
        }
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// `Lagged`, `Closed`, `PeerDied`, `Corrupt`.
    pub fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        Ok(match self {
            Self::Bytes(receiver) => receiver.try_recv()?.map(Received::Bytes),
            Self::Queue(receiver) => receiver.try_recv()?.map(Received::Queue),
            Self::Copied(receiver) => receiver.try_recv()?.map(Received::Copied),
        })
    }

    /// The newest value, even if this end got it before; nothing before the first. Also after its
    /// writer is gone.
    ///
    /// # Errors
    /// `Config` for another pattern.
    pub fn newest(&mut self) -> Result<Option<Received<'_>>, Error> {
        match self {
            Self::Copied(receiver) => Ok(receiver.newest()?.map(Received::Copied)),
            _ => Err(NO_LATEST),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Bytes(receiver) => receiver.stats(),
            Self::Queue(receiver) => receiver.stats(),
            Self::Copied(receiver) => receiver.stats(),
        }
    }
}

/// A message where it lies; its room is free when this is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A byte string.
    Bytes(bytes::Received<'a>),
    /// A message of the queue's layout.
    Queue(plain::Received<'a>),
    /// One that was copied out.
    Copied(copied::Received<'a>),
}

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(message) => message,
            Self::Queue(message) => message,
            Self::Copied(message) => message,
        }
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;

    #[test]
    fn every_kind_carries_what_is_sent() {
        for (kind, wrong) in [(Kind::Bytes, 1 << 30), (Kind::Queue(Layout::named("F", 4, 1)), 5)] {
            let (mut sender, mut receiver) = channel(&kind, &Config::default()).unwrap();
            assert!(receiver.try_recv().unwrap().is_none());
            sender.send(b"four").unwrap();
            let mut loan = sender.loan(4).unwrap();
            loan.copy_from_slice(b"more");
            assert_eq!(&*loan, b"more");
            loan.commit().unwrap();
            let _never_sent = sender.loan(4).unwrap();
            assert_eq!(sender.loan(wrong).unwrap_err().code(), "too_long");
            assert_eq!(sender.unread().map(|unread| unread > 0), Ok(true));
            assert_eq!(&*receiver.recv(None).unwrap(), b"four");
            assert_eq!(&*receiver.recv(Some(Duration::ZERO)).unwrap(), b"more");
            assert_eq!(receiver.recv(Some(Duration::ZERO)).unwrap_err(), Error::TimedOut);
            assert_eq!((sender.stats().slots, receiver.stats().slots), (2, 2));
            drop(sender);
            assert_eq!(receiver.try_recv().unwrap_err().code(), "closed");
        }
    }

    #[test]
    fn what_is_copied_is_lent_by_the_same_verbs() {
        let layout = Layout::named("F", 4, 1);
        let cast = Kind::Broadcast { layout, lag: Lag::Block };
        for (name, kind) in [("cast", cast), ("latest", Kind::Latest(layout))] {
            let address = format!("memory://any-{name}-{}", std::process::id());
            let mut sender = Sender::open(&address, &kind, &Config::default()).unwrap();
            let mut receiver = Receiver::open(&address, &kind, &Config::default()).unwrap();
            while sender.receivers().is_ok_and(|receivers| receivers == 0) {
                std::thread::yield_now();
            }
            sender.send(b"four").unwrap();
            let received = receiver.recv(None).unwrap();
            assert_eq!((&*received, received.as_ptr() as usize % 64), (&b"four"[..], 0));
            drop(received);
            let mut loan = sender.loan(4).unwrap();
            loan.copy_from_slice(b"more");
            loan.commit().unwrap();
            sender.loan(4).unwrap().fill(0);
            assert_eq!(&*receiver.recv(None).unwrap(), b"more");
            assert!(receiver.try_recv().unwrap().is_none());
            assert_eq!(receiver.recv(Some(Duration::ZERO)).unwrap_err(), Error::TimedOut);
            assert_eq!((sender.unread(), sender.stats().slots), (Ok(0), 2));
            assert_eq!(sender.loan(5).unwrap_err().code(), "too_long");
            drop(sender);
            assert_eq!(receiver.try_recv().unwrap_err().code(), "closed");
            match receiver.newest() {
                Ok(newest) => assert_eq!(&*newest.unwrap(), b"more"),
                Err(error) => assert_eq!((error, name), (NO_LATEST, "cast")),
            }
        }
    }
}
