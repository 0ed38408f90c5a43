//! A queue of byte strings of any length, with one sender and one receiver.
//!
//! Strings lie in a ring of lines, each in one piece. A string begins with a header of 8 bytes; up
//! to 56 bytes follow it in its line, longer ones begin at the next line and so are aligned to 64
//! bytes. What is left at the end of the ring when a string does not fit there is skipped.

mod stream;

use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use std::time::Duration;

use crate::desk::{Pattern, Terms};
use crate::ends::{self, Rx, Stats, Tx};
use crate::raw::{self, Format, LINE, view_mut};
use crate::{Config, Error, Layout, ipc};

pub use stream::{Reader, Writer};

const HEADER_BYTES: usize = 8;
/// In a header: not a string, but lines to be skipped.
const SKIP: u64 = 1 << 63;

/// Lines of a string, with its header.
const fn lines(bytes: usize) -> u64 {
    if bytes + HEADER_BYTES <= LINE { 1 } else { 1 + bytes.div_ceil(LINE) as u64 }
}

/// Where in its lines a string lies.
const fn range(bytes: usize) -> core::ops::Range<usize> {
    let start = if bytes + HEADER_BYTES <= LINE { HEADER_BYTES } else { LINE };
    start..start + bytes
}

/// Opens a queue between threads of this process. `config.slots` counts lines of 64 bytes; strings
/// may be as long as half the ring.
///
/// # Errors
/// `Config` or `Memory`.
pub fn channel(config: &Config) -> Result<(Sender, Receiver), Error> {
    let (tx, rx) = ends::open(config, LINE, Format::Wide)?;
    Ok((Sender { tx }, Receiver { rx }))
}

const TERMS: Terms =
    Terms { pattern: Pattern::Bytes, layout: Layout { hash: 0, size: 1, align: 1 }, stride: LINE };

/// The end that sends. Dropped, it closes the channel; what was sent can still be received.
#[derive(Debug)]
pub struct Sender {
    tx: Tx,
}

impl Sender {
    /// The sending end of the queue at `ipc://name`, for processes of this user, or at
    /// `memory://name`, within this process. The receiver may come later: until then strings wait
    /// in the ring, which ends with its sender.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a receiver is there: `Crowded` if it has a
    /// sender, `LayoutMismatch`, `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Ok(Self { tx: ipc::sender(address, config, TERMS, Format::Wide)? })
    }

    /// Copies a string in and sends it.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`, `Closed`, `Corrupt`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut loan = self.loan(bytes.len())?;
        let place = loan.tx.lane.consumer_place();
        raw::copy(&mut loan, bytes, place);
        loan.commit()
    }

    /// Lends room for `bytes` bytes, to be written where they will be read. It holds older bytes or
    /// zeros. A full channel is treated as its configuration says.
    ///
    /// # Errors
    /// `TooLong`, `Full`, `TimedOut`, `Closed`, `Corrupt`.
    pub fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, Error> {
        let bytes_max = self.bytes_max();
        if bytes > bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        let lines = lines(bytes);
        let left = self.tx.lane.contiguous();
        let skip = if left < lines { left } else { 0 };
        self.tx.room(skip + lines)?;
        if skip > 0 {
            *view_mut(self.tx.lane.slot(0, 1)) = SKIP;
        }
        Ok(Loan { tx: &mut self.tx, skip, bytes })
    }

    /// Longest string that fits: half the ring, so that it fits wherever the ring stands.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        (self.tx.lane.slots() as usize / 2 - 1) * LINE
    }

    /// What was sent and not released by the receiver yet, in lines. A sender that is about to end
    /// its process before a receiver came has something to wait for as long as this is not 0.
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

/// Room for a string that is being written. Dropped without [`commit`](Self::commit), nothing was
/// sent.
#[derive(Debug)]
pub struct Loan<'a> {
    tx: &'a mut Tx,
    skip: u64,
    bytes: usize,
}

impl Loan<'_> {
    /// Sends it.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    pub fn commit(self) -> Result<(), Error> {
        *view_mut(self.tx.lane.slot(self.skip, 1)) = self.bytes as u64;
        self.tx.commit(Format::Wide, self.skip + lines(self.bytes))
    }

    /// Sends only its first `bytes` bytes.
    ///
    /// Panics if that is more than was asked for.
    ///
    /// # Errors
    /// `Closed`: there is nobody to receive it.
    pub fn commit_first(mut self, bytes: usize) -> Result<(), Error> {
        assert!(bytes <= self.bytes, "a loan is as long as was asked for");
        let (from, to) = (range(self.bytes).start, range(bytes).start);
        self.lines_mut().copy_within(from..from + bytes.min(LINE), to);
        self.bytes = bytes;
        self.commit()
    }

    fn lines_mut(&mut self) -> &mut [u8] {
        self.tx.lane.slot(self.skip, lines(self.bytes))
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.tx.lane.written(self.skip, lines(self.bytes))[range(self.bytes)]
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = range(self.bytes);
        &mut self.lines_mut()[range]
    }
}

/// The end that receives. Dropped, it closes the channel; what was not received is lost.
#[derive(Debug)]
pub struct Receiver {
    rx: Rx,
}

impl Receiver {
    /// The receiving end of the queue at an address, as [`Sender::open`]. The ring is the sender's:
    /// only how this end waits is taken from its configuration.
    ///
    /// # Errors
    /// `Crowded` if there is a receiver; `Address`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Ok(Self { rx: ipc::receiver(address, config, TERMS, Format::Wide)? })
    }

    /// Waits for the next string and lends it where it lies; its room is free when the guard drops.
    ///
    /// # Errors
    /// `Closed` after the last string of a sender that is gone; `Corrupt`.
    pub fn recv(&mut self) -> Result<Received<'_>, Error> {
        self.recv_within(None)
    }

    /// The same for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Corrupt`.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<Received<'_>, Error> {
        self.recv_within(Some(time))
    }

    /// The next string, if it is there.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn try_recv(&mut self) -> Result<Option<Received<'_>>, Error> {
        loop {
            self.rx.look(Format::Wide)?;
            if self.rx.lane.ready() == 0 {
                return Ok(None);
            }
            if let Some(bytes) = self.next()? {
                return Ok(Some(Received { rx: &mut self.rx, bytes }));
            }
        }
    }

    /// Waits for the next string, as a task.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub async fn recv_async(&mut self) -> Result<Received<'_>, Error> {
        loop {
            poll_fn(|context| self.poll_ready(context)).await?;
            if let Some(bytes) = self.next()? {
                return Ok(Received { rx: &mut self.rx, bytes });
            }
        }
    }

    /// Ready when [`try_recv`](Self::try_recv) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.rx.poll(context)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.rx.stats()
    }

    fn recv_within(&mut self, time: Option<Duration>) -> Result<Received<'_>, Error> {
        loop {
            self.rx.wait(Format::Wide, time)?;
            if let Some(bytes) = self.next()? {
                return Ok(Received { rx: &mut self.rx, bytes });
            }
        }
    }

    /// The length of the string that is next, or nothing if lines were skipped instead. What the
    /// header claims is believed only if such a string is there in one piece.
    fn next(&mut self) -> Result<Option<usize>, Error> {
        let header = self.rx.lane.word();
        let end = self.rx.lane.contiguous();
        if header == SKIP {
            // At the ring's beginning every string fits: a sender that skips there skips for ever.
            if end == self.rx.lane.slots() || !self.rx.lane.has(end)? {
                return Err(Error::Corrupt("the sender skipped lines that it had not sent"));
            }
            self.rx.release(end);
            return Ok(None);
        }
        let fits = header <= end * LINE as u64 && lines(header as usize) <= end;
        if !fits || !self.rx.lane.has(lines(header as usize))? {
            return Err(Error::Corrupt("the sender announced a string that is not there"));
        }
        Ok(Some(header as usize))
    }
}

/// A string where it lies.
#[derive(Debug)]
pub struct Received<'a> {
    rx: &'a mut Rx,
    bytes: usize,
}

impl Deref for Received<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.rx.lane.slot(0, lines(self.bytes))[range(self.bytes)]
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.rx.release(lines(self.bytes));
    }
}
