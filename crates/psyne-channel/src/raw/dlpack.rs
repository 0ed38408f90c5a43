//! Tensors lent by pointer, as DLPack 1.0 has it (<https://dmlc.github.io/dlpack>, `dlpack.h`).

use core::ffi::c_void;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::slice;

use crate::Error;
use crate::tensor::{Dtype, Header, RANK_MAX, View};

/// Memory that the processor reads: `kDLCPU`, and what it pinned for a GPU: `kDLCUDAHost`.
const CPU: i32 = 1;
const PINNED: i32 = 3;
/// `DLPACK_FLAG_BITMASK_READ_ONLY`.
const READ_ONLY: u64 = 1;
/// `DLPACK_FLAG_BITMASK_IS_COPIED`.
const IS_COPIED: u64 = 2;

/// `DLTensor`: where it lies and what it is.
#[derive(Debug)]
#[repr(C)]
pub struct Tensor {
    data: *mut c_void,
    device: [i32; 2],
    ndim: i32,
    dtype: Dtype,
    shape: *mut i64,
    /// In elements; null if dense.
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensorVersioned`: a tensor, and how it is given back.
#[derive(Debug)]
#[repr(C)]
pub struct Managed {
    version: [u32; 2],
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
    flags: u64,
    tensor: Tensor,
}

/// `DLManagedTensor`, as before version 1.0: without flags, so that nobody knows what is read-only.
#[derive(Debug)]
#[repr(C)]
pub struct Unversioned {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Unversioned)>,
}

/// A tensor that somebody lends by pointer. Dropped, it is given back.
#[derive(Debug)]
pub enum Lent {
    /// `DLManagedTensorVersioned`.
    Versioned(NonNull<Managed>),
    /// `DLManagedTensor`.
    Unversioned(NonNull<Unversioned>),
}

// SAFETY: who made it promises (`from_raw`) that any thread may read it and give it back.
unsafe impl Send for Lent {}
// SAFETY: what is shared is only read.
unsafe impl Sync for Lent {}

/// Bytes that stay where they are for as long as their owner is kept here.
pub(super) struct Anchor<O>(NonNull<O>);

impl<O: Deref<Target = [u8]>> Anchor<O> {
    pub(super) fn new(owner: O) -> Self {
        Self(NonNull::from(Box::leak(Box::new(owner))))
    }

    /// Their owner is not moved nor reached by anybody else, so that they are the same each time
    /// for every owner that does not change them when asked.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: it came from a box that only `drop` gives back, and nobody has it mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<O> Drop for Anchor<O> {
    fn drop(&mut self) {
        // SAFETY: it came from a box in `new`, and this happens once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What a tensor of ours is made of; the first field is what others see.
#[repr(C)]
struct Kept<M, O> {
    managed: M,
    /// Shape and strides.
    _numbers: Vec<i64>,
    _owner: Anchor<O>,
}

/// Gives a tensor of ours back.
///
/// # Safety
/// `managed` is what [`export`] made of these types, and is not used again.
unsafe extern "C" fn give_back<M, O>(managed: *mut M) {
    // SAFETY: it is the first field of a `Kept` in a box, whose pointer this is; once, as the
    // caller promises.
    drop(unsafe { Box::from_raw(managed.cast::<Kept<M, O>>()) });
}

/// Boxes what keeps a tensor: `manage` makes what others see of it.
fn export<M, O: Deref<Target = [u8]>>(
    owner: O,
    manage: impl FnOnce(Tensor) -> M,
) -> Result<NonNull<M>, Error> {
    let owner = Anchor::new(owner);
    let view = View::of(owner.bytes())?;
    let rank = view.shape().len();
    let numbers = view.shape().iter().chain(view.strides()).map(|number| i64::try_from(*number));
    let numbers = numbers.collect::<Result<Vec<_>, _>>();
    let mut numbers = numbers.map_err(|_| Error::Corrupt("no tensor is so long"))?;
    let shape = numbers.as_mut_ptr();
    let tensor = Tensor {
        data: view.data().as_ptr().cast_mut().cast(),
        device: [CPU, 0],
        ndim: rank as i32,
        dtype: view.dtype(),
        shape,
        strides: shape.wrapping_add(rank),
        byte_offset: 0,
    };
    let kept = Kept { managed: manage(tensor), _numbers: numbers, _owner: owner };
    Ok(NonNull::from(Box::leak(Box::new(kept))).cast())
}

impl Lent {
    /// Lends the tensor in a message (`tensor.rs`) without copying it, to be read only, for as long
    /// as whoever gets the pointer likes: `owner` is dropped when it is given back, by any thread.
    ///
    /// # Errors
    /// `Corrupt` if the message is no tensor.
    pub fn message<O: Deref<Target = [u8]> + Send + 'static>(owner: O) -> Result<Self, Error> {
        Self::versioned(owner, READ_ONLY)
    }

    /// A copy of the tensor in a message, which who gets it may write to.
    ///
    /// # Errors
    /// `Corrupt` if the message is no tensor.
    pub fn copy(message: &[u8]) -> Result<Self, Error> {
        Self::versioned(Copied::of(message), IS_COPIED)
    }

    fn versioned<O: Deref<Target = [u8]>>(owner: O, flags: u64) -> Result<Self, Error> {
        let managed = export(owner, |tensor| Managed {
            version: [1, 0],
            context: ptr::null_mut(),
            deleter: Some(give_back::<Managed, O>),
            flags,
            tensor,
        })?;
        Ok(Self::Versioned(managed))
    }

    /// The same for who knows nothing of DLPack 1.0: it can't be told that a tensor is read-only,
    /// and may write to it.
    ///
    /// # Errors
    /// `Corrupt` if the message is no tensor.
    pub fn copy_unversioned(message: &[u8]) -> Result<Self, Error> {
        let managed = export(Copied::of(message), |tensor| Unversioned {
            tensor,
            context: ptr::null_mut(),
            deleter: Some(give_back::<Unversioned, Copied>),
        })?;
        Ok(Self::Unversioned(managed))
    }

    /// The same of one without a version.
    ///
    /// # Safety
    /// As [`from_raw`](Self::from_raw).
    #[must_use]
    pub unsafe fn from_unversioned(managed: NonNull<Unversioned>) -> Self {
        Self::Unversioned(managed)
    }

    /// Takes over what somebody lends.
    ///
    /// # Safety
    /// It points to what `dlpack.h` says, which any thread may read until it is given back by its
    /// deleter, which any thread may call; nobody else calls that.
    ///
    /// # Errors
    /// `Config` for another major version of DLPack; the tensor is given back.
    pub unsafe fn from_raw(managed: NonNull<Managed>) -> Result<Self, Error> {
        let lent = Self::Versioned(managed);
        // SAFETY: as the caller promises.
        let [major, _] = unsafe { managed.as_ref() }.version;
        if major == 1 { Ok(lent) } else { Err(Error::Config("DLPack is 1.x here")) }
    }

    /// Hands it over to whoever gives it back by its deleter, unless it has no version.
    #[must_use]
    pub fn into_raw(self) -> Option<NonNull<Managed>> {
        let Self::Versioned(managed) = self else { return None };
        core::mem::forget(self);
        Some(managed)
    }

    /// The same for one without a version.
    #[must_use]
    pub fn into_unversioned(self) -> Option<NonNull<Unversioned>> {
        let Self::Unversioned(managed) = self else { return None };
        core::mem::forget(self);
        Some(managed)
    }

    fn tensor(&self) -> &Tensor {
        match self {
            // SAFETY: made by us, or as who called `from_raw` promised; not given back yet.
            Self::Versioned(managed) => &unsafe { managed.as_ref() }.tensor,
            // SAFETY: the same.
            Self::Unversioned(managed) => &unsafe { managed.as_ref() }.tensor,
        }
    }

    /// What it is, with its elements dense one after the other.
    ///
    /// # Errors
    /// `Config` if it is not in the processor's memory, or is none that a message can hold.
    pub fn header(&self) -> Result<Header, Error> {
        let tensor = self.tensor();
        if tensor.device[0] != CPU && tensor.device[0] != PINNED {
            return Err(Error::Config(
                "a tensor of another device: copy it to the processor first",
            ));
        }
        let mut shape = [0_u64; RANK_MAX];
        let lengths = self.numbers(tensor.shape)?;
        for (to, from) in shape.iter_mut().zip(lengths) {
            *to = u64::try_from(*from).map_err(|_| Error::Config("a length is 0 or more"))?;
        }
        Header::dense(tensor.dtype, &shape[..lengths.len()])
    }

    /// One of its lists of numbers, if it is not null.
    fn numbers(&self, start: *mut i64) -> Result<&[i64], Error> {
        let rank = usize::try_from(self.tensor().ndim).ok().filter(|rank| *rank <= RANK_MAX);
        let rank = rank.ok_or(Error::Config("a tensor has up to 8 dimensions"))?;
        if start.is_null() || rank == 0 {
            return Ok(&[]);
        }
        // SAFETY: shape and strides have as many numbers as there are dimensions, as long as the
        // tensor is not given back.
        Ok(unsafe { slice::from_raw_parts(start, rank) })
    }

    /// Copies its elements to `room`, dense, as [`header`](Self::header) says.
    ///
    /// # Errors
    /// Those of `header`; `TooLong` unless `room` has the elements' size.
    pub fn copy_to(&self, room: &mut [u8]) -> Result<(), Error> {
        let (header, tensor) = (self.header()?, self.tensor());
        let (bytes, bytes_max) = (header.data_bytes()?, room.len());
        if bytes != bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        if bytes == 0 {
            return Ok(());
        }
        let element = header.dtype().bytes()?;
        let mut strides = header.strides().iter().map(|step| *step as i64).collect::<Vec<_>>();
        let own = self.numbers(tensor.strides)?;
        strides[..own.len()].copy_from_slice(own);
        let dense = strides.iter().zip(header.strides()).zip(header.shape());
        let dense = dense.into_iter().all(|((is, due), length)| *length == 1 || *is == *due as i64);
        // What follows each other without a gap is copied at once.
        let run = if dense { bytes } else { element };
        for (at, piece) in room.chunks_exact_mut(run).enumerate() {
            let offset = place(at as u64, header.shape(), &strides) * element as i64;
            let offset = tensor.byte_offset as isize + offset as isize;
            // SAFETY: within the tensor's memory, as its shape and strides say.
            let from = unsafe { tensor.data.cast::<u8>().offset(offset) };
            // SAFETY: so many bytes of the tensor are there, and `piece` is ours.
            unsafe { ptr::copy_nonoverlapping(from, piece.as_mut_ptr(), piece.len()) };
        }
        Ok(())
    }
}

/// Where the element of this number lies, in elements.
fn place(mut number: u64, shape: &[u64], strides: &[i64]) -> i64 {
    let mut place = 0;
    for (length, stride) in shape.iter().zip(strides).rev() {
        place += (number % length) as i64 * stride;
        number /= length;
    }
    place
}

impl Drop for Lent {
    fn drop(&mut self) {
        match self {
            Self::Versioned(managed) => {
                // SAFETY: not given back yet.
                if let Some(deleter) = unsafe { managed.as_ref() }.deleter {
                    // SAFETY: once, as who made it wants it given back.
                    unsafe { deleter(managed.as_ptr()) };
                }
            }
            Self::Unversioned(managed) => {
                // SAFETY: not given back yet.
                if let Some(deleter) = unsafe { managed.as_ref() }.deleter {
                    // SAFETY: once, as who made it wants it given back.
                    unsafe { deleter(managed.as_ptr()) };
                }
            }
        }
    }
}

/// A message in memory of its own: in words, since tensors are aligned.
struct Copied(Vec<u128>, usize);

impl Copied {
    fn of(message: &[u8]) -> Self {
        let mut words = vec![0_u128; message.len().div_ceil(size_of::<u128>())];
        let start = words.as_mut_ptr().cast::<u8>();
        // SAFETY: at least so many initialised bytes, which nobody else has while the slice lives.
        let room = unsafe { slice::from_raw_parts_mut(start, message.len()) };
        room.copy_from_slice(message);
        Self(words, message.len())
    }
}

impl Deref for Copied {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: at least so many initialised bytes, which the vector keeps.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Lines, as channels lend them.
    #[repr(align(64))]
    struct Lines([u8; 512]);

    /// A message that counts how often it is given back.
    struct Counted(Copied, Arc<AtomicUsize>);

    impl Deref for Counted {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn message(header: &Header, elements: &[u8]) -> Copied {
        let mut lines = Lines([0; 512]);
        header.write(&mut lines.0).unwrap().copy_from_slice(elements);
        Copied::of(&lines.0[..header.message_bytes()])
    }

    #[test]
    fn what_is_lent_is_seen_and_given_back_once() {
        let header = Header::dense(Dtype::U8, &[2, 3]).unwrap();
        let given_back = Arc::new(AtomicUsize::new(0));
        let owner = Counted(message(&header, &[1, 2, 3, 4, 5, 6]), given_back.clone());
        let data = owner.as_ptr() as usize + 192;
        let lent = Lent::message(owner).unwrap();
        assert_eq!(lent.tensor().data as usize, data, "nothing is copied");
        let raw = lent.into_raw().unwrap();
        // SAFETY: made above, and by nobody else given back.
        let lent = unsafe { Lent::from_raw(raw) }.unwrap();
        assert_eq!(lent.header().unwrap(), header);
        let mut elements = [0; 6];
        lent.copy_to(&mut elements).unwrap();
        assert_eq!((elements, given_back.load(Ordering::Relaxed)), ([1, 2, 3, 4, 5, 6], 0));
        assert_eq!(lent.copy_to(&mut [0; 5]).unwrap_err().code(), "too_long");
        std::thread::spawn(move || drop(lent)).join().unwrap();
        assert_eq!(given_back.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn strides_are_followed() {
        for (shape, strides, elements, dense) in [
            (&[2, 2][..], &[1, 2][..], &[1_u8, 2, 3, 4][..], &[1_u8, 3, 2, 4][..]),
            (&[3], &[0], &[7], &[7, 7, 7]),
            (&[1, 3], &[9, 1], &[1, 2, 3], &[1, 2, 3]),
            (&[], &[], &[5], &[5]),
            (&[0, 3], &[3, 1], &[], &[]),
        ] {
            let header = Header::strided(Dtype::U8, shape, strides).unwrap();
            let owner = message(&header, elements);
            let copies = [Lent::copy(&owner).unwrap(), Lent::copy_unversioned(&owner).unwrap()];
            for lent in copies.into_iter().chain([Lent::message(owner).unwrap()]) {
                let mut room = vec![0; dense.len()];
                lent.copy_to(&mut room).unwrap();
                assert_eq!(room, dense, "{shape:?} {strides:?}");
            }
        }
    }

    #[test]
    fn what_is_no_tensor_of_ours_is_refused() {
        assert_eq!(Lent::copy(&[0; 8]).unwrap_err().code(), "corrupt");
        let given_back = Arc::new(AtomicUsize::new(0));
        let owner = Counted(Copied(vec![u128::MAX; 20], 320), given_back.clone());
        assert_eq!(Lent::message(owner).unwrap_err().code(), "corrupt");
        assert_eq!(given_back.load(Ordering::Relaxed), 1);
        let header = Header::dense(Dtype::F32, &[1]).unwrap();
        for spoil in [
            |managed: &mut Managed| managed.version = [2, 0],
            |managed: &mut Managed| managed.tensor.device = [2, 0],
            |managed: &mut Managed| managed.tensor.ndim = 9,
            |managed: &mut Managed| managed.tensor.ndim = -1,
        ] {
            let owner = Counted(message(&header, &[0; 4]), given_back.clone());
            let mut raw = Lent::message(owner).unwrap().into_raw().unwrap();
            // SAFETY: made above; nobody else has it.
            spoil(unsafe { raw.as_mut() });
            // SAFETY: as above, and what was spoilt is no pointer.
            let refused = unsafe { Lent::from_raw(raw) }.and_then(|lent| lent.header());
            assert_eq!(refused.unwrap_err().code(), "config");
        }
        assert_eq!(given_back.load(Ordering::Relaxed), 5);
    }
}
