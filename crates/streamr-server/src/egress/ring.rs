//! Sends to many sockets with one system call.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compio_buf::BufResult;
use compio_driver::op::{Send, SendFlags};
use compio_driver::{Key, Proactor, PushEntry};
use mio::net::TcpStream;

/// Sends in one batch. A batch is what a turn may feed; more go out in several.
const ENTRIES: u32 = 512;
/// No send waits, so all are done when they have been submitted. Should the kernel think otherwise,
/// it is asked again this often.
const PATIENCE: Duration = Duration::from_millis(1);

/// An `io_uring` of one thread, or nothing where the system does not give one: before Linux 6.1,
/// and where a sandbox forbids it, as many containers do. Then each send is a call of its own.
pub(super) struct Ring {
    proactor: Option<Proactor>,
    under_way: Vec<(Sent, Key<Operation>)>,
    done: Vec<Sent>,
}

type Operation = Send<Bytes, Arc<TcpStream>>;

/// What became of a send.
#[derive(Debug)]
pub(super) struct Sent {
    /// Whose it was.
    pub(super) slot: u32,
    /// How much was to be sent.
    pub(super) bytes: usize,
    /// How much was.
    pub(super) result: io::Result<usize>,
}

impl Ring {
    /// For the thread that it is opened on.
    pub(super) fn open(wanted: bool) -> Self {
        let mut builder = Proactor::builder();
        builder.capacity(ENTRIES).single_issuer(true).defer_taskrun(true);
        let proactor = wanted.then(|| builder.build()).and_then(|built| {
            let why = |error: &io::Error| tracing::debug!(%error, "players are sent to one by one");
            built.inspect_err(why).ok()
        });
        Self { proactor, under_way: Vec::new(), done: Vec::new() }
    }

    /// Whether it takes sends.
    pub(super) const fn is_open(&self) -> bool {
        self.proactor.is_some()
    }

    /// Adds a send, which must not be the second one of a socket in a batch.
    pub(super) fn push(&mut self, slot: u32, socket: Arc<TcpStream>, bytes: Bytes) {
        let Some(proactor) = &mut self.proactor else { return };
        let none = io::ErrorKind::WouldBlock.into();
        let mut sent = Sent { slot, bytes: bytes.len(), result: Err(none) };
        match proactor.push(Send::new(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
            PushEntry::Pending(key) => self.under_way.push((sent, key)),
            PushEntry::Ready(BufResult(result, _)) => {
                sent.result = result;
                self.done.push(sent);
            }
        }
    }

    /// Sends what was added, and says what became of it.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Sent> {
        let mut patience = Duration::ZERO;
        while let Some(proactor) = &mut self.proactor
            && !self.under_way.is_empty()
        {
            // It says when nothing was completed, too; what was shows below.
            let _ = proactor.poll(Some(patience));
            patience = PATIENCE;
            for (mut sent, key) in std::mem::take(&mut self.under_way) {
                match proactor.pop(key) {
                    PushEntry::Pending(key) => self.under_way.push((sent, key)),
                    PushEntry::Ready(BufResult(result, _)) => {
                        sent.result = result;
                        self.done.push(sent);
                    }
                }
            }
        }
        self.done.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A socket for the ring, and its peer.
    fn pair() -> (Arc<TcpStream>, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (Arc::new(TcpStream::from_std(socket)), peer)
    }

    #[test]
    fn sends_arrive_and_nothing_waits_for_a_full_or_broken_socket() {
        let mut ring = Ring::open(true);
        if !ring.is_open() {
            // A sandbox forbids it: what is left is that it does nothing.
            ring.push(0, pair().0, Bytes::from_static(b"lost"));
            return assert_eq!(ring.finish().count(), 0);
        }
        let (full, _kept) = pair();
        while (&*full).write(&[0; 64 << 10]).is_ok() {}
        let broken = pair().0;
        broken.shutdown(std::net::Shutdown::Write).unwrap();
        let (good, mut peer) = pair();
        let hello = Bytes::from_static(b"hello");
        ring.push(0, full.clone(), hello.clone());
        ring.push(1, broken, hello.clone());
        // More than fit at once, which the engine does not do.
        (2..2 * ENTRIES).for_each(|slot| ring.push(slot, good.clone(), hello.clone()));
        let mut sent: Vec<_> = ring.finish().collect();
        sent.sort_by_key(|sent| sent.slot);
        assert_eq!(sent.len() as u32, 2 * ENTRIES);
        let errors = sent.iter().map_while(|s| s.result.as_ref().err()).map(io::Error::kind);
        let expected = [io::ErrorKind::WouldBlock, io::ErrorKind::BrokenPipe];
        assert_eq!(errors.collect::<Vec<_>>(), expected);
        assert!(sent[2..].iter().all(|s| matches!(s.result, Ok(5)) && s.bytes == 5));
        let mut heard = vec![0; (sent.len() - 2) * hello.len()];
        peer.read_exact(&mut heard).unwrap();
        assert!(heard.chunks(hello.len()).all(|word| word == hello));
        assert!(Arc::into_inner(full).is_some(), "it lets go of sockets");
    }

    #[test]
    fn nobody_has_to_want_one() {
        assert!(!Ring::open(false).is_open());
    }
}
