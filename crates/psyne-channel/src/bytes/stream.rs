//! A queue of bytes as a stream: what was written comes out in order, cut wherever it suits.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, BufRead, Read, Write};

use super::{Receiver, Sender, lines, range};
use crate::Error;
use crate::raw::Format;

/// The most that one write sends at once, so that the reader can begin while the writer goes on.
const PIECE_BYTES_MAX: usize = 64 << 10;

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Full => io::ErrorKind::WouldBlock,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::Closed(_) => io::ErrorKind::BrokenPipe,
            Error::Corrupt(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The end that writes. Each write is sent at once: flushing does nothing.
#[derive(Debug)]
pub struct Writer(Sender);

impl Writer {
    /// Writes to this queue. Its configuration says what a write does when it is full.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self(sender)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = PIECE_BYTES_MAX.min(self.0.bytes_max());
        let piece = &bytes[..bytes.len().min(most)];
        if !piece.is_empty() {
            self.0.send(piece)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end that reads: what it lends by [`BufRead::fill_buf`] lies where it was written. It ends
/// when the writer does.
#[derive(Debug)]
pub struct Reader {
    receiver: Receiver,
    /// The string that is being read, and how far it was.
    current: Option<(usize, usize)>,
}

impl Reader {
    /// Reads from this queue.
    #[must_use]
    pub fn new(receiver: Receiver) -> Self {
        Self { receiver, current: None }
    }

    /// As [`BufRead::fill_buf`] for a task, which is woken when more comes; the same signature as
    /// the `AsyncBufRead` of the executors.
    ///
    /// # Errors
    /// A sender that broke the protocol.
    pub fn poll_fill_buf(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.current.is_none() {
            match this.receiver.poll_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(Error::Closed(_))) => return Poll::Ready(Ok(&[])),
                Poll::Ready(ready) => ready?,
            }
            this.take()?;
        }
        Poll::Ready(Ok(this.rest()))
    }

    /// Makes the string that is next the current one, if it is one and has bytes.
    fn take(&mut self) -> Result<(), Error> {
        match self.receiver.next()? {
            Some(0) => self.receiver.rx.release(1),
            Some(bytes) => self.current = Some((bytes, 0)),
            None => {}
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        let Some((bytes, at)) = self.current else { return &[] };
        &self.receiver.rx.lane.slot(0, lines(bytes))[range(bytes)][at..]
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_none() {
            match self.receiver.rx.wait(Format::Wide, None) {
                Err(Error::Closed(_)) => return Ok(&[]),
                waited => waited?,
            }
            self.take()?;
        }
        Ok(self.rest())
    }

    /// Panics if that is more than was lent.
    fn consume(&mut self, count: usize) {
        let Some((bytes, at)) = &mut self.current else {
            return assert!(count == 0, "what is consumed was lent");
        };
        *at += count;
        assert!(*at <= *bytes, "what is consumed was lent");
        if at == bytes {
            let used = lines(*bytes);
            self.current = None;
            self.receiver.rx.release(used);
        }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
