//! A broadcast of messages whose type the compiler does not know: for other languages, recorders
//! and bridges. The other ends may have the [type](super::Sender) with the same layout.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{In, Lag, terms};
use crate::plain::{check, fits};
use crate::raw::{Words, load_bytes, store_bytes};
use crate::wait::Signal;
use crate::{Config, Error, Layout, Stats};

/// Opens a broadcast between threads of this process. Receivers come by [`Sender::subscribe`].
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel(layout: &Layout, config: &Config) -> Result<Sender, Error> {
    check(layout)?;
    let ring = Words::private(config.ring_slots()?, terms(*layout).stride)?;
    let sender = super::Sender::over(ring, Signal::new(config.wait), config, None);
    Ok(Sender { sender, bytes: layout.size })
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender {
    /// Of no type: how messages are written is said for each.
    sender: super::Sender<()>,
    bytes: usize,
}

impl Sender {
    /// The broadcast at an address, as [`broadcast::Sender::open`](super::Sender::open).
    ///
    /// # Errors
    /// `Crowded` if there is a sender; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let sender = super::Sender::open_on(address, terms(*layout), config)?;
        Ok(Self { sender, bytes: layout.size })
    }

    /// Sends one message to whoever has subscribed.
    ///
    /// # Errors
    /// `TooLong` unless it has the layout's size; `Full`, `TimedOut`.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        fits(message, self.bytes)?;
        self.sender.pressure.room(&mut self.sender.out, 1)?;
        self.sender.publish(|words| store_bytes(words, message));
        Ok(())
    }

    /// A new receiver of everything that is sent from now on.
    ///
    /// # Errors
    /// `Crowded`, `Memory`; `Config` for [`Lag::SkipToMark`].
    pub fn subscribe(&mut self, lag: Lag) -> Result<Receiver, Error> {
        Ok(Receiver { receiver: self.sender.subscribe(lag)?, bytes: self.bytes })
    }

    /// Bytes of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that the slowest receiver with [`Lag::Block`] has not received yet.
    pub fn unread(&mut self) -> u64 {
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

/// An end that receives. Dropped, it is forgotten by the sender.
#[derive(Debug)]
pub struct Receiver {
    receiver: super::Receiver<()>,
    bytes: usize,
}

impl Receiver {
    /// A receiver of the broadcast at an address, as
    /// [`broadcast::Receiver::open`](super::Receiver::open).
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; `Config` for [`Lag::SkipToMark`]; if a sender is there:
    /// `Crowded`, `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, layout: &Layout, lag: Lag, config: &Config) -> Result<Self, Error> {
        check(layout)?;
        let receiver = super::Receiver::open_on(address, terms(*layout), lag, config)?;
        Ok(Self { receiver, bytes: layout.size })
    }

    /// Waits for the next message, as long as it takes or for `time`, and copies it to `message`,
    /// which holds anything after an error.
    ///
    /// # Errors
    /// `TooLong` unless `message` has the layout's size; `TimedOut`, `Lagged`; `Closed` or
    /// `PeerDied` after the last message of a sender that is gone; `Corrupt`.
    pub fn recv_into(&mut self, message: &mut [u8], time: Option<Duration>) -> Result<(), Error> {
        fits(message, self.bytes)?;
        let limit = time.map(|time| Instant::now() + time);
        self.receiver.wait(limit, |input| copy(input, message))
    }

    /// Copies the next message to `message`, if it is there.
    ///
    /// # Errors
    /// `TooLong`, `Lagged`, `Closed`, `PeerDied`, `Corrupt`.
    pub fn try_recv_into(&mut self, message: &mut [u8]) -> Result<bool, Error> {
        fits(message, self.bytes)?;
        Ok(self.receiver.look(|input| copy(input, message))?.is_some())
    }

    /// Ready when [`try_recv_into`](Self::try_recv_into) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.receiver.poll_ready(context)
    }

    /// Bytes of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// Slots received or lost, and how this end waited. What was lost is counted as `refused`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.receiver.stats()
    }
}

fn copy(input: &mut In, message: &mut [u8]) -> Result<Option<()>, Error> {
    input.read_by(|words| load_bytes(words, message))
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, broadcast};

    type Pair = [u32; 3];
    const SENT: [u8; 12] = [7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0];

    #[test]
    fn typed_ends_understand_untyped_ones() {
        let config = Config { slots: 60, ..Config::default() };
        let address = format!("memory://cast-plain-{}", std::process::id());
        let layout = Pair::LAYOUT;
        let mut sender = Sender::open(&address, &layout, &config).unwrap();
        let mut typed = broadcast::Receiver::<Pair>::open(&address, Lag::Block, &config).unwrap();
        let mut plain = Receiver::open(&address, &layout, Lag::Skip, &config).unwrap();
        while sender.receivers() < 2 {
            std::thread::yield_now();
        }
        sender.send(&SENT).unwrap();
        assert_eq!(typed.recv(), Ok([7, 8, 9]));
        let mut message = [0; 12];
        plain.recv_into(&mut message, None).unwrap();
        assert_eq!(message, SENT);
        assert_eq!((plain.try_recv_into(&mut message), sender.unread()), (Ok(false), 1));
        assert_eq!((typed.try_recv(), sender.unread()), (Ok(None), 0));
        for _ in 0..200 {
            sender.send(&SENT).unwrap();
            typed.recv().unwrap();
        }
        let lagged = plain.recv_into(&mut message, None);
        assert!(matches!(lagged, Err(Error::Lagged(missed)) if missed > 0), "{lagged:?}");
        let wrong = Error::TooLong { bytes: 1, bytes_max: 12 };
        assert_eq!(sender.send(&[1]), Err(wrong.clone()));
        assert_eq!(plain.try_recv_into(&mut [0]), Err(wrong));
    }

    #[test]
    fn threads_subscribe_to_an_untyped_one() {
        let layout = Layout::named("F", 4, 1);
        let mut sender = channel(&layout, &Config::default()).unwrap();
        let mut receiver = sender.subscribe(Lag::Block).unwrap();
        sender.send(b"four").unwrap();
        let mut message = [0; 4];
        assert_eq!(receiver.try_recv_into(&mut message), Ok(true));
        assert_eq!((&message, receiver.message_bytes()), (b"four", sender.message_bytes()));
        drop(sender);
        assert_eq!(receiver.recv_into(&mut message, None).unwrap_err().code(), "closed");
    }
}
