//! Sleeping on a word, and waking who sleeps on it.

#[cfg(not(any(loom, miri)))]
use core::num::NonZeroU32;
use core::time::Duration;

use crate::sync::AtomicU32;

/// Sleeps until [`wake`] on the same word, at most `limit`, or not at all if the word is not
/// `value` any more. May return early: the caller looks again.
#[cfg(not(any(loom, miri)))]
pub(crate) fn wait(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    use rustix::thread::futex;
    let limit = limit.and_then(|limit| futex::Timespec::try_from(limit).ok());
    // Woken, interrupted, changed or too late: all mean that the caller looks again.
    let _ = futex::wait(word, futex::Flags::empty(), value, limit.as_ref());
}

/// Wakes all who sleep on the word.
#[cfg(not(any(loom, miri)))]
pub(crate) fn wake(word: &AtomicU32) {
    use rustix::thread::futex;
    const ALL: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).unwrap();
    let _ = futex::wake(word, futex::Flags::empty(), ALL.get());
}

/// Models know no futex: who sleeps goes on when the word has changed, and not before, so that a
/// bell that was not rung is an endless loop and the model says so.
#[cfg(any(loom, miri))]
pub(crate) fn wait(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    use crate::sync::Ordering;
    while limit.is_none() && word.load(Ordering::Acquire) == value {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        std::thread::yield_now();
    }
}

/// Nobody sleeps in a model.
#[cfg(any(loom, miri))]
pub(crate) fn wake(word: &AtomicU32) {
    let _ = word;
}
