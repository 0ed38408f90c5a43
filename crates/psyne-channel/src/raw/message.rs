//! Plain data: values that are their bytes.

use crate::sync::{AtomicU64, Ordering};

/// Plain data that may lie in shared memory: `#[derive(psyne::Message)]` on a `#[repr(C)]` struct.
///
/// ```
/// # use psyne_channel::Message;
/// #[derive(Clone, Copy, Message)]
/// # #[message(crate = psyne_channel)]
/// #[repr(C)]
/// struct Sample {
///     time_us: u64,
///     values: [f32; 6],
/// }
/// assert_eq!(Sample::LAYOUT.size, 32);
/// ```
///
/// What is no plain data does not compile. A gap between the fields:
///
/// ```compile_fail,E0080
/// # use psyne_channel::Message;
/// #[derive(Clone, Copy, Message)]
/// # #[message(crate = psyne_channel)]
/// #[repr(C)]
/// struct Gap(u8, u32);
/// const LAYOUT: psyne_channel::Layout = Gap::LAYOUT;
/// ```
///
/// A pointer, or anything else with bits that are no value:
///
/// ```compile_fail,E0277
/// # use psyne_channel::Message;
/// #[derive(Clone, Copy, Message)]
/// # #[message(crate = psyne_channel)]
/// #[repr(C)]
/// struct Text(&'static str);
/// ```
///
/// A struct whose layout is the compiler's own affair:
///
/// ```compile_fail
/// # use psyne_channel::Message;
/// #[derive(Clone, Copy, Message)]
/// # #[message(crate = psyne_channel)]
/// struct Anyhow(u64);
/// ```
///
/// # Safety
/// For the type that implements it:
/// - any bits are a value, so that memory of a faulty or hostile sender can be looked at;
/// - it has no padding, so that each byte is initialised and nothing else leaks out;
/// - it holds no pointer, reference or interior mutability, and nothing to drop;
/// - its alignment is at most that of a line, 64 bytes;
/// - `LAYOUT` differs from that of every type that means something else by the same bytes.
pub unsafe trait Message: Copy + Send + Sync + 'static {
    /// What the other side must have, too.
    const LAYOUT: Layout;
}

/// Name, size, alignment and a hash of the fields of a message: equal if two sides mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// FNV-1a (64 bits) over names, sizes, alignments and the hashes of the fields' types, in
    /// order.
    pub hash: u64,
    /// Bytes of a message.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
}

impl Layout {
    /// A layout without fields yet: the start of what the derive builds.
    #[must_use]
    pub const fn of<T>(name: &str) -> Self {
        Self::named(name, size_of::<T>(), align_of::<T>())
    }

    /// The same for a type of another language. Its fields are added by [`field`](Self::field).
    #[must_use]
    pub const fn named(name: &str, size: usize, align: usize) -> Self {
        let hash = fnv(fnv(fnv(FNV_START, name.as_bytes()), &number(size)), &number(align));
        Self { hash, size, align }
    }

    /// That of a number by Rust's name for it: `u8` to `u128`, `i8` to `i128`, `f32`, `f64`.
    #[must_use]
    pub fn number(name: &str) -> Option<Self> {
        NUMBERS.into_iter().find(|(known, _)| *known == name).map(|(_, layout)| layout)
    }

    /// That of `count` elements one after the other.
    #[must_use]
    pub const fn array(of: Self, count: usize) -> Self {
        Self::named("[]", of.size.saturating_mul(count), of.align).field("0", of)
    }

    /// The same with one more field.
    #[must_use]
    pub const fn field(self, name: &str, of: Self) -> Self {
        let hash = fnv(fnv(self.hash, name.as_bytes()), &of.hash.to_le_bytes());
        Self { hash, ..self }
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn number(value: usize) -> [u8; 8] {
    (value as u64).to_le_bytes()
}

/// Fowler, Noll, Vo: FNV-1a. A length stands before the bytes, so that "ab","c" is not "a","bc".
const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let length = number(bytes.len());
    let mut at = 0;
    while at < length.len() + bytes.len() {
        let byte = if at < length.len() { length[at] } else { bytes[at - length.len()] };
        hash = (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a number: any bits are a value, no padding, no pointer, alignment ≤ 16; its name
        // is in the layout.
        unsafe impl Message for $type {
            const LAYOUT: Layout = Layout::of::<$type>(stringify!($type));
        }
    )*
        const NUMBERS: [(&str, Layout); [$(stringify!($type)),*].len()] =
            [$((stringify!($type), <$type>::LAYOUT)),*];
    };
}
plain!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

// SAFETY: an array is its elements without gaps, so each obligation is that of the element; the
// layout holds the element's and, by the size, the number.
unsafe impl<T: Message, const N: usize> Message for [T; N] {
    const LAYOUT: Layout = Layout::array(T::LAYOUT, N);
}

// SAFETY: no bytes at all.
unsafe impl Message for () {
    const LAYOUT: Layout = Layout::of::<()>("()");
}

/// The message that the first bytes are.
///
/// Panics if there are too few of them or they are not aligned: rings make neither.
#[inline]
pub(crate) fn view<T: Message>(bytes: &[u8]) -> &T {
    let start = bytes.as_ptr().cast::<T>();
    assert!(bytes.len() >= size_of::<T>() && start.is_aligned(), "a slot fits its message");
    // SAFETY: the assertion above: `start` is aligned and heads `size_of::<T>()` bytes, which
    // `bytes` keeps alive and unwritten for the lifetime of the result; T is a Message, so any
    // initialised bytes are a T.
    unsafe { &*start }
}

/// The messages that all of the bytes are; nothing if they are not aligned or not whole.
#[inline]
pub(crate) fn slice<T: Message>(bytes: &[u8]) -> Option<&[T]> {
    let start = bytes.as_ptr().cast::<T>();
    if size_of::<T>() == 0 || !bytes.len().is_multiple_of(size_of::<T>()) || !start.is_aligned() {
        return None;
    }
    // SAFETY: checked above: aligned, and as many whole T as there are bytes for, which `bytes`
    // keeps alive and unwritten for the lifetime of the result; any initialised bytes are a T.
    Some(unsafe { core::slice::from_raw_parts(start, bytes.len() / size_of::<T>()) })
}

/// A copy of the message that the first bytes are, each read once: whatever another process does to
/// them meanwhile, the copy stays what it is.
///
/// Panics as [`view`].
#[inline]
pub(crate) fn read<T: Message>(bytes: &[u8]) -> T {
    let start = core::ptr::from_ref(view::<T>(bytes));
    // SAFETY: a reference is valid for reads and aligned; T is Copy.
    unsafe { start.read_volatile() }
}

/// The message that the first bytes are, to be written.
///
/// Panics if there are too few of them or they are not aligned: rings make neither.
#[inline]
pub(crate) fn view_mut<T: Message>(bytes: &mut [u8]) -> &mut T {
    let start = bytes.as_mut_ptr().cast::<T>();
    assert!(bytes.len() >= size_of::<T>() && start.is_aligned(), "a slot fits its message");
    // SAFETY: as in `view`, and `bytes` is borrowed mutably for the lifetime of the result; T has
    // no padding, so whatever is written through it leaves each byte initialised.
    unsafe { &mut *start }
}

/// The bytes of a message.
#[inline]
pub(super) fn bytes<T: Message>(message: &T) -> &[u8] {
    let start = (&raw const *message).cast::<u8>();
    // SAFETY: a message has no padding, so each of its bytes is initialised; the slice is as long
    // as the message and lives shorter.
    unsafe { core::slice::from_raw_parts(start, size_of::<T>()) }
}

/// The same to be written.
#[inline]
pub(super) fn bytes_mut<T: Message>(message: &mut T) -> &mut [u8] {
    let start = (&raw mut *message).cast::<u8>();
    // SAFETY: as in `bytes`, borrowed mutably; whatever is written, any bits are a value.
    unsafe { core::slice::from_raw_parts_mut(start, size_of::<T>()) }
}

/// Writes as much of a message as the bytes have room for; what is left, at most a word, is the
/// result.
///
/// Panics if more is left.
#[inline(always)]
pub(super) fn put<T: Message>(to: &mut [u8], message: &T) -> u64 {
    let (head, tail) = bytes(message).split_at(to.len());
    to.copy_from_slice(head);
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    u64::from_ne_bytes(last)
}

/// A line that begins with the message.
///
/// Panics if it is longer.
#[inline(always)]
pub(super) fn line<T: Message>(message: &T) -> [u64; 8] {
    let mut words = [0; 8];
    bytes_mut(&mut words)[..size_of::<T>()].copy_from_slice(bytes(message));
    words
}

/// The message that the first bytes of these words are.
///
/// Panics if it is longer.
#[inline(always)]
pub(super) fn first<T: Message>(words: &[u64; 8]) -> T {
    let mut message = zeroed();
    bytes_mut(&mut message).copy_from_slice(&bytes(words)[..size_of::<T>()]);
    message
}

/// A message of zeros.
#[inline(always)]
pub(crate) fn zeroed<T: Message>() -> T {
    let message = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: T is a Message: any bits are a value, so zeros are.
    unsafe { message.assume_init() }
}

/// Copies a message into words that others may read meanwhile: they see words of several messages
/// at worst, never half a word. Words beyond the message stay as they are.
///
/// Panics if there are too few.
#[inline]
pub(crate) fn store<T: Message>(words: &[AtomicU64], message: &T) {
    store_bytes(words, bytes(message));
}

/// The same for a message whose type the compiler does not know.
#[inline]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= words.len() * 8, "a slot fits its message");
    let (pairs, rest) = bytes.as_chunks::<16>();
    let (two, last) = words.as_chunks::<2>();
    for (two, pair) in two.iter().zip(pairs) {
        store_pair(two, pair);
    }
    let left = two.get(pairs.len()).map_or(last, |two| two.as_slice());
    for (word, chunk) in left.iter().zip(rest.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
    }
}

/// The message that lies in words, as they are one after the other: whether they belong together
/// is for the caller to find out.
///
/// Panics if there are too few.
#[inline]
pub(crate) fn load<T: Message>(words: &[AtomicU64]) -> T {
    let mut message = zeroed();
    load_bytes(words, bytes_mut(&mut message));
    message
}

/// The same for a message whose type the compiler does not know.
#[inline]
pub(crate) fn load_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    assert!(bytes.len() <= words.len() * 8, "a slot fits its message");
    let (pairs, rest) = bytes.as_chunks_mut::<16>();
    let (two, last) = words.as_chunks::<2>();
    for (pair, two) in pairs.iter_mut().zip(two) {
        *pair = load_pair(two);
    }
    let left = two.get(pairs.len()).map_or(last, |two| two.as_slice());
    for (word, chunk) in left.iter().zip(rest.chunks_mut(8)) {
        let word = word.load(Ordering::Relaxed).to_ne_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Two words side by side by one instruction: half as many stores wait for the line to come, and a
/// message that is copied on at once is not pieced together again, which would wait for them.
#[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
#[inline(always)]
fn store_pair(words: &[AtomicU64; 2], pair: &[u8; 16]) {
    use core::arch::x86_64::{__m128i, _mm_loadu_si128};
    // SAFETY: 16 bytes of ours; baseline SSE2.
    let pair = unsafe { _mm_loadu_si128(pair.as_ptr().cast::<__m128i>()) };
    // SAFETY: baseline SSE; the words are atomics, so others may read them meanwhile. To the
    // compiler this may be two relaxed stores, and to others it is: the processor stores an aligned
    // word whole, also as half of a pair.
    unsafe {
        core::arch::asm!(
            "movups [{to}], {pair}",
            to = in(reg) words.as_ptr(), pair = in(xmm_reg) pair,
            options(nostack, preserves_flags),
        );
    };
}

#[cfg(not(all(target_arch = "x86_64", not(any(miri, loom)))))]
#[inline(always)]
fn store_pair(words: &[AtomicU64; 2], pair: &[u8; 16]) {
    for (word, half) in words.iter().zip(pair.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*half), Ordering::Relaxed);
    }
}

/// The same to load them.
#[cfg(all(target_arch = "x86_64", not(any(miri, loom))))]
#[inline(always)]
fn load_pair(words: &[AtomicU64; 2]) -> [u8; 16] {
    let pair: core::arch::x86_64::__m128i;
    // SAFETY: as in `store_pair`: two relaxed loads.
    unsafe {
        core::arch::asm!(
            "movups {pair}, [{from}]",
            from = in(reg) words.as_ptr(), pair = lateout(xmm_reg) pair,
            options(nostack, preserves_flags, readonly),
        );
    };
    // SAFETY: both are 16 bytes of plain data.
    unsafe { core::mem::transmute(pair) }
}

#[cfg(not(all(target_arch = "x86_64", not(any(miri, loom)))))]
#[inline(always)]
fn load_pair(words: &[AtomicU64; 2]) -> [u8; 16] {
    let mut pair = [0; 16];
    for (word, half) in words.iter().zip(pair.as_chunks_mut::<8>().0) {
        *half = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, psyne_derive::Message)]
    #[message(crate = crate)]
    #[repr(C)]
    struct Pair {
        a: u32,
        b: u32,
    }

    mod other {
        #[derive(Clone, Copy, psyne_derive::Message)]
        #[message(crate = crate)]
        #[repr(C)]
        pub(super) struct Pair {
            b: u32,
            a: u32,
        }
    }

    #[test]
    fn layouts_differ_where_meanings_do() {
        let all = [
            Pair::LAYOUT,
            other::Pair::LAYOUT,
            <[u32; 2]>::LAYOUT,
            <[u32; 3]>::LAYOUT,
            <[f32; 2]>::LAYOUT,
            u64::LAYOUT,
            f64::LAYOUT,
            <()>::LAYOUT,
        ];
        for (index, layout) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.hash != layout.hash), "{index}");
        }
        assert_eq!((Pair::LAYOUT.size, Pair::LAYOUT.align), (8, 4));
    }

    #[test]
    fn bytes_are_looked_at_as_messages() {
        let mut lines = [0_u64; 2];
        let bytes = view_mut::<[u8; 16]>(bytes(&mut lines));
        *view_mut::<Pair>(bytes) = Pair { a: 1, b: 2 };
        assert_eq!(view::<Pair>(bytes).b, 2);
        assert_eq!(bytes[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "fits")]
    fn too_few_bytes_are_misuse() {
        let _ = view::<Pair>(&[0; 7]);
    }

    fn bytes(words: &mut [u64; 2]) -> &mut [u8] {
        let start = words.as_mut_ptr().cast::<u8>();
        // SAFETY: 16 initialised bytes, borrowed mutably as long as the result.
        unsafe { core::slice::from_raw_parts_mut(start, 16) }
    }
}
