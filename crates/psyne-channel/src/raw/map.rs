//! Pages from the operating system.

use core::ptr::NonNull;

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
        for bytes in [4096, 3 << 20] {
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
