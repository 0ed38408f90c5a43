//! Pages from the operating system.

use core::ptr::NonNull;
#[cfg(not(miri))]
use std::os::fd::BorrowedFd;

use crate::Error;

/// From this size on, huge pages are asked for.
#[cfg(not(miri))]
const HUGE_BYTES: usize = 2 << 20;

/// A mapping: zeroed pages that stay where they are until it is dropped.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; Map itself reads and writes nothing.
unsafe impl Send for Map {}
// SAFETY: as above; what is done through `start` is argued for where it is done.
unsafe impl Sync for Map {}

impl Map {
    /// Memory of this process alone, touched beforehand so that no message pays for a page fault.
    #[cfg(not(miri))]
    pub(crate) fn private(bytes: usize) -> Result<Self, Error> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is left to the kernel, so no existing mapping is replaced.
        let start =
            unsafe { mmap_anonymous(core::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) };
        let start = start.map_err(|error| Error::Memory(error.to_string()))?;
        let start =
            NonNull::new(start.cast::<u8>()).expect("mmap without FIXED never answers null");
        let map = Self { start, bytes };
        let pages = start.as_ptr().cast();
        if bytes >= HUGE_BYTES {
            // SAFETY: the range is ours alone, and this advice changes no content. It may be
            // refused where the kernel has no huge pages; then there are none.
            let _ = unsafe { madvise(pages, bytes, Advice::LinuxHugepage) };
        }
        // SAFETY: as above: populating writes nothing. Kernels before 5.14 refuse; the first
        // messages then fault the pages in.
        let _ = unsafe { madvise(pages, bytes, Advice::LinuxPopulateWrite) };
        Ok(map)
    }

    /// A file of memory from its start on; the address is the kernel's choice. Pages are touched
    /// beforehand: to write if `writable`, else to read.
    #[cfg(not(miri))]
    pub(crate) fn of_file(
        file: BorrowedFd<'_>,
        bytes: usize,
        writable: bool,
    ) -> Result<Self, Error> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
        let (protection, advice) = if writable {
            (ProtFlags::READ | ProtFlags::WRITE, Advice::LinuxPopulateWrite)
        } else {
            (ProtFlags::READ, Advice::LinuxPopulateRead)
        };
        // SAFETY: the address is left to the kernel, so no existing mapping is replaced.
        let start =
            unsafe { mmap(core::ptr::null_mut(), bytes, protection, MapFlags::SHARED, file, 0) };
        let start = start.map_err(|error| Error::Memory(error.to_string()))?;
        let start =
            NonNull::new(start.cast::<u8>()).expect("mmap without FIXED never answers null");
        let map = Self { start, bytes };
        let pages = start.as_ptr().cast();
        if bytes >= HUGE_BYTES {
            // SAFETY: the range is ours alone, and this advice changes no content.
            let _ = unsafe { madvise(pages, bytes, Advice::LinuxHugepage) };
        }
        // SAFETY: as above: populating writes nothing.
        let touched = unsafe { madvise(pages, bytes, advice) };
        match touched {
            // Kernels before 5.14 don't know it: the first messages then fault the pages in.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(map),
            Err(error) => Err(Error::Memory(error.to_string())),
        }
    }

    /// Puts the pages of `cover` in the place of this mapping's first ones, at once for every
    /// thread: who looks there sees the old bytes or the new.
    #[cfg(not(miri))]
    pub(super) fn cover(&self, cover: Self) -> Result<(), Error> {
        use rustix::mm::{MremapFlags, mremap_fixed};
        assert!(cover.bytes <= self.bytes, "a cover is no larger than what it covers");
        let (from, bytes, to) = (cover.start.as_ptr().cast(), cover.bytes, self.start.as_ptr());
        // SAFETY: both ranges are mappings of ours, whole pages, apart from each other. The covered
        // bytes are only ever reached as atomics or as foreign bytes, which may change at any time;
        // the range stays mapped, and is unmapped with `self`.
        let moved = unsafe { mremap_fixed(from, bytes, bytes, MremapFlags::MAYMOVE, to.cast()) };
        moved.map_err(|error| Error::Memory(error.to_string()))?;
        // Its pages are this mapping's now.
        core::mem::forget(cover);
        Ok(())
    }

    /// The same without the system calls that Miri does not know.
    #[cfg(miri)]
    pub(crate) fn private(bytes: usize) -> Result<Self, Error> {
        let layout = Self::layout(bytes);
        // SAFETY: the layout is not empty: regions are at least a page.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| Error::Memory("none left".into()))?;
        Ok(Self { start, bytes })
    }

    #[cfg(miri)]
    fn layout(bytes: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(bytes, 4096).expect("a mapping fits the address space")
    }

    /// Its first byte. Valid for as many bytes as were asked for, as long as the mapping lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        #[cfg(not(miri))]
        // SAFETY: the range was mapped by this value, nobody else unmaps it, and borrows of it
        // ended with the value.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
        #[cfg(miri)]
        // SAFETY: as above, with the layout that it was allocated with.
        unsafe {
            std::alloc::dealloc(self.start.as_ptr(), Self::layout(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeroed_and_aligned() {
        for bytes in [4096, if cfg!(miri) { 8192 } else { 3 << 20 }] {
            let map = Map::private(bytes).unwrap();
            assert_eq!(map.start().as_ptr() as usize % 4096, 0);
            // SAFETY: the mapping has `bytes` initialised bytes and outlives the slice.
            let all = unsafe { core::slice::from_raw_parts(map.start().as_ptr(), bytes) };
            assert!(all.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "the allocator of Miri aborts")]
    fn what_the_system_refuses_is_an_error() {
        assert_eq!(Map::private(1 << 60).unwrap_err().code(), "memory");
    }
}
