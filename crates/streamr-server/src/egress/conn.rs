//! What a shard keeps of one socket.

use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use streamr_media::fanout::Reader;
use streamr_media::rtmp::PlayerControl;

use super::tls::Tls;

/// A socket and what it is for. Everything that the engine allocates for a connection hangs here.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) wire: Wire,
    pub(super) role: Role,
    /// When it last did what it has to do: took bytes, or sent some.
    pub(super) progress: Instant,
    /// The socket takes no more bytes until it says so.
    pub(super) blocked: bool,
    /// It has used its turn up and has another one coming.
    pub(super) postponed: bool,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    Http(Http),
    Player(Player),
}

/// The bytes on their way through a socket.
#[derive(Debug)]
pub(super) enum Wire {
    /// Shared with a send that is under way, and with nobody between two turns.
    Plain(Arc<TcpStream>),
    Tls(Box<Tls>),
}

impl Wire {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }

    /// Reads what came. `doubting` if a short read does not prove that the socket is empty.
    pub(super) fn read(&mut self, into: &mut [u8], doubting: bool) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => retry(|| (&**socket).read(into)),
            Self::Tls(tls) => tls.read(into, doubting),
        }
    }

    /// Whether a read that gave less than it could have was the last one.
    pub(super) fn ends_short(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => retry(|| (&**socket).write(bytes)),
            Self::Tls(tls) => tls.write(bytes, &[]),
        }
    }

    /// Writes from two pieces as if they were one.
    pub(super) fn write_both(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => {
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                retry(|| (&**socket).write_vectored(&slices))
            }
            Self::Tls(tls) => tls.write(first, second),
        }
    }

    /// Whether something that was written waits in here until the socket takes it.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_pending())
    }

    /// Goes on sending what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Whether the two sides are still agreeing on how to talk.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.session.is_handshaking())
    }

    pub(super) fn say_goodbye(&mut self) {
        if let Self::Tls(tls) = self {
            tls.say_goodbye();
        }
    }
}

pub(super) fn retry(mut io: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match io() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A connection that speaks HTTP/1.1.
#[derive(Debug, Default)]
pub(super) struct Http {
    pub(super) phase: Phase,
    /// The address at the other end.
    pub(super) peer: Option<IpAddr>,
    /// Bytes that were read and not yet understood: an unfinished head, or requests sent ahead.
    pub(super) input: Vec<u8>,
    /// The socket may hold more than was read.
    pub(super) unread: bool,
    pub(super) keep_alive: bool,
    pub(super) head_only: bool,
}

/// Where an HTTP connection is.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// The next bytes are a request head.
    #[default]
    Reading,
    /// An answer is under way.
    Sending(Outgoing),
    /// The request waits for a topic; the number is that of its ticket.
    Waiting(u32),
}

/// What is left of an answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

impl Outgoing {
    pub(super) fn advance(&mut self, sent: usize) {
        let head = sent.min(self.head.len());
        self.head.advance(head);
        self.body.advance(sent - head);
    }

    pub(super) fn is_done(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }
}

/// A connection that follows a stream.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) stream: u64,
    /// Its place in the shard's list of the stream's players.
    pub(super) seat: u32,
    pub(super) reader: Reader,
    /// `None` for HTTP-FLV, where nothing more is listened to.
    pub(super) control: Option<Box<PlayerControl>>,
    /// What `control` has to say, sent between two messages.
    pub(super) outbox: Bytes,
    pub(super) paused: bool,
    /// It has been told that the stream is over.
    pub(super) dismissed: bool,
}

impl Player {
    /// A player that has not been seated yet.
    pub(super) fn new(stream: u64, reader: Reader, control: Option<Box<PlayerControl>>) -> Self {
        let (seat, outbox, paused, dismissed) = (0, Bytes::new(), false, false);
        Self { stream, seat, reader, control, outbox, paused, dismissed }
    }
}
