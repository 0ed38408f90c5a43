//! The end that receives.

use core::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use psyne::channel::any;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Closed, in_use, raise};
use crate::layout::{Layout, kind};
use crate::options::{config, time};
use crate::own::Own;
use crate::sender::stats;
use crate::tensor::Tensor;
use crate::watch::{Watch, asyncio, patiently};

/// The receiving end of a channel.
#[pyclass(module = "psyne")]
pub(crate) struct Receiver {
    held: Option<Held>,
    end: Own<any::Lender>,
    watch: Watch,
}

/// The message that Python looks at.
struct Held {
    _message: Own<any::Lease>,
    views: Arc<AtomicUsize>,
}

/// A message where it lies; its views are read-only.
#[pyclass(module = "psyne", frozen)]
pub(crate) struct Message {
    receiver: Py<Receiver>,
    start: usize,
    bytes: usize,
    /// Views that are alive; the receiver has the same.
    pub(crate) views: Arc<AtomicUsize>,
}

impl Receiver {
    /// The end, once nobody looks at the message before.
    fn idle(&mut self, py: Python<'_>) -> PyResult<&mut any::Lender> {
        if self.held.as_ref().is_some_and(|held| held.views.load(Ordering::Acquire) > 0) {
            return Err(in_use("a view of the message before is alive: `del` it, or copy it"));
        }
        self.held = None;
        self.end.end(py)
    }

    /// The next message; Python can interrupt the wait.
    fn next(slf: &Bound<'_, Self>, time: Option<Duration>) -> PyResult<Message> {
        let py = slf.py();
        let mut receiver = slf.try_borrow_mut()?;
        let end = receiver.idle(py)?;
        let received = patiently(py, time, |time| end.recv(Some(time)))?;
        Ok(receiver.hold(slf, received))
    }

    /// Keeps a message for as long as Python looks at it.
    fn hold(&mut self, slf: &Bound<'_, Self>, received: any::Lease) -> Message {
        let views = Arc::new(AtomicUsize::new(0));
        let (start, bytes) = (received.as_ptr() as usize, received.len());
        self.held = Some(Held { _message: Own::new(received), views: views.clone() });
        Message { receiver: slf.clone().unbind(), start, bytes, views }
    }
}

#[pymethods]
impl Receiver {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    #[pyo3(signature = (
        address, layout=None, *, pattern="queue", lag="block", at_mark=false, wait="adaptive"
    ))]
    fn new(
        py: Python<'_>,
        address: &str,
        layout: Option<Layout>,
        pattern: &str,
        lag: &str,
        at_mark: bool,
        wait: &str,
    ) -> PyResult<Self> {
        let config = config(None, wait, true)?;
        let kind = kind(pattern, layout, (lag, at_mark))?;
        let opened = py.detach(|| any::Receiver::open(address, &kind, &config));
        let end = opened.map_err(|error| raise(py, &error))?;
        Ok(Self { held: None, end: Own::new(end.into()), watch: Watch::default() })
    }

    /// Waits for the next message and lends it where it lies.
    #[pyo3(signature = (timeout=None))]
    fn recv(slf: Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Message> {
        Self::next(&slf, time(timeout)?)
    }

    /// The next message, or None if it is not there.
    fn try_recv(slf: Bound<'_, Self>) -> PyResult<Option<Message>> {
        let mut receiver = slf.try_borrow_mut()?;
        let next = receiver.idle(slf.py())?.try_recv().map_err(|error| raise(slf.py(), &error))?;
        Ok(next.map(|message| receiver.hold(&slf, message)))
    }

    /// Waits for the next message as a task of asyncio.
    fn recv_async(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("take", slf.as_any(), "try_recv")
    }

    /// The file descriptor, which `arm` makes readable when something is there.
    fn fileno(&mut self, py: Python<'_>) -> PyResult<i32> {
        self.watch.fileno(py)
    }

    /// Before waiting for the descriptor: whether something is there already.
    fn arm(&mut self, py: Python<'_>) -> PyResult<bool> {
        self.idle(py)?;
        self.watch.arm(py, self.end.end(py)?)
    }

    /// The newest value, even if it was received before; None before the first.
    fn newest(slf: Bound<'_, Self>) -> PyResult<Option<Message>> {
        let mut receiver = slf.try_borrow_mut()?;
        let newest = receiver.idle(slf.py())?.newest().map_err(|error| raise(slf.py(), &error))?;
        Ok(newest.map(|message| receiver.hold(&slf, message)))
    }

    /// What was done so far.
    fn stats<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let end = self.idle(py)?.idle().map_err(|error| raise(py, &error))?;
        stats(py, end.stats())
    }

    /// Closes the end; what was not received is lost.
    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.end.is_open() {
            self.idle(py)?;
        }
        self.end.close();
        self.watch.ring();
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next message; the end of the channel is the end of the loop.
    fn __next__(slf: Bound<'_, Self>) -> PyResult<Option<Message>> {
        match Self::next(&slf, None) {
            Err(error) if error.is_instance_of::<Closed>(slf.py()) => Ok(None),
            other => other.map(Some),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        asyncio("next", slf.as_any(), "try_recv")
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&mut self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }
}

impl Message {
    /// Its bytes, and one more view of them: whoever asks ends that by `views`.
    pub(crate) fn view(&self, py: Python<'_>) -> PyResult<&[u8]> {
        if !self.is_held(py)? {
            return Err(in_use("the message was released: its room is the sender's again"));
        }
        self.views.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the message stays where it is while there are views, and is read-only; the
        // reference is not kept longer than the view that was counted just now.
        Ok(unsafe { core::slice::from_raw_parts(self.start as *const u8, self.bytes) })
    }

    /// Whether the receiver has not gone on.
    fn is_held(&self, py: Python<'_>) -> PyResult<bool> {
        let receiver = self.receiver.bind(py).try_borrow()?;
        Ok(receiver.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.views, &self.views)))
    }
}

#[pymethods]
impl Message {
    /// Frees its room; its views must be gone. What was received next is not touched.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if self.views.load(Ordering::Acquire) > 0 {
            return Err(in_use("a view of the message is alive: `del` it first"));
        }
        if self.is_held(py)? {
            self.receiver.bind(py).try_borrow_mut()?.held = None;
        }
        Ok(())
    }

    /// The tensor that it is, where it lies.
    fn tensor(slf: Bound<'_, Self>) -> PyResult<Tensor> {
        Tensor::of(&slf)
    }

    fn __len__(&self) -> usize {
        self.bytes
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        self.release(py)
    }

    /// # Safety
    /// Python calls it with a view to be filled.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let message = slf.get();
        if !message.is_held(slf.py())? {
            return Err(in_use("the message was released: its room is the sender's again"));
        }
        let (start, bytes) = (message.start as *mut _, message.bytes as ffi::Py_ssize_t);
        // SAFETY: Python hands a view over to be filled; the message stays where it is while there
        // are views, the view keeps this object alive and so the receiver, and it is read-only.
        let failed = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes, 1, flags) };
        if failed != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        message.views.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// # Safety
    /// Python calls it once for each view that was filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.views.fetch_sub(1, Ordering::AcqRel);
    }
}
