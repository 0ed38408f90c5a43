//! The memory of one side of a ring: the words that it tells the other, and its slots.

use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::book::Book;
use super::map::Map;
use super::{copy, message};
use crate::Error;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Where the slots begin: on a page of their own, so that the words before can have other rights.
pub(super) const SLOTS_OFFSET: usize = 4096;

/// What a line is read by. Read by words, a message that is then copied by wider loads waits until
/// it has left the store buffer, where the one before it waits for its line to come back.
#[cfg(all(target_arch = "x86_64", not(miri)))]
type Quarter = core::arch::x86_64::__m128i;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
type Quarter = [u64; 2];

/// Two lines: processors fetch lines in pairs.
#[repr(C, align(128))]
struct Apart<T>(T);

/// What one side tells the other.
#[repr(C)]
pub(crate) struct Side {
    position: Apart<(AtomicU64, AtomicU64)>,
    state: Apart<(AtomicU32, AtomicU32, AtomicU64)>,
    count: Apart<(AtomicU64, Book)>,
}

impl Side {
    /// Sender: messages published. Receiver: messages whose slots are free again.
    #[inline]
    pub(crate) fn position(&self) -> &AtomicU64 {
        &self.position.0.0
    }

    /// Sender of lines: messages before this one are there when `position` says so, whatever their
    /// lines show. In the same line as that.
    #[inline]
    pub(crate) fn bulk(&self) -> &AtomicU64 {
        &self.position.0.1
    }

    /// Sender of broadcasts: messages before this one are being written or were, each to its slot.
    /// Apart from `position`, which is written for each message, this only now and then.
    #[inline]
    pub(crate) fn claimed(&self) -> &AtomicU64 {
        &self.state.0.2
    }

    /// The same to the last message, where `position` may lag behind or not be said at all. Nobody
    /// reads it while all goes well, so writing it costs no line: it is what is left of a side that
    /// died.
    #[inline]
    pub(crate) fn count(&self) -> &AtomicU64 {
        &self.count.0.0
    }

    /// What it counts for observers, in the same line.
    #[inline]
    pub(crate) fn book(&self) -> &Book {
        &self.count.0.1
    }

    /// Whether it is awake, may sleep, sleeps or is gone (`wait.rs`).
    #[inline]
    pub(crate) fn attention(&self) -> &AtomicU32 {
        &self.state.0.0
    }

    /// Counts how often it rang for the other side, which sleeps on this word.
    #[inline]
    pub(crate) fn bell(&self) -> &AtomicU32 {
        &self.state.0.1
    }
}

/// The memory of one side.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// The mapping's first byte, here so that a message costs one load less.
    start: NonNull<u8>,
    /// Of all slots.
    bytes: usize,
    stride: usize,
    _map: Arc<Map>,
}

// SAFETY: the pointer is the mapping's, which is Send and kept alive by `_map`; what is done
// through it is argued for where it is done.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Words and slots for threads of this process. `stride` is a multiple of a line.
    pub(crate) fn private(slots: usize, stride: usize) -> Result<Self, Error> {
        assert!(stride.is_multiple_of(LINE), "slots begin at lines");
        let bytes = slots.checked_mul(stride).filter(|bytes| *bytes < usize::MAX / 2);
        let bytes = bytes.ok_or(Error::Config("slots times their size is no number"))?;
        Ok(Self::over(Arc::new(Map::private(SLOTS_OFFSET + bytes)?), bytes, stride))
    }

    /// Over a mapping of [`SLOTS_OFFSET`] bytes and those of the slots.
    pub(super) fn over(map: Arc<Map>, bytes: usize, stride: usize) -> Self {
        Self { start: map.start(), bytes, stride, _map: map }
    }

    /// Its mapping, if this was the only value that reaches it.
    ///
    /// Panics otherwise.
    #[cfg(not(miri))]
    pub(super) fn into_map(self) -> Map {
        Arc::into_inner(self._map).expect("nobody else was given this region")
    }

    /// Its words.
    #[inline]
    pub(crate) fn side(&self) -> &Side {
        let side = self.start.cast::<Side>();
        // SAFETY: a page-aligned mapping of at least SLOTS_OFFSET zeroed bytes begins here and
        // lives as long as `self`; a Side is smaller, made of atomics only (any bits are a value),
        // and nobody makes another kind of reference to these bytes.
        unsafe { side.as_ref() }
    }

    /// The word at the start of slot `index`.
    #[inline]
    pub(crate) fn sequence(&self, index: usize) -> &AtomicU64 {
        let word = self.slot(index, 0, 8).cast::<AtomicU64>();
        // SAFETY: `slot` answers memory of the mapping that lives as long as `self`, aligned to a
        // line; an atomic has no invalid bits. Only casters call this, for the slots before their
        // lines, which are never lent.
        unsafe { word.as_ref() }
    }

    /// The word at the end of slot `index`, by which a line announces itself.
    #[inline]
    pub(crate) fn last(&self, index: usize) -> &AtomicU64 {
        let word = self.slot(index, self.stride - 8, 8).cast::<AtomicU64>();
        // SAFETY: as in `sequence`; the end of a stride, which is a multiple of a line, less eight
        // is a multiple of eight. Only lanes whose slots are lines call this, and lend the bytes
        // before.
        unsafe { word.as_ref() }
    }

    /// The first 8 bytes of slot `index`, read once, whatever another process does to them.
    ///
    /// # Safety
    /// Nobody of this process writes them meanwhile.
    #[inline]
    pub(super) unsafe fn word(&self, index: usize) -> u64 {
        let word = self.slot(index, 0, 8).cast::<AtomicU64>();
        // SAFETY: as in `sequence`; that nobody writes them otherwise is the caller's promise.
        unsafe { word.as_ref() }.load(Ordering::Relaxed)
    }

    /// `bytes` bytes from `skip` bytes into slot `index` on.
    ///
    /// Panics unless they lie within the slots.
    #[inline]
    fn slot(&self, index: usize, skip: usize, bytes: usize) -> NonNull<u8> {
        let offset = index * self.stride + skip;
        assert!(offset + bytes <= self.bytes, "a slot lies within its region");
        // SAFETY: whoever called `over` made the mapping SLOTS_OFFSET + `bytes` bytes long, so by
        // the assertion the result is within it; index and skip are below 2^47, so nothing
        // overflows.
        unsafe { self.start.add(SLOTS_OFFSET + offset) }
    }

    /// Asks for the first two lines from slot `index` on, to be written soon.
    #[inline]
    pub(super) fn ask_to_write(&self, index: usize) {
        let start = self.slot(index, 0, LINE).as_ptr();
        copy::ask_to_write(start);
        copy::ask_to_write(start.wrapping_add(LINE));
    }

    /// All of slot `index`, which is a line, each byte read once.
    ///
    /// # Safety
    /// Nobody of this process writes it meanwhile.
    #[inline(always)]
    pub(super) unsafe fn line(&self, index: usize) -> [u64; LINE / 8] {
        let start = self.slot(index, 0, LINE).cast::<Quarter>();
        let quarters: [Quarter; LINE / size_of::<Quarter>()] = core::array::from_fn(|at| {
            // SAFETY: within the line that `slot` answered.
            let quarter = unsafe { start.add(at) };
            // SAFETY: a quarter of an aligned line; that nobody writes is the caller's promise.
            unsafe { quarter.read_volatile() }
        });
        // SAFETY: both are 64 bytes of plain data.
        unsafe { core::mem::transmute(quarters) }
    }

    /// Writes all of slot `index`, which is a line, past the caches if `past` and the processor
    /// can: what is stored afterwards may be seen before it unless a [`fence`](Self::fence) stands
    /// between.
    ///
    /// # Safety
    /// Nobody else reads or writes it meanwhile, but for its last word.
    #[inline(always)]
    pub(super) unsafe fn write_line(&self, index: usize, line: &[u64; LINE / 8], past: bool) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if past {
            let to = self.slot(index, 0, LINE);
            // SAFETY: an aligned line that `slot` answered, ours by the caller's promise; words are
            // stored whole, so the last is stored as an atomic is.
            return unsafe { copy::stream_line(to, line) };
        }
        let _ = past;
        let (head, last) = (LINE - 8, line[LINE / 8 - 1]);
        // SAFETY: ours by the caller's promise.
        let to = unsafe { self.bytes_mut(index, head) };
        to.copy_from_slice(&message::bytes(line)[..head]);
        self.last(index).store(last, Ordering::Relaxed);
    }

    /// What was stored before, past the caches or through them, is seen before what is stored
    /// afterwards.
    #[inline]
    pub(super) fn fence(&self) {
        fence(Ordering::Release);
        copy::stream_fence();
    }

    /// The first `bytes` bytes from slot `index` on, to read.
    ///
    /// # Safety
    /// Nobody of this process writes them, through whatever clone, while the result lives.
    #[inline]
    pub(super) unsafe fn bytes(&self, index: usize, bytes: usize) -> &[u8] {
        let start = self.slot(index, 0, bytes);
        // SAFETY: `slot` checked that they lie in the mapping, which lives as long as `self` and
        // was zeroed by the kernel, so is initialised; that nobody writes is the caller's promise.
        unsafe { slice::from_raw_parts(start.as_ptr(), bytes) }
    }

    /// The same to write.
    ///
    /// # Safety
    /// Nobody else reads or writes them, through whatever clone, while the result lives.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises what the borrow checker can't see"
    )]
    pub(super) unsafe fn bytes_mut(&self, index: usize, bytes: usize) -> &mut [u8] {
        let start = self.slot(index, 0, bytes);
        // SAFETY: as in `bytes`; that nobody else looks is the caller's promise.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }
}

/// A region whose slots are words that anybody reads and one side writes, at any time: nothing in
/// it is ever lent as bytes, so nothing has to be proved about who does what when.
#[derive(Clone, Debug)]
pub(crate) struct Words(Region);

impl Words {
    /// Words for threads of this process. `stride` is a multiple of a line.
    pub(crate) fn private(slots: usize, stride: usize) -> Result<Self, Error> {
        Region::private(slots, stride).map(Self)
    }

    /// The same of a region that is reached in no other way. Only its owner may store to it.
    pub(crate) fn over(region: Region) -> Self {
        Self(region)
    }

    /// The words of its side.
    #[inline]
    pub(crate) fn side(&self) -> &Side {
        self.0.side()
    }

    /// The words of slot `index`.
    #[inline]
    pub(crate) fn slot(&self, index: usize) -> &[AtomicU64] {
        let start = self.0.slot(index, 0, self.0.stride).cast::<AtomicU64>();
        // SAFETY: `slot` checked that a stride's bytes lie in the mapping, zeroed, aligned to a
        // line and alive as long as `self`; atomics have no invalid bits, and the region is only
        // reached through this type, which makes no other kind of reference to slots.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.0.stride / 8) }
    }

    /// The bell in slot `index`: its last four bytes, of which nobody makes a word.
    #[inline]
    pub(crate) fn bell(&self, index: usize) -> &AtomicU32 {
        let start = self.0.slot(index, self.0.stride - 4, 4).cast::<AtomicU32>();
        // SAFETY: as in `slot`; the end of a stride, which is a multiple of a line, less four is a
        // multiple of four.
        unsafe { start.as_ref() }
    }
}

/// A region of another process: Miri knows none.
#[cfg(miri)]
#[derive(Debug)]
pub(crate) struct Other(Region);

#[cfg(miri)]
impl Other {
    /// Its words and slots.
    pub(crate) fn region(&self) -> &Region {
        &self.0
    }

    /// Rings for who waits for its successor.
    pub(crate) fn ring_if_ours(&self) {}
}
