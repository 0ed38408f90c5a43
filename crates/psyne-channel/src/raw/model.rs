//! Regions as loom sees them: the same words and slots, with each access recorded.
//!
//! What it does not show: memory shared with another process, and payloads larger than a slot.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::book::Book;
use crate::Error;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// What one side tells the other.
#[derive(Debug)]
pub(crate) struct Side {
    position: AtomicU64,
    bulk: AtomicU64,
    count: AtomicU64,
    claimed: AtomicU64,
    attention: AtomicU32,
    bell: AtomicU32,
    book: Book,
}

impl Side {
    /// Sender: messages published. Receiver: messages whose slots are free again.
    pub(crate) fn position(&self) -> &AtomicU64 {
        &self.position
    }

    /// Sender of lines: messages before this one are there when `position` says so.
    pub(crate) fn bulk(&self) -> &AtomicU64 {
        &self.bulk
    }

    /// Sender of broadcasts: messages before this one are being written or were.
    pub(crate) fn claimed(&self) -> &AtomicU64 {
        &self.claimed
    }

    /// The same to the last message.
    pub(crate) fn count(&self) -> &AtomicU64 {
        &self.count
    }

    /// Whether it is awake, may sleep, sleeps or is gone (`wait.rs`).
    pub(crate) fn attention(&self) -> &AtomicU32 {
        &self.attention
    }

    /// Counts how often it rang for the other side.
    pub(crate) fn bell(&self) -> &AtomicU32 {
        &self.bell
    }

    /// What it counts for observers.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }
}

/// The memory of one side.
#[derive(Clone, Debug)]
pub(crate) struct Region(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    side: Side,
    sequences: Vec<AtomicU64>,
    slots: Vec<UnsafeCell<[u64; 16]>>,
    stride: usize,
}

// SAFETY: loom checks every access to `slots`, which is the only part that is not Sync by itself.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Region {
    /// Words and slots of at most 128 bytes.
    pub(crate) fn private(slots: usize, stride: usize) -> Result<Self, Error> {
        assert!(stride <= 128, "a model is small");
        let side = Side {
            position: AtomicU64::new(0),
            bulk: AtomicU64::new(0),
            count: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            attention: AtomicU32::new(0),
            bell: AtomicU32::new(0),
            book: Book::default(),
        };
        let sequences = (0..slots).map(|_| AtomicU64::new(0)).collect();
        let slots = (0..slots).map(|_| UnsafeCell::new([0; 16])).collect();
        Ok(Self(Arc::new(Inner { side, sequences, slots, stride })))
    }

    /// Its words.
    pub(crate) fn side(&self) -> &Side {
        &self.0.side
    }

    /// The word at the start of slot `index`.
    pub(crate) fn sequence(&self, index: usize) -> &AtomicU64 {
        &self.0.sequences[index]
    }

    /// The word at the end of slot `index`.
    pub(crate) fn last(&self, index: usize) -> &AtomicU64 {
        &self.0.sequences[index]
    }

    /// The first 8 bytes of slot `index`.
    ///
    /// # Safety
    /// Nobody writes them meanwhile: loom checks it.
    pub(super) unsafe fn word(&self, index: usize) -> u64 {
        // SAFETY: initialised and aligned, unwritten by the caller's promise.
        self.0.slots[index].with(|slot| unsafe { slot.cast::<u64>().read() })
    }

    /// A hint that changes nothing.
    pub(super) fn ask_to_write(&self, _index: usize) {}

    /// All of slot `index`.
    ///
    /// # Safety
    /// Nobody writes it meanwhile: loom checks it.
    pub(super) unsafe fn line(&self, index: usize) -> [u64; LINE / 8] {
        // SAFETY: initialised and aligned, unwritten by the caller's promise.
        let slot = self.0.slots[index].with(|slot| unsafe { slot.read() });
        let last = self.0.sequences[index].load(Ordering::Relaxed);
        std::array::from_fn(|at| if at < 7 { slot[at] } else { last })
    }

    /// Writes all of slot `index`.
    ///
    /// # Safety
    /// Nobody else reads or writes it meanwhile, but for its last word: loom checks it.
    pub(super) unsafe fn write_line(&self, index: usize, line: &[u64; LINE / 8], _past: bool) {
        // SAFETY: ours alone by the caller's promise.
        self.0.slots[index].with_mut(|slot| unsafe {
            slot.cast::<[u64; 7]>().write(line[..7].try_into().expect("seven of eight"))
        });
        self.0.sequences[index].store(line[7], Ordering::Relaxed);
    }

    /// What was stored before is seen before what is stored afterwards.
    pub(super) fn fence(&self) {
        fence(Ordering::Release);
    }

    /// Bytes of one slot to read.
    ///
    /// # Safety
    /// Nobody writes them while the result lives: loom checks it for the moment of the call.
    pub(super) unsafe fn bytes(&self, index: usize, bytes: usize) -> &[u8] {
        assert!(bytes <= self.0.stride, "a model lends one slot");
        let start = self.0.slots[index].with(|slot| slot.cast::<u8>());
        // SAFETY: within the 128 bytes of the slot, initialised, alive as long as `self`,
        // unwritten by the caller's promise.
        unsafe { core::slice::from_raw_parts(start, bytes) }
    }

    /// Bytes of one slot to write.
    ///
    /// # Safety
    /// Nobody else reads or writes them while the result lives: loom checks the moment of the call.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises what the borrow checker can't see"
    )]
    pub(super) unsafe fn bytes_mut(&self, index: usize, bytes: usize) -> &mut [u8] {
        assert!(bytes <= self.0.stride, "a model lends one slot");
        let start = self.0.slots[index].with_mut(|slot| slot.cast::<u8>());
        // SAFETY: within the 128 bytes of the slot, initialised, alive as long as `self`,
        // ours alone by the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(start, bytes) }
    }
}

/// A region whose slots are words that anybody reads and one side writes.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    region: Region,
    slots: Arc<Vec<Vec<AtomicU64>>>,
    bells: Arc<Vec<AtomicU32>>,
}

impl Words {
    /// Words and slots of at most 128 bytes.
    pub(crate) fn private(slots: usize, stride: usize) -> Result<Self, Error> {
        let words = |_| (0..stride / 8).map(|_| AtomicU64::new(0)).collect();
        let words = Arc::new((0..slots).map(words).collect());
        let bells = Arc::new((0..slots).map(|_| AtomicU32::new(0)).collect());
        Ok(Self { region: Region::private(0, stride)?, slots: words, bells })
    }

    /// The same of another region: there is none in a model.
    pub(crate) fn over(region: Region) -> Self {
        Self { region, slots: Arc::new(Vec::new()), bells: Arc::new(Vec::new()) }
    }

    /// The words of its side.
    pub(crate) fn side(&self) -> &Side {
        self.region.side()
    }

    /// The words of slot `index`.
    pub(crate) fn slot(&self, index: usize) -> &[AtomicU64] {
        &self.slots[index]
    }

    /// The bell in slot `index`.
    pub(crate) fn bell(&self, index: usize) -> &AtomicU32 {
        &self.bells[index]
    }
}

/// A region of another process: there is none in a model.
#[derive(Debug)]
pub(crate) struct Other(Region);

impl Other {
    /// Its words and slots.
    pub(crate) fn region(&self) -> &Region {
        &self.0
    }

    /// Rings for who waits for its successor.
    pub(crate) fn ring_if_ours(&self) {}
}
