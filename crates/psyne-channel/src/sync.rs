//! The one door to atomics and fences, so that loom's can take their place.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::Mutex;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::Mutex;

/// Says to the processor, and to loom, that this is a loop that waits for another thread.
#[inline]
pub(crate) fn pause() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Lets another thread have the core, if one waits for it: half a microsecond if not.
pub(crate) fn give_way() {
    #[cfg(not(loom))]
    std::thread::yield_now();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// The cheap half of an asymmetric pair of fences: with [`heavy_fence`] on the other side, what
/// came before and what comes after are not reordered. Costs nothing but the compiler's freedom.
#[inline]
pub(crate) fn light_fence() {
    #[cfg(not(loom))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// The dear half: makes every thread of every registered process pass a full fence, about 10 µs.
pub(crate) fn heavy_fence() {
    #[cfg(not(any(loom, miri)))]
    {
        use rustix::thread::{MembarrierCommand, membarrier};
        let done = membarrier(MembarrierCommand::GlobalExpedited);
        assert!(done.is_ok(), "register_fences said that the system has this fence");
    }
    #[cfg(any(loom, miri))]
    fence(Ordering::SeqCst);
}

/// Asks for [`heavy_fence`] to reach this process. False if the system has no such call: then each
/// light fence must be a full one.
pub(crate) fn register_fences() -> bool {
    #[cfg(not(any(loom, miri)))]
    {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
    }
    #[cfg(any(loom, miri))]
    cfg!(loom)
}
