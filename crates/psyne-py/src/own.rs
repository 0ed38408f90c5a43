//! Ends that Python holds: until they are closed, and only in the process that opened them.

use std::sync::atomic::{AtomicUsize, Ordering};

use psyne::channel::Error;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::raise;

/// How often this process is the child of a fork.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// To be called in the child of each fork.
#[pyfunction]
pub(crate) fn _forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// What a fork copies must be used, and closed, by one of both: the parent.
pub(crate) struct Own<T> {
    end: Option<T>,
    forks: usize,
}

impl<T> Own<T> {
    pub(crate) fn new(end: T) -> Self {
        Self { end: Some(end), forks: FORKS.load(Ordering::Relaxed) }
    }

    fn is_ours(&self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// The end, unless it is closed, or the parent's.
    pub(crate) fn end(&mut self, py: Python<'_>) -> PyResult<&mut T> {
        if !self.is_ours() {
            let text = "a channel does not pass a fork: open it in the child, or spawn that";
            return Err(raise(py, &Error::System(text.into())));
        }
        self.end.as_mut().ok_or_else(|| PyValueError::new_err("this end is closed"))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn close(&mut self) {
        let end = self.end.take();
        if !self.is_ours() {
            // Dropping it would tell the others that the parent's is closed.
            std::mem::forget(end);
        }
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        self.close();
    }
}
