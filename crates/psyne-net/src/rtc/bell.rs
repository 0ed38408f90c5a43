//! How handles call the driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use psyne_rtc::Local;
use tokio::sync::Notify;

use super::Metrics;
use super::session;
use crate::socket::Socket;

/// Names a session within its driver, for ever.
pub(super) type Key = u64;

/// Addresses of ours that are remembered: more than a session takes, should some be gone.
const LOCALS_MAX: usize = 64;

/// What waits for the driver: at most one entry for each session, which says so itself.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Sessions that the driver has not seen yet.
    pub(super) new: Vec<Arc<session::Shared>>,
    /// Sessions that have something to say.
    pub(super) dirty: Vec<Key>,
    /// Addresses that sessions have not been told of.
    pub(super) locals: Vec<Local>,
    /// Nobody holds a handle.
    pub(super) left: bool,
}

#[derive(Debug, Default)]
struct State {
    notes: Notes,
    locals: Vec<Local>,
    metrics: Metrics,
    next: Key,
    /// The driver is gone: nobody will come.
    over: bool,
}

/// Rings when a handle wants something.
#[derive(Debug)]
pub(super) struct Bell {
    state: Mutex<State>,
    notify: Notify,
}

impl Bell {
    /// With the addresses that the sockets are bound to, where they are.
    pub(super) fn new(sockets: &[Socket]) -> Self {
        let bound = sockets.iter().map(Socket::local_addr);
        let named = bound.filter(|addr| !addr.ip().is_unspecified());
        let state = State { locals: named.map(Local::Host).collect(), ..State::default() };
        Self { state: Mutex::new(state), notify: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_key(&self) -> Key {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    pub(super) fn locals(&self) -> Vec<Local> {
        self.state().locals.clone()
    }

    pub(super) fn add_local(&self, local: Local) {
        let mut state = self.state();
        if !state.locals.contains(&local) && state.locals.len() < LOCALS_MAX {
            state.locals.push(local);
            state.notes.locals.push(local);
            self.notify.notify_one();
        }
    }

    /// Hands the driver a session; `false`: there is none any more.
    pub(super) fn enter(&self, session: Arc<session::Shared>) -> bool {
        let mut state = self.state();
        if !state.over {
            state.notes.new.push(session);
            self.notify.notify_one();
        }
        !state.over
    }

    pub(super) fn ring(&self, key: Key) {
        self.state().notes.dirty.push(key);
        self.notify.notify_one();
    }

    pub(super) fn leave(&self) {
        self.state().notes.left = true;
        self.notify.notify_one();
    }

    pub(super) async fn rings(&self) {
        self.notify.notified().await;
    }

    /// Takes what waits. That nobody holds a handle stays true.
    pub(super) fn notes(&self) -> Notes {
        let mut state = self.state();
        let left = state.notes.left;
        core::mem::replace(&mut state.notes, Notes { left, ..Notes::default() })
    }

    /// The driver is gone. What it has not seen is handed back.
    pub(super) fn end(&self) -> Vec<Arc<session::Shared>> {
        let mut state = self.state();
        state.over = true;
        core::mem::take(&mut state.notes.new)
    }

    pub(super) fn set_metrics(&self, metrics: Metrics) {
        self.state().metrics = metrics;
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.state().metrics
    }
}
