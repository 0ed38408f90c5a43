//! Requests and their replies.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use psyne::channel::{Error, request::plain};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::SLICE;
use crate::error::{Closed, PeerDied, raise};
use crate::layout::Layout;
use crate::options::{config, time};

fn closed() -> PyErr {
    PyValueError::new_err("this end is closed")
}

fn bytes(py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    PyBuffer::<u8>::get(message)?.to_vec(py)
}

/// The end that asks.
#[pyclass(module = "psyne")]
pub(crate) struct Client(Option<plain::Client>);

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (address, asks, answers, *, wait="adaptive"))]
    fn new(
        py: Python<'_>,
        address: &str,
        asks: Layout,
        answers: Layout,
        wait: &str,
    ) -> PyResult<Self> {
        let config = config(None, wait, true)?;
        let layouts = (&asks.0, &answers.0);
        let end = py.detach(|| plain::Client::open(address, layouts, &config));
        Ok(Self(Some(end.map_err(|error| raise(py, &error))?)))
    }

    /// Asks and waits for the reply. Ctrl-C is heard when it has come: give a timeout.
    #[pyo3(signature = (request, timeout=None))]
    fn call<'py>(
        &mut self,
        py: Python<'py>,
        request: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (request, time) = (bytes(py, request)?, time(timeout)?);
        let end = self.0.as_mut().ok_or_else(closed)?;
        let reply = py.detach(|| end.call(&request, time));
        Ok(PyBytes::new(py, reply.map_err(|error| raise(py, &error))?))
    }

    /// Closes the client.
    fn close(&mut self) {
        self.0 = None;
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) {
        self.close();
    }
}

/// The end that answers, one request after the other.
#[pyclass(module = "psyne")]
pub(crate) struct Server {
    /// Python wants what threads may share; it is reached through `&mut` alone, without locking.
    end: Mutex<Option<plain::Server>>,
}

impl Server {
    fn end(&mut self) -> PyResult<&mut plain::Server> {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        end.as_mut().ok_or_else(closed)
    }
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (address, asks, answers, *, wait="adaptive"))]
    fn new(
        py: Python<'_>,
        address: &str,
        asks: Layout,
        answers: Layout,
        wait: &str,
    ) -> PyResult<Self> {
        let config = config(None, wait, true)?;
        let layouts = (&asks.0, &answers.0);
        let end = py.detach(|| plain::Server::open(address, layouts, &config));
        let end = end.map_err(|error| raise(py, &error))?;
        Ok(Self { end: Mutex::new(Some(end)) })
    }

    /// Waits for the next request. The one before is refused if it has no reply yet.
    #[pyo3(signature = (timeout=None))]
    fn next<'py>(
        &mut self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let limit = time(timeout)?.map(|time| Instant::now() + time);
        let end = self.end()?;
        loop {
            let left = limit.map_or(SLICE, |limit| limit.saturating_duration_since(Instant::now()));
            let asked = py.detach(|| end.next(Some(left.min(SLICE))).map(<[u8]>::to_vec));
            match asked {
                Ok(request) => return Ok(PyBytes::new(py, &request)),
                Err(Error::TimedOut) if left > Duration::ZERO => py.check_signals()?,
                Err(error) => return Err(raise(py, &error)),
            }
        }
    }

    /// Answers the request that came last.
    fn reply(&mut self, py: Python<'_>, reply: &Bound<'_, PyAny>) -> PyResult<()> {
        let reply = bytes(py, reply)?;
        self.end()?.reply(&reply).map_err(|error| raise(py, &error))
    }

    /// Lets the request that came last go without a reply: its client hears `Refused`.
    fn refuse(&mut self) -> PyResult<()> {
        self.end()?.refuse();
        Ok(())
    }

    /// Closes the server.
    fn close(&mut self) {
        self.end = Mutex::default();
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next request; the loop ends when the last client has finished. That the process of one
    /// died is no reason to end.
    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        loop {
            match self.next(py, None) {
                Err(error) if error.is_instance_of::<Closed>(py) => return Ok(None),
                Err(error) if error.is_instance_of::<PeerDied>(py) => {}
                other => return other.map(Some),
            }
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) {
        self.close();
    }
}
