//! A peer's socket that can be read without being watched.

use std::io::{self, Read as _};
use std::net::TcpStream as Unwatched;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Socket;
use crate::egress::Link;

/// A TCP connection, watched by the runtime or not.
///
/// A watched socket wakes the runtime with each packet that arrives, also while nobody wants to
/// know. Who reads by the clock takes it out of the runtime's epoll by [`Socket::read_unwatched`];
/// whatever waits for it puts it back.
pub(super) struct Tcp(State);

enum State {
    Watched(TcpStream),
    Unwatched(Unwatched),
    /// Only while it changes, or after the runtime would not have it back.
    Lost,
}

impl Tcp {
    pub(super) const fn new(socket: TcpStream) -> Self {
        Self(State::Watched(socket))
    }

    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if let State::Unwatched(_) = self.0
            && let State::Unwatched(socket) = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Watched(TcpStream::from_std(socket)?);
        }
        match &mut self.0 {
            State::Watched(socket) => Ok(Pin::new(socket)),
            State::Unwatched(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn unwatched(&mut self) -> io::Result<&mut Unwatched> {
        if let State::Watched(_) = self.0
            && let State::Watched(socket) = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Unwatched(socket.into_std()?);
        }
        match &mut self.0 {
            State::Unwatched(socket) => Ok(socket),
            State::Watched(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Socket for Tcp {
    const READS_ALL: bool = true;

    fn read_unwatched(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match self.unwatched().and_then(|socket| socket.read(buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        }
    }

    fn into_link(mut self) -> io::Result<Link> {
        self.unwatched()?;
        match self.0 {
            State::Unwatched(socket) => Ok(socket.into()),
            State::Watched(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.watched() {
            Ok(socket) => socket.poll_read(context, buffer),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.watched() {
            Ok(socket) => socket.poll_write(context, bytes),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.watched() {
            Ok(socket) => socket.poll_flush(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.watched() {
            Ok(socket) => socket.poll_shutdown(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_reads_unwatched_and_waits_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut peer = TcpStream::connect(address).await.expect("it listens");
        let mut socket = Tcp::new(listener.accept().await.expect("the peer").0);
        let mut buffer = [0; 8];
        assert!(socket.read_unwatched(&mut buffer).is_none(), "nothing has come");
        peer.write_all(b"one").await.expect("it takes it");
        let read = loop {
            match socket.read_unwatched(&mut buffer) {
                Some(read) => break read.expect("the peer is there"),
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(&buffer[..read], b"one");
        socket.write_all(b"two").await.expect("the peer takes it");
        peer.read_exact(&mut buffer[..3]).await.expect("it was sent");
        assert_eq!(&buffer[..3], b"two");
        peer.write_all(b"three").await.expect("it takes it");
        let read = socket.read(&mut buffer).await.expect("the peer is there");
        assert_eq!(&buffer[..read], b"three");
        drop(peer);
        assert_eq!(socket.read(&mut buffer).await.ok(), Some(0));
        assert_eq!(socket.read_unwatched(&mut buffer).and_then(Result::ok), Some(0));
    }
}
