//! Events: something happened, and how often; there is nothing to carry.

use psyne::channel::event;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Closed, raise};
use crate::options::{config, time};
use crate::own::Own;
use crate::watch::{Watch, asyncio, patiently};

/// The side to which things happen.
#[pyclass(module = "psyne")]
pub(crate) struct Notifier(Own<event::Notifier>);

#[pymethods]
impl Notifier {
    #[new]
    fn new(py: Python<'_>, address: &str) -> PyResult<Self> {
        let config = config(None, "adaptive", true)?;
        let opened = py.detach(|| event::Notifier::open(address, &config));
        Ok(Self(Own::new(opened.map_err(|error| raise(py, &error))?)))
    }

    /// Says that an event, 0 to 63, happened once more. Never waits.
    fn notify(&mut self, py: Python<'_>, id: u8) -> PyResult<()> {
        let end = self.0.end(py)?;
        if id >= event::IDS {
            return Err(PyValueError::new_err("an event is one of 64, from 0 on"));
        }
        end.notify(id);
        Ok(())
    }

    /// Closes the notifier.
    fn close(&mut self) {
        self.0.close();
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) {
        self.close();
    }
}

/// A side that waits for things to happen.
#[pyclass(module = "psyne")]
pub(crate) struct Listener {
    end: Own<event::Listener>,
    watch: Watch,
}

fn counts<'py>(py: Python<'py>, events: &event::Events) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    for (id, count) in events.iter() {
        counts.set_item(id, count)?;
    }
    Ok(counts)
}

#[pymethods]
impl Listener {
    #[new]
    #[pyo3(signature = (address, *, wait="adaptive"))]
    fn new(py: Python<'_>, address: &str, wait: &str) -> PyResult<Self> {
        let config = config(None, wait, true)?;
        let opened = py.detach(|| event::Listener::open(address, &config));
        let end = Own::new(opened.map_err(|error| raise(py, &error))?);
        Ok(Self { end, watch: Watch::default() })
    }

    /// Listens to the notifiers of another listener, too, which is closed.
    fn join(&mut self, py: Python<'_>, other: &Bound<'_, Self>) -> PyResult<()> {
        let mut other = other.try_borrow_mut()?;
        let listener = other.end.end(py)?.clone();
        let joined = self.end.end(py)?.join(listener);
        other.close();
        joined.map_err(|error| raise(py, &error))
    }

    /// Waits until something happened since the last look: how often, by event.
    #[pyo3(signature = (timeout=None))]
    fn wait<'py>(&mut self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyDict>> {
        let (time, end) = (time(timeout)?, self.end.end(py)?);
        counts(py, &patiently(py, time, |time| end.wait_timeout(time))?)
    }

    /// What happened since the last look, or None.
    fn try_wait<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let happened = self.end.end(py)?.try_wait().map_err(|error| raise(py, &error))?;
        happened.map(|events| counts(py, &events)).transpose()
    }

    /// Waits as a task of asyncio.
    fn wait_async(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("take", slf.as_any(), "try_wait")
    }

    fn fileno(&mut self, py: Python<'_>) -> PyResult<i32> {
        self.watch.fileno(py)
    }

    fn arm(&mut self, py: Python<'_>) -> PyResult<bool> {
        self.watch.arm(py, self.end.end(py)?)
    }

    /// Closes the listener.
    fn close(&mut self) {
        self.end.close();
        self.watch.ring();
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// What happened next; the loop ends when all notifiers are gone.
    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        match self.wait(py, None) {
            Err(error) if error.is_instance_of::<Closed>(py) => Ok(None),
            other => other.map(Some),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("next", slf.as_any(), "try_wait")
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) {
        self.close();
    }
}
