//! A queue of messages whose type the compiler does not know: for other languages, recorders and
//! bridges. The other end may be a [`spsc`](crate::spsc) queue of the type with the same layout.

use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::Duration;

use crate::desk::{Pattern, Terms};
use crate::ends::{self, Rx, Stats, Tx};
use crate::raw::{self, Format, LINE};
use crate::{Config, Error, Layout, ipc};

/// Largest message: what is larger goes as bytes, whose ring need not hold it times its slots.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Whether there can be messages like that.
pub(crate) fn check(layout: &Layout) -> Result<(), Error> {
    let Layout { size, align, .. } = *layout;
    if !align.is_power_of_two() || align > LINE || !size.is_multiple_of(align) {
        return Err(Error::Config("a layout's alignment is 1, 2, 4 … 64 and divides its size"));
    }
    if size > MESSAGE_BYTES_MAX {
        return Err(Error::Config("a message has 1 GiB at most"));
    }
    Ok(())
}

/// As `spsc` decides by the type.
pub(crate) fn shape(layout: &Layout) -> Result<(Format, usize), Error> {
    check(layout)?;
    Ok(Format::of(layout.size))
}

/// Whether a message is as long as its layout says.
pub(crate) fn fits(message: &[u8], bytes_max: usize) -> Result<(), Error> {
    let bytes = message.len();
    if bytes == bytes_max { Ok(()) } else { Err(Error::TooLong { bytes, bytes_max }) }
}

/// Opens a queue between threads of this process.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel(layout: &Layout, config: &Config) -> Result<(Sender, Receiver), Error> {
    let (format, stride) = shape(layout)?;
    let (tx, rx) = ends::open(config, stride, format)?;
    Ok((Sender { tx, bytes: layout.size }, Receiver { rx, bytes: layout.size }))
}

/// Room for one message, aligned as a line.
pub(crate) struct Room {
    bytes: Vec<u8>,
    start: usize,
}

impl Room {
    /// Room for so many bytes, zeros.
    pub(crate) fn of(bytes: usize) -> Self {
        let bytes = vec![0; bytes + LINE - 1];
        let start = bytes.as_ptr().align_offset(LINE);
        Self { bytes, start }
    }

    fn range(&self) -> core::ops::Range<usize> {
        self.start..self.start + self.bytes.len() - (LINE - 1)
    }
}

impl core::fmt::Debug for Room {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Room")
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range()]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.bytes[range]
    }
}

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender {
    tx: Tx,
    bytes: usize,
}

impl Sender {
    /// The sending end of the queue at an address, as that of [`spsc`](crate::spsc::Sender::open).
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a receiver is there: `Crowded` if it has a
    /// sender, `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        Self::open_as(Pattern::Queue, address, layout, config)
    }

    /// The same of another pattern whose senders have a ring each.
    pub(crate) fn open_as(
        pattern: Pattern,
        address: &str,
        layout: &Layout,
        config: &Config,
    ) -> Result<Self, Error> {
        let (format, stride) = shape(layout)?;
        let terms = Terms { pattern, layout: *layout, stride };
        Ok(Self { tx: ipc::sender(address, config, terms, format)?, bytes: layout.size })
    }

    /// Copies a message in and sends it.
    ///
    /// # Errors
    /// `TooLong` unless it has the layout's size; `Full`, `TimedOut`, `Closed`, `Corrupt`.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        fits(message, self.bytes)?;
        let mut loan = self.loan()?;
        let place = loan.tx.lane.consumer_place();
        raw::copy(&mut loan, message, place);
        loan.commit()
    }

    /// Lends the next slot, to be written where it will be read. It holds an older message's bytes,
    /// or zeros.
    ///
    /// # Errors
    /// `Full`, `TimedOut`, `Closed`, `Corrupt`.
    pub fn loan(&mut self) -> Result<Loan<'_>, Error> {
        self.tx.room(1)?;
        Ok(Loan { tx: &mut self.tx, bytes: self.bytes })
    }

    /// Bytes of each message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that were sent and not released by the receiver yet.
    ///
    /// # Errors
    /// `Closed`: nobody will read them.
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
pub struct Loan<'a> {
    tx: &'a mut Tx,
    bytes: usize,
}

impl Loan<'_> {
    /// Sends it.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    pub fn commit(self) -> Result<(), Error> {
        self.tx.commit_slot()
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.tx.lane.written(0, 1)[..self.bytes]
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.tx.lane.slot(0, 1)[..self.bytes]
    }
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
pub struct Receiver {
    rx: Rx,
    bytes: usize,
}

impl Receiver {
    /// The receiving end of the queue at an address, as that of
    /// [`spsc`](crate::spsc::Receiver::open).
    ///
    /// # Errors
    /// `Crowded` if there is a receiver; `Address`, `Config`, `Memory`, `System`.
    pub fn open(address: &str, layout: &Layout, config: &Config) -> Result<Self, Error> {
        let (format, stride) = shape(layout)?;
        let terms = Terms { pattern: Pattern::Queue, layout: *layout, stride };
        Ok(Self { rx: ipc::receiver(address, config, terms, format)?, bytes: layout.size })
    }

    /// Waits for the next message, as long as it takes or for `time`, and lends it where it lies.
    ///
    /// # Errors
    /// `TimedOut`; `Closed` or `PeerDied` after the last message of a sender that is gone;
    /// `Corrupt`.
    pub fn recv(&mut self, time: Option<Duration>) -> Result<Received<'_>, Error> {
        self.rx.wait(self.rx.lane.format(), time)?;
        self.rx.lane.lay_out();
        Ok(Received { rx: &mut self.rx, bytes: self.bytes })
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        self.rx.look(self.rx.lane.format())?;
        if self.rx.lane.ready() == 0 {
            return Ok(None);
        }
        self.rx.lane.lay_out();
        Ok(Some(Received { rx: &mut self.rx, bytes: self.bytes }))
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.rx.poll(context)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.rx.stats()
    }
}

/// A message where it lies; its slot is free when this is dropped.
#[derive(Debug)]
pub struct Received<'a> {
    rx: &'a mut Rx,
    bytes: usize,
}

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.rx.lane.slot(0, 1)[..self.bytes]
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.rx.release(1);
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use crate::{Message, spsc};

    #[test]
    fn a_typed_end_understands_an_untyped_one() {
        let config = Config::default();
        let address = format!("memory://plain-{}", std::process::id());
        type Pair = [u32; 2];
        let layout = Layout::array(Layout::number("u32").unwrap(), 2);
        assert_eq!(layout, Pair::LAYOUT);
        let mut receiver = spsc::Receiver::<Pair>::open(&address, &config).unwrap();
        let mut sender = Sender::open(&address, &layout, &config).unwrap();
        sender.send(&[7, 0, 0, 0, 9, 0, 0, 0]).unwrap();
        assert_eq!(receiver.recv(), Ok([7, 9]));
        assert_eq!(sender.send(&[7]), Err(Error::TooLong { bytes: 1, bytes_max: 8 }));
    }

    #[test]
    fn wide_messages_keep_their_size() {
        let layout = Layout::named("Wide", 72, 8);
        let (mut sender, mut receiver) = channel(&layout, &Config::default()).unwrap();
        let mut loan = sender.loan().unwrap();
        loan.fill(3);
        loan.commit().unwrap();
        assert_eq!(&*receiver.try_recv().unwrap().unwrap(), [3; 72]);
        assert!(receiver.try_recv().unwrap().is_none());
    }

    #[test]
    fn full_lines_are_lent_as_copies() {
        let (mut sender, mut receiver) =
            channel(&Layout::named("Full", 60, 4), &Config::default()).unwrap();
        for lap in 0..3 {
            sender.loan().unwrap().fill(lap);
            assert!(receiver.try_recv().unwrap().is_none(), "an abandoned loan is not sent");
            sender.send(&[lap; 60]).unwrap();
            assert_eq!(&*receiver.recv(None).unwrap(), [lap; 60]);
        }
    }

    #[test]
    fn layouts_that_no_type_has_are_refused() {
        for (size, align) in [(8, 3), (8, 0), (8, 128), (9, 8), (2 << 30, 8)] {
            let refused = channel(&Layout::named("No", size, align), &Config::default());
            assert_eq!(refused.unwrap_err().code(), "config", "{size} {align}");
        }
    }
}
