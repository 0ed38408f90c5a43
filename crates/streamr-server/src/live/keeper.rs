//! Writes to the store what became of streams, in order and as long as it takes.
//!
//! A disk that is full or a database that is locked must not stop a broadcast: changes wait here,
//! one line in the log says so, and they are tried again until the store takes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use streamr_core::id::{BroadcastId, StreamName};
use streamr_core::lifecycle::State;
use tokio::sync::Notify;

use crate::essential::Essential;
use crate::time::unix_ms;
use crate::{Error, Store};

/// Changes that may wait. Each is three lines of a broadcast's life, so this is a thousand
/// broadcasts that began or ended while the store did not answer; older ones are dropped, and
/// closed by the store itself when the next one of the same stream begins.
const CHANGES_MAX: usize = 3_000;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Change {
    State(StreamName, State),
    Started(StreamName, BroadcastId, u64),
    Ended(BroadcastId, u64, u32),
}

/// Takes changes; never waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Handle(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    changes: Mutex<VecDeque<Change>>,
    filled: Notify,
    closed: AtomicBool,
}

/// Writes changes.
pub(super) struct Keeper {
    store: Arc<dyn Store>,
    queue: Handle,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

pub(super) fn new(store: Arc<dyn Store>) -> (Keeper, Handle) {
    let queue = Handle::default();
    (Keeper { store, queue: queue.clone() }, queue)
}

impl Handle {
    pub(super) fn state(&self, name: &StreamName, state: State) {
        self.push(Change::State(name.clone(), state));
    }

    pub(super) fn started(&self, name: &StreamName, id: BroadcastId) {
        self.push(Change::Started(name.clone(), id, unix_ms()));
    }

    pub(super) fn ended(&self, id: BroadcastId, viewers_peak: u32) {
        self.push(Change::Ended(id, unix_ms(), viewers_peak));
    }

    /// Nothing more will come: [`Keeper::run`] ends when it has written what there is.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.filled.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    fn push(&self, change: Change) {
        let mut changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == CHANGES_MAX {
            changes.pop_front();
        }
        changes.push_back(change);
        self.0.filled.notify_one();
    }

    fn pop(&self) -> Option<Change> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Keeper {
    /// Writes until the queue is closed and empty.
    pub(super) async fn run(self) {
        let _essential = Essential("the keeper of what becomes of broadcasts");
        loop {
            let last = self.queue.is_closed();
            while let Some(change) = self.queue.pop() {
                self.insist(change).await;
            }
            if last {
                return;
            }
            self.queue.0.filled.notified().await;
        }
    }

    async fn insist(&self, change: Change) {
        let mut told = false;
        while let Err(error) = self.write(&change).await {
            if matches!(error, Error::NoStream(_) | Error::State(_)) {
                return;
            }
            if self.queue.is_closed() {
                return tracing::error!(%error, ?change, "not kept, because the server ends");
            }
            if !told {
                tracing::error!(%error, "broadcasts go on, but what becomes of them is not kept");
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if told {
            tracing::info!("the store answers again");
        }
    }

    async fn write(&self, change: &Change) -> Result<(), Error> {
        match change {
            Change::State(name, state) => self.store.set_state(name, *state).await,
            Change::Started(name, id, at) => self.store.start_broadcast(name, *id, *at).await,
            Change::Ended(id, at, peak) => self.store.end_broadcast(*id, *at, *peak).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewStream, Sqlite};
    use streamr_core::key::StreamKey;

    async fn state(store: &Sqlite, name: &StreamName) -> State {
        store.stream(name).await.expect("it can be read").expect("a stream").state
    }

    /// What a real database does when it may not be written: the store fails, changes wait in
    /// order, and are written when it may be again.
    #[tokio::test]
    async fn changes_wait_while_the_database_is_read_only() {
        let store = Arc::new(Sqlite::in_memory().await.expect("memory"));
        let name = StreamName::new("main").expect("a name");
        let new = NewStream {
            name: name.clone(),
            title: String::new(),
            key: StreamKey::from_random([7; 20]).hash(),
            created_unix_ms: 0,
        };
        store.add_stream(&new).await.expect("a stream");
        let (keeper, handle) = super::new(store.clone());
        let running = tokio::spawn(keeper.run());

        store.meddle("PRAGMA query_only = 1").await;
        for to in [State::Live, State::Offline, State::Live] {
            handle.state(&name, to);
        }
        tokio::time::sleep(PAUSE + PAUSE / 2).await;
        assert_eq!(state(&store, &name).await, State::Ready);
        let error = store.set_state(&name, State::Live).await.expect_err("it is read-only");
        assert_eq!(error.code(), "store_read_only");

        store.meddle("PRAGMA query_only = 0").await;
        handle.close();
        tokio::time::timeout(PAUSE * 10, running).await.expect("it ends").expect("no panic");
        assert_eq!(state(&store, &name).await, State::Live);
    }
}
