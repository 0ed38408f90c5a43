//! Requests and their replies.

use std::time::Duration;

use psyne::channel::{Config, Error, request::plain};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{Closed, PeerDied, raise};
use crate::layout::Layout;
use crate::options::{config, time};
use crate::own::Own;
use crate::watch::{Watch, asyncio, patiently};

type Layouts<'a> = (&'a psyne::channel::Layout, &'a psyne::channel::Layout);

/// Opens an end for requests and replies of these layouts.
fn open<T: Send>(
    py: Python<'_>,
    (address, wait): (&str, &str),
    (asks, answers): (Layout, Layout),
    open: fn(&str, Layouts<'_>, &Config) -> Result<T, Error>,
) -> PyResult<Own<T>> {
    let config = config(None, wait, true)?;
    let opened = py.detach(|| open(address, (&asks.0, &answers.0), &config));
    opened.map(Own::new).map_err(|error| raise(py, &error))
}

fn bytes(py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    PyBuffer::<u8>::get(message)?.to_vec(py)
}

/// The end that asks.
#[pyclass(module = "psyne")]
pub(crate) struct Client(Own<plain::Client>);

/// A call that is under way. Dropped, its reply is not wanted any more.
#[pyclass(module = "psyne")]
pub(crate) struct Call {
    client: Py<Client>,
    call: Option<plain::Call>,
}

impl Client {
    fn start(&mut self, py: Python<'_>, request: &Bound<'_, PyAny>) -> PyResult<plain::Call> {
        let (request, end) = (bytes(py, request)?, self.0.end(py)?);
        end.begin(&request).map_err(|error| raise(py, &error))
    }

    /// The reply; a call that goes on is left in `call`.
    fn end<'py>(
        &mut self,
        py: Python<'py>,
        call: &mut Option<plain::Call>,
        time: Option<Duration>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let end = self.0.end(py)?;
        let over = || PyValueError::new_err("the call is over");
        if call.is_none() {
            return Err(over());
        }
        let reply = patiently(py, time, |time| {
            let begun = call.take().ok_or(Error::TimedOut)?;
            end.finish(begun, Some(time))?.map(<[u8]>::to_vec).map_err(|begun| {
                *call = Some(begun);
                Error::TimedOut
            })
        });
        Ok(PyBytes::new(py, &reply?))
    }
}

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
        open(py, (address, wait), (asks, answers), plain::Client::open).map(Self)
    }

    /// Asks and waits for the reply. A call that took too long is given up.
    #[pyo3(signature = (request, timeout=None))]
    fn call<'py>(
        &mut self,
        py: Python<'py>,
        request: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let time = time(timeout)?;
        let mut call = Some(self.start(py, request)?);
        self.end(py, &mut call, time)
    }

    /// Asks and does not wait: more calls can begin meanwhile.
    fn begin(slf: Bound<'_, Self>, request: &Bound<'_, PyAny>) -> PyResult<Call> {
        let call = slf.try_borrow_mut()?.start(slf.py(), request)?;
        Ok(Call { client: slf.unbind(), call: Some(call) })
    }

    /// Closes the client.
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

#[pymethods]
impl Call {
    /// Waits for the reply. After `TimedOut` the call goes on.
    #[pyo3(signature = (timeout=None))]
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let time = time(timeout)?;
        let client = self.client.clone_ref(py);
        let mut client = client.bind(py).try_borrow_mut()?;
        client.end(py, &mut self.call, time)
    }

    /// Gives the call up.
    fn forget(&mut self) {
        self.call = None;
    }
}

/// The end that answers, one request after the other.
#[pyclass(module = "psyne")]
pub(crate) struct Server {
    end: Own<plain::Server>,
    watch: Watch,
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
        let end = open(py, (address, wait), (asks, answers), plain::Server::open)?;
        Ok(Self { end, watch: Watch::default() })
    }

    /// Waits for the next request. The one before is refused if it has no reply yet.
    #[pyo3(signature = (timeout=None))]
    fn next<'py>(
        &mut self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (time, end) = (time(timeout)?, self.end.end(py)?);
        let asked = patiently(py, time, |time| end.next(Some(time)).map(<[u8]>::to_vec));
        Ok(PyBytes::new(py, &asked?))
    }

    /// The next request, or None if there is none.
    fn try_next<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.end.end(py)?.next(Some(Duration::ZERO)) {
            Ok(request) => Ok(Some(PyBytes::new(py, request))),
            Err(Error::TimedOut) => Ok(None),
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// Waits for the next request as a task of asyncio.
    fn next_async(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("take", slf.as_any(), "try_next")
    }

    /// Answers the request that came last.
    fn reply(&mut self, py: Python<'_>, reply: &Bound<'_, PyAny>) -> PyResult<()> {
        let reply = bytes(py, reply)?;
        self.end.end(py)?.reply(&reply).map_err(|error| raise(py, &error))
    }

    /// Lets the request that came last go without a reply: its client hears `Refused`.
    fn refuse(&mut self, py: Python<'_>) -> PyResult<()> {
        self.end.end(py)?.refuse();
        Ok(())
    }

    fn fileno(&mut self, py: Python<'_>) -> PyResult<i32> {
        self.watch.fileno(py)
    }

    fn arm(&mut self, py: Python<'_>) -> PyResult<bool> {
        self.watch.arm(py, self.end.end(py)?)
    }

    /// Closes the server.
    fn close(&mut self) {
        self.end.close();
        self.watch.ring();
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

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("next_living", slf.as_any(), "try_next")
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) {
        self.close();
    }
}
