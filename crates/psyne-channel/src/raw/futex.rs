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

/// As [`wait`] on several words at once, each with its value; at most 128.
#[cfg(not(any(loom, miri)))]
pub(crate) fn wait_any<'a>(
    words: impl Iterator<Item = (&'a AtomicU32, u32)> + Clone,
    limit: Option<Duration>,
) {
    use rustix::io::Errno;
    use rustix::thread::futex::{Wait, WaitFlags, WaitPtr, WaitvFlags, waitv};
    use rustix::time::{ClockId, clock_gettime};
    let mut all = [const { Wait::new() }; WORDS_MAX];
    let mut count = 0;
    for (wait, (word, value)) in all.iter_mut().zip(words.clone()) {
        wait.val = value.into();
        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
        wait.flags = WaitFlags::SIZE_U32;
        count += 1;
    }
    let until = limit
        .and_then(|limit| clock_gettime(ClockId::Monotonic).checked_add(limit.try_into().ok()?));
    let woken = waitv(&all[..count], WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic);
    // Linux before 5.16, or a sandbox that does not know the call: then one bell is heard at once
    // and the others late.
    if let (Err(Errno::NOSYS | Errno::PERM), Some((word, value))) = (woken, words.clone().next()) {
        wait(word, value, Some(limit.unwrap_or(LATE).min(LATE)));
    }
}

/// What `wait_any` costs at most where the system has no such call.
#[cfg(not(any(loom, miri)))]
const LATE: Duration = Duration::from_millis(1);
/// Most words of `wait_any` (`FUTEX_WAITV_MAX`).
#[cfg(not(any(loom, miri)))]
const WORDS_MAX: usize = 128;

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

/// The same for several words.
#[cfg(any(loom, miri))]
pub(crate) fn wait_any<'a>(
    words: impl Iterator<Item = (&'a AtomicU32, u32)> + Clone,
    limit: Option<Duration>,
) {
    use crate::sync::Ordering;
    let unchanged = || words.clone().all(|(word, value)| word.load(Ordering::Acquire) == value);
    while limit.is_none() && unchanged() {
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
