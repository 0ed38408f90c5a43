//! Copies into slots.

#[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
use core::ptr::NonNull;

#[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
use super::region::LINE;
use crate::place::Place;
use crate::sync::AtomicU64;

/// From how many bytes on a copy goes past the caches, depending on where its reader is. Near, the
/// third-level cache is quicker until it is full. Far, lines that are written through a cache are
/// fetched from the reader before, and by it afterwards (docs/decisions/0075).
#[cfg(all(target_arch = "x86_64", not(miri)))]
const fn stream_bytes_min(place: Place) -> usize {
    match place {
        Place::Near => 4 << 20,
        Place::Unknown => 1 << 20,
        Place::Far => 4 << 10,
    }
}

/// Fills `to` from `from`, which has the same length, for a reader at this place.
///
/// Panics if it has not.
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8], place: Place) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if from.len() >= stream_bytes_min(place) {
        return stream(to, from);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
    to.copy_from_slice(from);
}

/// By stores that do not read the lines into this core's cache first (x86: MOVNTDQ, baseline SSE2).
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn stream(to: &mut [u8], from: &[u8]) {
    use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    assert_eq!(to.len(), from.len(), "a copy has the length of what it copies");
    let head = to.as_ptr().align_offset(16).min(to.len());
    let (to_head, to) = to.split_at_mut(head);
    let (from_head, from) = from.split_at(head);
    to_head.copy_from_slice(from_head);
    let (to, to_tail) = to.as_chunks_mut::<16>();
    let (from, from_tail) = from.as_chunks::<16>();
    for (to, from) in to.iter_mut().zip(from) {
        let (to, from): (*mut __m128i, *const __m128i) =
            ((&raw mut *to).cast(), from.as_ptr().cast());
        // SAFETY: 16 initialised bytes of `from`, of any alignment.
        let value = unsafe { _mm_loadu_si128(from) };
        // SAFETY: 16 bytes of `to`, borrowed mutably; `align_offset` made its start, and so every
        // chunk, aligned to 16. The fence below ends the stores before anything else is done.
        unsafe { _mm_stream_si128(to, value) };
    }
    to_tail.copy_from_slice(from_tail);
    stream_fence();
}

/// Writes a line past the caches. Each of its words is seen whole, in whatever order.
///
/// # Safety
/// `to` is an aligned line that may be written.
#[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
#[inline(always)]
pub(super) unsafe fn stream_line(to: NonNull<u8>, line: &[u64; LINE / 8]) {
    use core::arch::x86_64::__m128i;
    // SAFETY: both are 64 bytes of plain data.
    let [a, b, c, d]: [__m128i; 4] = unsafe { core::mem::transmute(*line) };
    // SAFETY: MOVNTDQ is baseline SSE2; it writes aligned memory of the caller's. Not the
    // intrinsic: the last word is looked at meanwhile, and to the compiler this may be relaxed
    // atomics.
    unsafe {
        core::arch::asm!(
            "movntdq [{to}], {a}",
            "movntdq [{to} + 16], {b}",
            "movntdq [{to} + 32], {c}",
            "movntdq [{to} + 48], {d}",
            to = in(reg) to.as_ptr(), a = in(xmm_reg) a, b = in(xmm_reg) b,
            c = in(xmm_reg) c, d = in(xmm_reg) d,
            options(nostack, preserves_flags),
        );
    };
}

/// Ends what was written past the caches before anything else is.
#[inline(always)]
pub(super) fn stream_fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SFENCE is baseline on x86-64 and touches nothing.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

/// Asks for the lines of these words, to be read soon. At most two: messages are mostly smaller.
#[inline]
pub(crate) fn prefetch(words: &[AtomicU64]) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
    for line in words.chunks(LINE / 8).take(2) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint about memory that is borrowed; it has no effect that can be seen.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, loom)))))]
    let _ = words;
}

/// Asks for the line of this address, to be written soon: who read it last loses it now, not when
/// it is written. Nothing happens if nothing is there.
#[cfg(not(loom))]
#[inline(always)]
pub(super) fn ask_to_write(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint that never faults and has no effect that can be seen; processors of this
    // architecture that don't know it skip it.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied() {
        let large = if cfg!(miri) { 1 << 10 } else { 1 << 20 };
        let from: Vec<u8> = (0..large + 77).map(|n| ((n * 31) >> 3) as u8).collect();
        for (start, bytes) in [(0, 100), (5, 4099), (1, large), (3, large + 5), (16, large)] {
            for place in [Place::Unknown, Place::Near, Place::Far] {
                let mut to = vec![0; from.len()];
                copy(&mut to[start..start + bytes], &from[..bytes], place);
                assert_eq!(to[start..start + bytes], from[..bytes]);
                assert!(to[..start].iter().chain(&to[start + bytes..]).all(|byte| *byte == 0));
            }
        }
    }
}
