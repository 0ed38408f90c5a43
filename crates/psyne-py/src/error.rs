//! Rust's errors as Python's exceptions, with the same codes.

use pyo3::create_exception;
use pyo3::exceptions::{PyBufferError, PyException};
use pyo3::prelude::*;

create_exception!(
    psyne,
    Error,
    PyException,
    "What a channel answers instead of doing what was asked."
);
create_exception!(
    psyne,
    Closed,
    Error,
    "The other side finished, and all that it sent was received."
);
create_exception!(psyne, PeerDied, Error, "The other side's process died; `number` is its pid.");
create_exception!(psyne, TimedOut, Error, "Nothing happened within the time given.");
create_exception!(psyne, Full, Error, "The channel is full, and was opened not to wait.");
create_exception!(psyne, LayoutMismatch, Error, "The other side means another type of message.");
create_exception!(psyne, Refused, Error, "The server let the request go without a reply.");
create_exception!(
    psyne,
    Lagged,
    Error,
    "`number` messages were overwritten before they were received."
);

/// Makes them known to Python.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("Closed", py.get_type::<Closed>())?;
    module.add("PeerDied", py.get_type::<PeerDied>())?;
    module.add("TimedOut", py.get_type::<TimedOut>())?;
    module.add("Refused", py.get_type::<Refused>())?;
    module.add("LayoutMismatch", py.get_type::<LayoutMismatch>())?;
    module.add("Full", py.get_type::<Full>())?;
    module.add("Lagged", py.get_type::<Lagged>())
}

/// The exception for an error, with its `code` and `number`.
pub(crate) fn raise(py: Python<'_>, error: &psyne::channel::Error) -> PyErr {
    use psyne::channel::Error as Cause;
    if *error == Cause::InUse {
        return in_use("a message received before is still in use: `del` what looks at it");
    }
    let text = error.to_string();
    let (exception, number) = match error {
        Cause::Closed(_) => (Closed::new_err(text), 0),
        Cause::PeerDied { pid } => (PeerDied::new_err(text), u64::from(*pid)),
        Cause::TimedOut => (TimedOut::new_err(text), 0),
        Cause::Refused => (Refused::new_err(text), 0),
        Cause::Full => (Full::new_err(text), 0),
        Cause::Lagged(missed) => (Lagged::new_err(text), *missed),
        Cause::LayoutMismatch => (LayoutMismatch::new_err(text), 0),
        Cause::Crowded(ends_max) => (Error::new_err(text), *ends_max as u64),
        Cause::TooLong { bytes_max, .. } => (Error::new_err(text), *bytes_max as u64),
        _ => (Error::new_err(text), 0),
    };
    let value = exception.value(py);
    let told = value.setattr("code", error.code()).and_then(|()| value.setattr("number", number));
    told.err().unwrap_or(exception)
}

/// For what a view of a message stands in the way of.
pub(crate) fn in_use(what: &'static str) -> PyErr {
    PyBufferError::new_err(what)
}
