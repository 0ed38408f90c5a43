//! A queue with many receivers, of messages whose type the compiler does not know: for other
//! languages. The other ends may have the [type](super::Sender) with the same layout.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{sides, terms_of};
use crate::claim::Take;
use crate::lanes::lanes_max;
use crate::plain::{check, fits};
use crate::raw::{load_bytes, store_bytes};
use crate::{Config, Error, Layout, Stats};

/// An end that sends.
#[derive(Debug)]
pub struct Sender {
    /// Of no type: how messages are written is said for each.
    sender: super::Sender<()>,
    bytes: usize,
}

impl Sender {
    /// The only sender at an address, as [`spmc::Sender::open`](super::Sender::open).
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        Self::open_among((address, 1), layout, config)
    }

    /// One of many at an address, as [`mpmc::Sender::open`](crate::mpmc::Sender::open).
    ///
    /// # Errors
    /// The same.
    pub fn open_beside(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        Self::open_among((address, lanes_max(config)?), layout, config)
    }

    fn open_among(at: (&str, usize), layout: &Layout, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let sender = super::Sender::open_on(at, terms_of(*layout), config)?;
        Ok(Self { sender, bytes: layout.size })
    }

    /// Copies a message in and sends it.
    ///
    /// # Errors
    /// `TooLong` unless it has the layout's size; those of [`spmc::Sender::send`].
    ///
    /// [`spmc::Sender::send`]: super::Sender::send
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        fits(message, self.bytes)?;
        self.sender.room(1)?;
        self.sender.out.write_by(0, |words| store_bytes(words, message));
        self.sender.publish(1)
    }

    /// Bytes of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that no receiver has taken yet.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.sender.unread()
    }

    /// Receivers that are there.
    pub fn receivers(&mut self) -> usize {
        self.sender.receivers()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }
}

/// An end that receives, one of many.
#[derive(Debug)]
pub struct Receiver {
    receiver: super::Receiver<()>,
    bytes: usize,
}

impl Receiver {
    /// A receiver at an address, as [`spmc::Receiver::open`](super::Receiver::open).
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a sender is there: `Crowded`,
    /// `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let receiver = super::Receiver::open_on(address, terms_of(*layout), config)?;
        Ok(Self { receiver, bytes: layout.size })
    }

    /// Waits for the next message, as long as it takes or for `time`, and copies it to `message`,
    /// which holds anything after an error. The message before counts as dealt with.
    ///
    /// # Errors
    /// `TooLong` unless `message` has the layout's size; `TimedOut`; those of
    /// [`spmc::Receiver::recv`](super::Receiver::recv).
    pub fn recv_into(&mut self, message: &mut [u8], time: Option<Duration>) -> Result<(), Error> {
        fits(message, self.bytes)?;
        let limit = time.map(|time| Instant::now() + time);
        self.receiver.senders.block(limit, copy_to(message))?;
        self.receiver.received += 1;
        Ok(())
    }

    /// Copies the next message to `message`, if it is there.
    ///
    /// # Errors
    /// Those of [`recv_into`](Self::recv_into).
    pub fn try_recv_into(&mut self, message: &mut [u8]) -> Result<bool, Error> {
        fits(message, self.bytes)?;
        let senders: &mut sides::Senders = &mut self.receiver.senders;
        let found = match senders.find(copy_to(message))? {
            None => senders.find_again(copy_to(message))?,
            found => found,
        };
        self.receiver.received += u64::from(found.is_some());
        Ok(found.is_some())
    }

    /// As [`spmc::Receiver::poll_ready`](super::Receiver::poll_ready): who is told has to receive.
    ///
    /// # Errors
    /// Those of [`recv_into`](Self::recv_into).
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.receiver.poll_ready(context)
    }

    /// Bytes of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.receiver.stats()
    }
}

fn copy_to(message: &mut [u8]) -> impl FnMut(&mut Take, bool) -> Result<Option<()>, Error> {
    |take, busy| take.one_by(busy, |words| load_bytes(words, message))
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, mpmc};

    #[test]
    fn typed_ends_understand_untyped_ones() {
        let config = Config::default();
        let address = format!("memory://mpmc-plain-{}", std::process::id());
        let layout = <[u32; 3]>::LAYOUT;
        let mut plain = Sender::open_beside(&address, &layout, &config).unwrap();
        let mut typed = mpmc::Sender::<[u32; 3]>::open(&address, &config).unwrap();
        let mut takes = Receiver::open(&address, &layout, &config).unwrap();
        let mut other = mpmc::Receiver::<[u32; 3]>::open(&address, &config).unwrap();
        let mut message = [0; 12];
        plain.send(&[1; 12]).unwrap();
        takes.recv_into(&mut message, None).unwrap();
        assert_eq!(message, [1; 12]);
        typed.send([7, 8, 9]).unwrap();
        takes.recv_into(&mut message, None).unwrap();
        assert_eq!(message, [7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0]);
        plain.send(&[2; 12]).unwrap();
        assert_eq!(other.recv(), Ok([0x202_0202; 3]));
        assert_eq!(takes.try_recv_into(&mut message), Ok(false));
        let late = takes.recv_into(&mut message, Some(Duration::ZERO));
        assert_eq!((late, plain.unread()), (Err(Error::TimedOut), 0));
        assert_eq!(plain.send(&[0]).unwrap_err().code(), "too_long");
        assert_eq!((plain.stats().slots, takes.stats().slots), (2, 2));
        drop((plain, typed));
        assert_eq!(takes.recv_into(&mut message, None).unwrap_err().code(), "closed");
    }
}
