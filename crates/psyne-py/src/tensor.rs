//! Tensors, lent to and by other libraries without a copy: by DLPack, the Arrow C data interface,
//! and NumPy's array interface.

use core::ffi::{CStr, c_void};
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::sync::atomic::Ordering;

use psyne::channel::Error;
use psyne::channel::tensor::arrow::{Array, Column, Schema};
use psyne::channel::tensor::dlpack::{Lent, Managed, Unversioned};
use psyne::channel::tensor::{Header, View};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{in_use, raise};
use crate::receiver::Message;

const VERSIONED: &CStr = c"dltensor_versioned";
const UNVERSIONED: &CStr = c"dltensor";
const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// The tensor in a message, where it lies: read-only, and a view of the message for as long as it
/// or what was made of it is alive.
#[pyclass(module = "psyne", frozen)]
pub(crate) struct Tensor {
    message: Py<Message>,
    start: usize,
    bytes: usize,
    header: Header,
    /// Where its elements begin.
    data: usize,
}

impl Drop for Tensor {
    fn drop(&mut self) {
        self.message.get().views.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Keeps a tensor for who was lent its memory.
struct Keeper {
    tensor: Py<Tensor>,
}

impl Deref for Keeper {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let tensor = self.tensor.get();
        // SAFETY: the message stays where it is while there are views of it, and the tensor, which
        // is kept, is one.
        unsafe { slice::from_raw_parts(tensor.start as *const u8, tensor.bytes) }
    }
}

impl Tensor {
    pub(crate) fn of(message: &Bound<'_, Message>) -> PyResult<Self> {
        let py = message.py();
        let bytes = message.get().view(py)?;
        let (start, length) = (bytes.as_ptr() as usize, bytes.len());
        let viewed = View::of(bytes).map(|view| (*view.header(), view.data().as_ptr() as usize));
        match viewed {
            Ok((header, data)) => {
                let message = message.clone().unbind();
                Ok(Self { message, start, bytes: length, header, data })
            }
            Err(error) => {
                message.get().views.fetch_sub(1, Ordering::AcqRel);
                Err(raise(py, &error))
            }
        }
    }

    /// What NumPy calls the type of its elements.
    fn type_text(&self) -> Option<String> {
        let dtype = self.header.dtype();
        let kind = match (dtype.class, dtype.lanes) {
            (0, 1) => 'i',
            (1, 1) => 'u',
            (2, 1) => 'f',
            (5, 1) => 'c',
            (6, 1) => 'b',
            _ => return None,
        };
        let order = match (dtype.bits, cfg!(target_endian = "little")) {
            (8, _) => '|',
            (_, true) => '<',
            (_, false) => '>',
        };
        Some(format!("{order}{kind}{}", dtype.bits / 8))
    }
}

#[pymethods]
impl Tensor {
    /// Lengths of the dimensions, in elements.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.header.shape())
    }

    /// From one element of a dimension to the next, in elements.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.header.strides())
    }

    /// What NumPy needs, of any version, to look at it: `numpy.asarray(tensor)`.
    #[getter(__array_interface__)]
    fn array_interface<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let no_number = || PyTypeError::new_err("NumPy has no such number");
        let text = self.type_text().ok_or_else(no_number)?;
        let element = self.header.dtype().bytes().map_err(|error| raise(py, &error))? as u64;
        let strides = self.header.strides().iter().map(|stride| stride * element);
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", text)?;
        interface.set_item("shape", self.shape(py)?)?;
        interface.set_item("strides", PyTuple::new(py, strides.collect::<Vec<_>>())?)?;
        interface.set_item("data", (self.data, true))?;
        Ok(interface)
    }

    /// A capsule for who knows DLPack: without a copy from version 1.0 on, which can say that a
    /// tensor is read-only; before, a copy.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        slf: Bound<'py, Self>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if stream.is_some() || dl_device.is_some_and(|device| device != Self::DEVICE) {
            return Err(in_use("the tensor is in the processor's memory, and stays there"));
        }
        let keeper = Keeper { tensor: slf.unbind() };
        if max_version.is_some_and(|version| version >= (1, 0)) {
            let copies = copy == Some(true);
            let lent = if copies { Lent::copy(&keeper) } else { Lent::message(keeper) };
            let lent = lent.map_err(|error| raise(py, &error))?;
            let raw = lent.into_raw().expect("it has a version");
            return capsule(py, raw.cast(), VERSIONED, give_back_versioned);
        }
        if copy == Some(false) {
            return Err(in_use("before DLPack 1.0 a read-only tensor can only be copied"));
        }
        let lent = Lent::copy_unversioned(&keeper).map_err(|error| raise(py, &error))?;
        let raw = lent.into_unversioned().expect("it has no version");
        capsule(py, raw.cast(), UNVERSIONED, give_back_unversioned)
    }

    /// The processor's memory: `(1, 0)`.
    fn __dlpack_device__(&self) -> (i32, i32) {
        Self::DEVICE
    }

    /// Two capsules for who knows the Arrow C data interface: an array of numbers, or fixed-size
    /// lists of it, without a copy.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        slf: Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        // Who asks for another type converts what it gets.
        let _ = requested_schema;
        let py = slf.py();
        let column = Column::message(Keeper { tensor: slf.unbind() });
        let (schema, array) = column.map_err(|error| raise(py, &error))?.into_raw();
        let schema = NonNull::from(Box::leak(Box::new(schema)));
        let array = NonNull::from(Box::leak(Box::new(array)));
        let schema = capsule(py, schema.cast(), SCHEMA, give_back_schema)?;
        Ok((schema, capsule(py, array.cast(), ARRAY, give_back_array)?))
    }
}

impl Tensor {
    /// `kDLCPU`.
    const DEVICE: (i32, i32) = (1, 0);
}

fn capsule<'py>(
    py: Python<'py>,
    pointer: NonNull<c_void>,
    name: &'static CStr,
    destructor: unsafe extern "C" fn(*mut ffi::PyObject),
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the name stays for ever, and the destructor is for what the name says.
    let capsule = unsafe { ffi::PyCapsule_New(pointer.as_ptr(), name.as_ptr(), Some(destructor)) };
    // SAFETY: a new reference, or null with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }
}

/// What a capsule of this name holds; nothing if somebody took it over, who renamed it.
///
/// # Safety
/// It is a capsule.
unsafe fn held<T>(capsule: *mut ffi::PyObject, name: &CStr) -> Option<NonNull<T>> {
    // SAFETY: as the caller promises.
    if unsafe { ffi::PyCapsule_IsValid(capsule, name.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it is valid, as was just asked.
    NonNull::new(unsafe { ffi::PyCapsule_GetPointer(capsule, name.as_ptr()) }.cast())
}

/// # Safety
/// Python calls it once, for a capsule of `capsule`.
unsafe extern "C" fn give_back_versioned(capsule: *mut ffi::PyObject) {
    // SAFETY: it is a capsule.
    if let Some(managed) = unsafe { held::<Managed>(capsule, VERSIONED) } {
        // SAFETY: nobody took it over, so it is still ours to give back.
        drop(unsafe { Lent::from_raw(managed) });
    }
}

/// # Safety
/// Python calls it once, for a capsule of `capsule`.
unsafe extern "C" fn give_back_unversioned(capsule: *mut ffi::PyObject) {
    // SAFETY: it is a capsule.
    if let Some(managed) = unsafe { held::<Unversioned>(capsule, UNVERSIONED) } {
        // SAFETY: nobody took it over, so it is still ours to give back.
        drop(unsafe { Lent::from_unversioned(managed) });
    }
}

/// # Safety
/// Python calls it once, for a capsule of `capsule`.
unsafe extern "C" fn give_back_schema(capsule: *mut ffi::PyObject) {
    // SAFETY: it is a capsule.
    if let Some(schema) = unsafe { held::<Schema>(capsule, SCHEMA) } {
        // SAFETY: it was leaked from a box; who takes it over copies it and leaves the box.
        unsafe { Box::from_raw(schema.as_ptr()) }.give_back();
    }
}

/// # Safety
/// Python calls it once, for a capsule of `capsule`.
unsafe extern "C" fn give_back_array(capsule: *mut ffi::PyObject) {
    // SAFETY: it is a capsule.
    if let Some(array) = unsafe { held::<Array>(capsule, ARRAY) } {
        // SAFETY: it was leaked from a box; who takes it over copies it and leaves the box.
        unsafe { Box::from_raw(array.as_ptr()) }.give_back();
    }
}

/// A tensor of another library.
pub(crate) enum Foreign {
    Lent(Lent),
    Column(Column),
}

impl Foreign {
    /// By `__dlpack__`, or else by `__arrow_c_array__`: arrays of Arrow have both, and the first
    /// only for one dimension.
    pub(crate) fn of(tensor: &Bound<'_, PyAny>) -> PyResult<Self> {
        let none = || PyTypeError::new_err("a tensor has __dlpack__ or __arrow_c_array__");
        let has_dlpack = tensor.hasattr("__dlpack__")?;
        let lent = if has_dlpack { Self::dlpack(tensor) } else { Err(none()) };
        match lent {
            Err(_) if tensor.hasattr("__arrow_c_array__")? => Self::arrow(tensor),
            lent => lent,
        }
    }

    fn dlpack(tensor: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = tensor.py();
        let words = PyDict::new(py);
        words.set_item("max_version", (1, 0))?;
        let capsule = match tensor.call_method("__dlpack__", (), Some(&words)) {
            // Before DLPack 1.0 nobody was asked for a version.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                tensor.call_method0("__dlpack__")?
            }
            capsule => capsule?,
        };
        let raw = capsule.as_ptr();
        // SAFETY: what is no capsule is not valid.
        if let Some(managed) = unsafe { held::<Managed>(raw, VERSIONED) } {
            // SAFETY: it is valid; renamed, so that nobody else gives it back.
            unsafe { ffi::PyCapsule_SetName(raw, c"used_dltensor_versioned".as_ptr()) };
            // SAFETY: as its name says, and taken over just now.
            return unsafe { Lent::from_raw(managed) }
                .map(Self::Lent)
                .map_err(|error| raise(py, &error));
        }
        // SAFETY: what is no capsule is not valid.
        if let Some(managed) = unsafe { held::<Unversioned>(raw, UNVERSIONED) } {
            // SAFETY: it is valid; renamed, so that nobody else gives it back.
            unsafe { ffi::PyCapsule_SetName(raw, c"used_dltensor".as_ptr()) };
            // SAFETY: as its name says, and taken over just now.
            return Ok(Self::Lent(unsafe { Lent::from_unversioned(managed) }));
        }
        Err(PyTypeError::new_err("__dlpack__ answered no capsule of a tensor"))
    }

    fn arrow(tensor: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = tensor.py();
        let pair = tensor.call_method0("__arrow_c_array__")?;
        let (schema, array) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        // SAFETY: what is no capsule is not valid.
        let held = (unsafe { held::<Schema>(schema.as_ptr(), SCHEMA) }, unsafe {
            held::<Array>(array.as_ptr(), ARRAY)
        });
        let (Some(mut schema), Some(mut array)) = held else {
            return Err(PyTypeError::new_err("__arrow_c_array__ answered no capsules of an array"));
        };
        // SAFETY: the capsule keeps it, and nobody else looks at it.
        let schema = unsafe { schema.as_mut() };
        // SAFETY: as above.
        let array = unsafe { array.as_mut() };
        // SAFETY: as their names say; what is moved out is marked as released.
        let column = unsafe { Column::from_raw(schema, array) };
        column.map(Self::Column).map_err(|error| raise(py, &error))
    }

    pub(crate) fn header(&self) -> Result<Header, Error> {
        match self {
            Self::Lent(lent) => lent.header(),
            Self::Column(column) => column.header(),
        }
    }

    pub(crate) fn copy_to(&self, room: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Lent(lent) => lent.copy_to(room),
            Self::Column(column) => column.copy_to(room),
        }
    }
}
