//! Something whose version grows, and requests that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::mailbox::{Command, Mailbox};

/// Something whose version grows: a media playlist that gains parts. Made by `Handle::topic`.
pub struct Topic {
    id: u64,
    version: watch::Sender<u64>,
    shards: Arc<[Mailbox]>,
    waited_on: Box<[AtomicBool]>,
}

impl Topic {
    pub(super) fn new(id: u64, shards: Arc<[Mailbox]>) -> Self {
        let waited_on = shards.iter().map(|_| AtomicBool::new(false)).collect();
        Self { id, version: watch::Sender::new(0), shards, waited_on }
    }

    /// Lets go on whoever waits for `version` or an earlier one. Versions never go down; what the
    /// media answers must have changed before this is called. Use `u64::MAX` when nothing more
    /// will come.
    pub fn advance(&self, version: u64) {
        self.version.send_modify(|v| *v = version.max(*v));
        for (waited_on, mailbox) in self.waited_on.iter().zip(self.shards.iter()) {
            if waited_on.swap(false, Ordering::AcqRel) {
                mailbox.send(Command::Advance(self.id, version));
            }
        }
    }

    /// The version that was reached.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits for a version, for requests that are not served by the engine.
    pub async fn reached(&self, version: u64) {
        // Fails only when the sender is gone, and `self` holds it.
        let _ = self.version.subscribe().wait_for(|v| *v >= version).await;
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Asks that `shard` be told of the next version. Look at [`Topic::version`] afterwards: it
    /// may have been reached before this call.
    pub(super) fn set_waited_on(&self, shard: usize) {
        self.waited_on[shard].store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("id", &self.id).field("version", &self.version()).finish()
    }
}
