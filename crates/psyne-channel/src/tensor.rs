//! Tensors in channels of bytes: what they are, as plain data, before their elements.
//!
//! ```text
//! 0           type of the elements, rank, shape, strides ([`Header`], 192 bytes)
//! 192 …       elements, aligned to 64 bytes: the channel aligns the string, 192 is three lines
//! ```
//!
//! ```
//! # use psyne_channel::{Config, Error, bytes, tensor::{Dtype, Header, View}};
//! # fn main() -> Result<(), Error> {
//! let (mut sender, mut receiver) = bytes::channel(&Config::default())?;
//! let header = Header::dense(Dtype::F32, &[2, 3])?;
//! let mut loan = sender.loan(header.message_bytes())?;
//! header.write(&mut loan)?.fill(0);
//! loan.commit()?;
//! let message = receiver.recv()?;
//! let tensor = View::of(&message)?;
//! assert_eq!((tensor.shape(), tensor.elements::<f32>()), (&[2, 3][..], Some(&[0.0; 6][..])));
//! # Ok(())
//! # }
//! ```

use crate::raw::{read, slice, view_mut};
use crate::{Error, Message};

pub mod dlpack {
    //! Tensors lent by pointer to and by other libraries: NumPy, PyTorch, JAX, CuPy.
    pub use crate::raw::dlpack::{Lent, Managed, Tensor, Unversioned};
}

pub mod arrow {
    //! Tensors as arrays of Apache Arrow: pyarrow, Polars, DuckDB, DataFusion.
    pub use crate::raw::arrow::{Array, Column, Schema};
}

/// Most dimensions.
pub const RANK_MAX: usize = 8;
/// Bytes before the elements.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// What an element is: class, bits and lanes as in `DLDataType` (DLPack 1.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, psyne_derive::Message)]
#[message(crate = crate)]
#[repr(C)]
pub struct Dtype {
    /// 0 signed, 1 unsigned, 2 float, 4 bfloat, 5 complex, 6 boolean (`DLDataTypeCode`).
    pub class: u8,
    /// Bits of a lane: 8 to 128, whole bytes.
    pub bits: u8,
    /// Lanes of a vector; 1 for a number.
    pub lanes: u16,
}

macro_rules! dtypes {
    ($($name:ident $class:literal $bits:literal $($type:ty)?;)*) => {
        impl Dtype {
            $(#[doc = concat!("`", stringify!($name), "`.")]
            pub const $name: Self = Self { class: $class, bits: $bits, lanes: 1 };)*
        }
        $($(impl Element for $type {
            const DTYPE: Dtype = Dtype::$name;
        })?)*
    };
}

/// A number that a tensor can have.
pub trait Element: Message {
    /// Its type.
    const DTYPE: Dtype;
}

dtypes! {
    I8 0 8 i8; I16 0 16 i16; I32 0 32 i32; I64 0 64 i64;
    U8 1 8 u8; U16 1 16 u16; U32 1 32 u32; U64 1 64 u64;
    F16 2 16; F32 2 32 f32; F64 2 64 f64; BF16 4 16; BOOL 6 8;
}

impl Dtype {
    /// Bytes of an element.
    ///
    /// # Errors
    /// `Config` if they are not whole, or none.
    pub fn bytes(self) -> Result<usize, Error> {
        if self.bits == 0 || !self.bits.is_multiple_of(8) || self.lanes == 0 {
            return Err(Error::Config("an element has whole bytes"));
        }
        Ok(usize::from(self.bits / 8) * usize::from(self.lanes))
    }
}

/// What a tensor is. Any bits are a value: [`View::of`] says whether they mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, psyne_derive::Message)]
#[message(crate = crate)]
#[repr(C)]
pub struct Header {
    dtype: Dtype,
    rank: u32,
    shape: [u64; RANK_MAX],
    strides: [u64; RANK_MAX],
    reserved: [u64; 7],
}

impl Header {
    /// A tensor whose last dimension is dense, then the one before (row major, C order).
    ///
    /// # Errors
    /// `Config` for more than [`RANK_MAX`] dimensions, more bytes than there are addresses, or
    /// elements that are not whole bytes.
    pub fn dense(dtype: Dtype, shape: &[u64]) -> Result<Self, Error> {
        let mut strides = [0; RANK_MAX];
        let mut step = 1_u64;
        for (stride, length) in strides.iter_mut().take(shape.len()).zip(shape).rev() {
            *stride = step;
            step = step.checked_mul((*length).max(1)).ok_or(TOO_LARGE)?;
        }
        Self::strided(dtype, shape, &strides[..shape.len().min(RANK_MAX)])
    }

    /// A tensor with strides of its own, in elements; 0 repeats.
    ///
    /// # Errors
    /// `Config` as for [`dense`](Self::dense), or if there are not as many strides as dimensions.
    pub fn strided(dtype: Dtype, shape: &[u64], strides: &[u64]) -> Result<Self, Error> {
        if shape.len() > RANK_MAX || shape.len() != strides.len() {
            return Err(Error::Config("a tensor has up to 8 dimensions, each with a stride"));
        }
        let (rank, reserved) = (shape.len() as u32, [0; 7]);
        let mut header =
            Self { dtype, rank, shape: [0; RANK_MAX], strides: [0; RANK_MAX], reserved };
        header.shape[..shape.len()].copy_from_slice(shape);
        header.strides[..shape.len()].copy_from_slice(strides);
        header.data_bytes()?;
        Ok(header)
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Lengths of the dimensions, in elements.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape[..(self.rank as usize).min(RANK_MAX)]
    }

    /// From one element of a dimension to the next, in elements.
    #[must_use]
    pub fn strides(&self) -> &[u64] {
        &self.strides[..(self.rank as usize).min(RANK_MAX)]
    }

    /// Bytes of a message with this tensor.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        HEADER_BYTES + self.data_bytes().unwrap_or(0)
    }

    /// Puts it before the elements and answers the room for those.
    ///
    /// # Errors
    /// `TooLong` if there is less room than [`message_bytes`](Self::message_bytes).
    pub fn write<'a>(&self, message: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        let (bytes, bytes_max) = (self.message_bytes(), message.len());
        if bytes > bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        let (head, data) = message[..bytes].split_at_mut(HEADER_BYTES);
        *view_mut(head) = *self;
        Ok(data)
    }

    /// Bytes from the first element to the end of the last.
    pub(crate) fn data_bytes(&self) -> Result<usize, Error> {
        let element = self.dtype.bytes()? as u64;
        let mut last = 0_u64;
        for (length, stride) in self.shape().iter().zip(self.strides()) {
            let Some(steps) = length.checked_sub(1) else { return Ok(0) };
            let along = steps.checked_mul(*stride).ok_or(TOO_LARGE)?;
            last = last.checked_add(along).ok_or(TOO_LARGE)?;
        }
        let bytes = last.checked_add(1).and_then(|count| count.checked_mul(element));
        let bytes = bytes.filter(|bytes| *bytes < isize::MAX as u64 - HEADER_BYTES as u64);
        Ok(bytes.ok_or(TOO_LARGE)? as usize)
    }

    /// Whether its elements follow each other in order.
    pub(crate) fn is_dense(&self) -> bool {
        Self::dense(self.dtype, self.shape()).is_ok_and(|dense| dense.strides == self.strides)
    }
}

const TOO_LARGE: Error = Error::Config("a tensor has fewer bytes than there are addresses");

/// A tensor where it lies. Nothing in its header reaches beyond its elements.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: Header,
    data: &'a [u8],
}

impl<'a> View<'a> {
    /// Looks at a message that another side wrote.
    ///
    /// # Errors
    /// `Corrupt` if it is no tensor that lies in these bytes.
    pub fn of(message: &'a [u8]) -> Result<Self, Error> {
        let Some((head, data)) = message.split_at_checked(HEADER_BYTES) else {
            return Err(Error::Corrupt("a tensor begins with its header"));
        };
        if !message.as_ptr().cast::<[Header; 1]>().is_aligned() {
            return Err(Error::Corrupt("a tensor is aligned as channels align it"));
        }
        let header = read::<Header>(head);
        if header.rank as usize > RANK_MAX {
            return Err(Error::Corrupt("a tensor has up to 8 dimensions"));
        }
        let bytes = header.data_bytes().map_err(|_| Error::Corrupt("no tensor is like that"))?;
        let data = data.get(..bytes).ok_or(Error::Corrupt("a tensor has all its elements"))?;
        Ok(Self { header, data })
    }

    /// What it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.header.dtype
    }

    /// Lengths of the dimensions, in elements.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        self.header.shape()
    }

    /// From one element of a dimension to the next, in elements.
    #[must_use]
    pub fn strides(&self) -> &[u64] {
        self.header.strides()
    }

    /// From the first element to the end of the last.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// All elements in order, if they are of this type and dense.
    #[must_use]
    pub fn elements<T: Element>(&self) -> Option<&'a [T]> {
        let fits = self.header.dtype == T::DTYPE && self.header.is_dense();
        if fits { slice(self.data) } else { None }
    }

    /// The element at these indices, if there is one and it is of this type.
    #[must_use]
    pub fn get<T: Element>(&self, indices: &[u64]) -> Option<T> {
        if self.header.dtype != T::DTYPE || indices.len() != self.shape().len() {
            return None;
        }
        let inside = indices.iter().zip(self.shape()).all(|(index, length)| index < length);
        if !inside {
            return None;
        }
        // Within the elements, whose extent was computed without overflow.
        let at: u64 = indices.iter().zip(self.strides()).map(|(i, stride)| i * stride).sum();
        let start = at as usize * size_of::<T>();
        Some(read(self.data.get(start..start + size_of::<T>())?))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Lines, as channels lend them.
    #[repr(align(64))]
    struct Lines([u8; 1024]);

    #[test]
    fn what_is_written_is_viewed() {
        let mut lines = Lines([0; 1024]);
        let header = Header::dense(Dtype::I16, &[2, 3, 4]).unwrap();
        assert_eq!((HEADER_BYTES, header.message_bytes()), (192, 192 + 48));
        let data = header.write(&mut lines.0).unwrap();
        for (at, pair) in data.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *pair = (at as i16).to_ne_bytes();
        }
        let tensor = View::of(&lines.0).unwrap();
        assert_eq!(tensor.header(), &header);
        assert_eq!(tensor.data().as_ptr() as usize % 64, 0);
        assert_eq!((tensor.shape(), tensor.strides()), (&[2, 3, 4][..], &[12, 4, 1][..]));
        assert_eq!(tensor.elements::<i16>().unwrap()[23], 23);
        assert_eq!(tensor.get::<i16>(&[1, 2, 3]), Some(23));
        let none = [tensor.get::<i16>(&[1, 3, 0]), tensor.get::<i16>(&[1, 2])];
        assert_eq!((none, tensor.get::<u16>(&[0, 0, 0])), ([None; 2], None));
        assert!(tensor.elements::<u16>().is_none());
    }

    #[test]
    fn strides_may_overlap_and_leave_gaps() {
        let mut lines = Lines([0; 1024]);
        for (shape, strides, bytes, dense) in [
            (&[3, 3][..], &[1, 1][..], 5, false),
            (&[3, 3], &[10, 1], 23, false),
            (&[4], &[0], 1, false),
            (&[], &[], 1, true),
            (&[5, 0], &[1, 1], 0, true),
        ] {
            let header = Header::strided(Dtype::U8, shape, strides).unwrap();
            assert_eq!(header.write(&mut lines.0).unwrap().len(), bytes, "{shape:?}");
            let tensor = View::of(&lines.0).unwrap();
            assert_eq!(tensor.elements::<u8>().is_some(), dense, "{shape:?}");
        }
    }

    #[test]
    fn headers_of_others_reach_nowhere() {
        let mut lines = Lines([0; 1024]);
        let good = Header::dense(Dtype::F64, &[4, 4]).unwrap();
        let (shape, strides) = ([u64::MAX; RANK_MAX], [u64::MAX; RANK_MAX]);
        let lies = [
            Header { rank: 9, ..good },
            Header { shape, ..good },
            Header { strides, ..good },
            Header { dtype: Dtype { bits: 7, ..Dtype::F64 }, ..good },
            Header { dtype: Dtype { lanes: 0, ..Dtype::F64 }, ..good },
            Header { dtype: Dtype { lanes: u16::MAX, ..Dtype::F64 }, ..good },
            Header { rank: 2, shape: [1 << 62, 1 << 62, 0, 0, 0, 0, 0, 0], ..good },
        ];
        for lie in lies {
            *view_mut(&mut lines.0[..HEADER_BYTES]) = lie;
            assert_eq!(View::of(&lines.0).unwrap_err().code(), "corrupt", "{lie:?}");
        }
        good.write(&mut lines.0).unwrap();
        assert_eq!(View::of(&lines.0[..319]).unwrap_err().code(), "corrupt");
        assert_eq!(View::of(&lines.0[..191]).unwrap_err().code(), "corrupt");
        assert!(View::of(&lines.0[..320]).is_ok());
        assert_eq!(good.write(&mut lines.0[..319]).unwrap_err().code(), "too_long");
        assert_eq!(Header::dense(Dtype::U8, &[2; 9]).unwrap_err().code(), "config");
        assert_eq!(Header::dense(Dtype::U8, &[1 << 40; 3]).unwrap_err().code(), "config");
    }
}
