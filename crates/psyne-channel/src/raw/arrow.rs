//! Tensors as arrays of the Arrow C data interface
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>): a primitive array for one
//! dimension, fixed-size lists of it for more.

use core::ffi::{CStr, c_char, c_void};
use core::ops::Deref;
use core::{ptr, slice};
use std::ffi::CString;
use std::sync::Arc;

use super::dlpack::Anchor;
use crate::Error;
use crate::tensor::{Dtype, Header, RANK_MAX, View};

/// Formats of numbers, as Arrow names them. It packs booleans to bits, and has no `bfloat16`.
const FORMATS: [(&CStr, Dtype); 11] = [
    (c"c", Dtype::I8),
    (c"C", Dtype::U8),
    (c"s", Dtype::I16),
    (c"S", Dtype::U16),
    (c"i", Dtype::I32),
    (c"I", Dtype::U32),
    (c"l", Dtype::I64),
    (c"L", Dtype::U64),
    (c"e", Dtype::F16),
    (c"f", Dtype::F32),
    (c"g", Dtype::F64),
];

const FOREIGN: Error =
    Error::Config("an array of numbers, or fixed-size lists of it, without nulls");

/// `ARROW_FLAG_NULLABLE`: ours never has nulls, but this is the type that others declare.
const NULLABLE: i64 = 2;
const TOO_LONG: Error = Error::Config("a list of Arrow has 2^31 - 1 elements at most");

/// `ArrowSchema`: what an array is.
#[derive(Debug)]
#[repr(C)]
pub struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Schema,
    dictionary: *mut Schema,
    release: Option<unsafe extern "C" fn(*mut Schema)>,
    private: *mut c_void,
}

/// `ArrowArray`: where its elements lie.
#[derive(Debug)]
#[repr(C)]
pub struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Array,
    dictionary: *mut Array,
    release: Option<unsafe extern "C" fn(*mut Array)>,
    private: *mut c_void,
}

/// Something of Arrow's that is released by a function of its own.
trait Released: Sized {
    /// Nothing once it was released.
    fn release(&mut self) -> &mut Option<unsafe extern "C" fn(*mut Self)>;
    fn private(&self) -> *mut c_void;
}

macro_rules! released {
    ($($type:ty),*) => {$(impl Released for $type {
        fn release(&mut self) -> &mut Option<unsafe extern "C" fn(*mut Self)> {
            &mut self.release
        }

        fn private(&self) -> *mut c_void {
            self.private
        }
    })*};
}
released!(Schema, Array);

impl Schema {
    /// Releases it, unless somebody moved it away.
    pub fn give_back(&mut self) {
        give_back(self);
    }
}

impl Array {
    /// Releases it, unless somebody moved it away.
    pub fn give_back(&mut self) {
        give_back(self);
    }
}

/// Bytes whose owner nobody needs to know.
trait Owner {}

impl<O> Owner for Anchor<O> {}

/// What an array or schema of ours is made of, and its child.
struct Kept<T> {
    child: Option<*mut T>,
    /// Where `children` points: the child again.
    children: Vec<*mut T>,
    buffers: Vec<*const c_void>,
    _format: Vec<u8>,
    _owner: Option<Arc<dyn Owner>>,
}

/// Releases a structure of ours, and its child unless somebody took that over.
///
/// # Safety
/// `this` is null or was made by [`Kept::leak`], or a copy that took its place; once.
unsafe extern "C" fn release<T: Released>(this: *mut T) {
    // SAFETY: as the caller promises.
    let Some(this) = (unsafe { this.as_mut() }) else { return };
    *this.release() = None;
    // SAFETY: it was leaked as this, and this happens once.
    let kept = unsafe { Box::from_raw(this.private().cast::<Kept<T>>()) };
    if let Some(child) = kept.child {
        // SAFETY: leaked as this when it was made; who takes a child over copies it and marks
        // this one as released.
        let mut child = unsafe { Box::from_raw(child) };
        give_back(&mut *child);
    }
}

/// Releases something, if that was not done.
fn give_back<T: Released>(this: &mut T) {
    if let Some(release) = *this.release() {
        // SAFETY: it was not released yet, and is what it was made as, or a copy in its place.
        unsafe { release(this) };
    }
}

impl<T> Kept<T> {
    /// Keeps a child, and answers what `children`, `buffers` and `private` are.
    fn leak(mut self: Box<Self>) -> (*mut *mut T, *mut *const c_void, *mut c_void) {
        self.children.extend(self.child);
        let (children, buffers) = (self.children.as_mut_ptr(), self.buffers.as_mut_ptr());
        (children, buffers, Box::into_raw(self).cast())
    }
}

fn schema(format: CString, child: Option<Schema>) -> Schema {
    let child = child.map(|child| Box::into_raw(Box::new(child)));
    let n_children = i64::from(child.is_some());
    // A vector: what pointed into a `CString`, a box, would be void once it is moved.
    let format = format.into_bytes_with_nul();
    let start = format.as_ptr().cast::<c_char>();
    let (children, buffers) = (Vec::new(), Vec::new());
    let kept = Kept { child, children, buffers, _format: format, _owner: None };
    let (children, _, private) = Box::new(kept).leak();
    Schema {
        format: start,
        // What Arrow calls the child of a list.
        name: c"item".as_ptr(),
        metadata: ptr::null(),
        flags: NULLABLE,
        n_children,
        children,
        dictionary: ptr::null_mut(),
        release: Some(release::<Schema>),
        private,
    }
}

fn array(length: i64, data: Option<(*const u8, Arc<dyn Owner>)>, child: Option<Array>) -> Array {
    let child = child.map(|child| Box::into_raw(Box::new(child)));
    let n_children = i64::from(child.is_some());
    // Before the elements the bits that say which are null: none.
    let mut buffers = vec![ptr::null()];
    buffers.extend(data.as_ref().map(|(data, _)| data.cast::<c_void>()));
    let n_buffers = buffers.len() as i64;
    let owner = data.map(|(_, owner)| owner);
    let children = Vec::new();
    let kept = Kept { child, children, buffers, _format: Vec::new(), _owner: owner };
    let (children, buffers, private) = Box::new(kept).leak();
    Array {
        length,
        null_count: 0,
        offset: 0,
        n_buffers,
        n_children,
        buffers,
        children,
        dictionary: ptr::null_mut(),
        release: Some(release::<Array>),
        private,
    }
}

/// A tensor as an array of Arrow. Dropped, it is released.
#[derive(Debug)]
pub struct Column {
    schema: Schema,
    array: Array,
}

// SAFETY: who made it promises (`from_raw`) that any thread may read and release it.
unsafe impl Send for Column {}
// SAFETY: what is shared is only read.
unsafe impl Sync for Column {}

impl Drop for Column {
    fn drop(&mut self) {
        give_back(&mut self.array);
        give_back(&mut self.schema);
    }
}

impl Column {
    /// Lends the tensor in a message (`tensor.rs`) without copying it: `owner` is dropped when the
    /// array is released, by any thread. A tensor without dimensions is an array of one.
    ///
    /// # Errors
    /// `Corrupt` if the message is no tensor; `Config` if its elements are no numbers of Arrow's,
    /// or leave gaps.
    pub fn message<O: Deref<Target = [u8]> + Send + 'static>(owner: O) -> Result<Self, Error> {
        let owner = Anchor::new(owner);
        let view = View::of(owner.bytes())?;
        let (header, data) = (*view.header(), view.data().as_ptr());
        let known = FORMATS.iter().find(|(_, dtype)| *dtype == header.dtype());
        let (format, _) = known.ok_or(Error::Config("Arrow has no such number"))?;
        if !header.is_dense() {
            return Err(Error::Config("a tensor for Arrow is dense"));
        }
        let (first, inner) = header.shape().split_first().unwrap_or((&1, &[]));
        let all = count(*first, inner)?;
        let mut column = Self {
            schema: schema((*format).into(), None),
            array: array(all, Some((data, Arc::new(owner))), None),
        };
        for (at, length) in inner.iter().enumerate().rev() {
            let format = CString::new(format!("+w:{length}")).expect("it has no zero byte");
            i32::try_from(*length).map_err(|_| TOO_LONG)?;
            let lists = count(*first, &inner[..at])?;
            let (of, elements) = column.into_raw();
            column = Self {
                schema: schema(format, Some(of)),
                array: array(lists, None, Some(elements)),
            };
        }
        Ok(column)
    }

    /// Takes over what somebody lends: both are marked as released there.
    ///
    /// # Safety
    /// They are what the interface says, and any thread may read and release them.
    ///
    /// # Errors
    /// `Config` if one is released already.
    pub unsafe fn from_raw(schema: &mut Schema, array: &mut Array) -> Result<Self, Error> {
        if schema.release.is_none() || array.release.is_none() {
            return Err(Error::Config("an array that was released"));
        }
        // SAFETY: both are whole, and hold nothing that a copy would drop twice but for the mark.
        Ok(unsafe { Self::moved(schema, array) })
    }

    /// Hands both over to whoever releases them.
    #[must_use]
    pub fn into_raw(self) -> (Schema, Array) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: it is not used nor dropped any more.
        let schema = unsafe { ptr::read(&raw const this.schema) };
        // SAFETY: as above.
        let array = unsafe { ptr::read(&raw const this.array) };
        (schema, array)
    }

    /// Moves both here, as the interface says: what was there counts as released.
    ///
    /// # Safety
    /// They are whole.
    unsafe fn moved(schema: &mut Schema, array: &mut Array) -> Self {
        // SAFETY: as the caller promises; the mark below leaves one of the two.
        let moved = unsafe { ptr::read(schema) };
        // SAFETY: as above.
        let column = Self { schema: moved, array: unsafe { ptr::read(array) } };
        (schema.release, array.release) = (None, None);
        column
    }

    /// What it is as a tensor.
    ///
    /// # Errors
    /// `Config` if it is none.
    pub fn header(&self) -> Result<Header, Error> {
        self.look().map(|(header, _)| header)
    }

    /// Copies its elements to `room`, as [`header`](Self::header) says.
    ///
    /// # Errors
    /// Those of `header`; `TooLong` unless `room` has the elements' size.
    pub fn copy_to(&self, room: &mut [u8]) -> Result<(), Error> {
        let (header, start) = self.look()?;
        let (bytes, bytes_max) = (header.data_bytes()?, room.len());
        if bytes != bytes_max {
            return Err(Error::TooLong { bytes, bytes_max });
        }
        if bytes > 0 {
            // SAFETY: `look` found so many bytes of elements there.
            room.copy_from_slice(unsafe { slice::from_raw_parts(start, bytes) });
        }
        Ok(())
    }

    /// The tensor that it is, and where the first of its elements lies.
    fn look(&self) -> Result<(Header, *const u8), Error> {
        let (mut schema, mut array) = (&self.schema, &self.array);
        let mut shape = vec![length(array.length)?];
        let (mut first, mut count) = (length(array.offset)?, shape[0]);
        loop {
            if array.null_count != 0 || shape.len() > RANK_MAX {
                return Err(FOREIGN);
            }
            // SAFETY: a format ends with a zero byte.
            let format = unsafe { CStr::from_ptr(schema.format) };
            if let Some((_, dtype)) = FORMATS.iter().find(|(known, _)| *known == format) {
                let header = Header::dense(*dtype, &shape)?;
                return Ok((header, elements(array, first, *dtype)?));
            }
            let lists = format.to_str().ok().and_then(|format| format.strip_prefix("+w:"));
            let size: u64 = lists.and_then(|size| size.parse().ok()).ok_or(FOREIGN)?;
            if schema.n_children != 1 || array.n_children != 1 {
                return Err(FOREIGN);
            }
            // SAFETY: there is one child, as it says, which lives as long.
            schema = unsafe { child(schema.children) };
            // SAFETY: as above.
            array = unsafe { child(array.children) };
            let step = |number: u64| number.checked_mul(size).ok_or(FOREIGN);
            first = step(first)?.checked_add(length(array.offset)?).ok_or(FOREIGN)?;
            count = step(count)?;
            let end = first.checked_add(count).ok_or(FOREIGN)?;
            if end > length(array.length)?.saturating_add(length(array.offset)?) {
                return Err(FOREIGN);
            }
            shape.push(size);
        }
    }
}

/// Elements of these dimensions.
fn count(first: u64, inner: &[u64]) -> Result<i64, Error> {
    let count = inner.iter().try_fold(first, |count, length| count.checked_mul(*length));
    count.and_then(|count| i64::try_from(count).ok()).ok_or(TOO_LONG)
}

fn length(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| FOREIGN)
}

/// The only child.
///
/// # Safety
/// There is one, which nobody else looks at for so long.
unsafe fn child<'a, T>(children: *mut *mut T) -> &'a mut T {
    // SAFETY: as the caller promises.
    let child = unsafe { *children };
    // SAFETY: as the caller promises.
    unsafe { &mut *child }
}

/// Where the element of this number lies.
fn elements(array: &Array, first: u64, dtype: Dtype) -> Result<*const u8, Error> {
    if array.n_buffers != 2 {
        return Err(FOREIGN);
    }
    // SAFETY: there are two buffers: which are null, and elements.
    let [_, data] = unsafe { *array.buffers.cast::<[*const u8; 2]>() };
    Ok(data.wrapping_add(first as usize * dtype.bytes()?))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A message that counts how often it is given back.
    struct Counted(Lines, usize, Arc<AtomicUsize>);

    /// Lines, as channels lend them.
    #[repr(align(64))]
    struct Lines([u8; 320]);

    impl Deref for Counted {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0.0[..self.1]
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.2.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn message(header: &Header, given_back: &Arc<AtomicUsize>) -> Counted {
        let mut lines = Lines([0; 320]);
        for (at, byte) in header.write(&mut lines.0).unwrap().iter_mut().enumerate() {
            *byte = at as u8;
        }
        Counted(lines, header.message_bytes(), given_back.clone())
    }

    #[test]
    fn what_is_lent_is_seen_and_released_once() {
        let given_back = Arc::new(AtomicUsize::new(0));
        let shapes: [(&[u64], &[u64]); 4] =
            [(&[], &[1]), (&[5], &[5]), (&[2, 3], &[2, 3]), (&[2, 3, 4], &[2, 3, 4])];
        for (round, (shape, seen)) in shapes.into_iter().enumerate() {
            let header = Header::dense(Dtype::I16, shape).unwrap();
            let lent = Column::message(message(&header, &given_back)).unwrap();
            let (mut schema, mut array) = lent.into_raw();
            // SAFETY: made above, and moved as the interface allows.
            let column = unsafe { Column::from_raw(&mut schema, &mut array) }.unwrap();
            // SAFETY: as above.
            let twice = unsafe { Column::from_raw(&mut schema, &mut array) };
            assert_eq!(twice.unwrap_err().code(), "config");
            assert_eq!(column.header().unwrap(), Header::dense(Dtype::I16, seen).unwrap());
            let bytes = header.message_bytes() - 192;
            let mut elements = vec![0; bytes];
            column.copy_to(&mut elements).unwrap();
            assert!(elements.iter().enumerate().all(|(at, byte)| at == usize::from(*byte)));
            assert_eq!(column.copy_to(&mut [0]).unwrap_err().code(), "too_long");
            assert_eq!(given_back.load(Ordering::Relaxed), round);
            std::thread::spawn(move || drop(column)).join().unwrap();
            assert_eq!(given_back.load(Ordering::Relaxed), round + 1);
        }
    }

    #[test]
    fn slices_begin_where_they_say() {
        let given_back = Arc::new(AtomicUsize::new(0));
        let header = Header::dense(Dtype::U8, &[4, 2]).unwrap();
        let mut column = Column::message(message(&header, &given_back)).unwrap();
        (column.array.offset, column.array.length) = (1, 2);
        assert_eq!(column.header().unwrap().shape(), [2, 2]);
        let mut elements = [0; 4];
        column.copy_to(&mut elements).unwrap();
        assert_eq!(elements, [2, 3, 4, 5]);
        for spoil in [
            |array: &mut Array| array.length = 4,
            |array: &mut Array| array.offset = -1,
            |array: &mut Array| array.null_count = 1,
            |array: &mut Array| array.n_children = 0,
        ] {
            (column.array.offset, column.array.length, column.array.null_count) = (1, 2, 0);
            column.array.n_children = 1;
            spoil(&mut column.array);
            assert_eq!(column.header().unwrap_err().code(), "config");
        }
    }

    #[test]
    fn a_child_may_outlive_its_parent() {
        let given_back = Arc::new(AtomicUsize::new(0));
        let header = Header::dense(Dtype::U8, &[4, 2]).unwrap();
        let column = Column::message(message(&header, &given_back)).unwrap();
        // SAFETY: there is one child, which is taken over as the interface allows.
        let schema = unsafe { child(column.schema.children) };
        // SAFETY: as above.
        let array = unsafe { child(column.array.children) };
        // SAFETY: as above.
        let child = unsafe { Column::from_raw(schema, array) }.unwrap();
        drop(column);
        assert_eq!(child.header().unwrap().shape(), [8]);
        assert_eq!(given_back.load(Ordering::Relaxed), 0);
        drop(child);
        assert_eq!(given_back.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_arrow_has_not_is_refused() {
        let given_back = Arc::new(AtomicUsize::new(0));
        for header in [
            Header::dense(Dtype::BF16, &[4]).unwrap(),
            Header::dense(Dtype::BOOL, &[4]).unwrap(),
            Header::strided(Dtype::U8, &[4], &[2]).unwrap(),
            Header::dense(Dtype::U8, &[0, 1 << 32]).unwrap(),
        ] {
            let refused = Column::message(message(&header, &given_back));
            assert_eq!(refused.unwrap_err().code(), "config", "{header:?}");
        }
        assert_eq!(given_back.load(Ordering::Relaxed), 4);
    }
}
