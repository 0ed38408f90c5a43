//! The last batches of a stream, as one thread has them.

use std::sync::Arc;

use psyne::channel::broadcast::values::Follower;

use super::{Batch, Config};

/// The last batches of a stream, oldest first, without holes: what a [`super::Writer`] keeps, as of
/// the last [`Window::refresh`]. Costs a reference count a batch.
#[derive(Clone, Debug)]
pub struct Window {
    batches: Follower<Arc<Batch>>,
    config: Config,
}

impl Window {
    pub(super) fn new(batches: Follower<Arc<Batch>>, config: Config) -> Self {
        Self { batches, config }
    }

    /// Brings it up to date.
    pub fn refresh(&mut self) {
        self.batches.refresh();
    }

    /// The batch with this number, if it is still here.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&Arc<Batch>> {
        self.batches.get(seq)
    }

    /// The number of the oldest batch that is here, or of the next one if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.batches.first()
    }

    /// The newest batch that somebody can start with.
    #[must_use]
    pub fn start(&self) -> Option<&Arc<Batch>> {
        self.get(self.batches.mark()?)
    }

    /// Where a reader that wants batch `seq` should rather continue: the newest key frame if the
    /// reader is too far behind and that is ahead of it.
    pub(super) fn shortcut(&self, seq: u64) -> Option<&Arc<Batch>> {
        let start = self.start().filter(|b| b.seq() > seq)?;
        let Some(wanted) = self.get(seq) else { return Some(start) };
        let newest = self.batches.newest()?;
        (newest.opened().since(wanted.opened()) > self.config.lag_max).then_some(start)
    }
}
