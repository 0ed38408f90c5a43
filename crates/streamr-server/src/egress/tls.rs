//! TLS on a socket that does not block.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use super::conn::retry;

/// Plaintext that is encrypted before it is sent, in records of 16 KiB: one `writev` takes all of
/// it, and it has not left the second-level cache by then.
const SEAL_BYTES: usize = 128 << 10;

/// A socket and its TLS session. Bytes that were taken may still wait to be sent: see
/// [`Tls::is_pending`].
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) socket: TcpStream,
    pub(super) session: ServerConnection,
    /// The last read took less than it could have: the socket was empty.
    drained: bool,
}

impl Tls {
    /// The server's side of a connection that has just been accepted.
    pub(super) fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::new(socket, ServerConnection::new(config)?))
    }

    /// Goes on with a session.
    pub(super) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        // What is sealed at once, with its record headers and what the handshake had to say.
        session.set_buffer_limit(Some(2 * SEAL_BYTES));
        Self { socket, session, drained: false }
    }

    /// Whether sealed bytes wait for the socket to take them.
    pub(super) fn is_pending(&self) -> bool {
        self.session.wants_write()
    }

    /// Reads plaintext. `doubting` if the socket may hold more although it gave less than it could
    /// have, because its end was announced.
    pub(super) fn read(&mut self, into: &mut [u8], doubting: bool) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Closed without a goodbye: heads have an end of their own, so nothing is cut.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if std::mem::take(&mut self.drained) && !doubting {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut gauge = Gauge { socket: &mut self.socket, short: false };
            let read = retry(|| self.session.read_tls(&mut gauge))?;
            self.drained = gauge.short;
            if read == 0 {
                return Ok(0);
            }
            let understood = self.session.process_new_packets();
            // The handshake's answer, or an alert. What the socket does not take stays pending.
            if let Err(e) = self.flush()
                && e.kind() != io::ErrorKind::WouldBlock
            {
                return Err(e);
            }
            understood.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        }
    }

    /// Seals and sends from two pieces as if they were one. All that it counts will be sent, in
    /// order, as the socket takes it.
    pub(super) fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let whole = first.len() + second.len();
        let mut taken = 0;
        loop {
            match self.flush() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                flushed => flushed?,
            }
            if taken == whole {
                return Ok(taken);
            }
            let head = &first[taken.min(first.len())..];
            let body = &second[taken.saturating_sub(first.len())..];
            let head = &head[..head.len().min(SEAL_BYTES)];
            let body = &body[..body.len().min(SEAL_BYTES - head.len())];
            let slices = [IoSlice::new(head), IoSlice::new(body)];
            // One slice is cheaper than two of which one is empty.
            let slices = if head.is_empty() { &slices[1..] } else { &slices };
            taken += match self.session.writer().write_vectored(slices)? {
                0 => return Err(io::ErrorKind::WouldBlock.into()),
                n => n,
            };
        }
    }

    /// Sends what was sealed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            if retry(|| self.session.write_tls(&mut self.socket))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Says, if the socket takes it, that nothing more will come.
    pub(super) fn say_goodbye(&mut self) {
        if !self.session.is_handshaking() {
            self.session.send_close_notify();
            let _ = self.flush();
        }
    }
}

/// Sees whether a socket gave as much as it was asked for.
struct Gauge<'a> {
    socket: &'a mut TcpStream,
    short: bool,
}

impl Read for Gauge<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(into)?;
        self.short = read < into.len();
        Ok(read)
    }
}
