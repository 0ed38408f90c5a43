//! The newest value of something: the writer never waits, readers always see what was written last.
//!
//! Values go around a few slots, each numbered as in [`broadcast`](crate::broadcast), so that a
//! reader is disturbed only by a writer that goes all the way around while it copies; then it
//! starts again. Readers may wait for a change: those who never do cost the writer nothing.

use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audience::{Audience, Mail};
use crate::raw::{LINE, Side, Words, load, store};
use crate::sync::{Ordering, fence, pause};
use crate::wait::{End, Link, Signal, is_gone, leave};
use crate::{Config, Error, Message, Reason, Wait};

/// Values between the newest and its being overwritten. Two would do; a few more make a reader
/// start again only if the writer is several times as fast as it.
const SLOTS: u64 = 8;
/// Words of a slot before its value.
const HEAD_WORDS: usize = 1;

/// Opens a value between threads of this process. Of `config`, only how readers wait matters.
///
/// # Errors
/// `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Writer<T>, Reader<T>), Error> {
    let stride = (HEAD_WORDS * 8 + size_of::<T>()).next_multiple_of(LINE);
    let words = Words::private(SLOTS as usize, stride)?;
    let audience = Audience::new();
    let view = View { words: words.clone(), own: None, seen: 0, _type: PhantomData };
    let reader =
        Reader { view, mail: audience.mail(), wait: config.wait, signal: Signal::new(config.wait) };
    Ok((Writer { words, audience, written: 0, _type: PhantomData }, reader))
}

/// The side that writes. Dropped, it leaves its last value.
#[derive(Debug)]
pub struct Writer<T: Message> {
    words: Words,
    audience: Audience,
    written: u64,
    _type: PhantomData<T>,
}

impl<T: Message> Writer<T> {
    /// Replaces the value. Never waits, whatever readers do.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.replace(&value);
    }

    /// The same for a value that is too large to be handed around.
    #[inline]
    pub fn replace(&mut self, value: &T) {
        let slot = self.words.slot((self.written % SLOTS) as usize);
        self.written += 1;
        slot[0].store(2 * self.written - 1, Ordering::Relaxed);
        fence(Ordering::Release);
        store(&slot[HEAD_WORDS..], value);
        slot[0].store(2 * self.written, Ordering::Release);
        self.words.side().position().store(self.written, Ordering::Release);
        self.audience.notify(self.words.side());
    }
}

impl<T: Message> Drop for Writer<T> {
    fn drop(&mut self) {
        leave(self.words.side());
        self.audience.dismiss(self.words.side());
    }
}

/// What a reader looks at.
#[derive(Debug)]
struct View<T> {
    words: Words,
    /// The words of a reader that has waited.
    own: Option<Words>,
    seen: u64,
    _type: PhantomData<T>,
}

impl<T> End for View<T> {
    fn sides(&self) -> (&Side, &Side) {
        let own = self.own.as_ref().expect("who waits has introduced itself");
        (own.side(), self.words.side())
    }
}

impl<T: Message> View<T> {
    #[inline]
    fn get(&mut self) -> Option<T> {
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

    fn newer(&mut self) -> T {
        self.get().expect("what changed is a value")
    }

    #[inline]
    fn is_changed(&self) -> bool {
        self.words.side().position().load(Ordering::Acquire) != self.seen
    }

    fn look(&mut self) -> Result<Option<()>, Error> {
        Ok(self.is_changed().then_some(()))
    }
}

/// A side that reads. Clones read on their own.
#[derive(Debug)]
pub struct Reader<T: Message> {
    view: View<T>,
    mail: Arc<Mail>,
    wait: Wait,
    signal: Signal,
}

impl<T: Message> Clone for Reader<T> {
    fn clone(&self) -> Self {
        let View { words, seen, .. } = &self.view;
        let view = View { words: words.clone(), own: None, seen: *seen, _type: PhantomData };
        let signal = Signal::new(self.wait);
        Self { view, mail: self.mail.clone(), wait: self.wait, signal }
    }
}

impl<T: Message> Reader<T> {
    /// The newest value; nothing before the first.
    #[inline]
    pub fn get(&mut self) -> Option<T> {
        self.view.get()
    }

    /// The newest value if it is newer than the last that this reader got.
    ///
    /// # Errors
    /// `Closed` if the writer is gone and there will be none.
    pub fn try_changed(&mut self) -> Result<Option<T>, Error> {
        let gone = is_gone(self.view.words.side());
        if self.view.is_changed() {
            return Ok(self.get());
        }
        if gone { Err(Error::Closed(Reason::Finished)) } else { Ok(None) }
    }

    /// Waits for a value that is newer than the last that this reader got.
    ///
    /// # Errors
    /// `Closed` if the writer is gone and there will be none; `Memory` for the first wait.
    pub fn changed(&mut self) -> Result<T, Error> {
        self.introduce()?;
        self.signal.block(&mut self.view, None, View::look)?;
        Ok(self.view.newer())
    }

    /// The same for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Memory`.
    pub fn changed_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.introduce()?;
        self.signal.block(&mut self.view, Some(Instant::now() + time), View::look)?;
        Ok(self.view.newer())
    }

    /// The same as a task.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub async fn changed_async(&mut self) -> Result<T, Error> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// A newer value, or the task is woken when there is one.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        self.poll_ready(context).map_ok(|()| self.view.newer())
    }

    /// Ready when [`try_changed`](Self::try_changed) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.introduce()?;
        self.signal.poll(&mut self.view, context, View::look)
    }

    /// Before the first wait: the writer has to know whom it wakes.
    fn introduce(&mut self) -> Result<(), Error> {
        if self.view.own.is_none() {
            let own = Words::private(0, LINE)?;
            self.view.own = Some(own.clone());
            self.signal.open(&self.view);
            self.mail.post(own, Link::to(&self.signal));
        }
        Ok(())
    }
}

impl<T: Message> Drop for Reader<T> {
    fn drop(&mut self) {
        if let Some(own) = &self.view.own {
            leave(own.side());
        }
    }
}
