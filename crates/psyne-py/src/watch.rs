//! Waiting: in slices that Python can interrupt, and by a file descriptor.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use psyne::channel::{self, Error, Ready};
use pyo3::prelude::*;

use crate::error::raise;

/// How long a wait may keep Ctrl-C from being noticed.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Waits without Python's lock, as long as it takes or for `time`; `attempt` waits for so long.
pub(crate) fn patiently<T: Send>(
    py: Python<'_>,
    time: Option<Duration>,
    mut attempt: impl FnMut(Duration) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let limit = time.map(|time| Instant::now() + time);
    loop {
        let left = limit.map_or(SLICE, |limit| limit.saturating_duration_since(Instant::now()));
        match py.detach(|| attempt(left.min(SLICE))) {
            Err(Error::TimedOut) if left > SLICE || limit.is_none() => py.check_signals()?,
            done => return done.map_err(|error| raise(py, &error)),
        }
    }
}

/// The descriptor of an end, if it was asked for.
#[derive(Default)]
pub(crate) struct Watch(Option<channel::Watch>);

impl Watch {
    fn watch(&mut self, py: Python<'_>) -> PyResult<&mut channel::Watch> {
        if self.0.is_none() {
            self.0 = Some(channel::Watch::new().map_err(|error| raise(py, &error))?);
        }
        Ok(self.0.as_mut().expect("made just now"))
    }

    pub(crate) fn fileno(&mut self, py: Python<'_>) -> PyResult<RawFd> {
        Ok(self.watch(py)?.as_fd().as_raw_fd())
    }

    pub(crate) fn arm(&mut self, py: Python<'_>, end: &mut impl Ready) -> PyResult<bool> {
        self.watch(py)?.arm(end).map_err(|error| raise(py, &error))
    }

    /// The end is closed: who waits for the descriptor, which stays, finds that out.
    pub(crate) fn ring(&self) {
        self.0.iter().for_each(channel::Watch::ring);
    }
}

/// Calls a function of the package's asyncio part with an end.
pub(crate) fn asyncio<'py>(
    name: &str,
    end: &Bound<'py, PyAny>,
    verb: &str,
) -> PyResult<Bound<'py, PyAny>> {
    end.py().import("psyne._aio")?.call_method1(name, (end, verb))
}
