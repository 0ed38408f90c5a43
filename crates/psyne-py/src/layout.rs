//! What a message is.

use psyne::channel::any::Kind;
use psyne::channel::{self, broadcast::Lag};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a message is: equal at both ends of a channel.
#[pyclass(module = "psyne", frozen, eq, from_py_object)]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Layout(pub(crate) channel::Layout);

#[pymethods]
impl Layout {
    /// A struct without fields yet.
    #[new]
    fn new(name: &str, size: usize, align: usize) -> Self {
        Self(channel::Layout::named(name, size, align))
    }

    /// A number by Rust's name for it.
    #[staticmethod]
    fn number(name: &str) -> PyResult<Self> {
        let unknown =
            || PyValueError::new_err(format!("{name:?} is no number: u8 … i128, f32, f64"));
        channel::Layout::number(name).map(Self).ok_or_else(unknown)
    }

    /// `count` elements one after the other.
    #[staticmethod]
    fn array(of: Self, count: usize) -> Self {
        Self(channel::Layout::array(of.0, count))
    }

    /// The same with one more field.
    fn field(&self, name: &str, of: Self) -> Self {
        Self(self.0.field(name, of.0))
    }

    /// Bytes of a message.
    #[getter]
    fn size(&self) -> usize {
        self.0.size
    }

    /// Its alignment in bytes.
    #[getter]
    fn align(&self) -> usize {
        self.0.align
    }

    fn __repr__(&self) -> String {
        let channel::Layout { hash, size, align } = self.0;
        format!("<psyne.Layout of {size} bytes, aligned to {align}, {hash:016x}>")
    }
}

/// The pattern, and what its messages are: without a layout, byte strings of any length.
pub(crate) fn kind(
    pattern: &str,
    layout: Option<Layout>,
    (lag, at_mark): (&str, bool),
) -> PyResult<Kind> {
    let lag = match lag {
        "block" => Lag::Block,
        "skip" => Lag::Skip,
        "skip_to_mark" => Lag::SkipToMark,
        _ => return Err(PyValueError::new_err("lag is \"block\", \"skip\" or \"skip_to_mark\"")),
    };
    match (pattern, layout) {
        ("queue", None) => Ok(Kind::Bytes),
        ("queue", Some(Layout(layout))) => Ok(Kind::Queue(layout)),
        ("mpsc", Some(Layout(layout))) => Ok(Kind::Mpsc(layout)),
        ("spmc", Some(Layout(layout))) => Ok(Kind::Spmc(layout)),
        ("mpmc", Some(Layout(layout))) => Ok(Kind::Mpmc(layout)),
        ("broadcast", None) => Ok(Kind::BroadcastBytes { lag, at_mark }),
        ("broadcast", Some(Layout(layout))) => Ok(Kind::Broadcast { layout, lag }),
        ("latest", Some(Layout(layout))) => Ok(Kind::Latest(layout)),
        ("mpsc" | "spmc" | "mpmc" | "latest", None) => {
            Err(PyValueError::new_err("this pattern has messages of one layout"))
        }
        _ => {
            let patterns = "queue, mpsc, spmc, mpmc, broadcast or latest";
            Err(PyValueError::new_err(format!("pattern is one of {patterns}")))
        }
    }
}
