//! Connections for the general HTTP server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that the engine does not serve, with what was already read from it.
#[derive(Debug)]
pub struct Handover {
    pub(super) socket: TcpStream,
    pub(super) session: Option<ServerConnection>,
    pub(super) read: Bytes,
}

impl Handover {
    /// Turns it into a connection that starts with what was already read.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn into_io(self) -> io::Result<HandoverIo> {
        let socket = tokio::net::TcpStream::from_std(self.socket)?;
        Ok(HandoverIo { socket, session: self.session.map(Box::new), read: self.read })
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Whether it came with TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.session.is_some()
    }
}

/// A connection on tokio that starts with what was already read. What it reads and is given to
/// write is plaintext, with or without TLS.
#[derive(Debug)]
pub struct HandoverIo {
    socket: tokio::net::TcpStream,
    session: Option<Box<ServerConnection>>,
    read: Bytes,
}

impl AsyncRead for HandoverIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            let n = this.read.len().min(buf.remaining());
            buf.put_slice(&this.read[..n]);
            this.read.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut this.session {
            None => Pin::new(&mut this.socket).poll_read(cx, buf),
            Some(session) => open(session, &mut Now { socket: &mut this.socket, cx }, buf),
        }
    }
}

impl AsyncWrite for HandoverIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(session) = &mut this.session else {
            return Pin::new(&mut this.socket).poll_write(cx, buf);
        };
        let mut now = Now { socket: &mut this.socket, cx };
        ready!(send(session, &mut now))?;
        let taken = session.writer().write(buf)?;
        // What the socket does not take now goes with the next write or flush.
        if let Poll::Ready(sent) = send(session, &mut now) {
            sent?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.session.is_none() {
            return Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        Pin::new(this).poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.session.is_none() && self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(session) = &mut this.session {
            ready!(send(session, &mut Now { socket: &mut this.socket, cx }))?;
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(session) = &mut this.session {
            // Said once, however often this is polled.
            session.send_close_notify();
            ready!(send(session, &mut Now { socket: &mut this.socket, cx }))?;
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

/// Reads plaintext until there is some, or the socket has no more.
fn open(
    session: &mut ServerConnection,
    now: &mut Now<'_, '_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        match session.reader().read(buf.initialize_unfilled()) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => {
                buf.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
        if ready!(when_ready(session.read_tls(now)))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let understood = session.process_new_packets();
        if let Poll::Ready(sent) = send(session, now) {
            sent?;
        }
        understood.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    }
}

/// Sends what was sealed.
fn send(session: &mut ServerConnection, now: &mut Now<'_, '_>) -> Poll<io::Result<()>> {
    while session.wants_write() {
        if ready!(when_ready(session.write_tls(now)))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
    }
    Poll::Ready(Ok(()))
}

/// A tokio socket as one that does not block: its task is woken when it is worth trying again.
struct Now<'a, 'b> {
    socket: &'a mut tokio::net::TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for Now<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(into);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Now<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block<T>(done: Poll<io::Result<T>>) -> io::Result<T> {
    match done {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn when_ready<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}
