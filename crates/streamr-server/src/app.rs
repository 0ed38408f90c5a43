//! What the parts of a running server share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Config, Metrics, Store};

/// Everything that parts of the server share. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// How it was set up.
    pub config: Arc<Config>,
    /// What outlives the process.
    pub store: Arc<dyn Store>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// When it shall end.
    pub shutdown: Shutdown,
}

impl App {
    /// An app over `store`, with fresh counters, not shutting down.
    #[must_use]
    pub fn new(config: Config, store: Arc<dyn Store>) -> Self {
        let metrics = Arc::new(Metrics::default());
        Self { config: Arc::new(config), store, metrics, shutdown: Shutdown::default() }
    }
}

/// Tells every part of the server that it shall end. Clones share one state.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Begins the shutdown; more than once is no fault.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it begins, at once if it has.
    pub async fn begun(&self) {
        // `wait_for` fails only without a sender, and `self` is one.
        let _ = self.0.subscribe().wait_for(|&begun| begun).await;
    }
}
