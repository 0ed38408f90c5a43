//! One type for the ends of every pattern, chosen when they are opened: what the bindings of other
//! languages stand on. Who knows the pattern when compiling uses its own module.

use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::Duration;

use crate::broadcast::{self, Lag};
use crate::{Config, Error, Layout, Stats, bytes, latest, mpsc, plain, spmc};

mod copied;

pub use crate::raw::lease::{Lease, Lender};

const NO_LATEST: Error = Error::Config("only a latest value has a newest message");
const NO_MARKS: Error = Error::Config("only a broadcast of bytes has marks");

/// A pattern, and what its messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A queue of byte strings of any length ([`bytes`]).
    Bytes,
    /// A queue of messages of one layout ([`spsc`](crate::spsc), [`plain`]).
    Queue(Layout),
    /// A queue of messages of one layout with many senders ([`mpsc`]).
    Mpsc(Layout),
    /// A queue of messages of one layout, each of which one of many receivers takes
    /// ([`spmc`](crate::spmc)).
    Spmc(Layout),
    /// The same with many senders ([`mpmc`](crate::mpmc)).
    Mpmc(Layout),
    /// One ring of messages of one layout for many receivers ([`broadcast`]).
    Broadcast {
        /// What the messages are.
        layout: Layout,
        /// What happens when a receiver falls behind; to a sender it says nothing.
        lag: Lag,
    },
    /// One ring of byte strings of any length for many receivers ([`broadcast::bytes`]). To a
    /// sender, this says nothing more.
    BroadcastBytes {
        /// What happens when a receiver falls behind.
        lag: Lag,
        /// Whether a receiver begins with the newest marked string.
        at_mark: bool,
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
        _ => return Err(Error::Config("only a queue of one sender is opened with both ends")),
    })
}

/// The same of a sending end, or of what it lends, whatever the pattern.
macro_rules! each_sent {
    ($of:expr, $end:ident => $what:expr) => {
        match $of {
            Self::Bytes($end) => $what,
            Self::Queue($end) => $what,
            Self::BroadcastBytes($end) => $what,
            Self::Copied($end) => $what,
        }
    };
}

/// The same of a receiving end.
macro_rules! each_received {
    ($of:expr, $end:ident => $what:expr) => {
        match $of {
            Self::Bytes($end) => $what,
            Self::Queue($end) => $what,
            Self::Mpsc($end) => $what,
            Self::BroadcastBytes($end) => $what,
            Self::Copied($end) => $what,
        }
    };
}

/// The end that sends. Dropped, it closes the channel, unless it is one of many; what was sent can
/// still be received.
#[derive(Debug)]
#[non_exhaustive]
pub enum Sender {
    /// Of byte strings.
    Bytes(bytes::Sender),
    /// Of messages of one layout, alone or one of many.
    Queue(plain::Sender),
    /// Of a broadcast of byte strings.
    BroadcastBytes(Box<broadcast::bytes::Sender>),
    /// Of a broadcast of messages, a latest value, or a queue with many receivers.
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
            Kind::Mpsc(layout) => Self::Queue(mpsc::plain::sender(address, layout, config)?),
            Kind::Spmc(layout) => {
                Self::Copied(spmc::plain::Sender::open(address, layout, config)?.into())
            }
            Kind::Mpmc(layout) => {
                Self::Copied(spmc::plain::Sender::open_beside(address, layout, config)?.into())
            }
            Kind::Broadcast { layout, .. } => {
                Self::Copied(broadcast::plain::Sender::open(address, layout, config)?.into())
            }
            Kind::BroadcastBytes { .. } => {
                Self::BroadcastBytes(Box::new(broadcast::bytes::Sender::open(address, config)?))
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
        each_sent!(self, sender => sender.send(message))
    }

    /// The same for a string that a receiver can begin with.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`; `Config` if the pattern has no marks.
    pub fn send_marked(&mut self, message: &[u8]) -> Result<(), Error> {
        match self {
            Self::BroadcastBytes(sender) => sender.send_marked(message),
            _ => Err(NO_MARKS),
        }
    }

    /// Lends room for a message of `bytes` bytes, to be written where it will be read; that of a
    /// broadcast of messages, a latest value or a queue with many receivers, which is copied when
    /// it is committed, holds the one before.
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
            Self::BroadcastBytes(sender) => sender.loan(bytes).map(Loan::BroadcastBytes),
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
            Self::BroadcastBytes(sender) => Ok(sender.unread()),
            Self::Copied(sender) => Ok(sender.unread()),
        }
    }

    /// Receivers of a broadcast, or of a queue with many, that are there.
    ///
    /// # Errors
    /// `Config` for another pattern.
    pub fn receivers(&mut self) -> Result<usize, Error> {
        let receivers = match self {
            Self::BroadcastBytes(sender) => Some(sender.receivers()),
            Self::Copied(sender) => sender.receivers(),
            _ => None,
        };
        receivers.ok_or(Error::Config("only who may have many receivers counts them"))
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        each_sent!(self, sender => sender.stats())
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
    /// Of a byte string for many.
    BroadcastBytes(broadcast::bytes::Loan<'a>),
    /// Of what is copied when it is committed.
    Copied(copied::Loan<'a>),
}

impl Loan<'_> {
    /// Makes it a string that a receiver can begin with.
    ///
    /// # Errors
    /// `Config` if the pattern has no marks.
    pub fn mark(&mut self) -> Result<(), Error> {
        let Self::BroadcastBytes(loan) = self else { return Err(NO_MARKS) };
        loan.mark();
        Ok(())
    }

    /// Sends it.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`: there is nobody to receive it.
    pub fn commit(self) -> Result<(), Error> {
        match self {
            Self::Bytes(loan) => loan.commit(),
            Self::Queue(loan) => loan.commit(),
            Self::BroadcastBytes(loan) => {
                loan.commit();
                Ok(())
            }
            Self::Copied(loan) => loan.commit(),
        }
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        each_sent!(self, loan => loan)
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        each_sent!(self, loan => loan)
    }
}

/// The end that receives. Dropped, it closes the channel, unless it is one of many; what was not
/// received is lost.
#[derive(Debug)]
#[non_exhaustive]
pub enum Receiver {
    /// Of byte strings.
    Bytes(bytes::Receiver),
    /// Of messages of one layout.
    Queue(plain::Receiver),
    /// Of messages of many senders.
    Mpsc(mpsc::plain::Receiver),
    /// Of a broadcast of byte strings.
    BroadcastBytes(broadcast::bytes::Receiver),
    /// Of a broadcast of messages, a latest value, or a queue with many receivers.
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
            Kind::Mpsc(layout) => Self::Mpsc(mpsc::plain::Receiver::open(address, layout, config)?),
            Kind::Spmc(layout) | Kind::Mpmc(layout) => {
                Self::Copied(spmc::plain::Receiver::open(address, layout, config)?.into())
            }
            Kind::Broadcast { layout, lag } => Self::Copied(
                broadcast::plain::Receiver::open(address, layout, *lag, config)?.into(),
            ),
            Kind::BroadcastBytes { lag, at_mark } => {
                let open = match at_mark {
                    false => broadcast::bytes::Receiver::open,
                    true => broadcast::bytes::Receiver::open_at_mark,
                };
                Self::BroadcastBytes(open(address, *lag, config)?)
            }
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
            (Self::Mpsc(receiver), time) => receiver.recv(time).map(Received::Mpsc),
            (Self::BroadcastBytes(receiver), None) => receiver.recv().map(Received::BroadcastBytes),
            (Self::BroadcastBytes(receiver), Some(time)) => {
                receiver.recv_timeout(time).map(Received::BroadcastBytes)
            }
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
            Self::Mpsc(receiver) => receiver.try_recv()?.map(Received::Mpsc),
            Self::BroadcastBytes(receiver) => receiver.try_recv()?.map(Received::BroadcastBytes),
            Self::Copied(receiver) => receiver.try_recv()?.map(Received::Copied),
        })
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        each_received!(self, receiver => receiver.poll_ready(context))
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
        each_received!(self, receiver => receiver.stats())
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
    /// A message of one of many senders.
    Mpsc(mpsc::plain::Received<'a>),
    /// A byte string for many.
    BroadcastBytes(broadcast::bytes::Received<'a>),
    /// One that was copied out.
    Copied(copied::Received<'a>),
}

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        each_received!(self, message => message)
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
            assert_eq!(sender.send_marked(b"mark"), Err(NO_MARKS));
            assert_eq!(sender.loan(4).unwrap().mark(), Err(NO_MARKS));
            assert_eq!(sender.loan(5).unwrap_err().code(), "too_long");
            drop(sender);
            assert_eq!(receiver.try_recv().unwrap_err().code(), "closed");
            match receiver.newest() {
                Ok(newest) => assert_eq!(&*newest.unwrap(), b"more"),
                Err(error) => assert_eq!((error, name), (NO_LATEST, "cast")),
            }
        }
    }

    #[test]
    fn many_send_to_one() {
        let kind = Kind::Mpsc(Layout::named("F", 4, 1));
        let config = Config::default();
        let address = format!("memory://any-mpsc-{}", std::process::id());
        let mut receiver = Receiver::open(&address, &kind, &config).unwrap();
        let open = |_| Sender::open(&address, &kind, &config).unwrap();
        for sender in &mut [1, 2, 3].map(open) {
            sender.send(b"four").unwrap();
            assert_eq!(sender.receivers().unwrap_err().code(), "config");
        }
        for _ in 0..3 {
            assert_eq!(&*receiver.recv(None).unwrap(), b"four");
        }
        assert_eq!(receiver.recv(None).unwrap_err().code(), "closed");
        assert_eq!((receiver.stats().slots, receiver.newest().unwrap_err()), (3, NO_LATEST));
    }

    #[test]
    fn each_of_many_takes_some() {
        for (name, kind) in [("spmc", Kind::Spmc as fn(_) -> _), ("mpmc", Kind::Mpmc)] {
            let kind = kind(Layout::named("F", 4, 1));
            let config = Config::default();
            let address = format!("memory://any-{name}-{}", std::process::id());
            let mut sender = Sender::open(&address, &kind, &config).unwrap();
            assert_eq!(Sender::open(&address, &kind, &config).is_ok(), name == "mpmc");
            let mut takers = [1, 2].map(|_| Receiver::open(&address, &kind, &config).unwrap());
            for taker in &mut takers {
                sender.send(b"four").unwrap();
                assert_eq!(&*taker.recv(Some(Duration::from_secs(60))).unwrap(), b"four");
                assert!(taker.try_recv().unwrap().is_none());
            }
            assert_eq!((sender.unread(), sender.receivers()), (Ok(0), Ok(2)));
            drop(sender);
            let [first, _] = &mut takers;
            assert_eq!(first.recv(None).unwrap_err().code(), "closed");
        }
    }

    #[test]
    fn strings_for_many_have_marks() {
        let config = Config::default();
        let address = format!("memory://any-marks-{}", std::process::id());
        let kind = |at_mark| Kind::BroadcastBytes { lag: Lag::Block, at_mark };
        let mut sender = Sender::open(&address, &kind(false), &config).unwrap();
        let come = |sender: &mut Sender, at_mark, count| {
            let receiver = Receiver::open(&address, &kind(at_mark), &config).unwrap();
            while sender.receivers().unwrap() < count {
                std::thread::yield_now();
            }
            receiver
        };
        let mut first = come(&mut sender, false, 1);
        sender.send_marked(b"key").unwrap();
        sender.send(b"more").unwrap();
        let mut late = come(&mut sender, true, 2);
        let mut loan = sender.loan(3).unwrap();
        loan.copy_from_slice(b"end");
        loan.mark().unwrap();
        loan.commit().unwrap();
        for receiver in [&mut first, &mut late] {
            for want in [&b"key"[..], b"more", b"end"] {
                assert_eq!(&*receiver.recv(Some(Duration::from_secs(60))).unwrap(), want);
            }
            assert!(receiver.try_recv().unwrap().is_none());
        }
        assert_eq!(sender.unread(), Ok(0));
        sender.send(b"left").unwrap();
        assert!(sender.unread().unwrap() > 0);
        drop(sender);
        assert_eq!(&*first.try_recv().unwrap().unwrap(), b"left");
        assert_eq!(first.recv(None).unwrap_err().code(), "closed");
    }
}
