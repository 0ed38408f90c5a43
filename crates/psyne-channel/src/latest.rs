//! The newest value of something: the writer never waits, readers always see what was written last.
//!
//! Values go around a few slots, each numbered as in [`broadcast`](crate::broadcast), so that a
//! reader is disturbed only by a writer that goes all the way around while it copies; then it
//! starts again.

use core::marker::PhantomData;

use crate::raw::{LINE, Words, load, store};
use crate::sync::{Ordering, fence, pause};
use crate::{Error, Message, Reason, wait};

/// Values between the newest and its being overwritten. Two would do; a few more make a reader
/// start again only if the writer is several times as fast as it.
const SLOTS: u64 = 8;
/// Words of a slot before its value.
const HEAD_WORDS: usize = 1;

/// Opens a value between threads of this process.
///
/// # Errors
/// `Memory`.
pub fn channel<T: Message>() -> Result<(Writer<T>, Reader<T>), Error> {
    let stride = (HEAD_WORDS * 8 + size_of::<T>()).next_multiple_of(LINE);
    let words = Words::private(SLOTS as usize, stride)?;
    let writer = Writer { words: words.clone(), written: 0, _type: PhantomData };
    Ok((writer, Reader { words, seen: 0, _type: PhantomData }))
}

/// The side that writes. Dropped, it leaves its last value.
#[derive(Debug)]
pub struct Writer<T: Message> {
    words: Words,
    written: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Writer<T> {
    /// Replaces the value. Never waits, whatever readers do.
    #[inline]
    pub fn set(&mut self, value: T) {
        let slot = self.words.slot((self.written % SLOTS) as usize);
        self.written += 1;
        slot[0].store(2 * self.written - 1, Ordering::Relaxed);
        fence(Ordering::Release);
        store(&slot[HEAD_WORDS..], &value);
        slot[0].store(2 * self.written, Ordering::Release);
        self.words.side().position().store(self.written, Ordering::Release);
    }
}

impl<T: Message> Drop for Writer<T> {
    fn drop(&mut self) {
        wait::leave(self.words.side());
    }
}

/// A side that reads. Clones read on their own.
#[derive(Clone, Debug)]
pub struct Reader<T: Message> {
    words: Words,
    seen: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Reader<T> {
    /// The newest value; nothing before the first.
    #[inline]
    pub fn get(&mut self) -> Option<T> {
        loop {
            let newest = self.words.side().position().load(Ordering::Acquire);
            if newest == 0 {
                return None;
            }
            let slot = self.words.slot(((newest - 1) % SLOTS) as usize);
            let before = slot[0].load(Ordering::Acquire);
            let value = load(&slot[HEAD_WORDS..]);
            fence(Ordering::Acquire);
            if before == 2 * newest && slot[0].load(Ordering::Relaxed) == before {
                self.seen = newest;
                return Some(value);
            }
            pause();
        }
    }

    /// The newest value if it is newer than the last that this reader got.
    ///
    /// # Errors
    /// `Closed` if the writer is gone and there will be none.
    pub fn changed(&mut self) -> Result<Option<T>, Error> {
        let gone = wait::is_gone(self.words.side());
        if self.words.side().position().load(Ordering::Acquire) != self.seen {
            return Ok(self.get());
        }
        if gone { Err(Error::Closed(Reason::Finished)) } else { Ok(None) }
    }
}
