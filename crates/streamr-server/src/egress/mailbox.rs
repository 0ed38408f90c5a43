//! How other threads reach a shard.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use streamr_media::rtmp::PlayerControl;

use super::{Link, Stream};

/// Something for a shard to do.
pub(super) enum Command {
    /// Take over an RTMP player.
    Play(Box<Play>),
    /// The stream has something that was not sent.
    Dirty(u64),
    /// The topic has reached the version.
    Advance(u64, u64),
    /// Close everything and end.
    Shutdown,
}

/// An RTMP player as it is handed over.
pub(super) struct Play {
    pub(super) link: Link,
    pub(super) stream: Arc<Stream>,
    pub(super) greeting: Bytes,
    pub(super) control: PlayerControl,
}

/// The queue of one shard. Its length is bounded by its senders: a stream and a topic have at most
/// one command in it for each change that the shard has not seen, and players are counted against
/// `connections_max` before they enter.
pub(super) struct Mailbox {
    queue: Mutex<Vec<Command>>,
    awake: AtomicBool,
    waker: mio::Waker,
}

impl Mailbox {
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self { queue: Mutex::default(), awake: AtomicBool::new(false), waker }
    }

    pub(super) fn send(&self, command: Command) {
        self.lock().push(command);
        if !self.awake.swap(true, Ordering::AcqRel) {
            // Fails only if the shard's poll is gone, and then nobody waits for the command.
            let _ = self.waker.wake();
        }
    }

    /// Moves everything that was sent into `into`, which is empty.
    pub(super) fn drain(&self, into: &mut Vec<Command>) {
        self.awake.store(false, Ordering::Release);
        std::mem::swap(&mut *self.lock(), into);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Command>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
