//! The end that sends.

use core::ffi::c_int;
use core::{mem, slice};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use psyne::channel::{self, any};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{in_use, raise};
use crate::layout::{Layout, kind};
use crate::options::{config, time};
use crate::own::Own;
use crate::tensor::Foreign;

/// The sending end of a channel.
#[pyclass(module = "psyne")]
pub(crate) struct Sender {
    /// Dropped before the end that it borrows.
    loan: Option<any::Loan<'static>>,
    /// Boxed, so that the loan's borrow stays where it is.
    end: Own<Box<any::Sender>>,
    /// How long a full channel is waited for.
    time: Option<Duration>,
    blocks: bool,
}

/// Room that is being written; its views are writable.
#[pyclass(module = "psyne", frozen)]
pub(crate) struct Loan {
    sender: Py<Sender>,
    start: usize,
    bytes: usize,
    /// Views that are alive.
    views: AtomicUsize,
    /// Whether it was committed or aborted.
    over: AtomicUsize,
}

/// A full channel is waited for in slices, each as long as the end blocks.
fn patiently<T>(
    py: Python<'_>,
    (blocks, time): (bool, Option<Duration>),
    mut attempt: impl FnMut(Python<'_>) -> Result<T, channel::Error>,
) -> PyResult<T> {
    let end = time.map(|time| Instant::now() + time);
    loop {
        match attempt(py) {
            Ok(value) => return Ok(value),
            Err(channel::Error::TimedOut)
                if blocks && end.is_none_or(|end| Instant::now() < end) =>
            {
                py.check_signals()?;
            }
            Err(error) => return Err(raise(py, &error)),
        }
    }
}

impl Sender {
    fn idle(&mut self, py: Python<'_>) -> PyResult<&mut any::Sender> {
        if self.loan.is_some() {
            return Err(in_use("commit or abort the loan first"));
        }
        Ok(self.end.end(py)?)
    }
}

#[pymethods]
impl Sender {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    #[pyo3(signature = (
        address, layout=None, *, pattern="queue", slots=None, wait="adaptive", full="block",
        timeout=None
    ))]
    fn new(
        py: Python<'_>,
        address: &str,
        layout: Option<Layout>,
        pattern: &str,
        slots: Option<usize>,
        wait: &str,
        full: &str,
        timeout: Option<f64>,
    ) -> PyResult<Self> {
        let blocks = match full {
            "block" => true,
            "refuse" => false,
            _ => return Err(PyValueError::new_err("full is \"block\" or \"refuse\"")),
        };
        let config = config(slots, wait, blocks)?;
        let kind = kind(pattern, layout, ("block", false))?;
        let opened = py.detach(|| any::Sender::open(address, &kind, &config));
        let end = opened.map_err(|error| raise(py, &error))?;
        Ok(Self { loan: None, end: Own::new(Box::new(end)), time: time(timeout)?, blocks })
    }

    /// Copies a message in and sends it; `mark`: receivers can begin with it.
    #[pyo3(signature = (message, *, mark=false))]
    fn send(&mut self, py: Python<'_>, message: &Bound<'_, PyAny>, mark: bool) -> PyResult<()> {
        let view = PyUntypedBuffer::get(message)?;
        if !view.is_c_contiguous() {
            return Err(PyValueError::new_err("the message does not lie in one piece"));
        }
        let bytes = match view.len_bytes() {
            0 => &[],
            // SAFETY: the view keeps so many bytes in one piece until it is dropped, after the last
            // use below; Python may change them meanwhile, as with every buffer that is read
            // without its lock: a message then holds some of each.
            length => unsafe { slice::from_raw_parts(view.buf_ptr().cast::<u8>(), length) },
        };
        let patience = (self.blocks, self.time);
        let end = self.idle(py)?;
        let send = if mark { any::Sender::send_marked } else { any::Sender::send };
        patiently(py, patience, |py| py.detach(|| send(end, bytes)))
    }

    /// Sends a tensor of another library: whatever has `__dlpack__` or `__arrow_c_array__`.
    fn send_tensor(&mut self, py: Python<'_>, tensor: &Bound<'_, PyAny>) -> PyResult<()> {
        let foreign = Foreign::of(tensor)?;
        let header = foreign.header().map_err(|error| raise(py, &error))?;
        let patience = (self.blocks, self.time);
        let end = self.idle(py)?;
        patiently(py, patience, |py| {
            py.detach(|| {
                let mut loan = end.loan(header.message_bytes())?;
                foreign.copy_to(header.write(&mut loan)?)?;
                loan.commit()
            })
        })
    }

    /// Lends room for a message, to be written where it will be read.
    fn loan(slf: Bound<'_, Self>, bytes: usize) -> PyResult<Loan> {
        let py = slf.py();
        let mut sender = slf.try_borrow_mut()?;
        let patience = (sender.blocks, sender.time);
        let end = sender.idle(py)?;
        let (start, loan) = patiently(py, patience, |py| {
            let mut loan = py.detach(|| end.loan(bytes))?;
            let start = loan.as_mut_ptr() as usize;
            // SAFETY: only the lifetime changes. The loan borrows the boxed end, which is neither
            // used nor dropped before the loan is.
            Ok((start, unsafe { mem::transmute::<any::Loan<'_>, any::Loan<'static>>(loan) }))
        })?;
        sender.loan = Some(loan);
        let (views, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Loan { sender: slf.clone().unbind(), start, bytes, views, over })
    }

    /// What was sent and not released by the receiver yet.
    fn unread(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.idle(py)?.unread().map_err(|error| raise(py, &error))
    }

    /// Receivers of a broadcast that are there.
    fn receivers(&mut self, py: Python<'_>) -> PyResult<usize> {
        self.idle(py)?.receivers().map_err(|error| raise(py, &error))
    }

    /// What was done so far.
    fn stats<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, self.idle(py)?.stats())
    }

    /// Closes the end; what was sent can still be received.
    fn close(&mut self) -> PyResult<()> {
        if self.loan.is_some() {
            return Err(in_use("commit or abort the loan first"));
        }
        self.end.close();
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close()
    }
}

/// Counters as a dictionary.
pub(crate) fn stats(py: Python<'_>, stats: channel::Stats) -> PyResult<Bound<'_, PyDict>> {
    let counters = PyDict::new(py);
    counters.set_item("slots", stats.slots)?;
    counters.set_item("refused", stats.refused)?;
    counters.set_item("waits", stats.waits)?;
    counters.set_item("sleeps", stats.sleeps)?;
    Ok(counters)
}

impl Loan {
    /// Takes the loan back from the sender, unless something still looks at it.
    fn end(&self, py: Python<'_>) -> PyResult<Option<any::Loan<'static>>> {
        if self.views.load(Ordering::Acquire) > 0 {
            return Err(in_use("a view of the loan is alive: `del` it first"));
        }
        // First, as it may be refused: then the loan is still there to be ended.
        let mut sender = self.sender.bind(py).try_borrow_mut()?;
        let ended_before = self.over.swap(1, Ordering::AcqRel) == 1;
        Ok(if ended_before { None } else { sender.loan.take() })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.over.load(Ordering::Acquire) == 0 {
            // Nobody can commit it any more. No view is alive: a view keeps this object.
            let _ = Python::attach(|py| self.end(py).map(drop));
        }
    }
}

#[pymethods]
impl Loan {
    /// Sends it.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        match self.end(py)? {
            Some(loan) => loan.commit().map_err(|error| raise(py, &error)),
            None => Err(PyValueError::new_err("the loan is over")),
        }
    }

    /// Makes it a message that receivers can begin with.
    fn mark(&self, py: Python<'_>) -> PyResult<()> {
        if self.over.load(Ordering::Acquire) == 1 {
            return Err(PyValueError::new_err("the loan is over"));
        }
        match &mut self.sender.bind(py).try_borrow_mut()?.loan {
            Some(loan) => loan.mark().map_err(|error| raise(py, &error)),
            None => Err(PyValueError::new_err("the loan is over")),
        }
    }

    /// Gives it back: nothing is sent.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py).map(drop)
    }

    fn __len__(&self) -> usize {
        self.bytes
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Sends it, unless an exception came up or it is over.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.over.load(Ordering::Acquire) == 1 {
            return Ok(());
        }
        if kind.is_none() { self.commit(py) } else { self.abort(py) }
    }

    /// # Safety
    /// Python calls it with a view to be filled.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let loan = slf.get();
        if loan.over.load(Ordering::Acquire) == 1 {
            return Err(in_use("the loan is over"));
        }
        let (start, bytes) = (loan.start as *mut _, loan.bytes as ffi::Py_ssize_t);
        // SAFETY: Python hands a view over to be filled; the room stays as long as the loan, which
        // does not end while there are views, and the view keeps this object alive.
        let failed = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes, 0, flags) };
        if failed != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        loan.views.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// # Safety
    /// Python calls it once for each view that was filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.views.fetch_sub(1, Ordering::AcqRel);
    }
}
