//! A queue with many senders and one receiver, of messages whose type the compiler does not know:
//! for other languages. The other ends may have the [type](super::Sender) with the same layout.

use core::ops::Deref;
use core::task::{Context, Poll};
use std::time::Duration;

use crate::desk::{Pattern, Terms};
use crate::plain::{self, shape};
use crate::{Config, Error, Layout, Stats};

/// A sender to the receiver at an address, as [`mpsc::Sender::open`](super::Sender::open): another
/// for each that is opened.
///
/// # Errors
/// `Address`, `Config`, `Memory`, `System`; if a receiver is there: `Crowded`, `LayoutMismatch`,
/// `PatternMismatch`.
pub fn sender(address: &str, layout: &Layout, config: &Config) -> Result<plain::Sender, Error> {
    plain::Sender::open_as(Pattern::Lanes, address, layout, config)
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
pub struct Receiver {
    /// Of no type: how messages lie is said by the layout.
    receiver: super::Receiver<()>,
    bytes: usize,
}

impl Receiver {
    /// The receiver at an address, as [`mpsc::Receiver::open`](super::Receiver::open).
    ///
    /// # Errors
    /// `Crowded` if there is one; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        let (format, stride) = shape(layout)?;
        let terms = Terms { pattern: Pattern::Lanes, layout: *layout, stride };
        let receiver = super::Receiver::open_on(address, terms, format, config)?;
        Ok(Self { receiver, bytes: layout.size })
    }

    /// Waits for the next message, as long as it takes or for `time`, and lends it where it lies.
    ///
    /// # Errors
    /// `TimedOut`; `PeerDied`, once for each sender whose process died, after its last message;
    /// `Closed`, once each time that the last sender has finished: who goes on waits for others;
    /// `Corrupt`.
    pub fn recv(&mut self, time: Option<Duration>) -> Result<Received<'_>, Error> {
        self.receiver.wait(time)?;
        Ok(self.lend())
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        let there = self.receiver.lanes.find()? || self.receiver.look_again()?;
        Ok(there.then(|| self.lend()))
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.receiver.poll_ready(context)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.receiver.stats()
    }

    fn lend(&mut self) -> Received<'_> {
        self.receiver.lanes.current_mut().lane.lay_out();
        Received(self)
    }
}

/// A message where it lies; its slot is free when this is dropped.
#[derive(Debug)]
pub struct Received<'a>(&'a mut Receiver);

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.receiver.lanes.current().lane.slot(0, 1)[..self.0.bytes]
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.0.receiver.release(1);
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, mpsc};

    #[test]
    fn typed_ends_understand_untyped_ones() {
        let config = Config::default();
        let address = format!("memory://mpsc-plain-{}", std::process::id());
        let layout = <[u32; 2]>::LAYOUT;
        let mut receiver = Receiver::open(&address, &layout, &config).unwrap();
        let mut typed = mpsc::Sender::<[u32; 2]>::open(&address, &config).unwrap();
        let mut plain = sender(&address, &layout, &config).unwrap();
        typed.send([7, 8]).unwrap();
        assert_eq!(&*receiver.recv(None).unwrap(), [7, 0, 0, 0, 8, 0, 0, 0]);
        plain.send(&[9; 8]).unwrap();
        assert_eq!(&*receiver.try_recv().unwrap().unwrap(), [9; 8]);
        assert!(receiver.try_recv().unwrap().is_none());
        assert_eq!(receiver.recv(Some(Duration::ZERO)).unwrap_err(), Error::TimedOut);
        drop(typed);
        assert!(receiver.try_recv().unwrap().is_none(), "one is there");
        drop(plain);
        assert_eq!(receiver.recv(None).unwrap_err().code(), "closed");
        drop(receiver);

        let mut typed = mpsc::Receiver::<[u32; 2]>::open(&address, &config).unwrap();
        sender(&address, &layout, &config).unwrap().send(&[1; 8]).unwrap();
        assert_eq!(typed.recv(), Ok([0x101_0101; 2]));
    }
}
