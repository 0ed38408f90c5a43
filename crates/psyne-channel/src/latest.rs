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
use crate::desk::{Arrival, Pattern, Terms};
use crate::ipc::{self, Host, Member};
use crate::raw::{LINE, Side, Words, load, store};
use crate::sync::{AtomicU64, Ordering, fence, pause};
use crate::wait::{End, Link, Signal, is_gone, leave};
use crate::{Config, Error, Layout, Message, Wait};

pub mod plain;

/// Values between the newest and its being overwritten. Two would do; a few more make a reader
/// start again only if the writer is several times as fast as it.
pub(crate) const SLOTS: u64 = 8;
/// Copies that a writer may disturb one after the other: a correct one must go around all slots
/// each time, so that a hundred in a row are unheard of. Tests with writers that lie wait less.
const TRIES_MAX: u32 = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// What no correct writer does.
const NONE: Error = Error::Corrupt("the writer changed a value into none");
/// Words of a slot before its value.
const HEAD_WORDS: usize = 1;

/// Opens a value between threads of this process. Of `config`, only how readers wait matters.
///
/// # Errors
/// `Memory`.
pub fn channel<T: Message>(config: &Config) -> Result<(Writer<T>, Reader<T>), Error> {
    let words = Words::private(SLOTS as usize, terms(T::LAYOUT).stride)?;
    let audience = Audience::new();
    let view = View { words: words.clone(), own: None, seen: 0, _type: PhantomData };
    let from = From::Here(audience.mail());
    let signal = Signal::new(config.wait);
    let reader = Reader { view, from, wait: config.wait, signal };
    Ok((Writer { words, audience, written: 0, host: None, _type: PhantomData }, reader))
}

/// What a name must mean the same by at both ends.
pub(crate) const fn terms(layout: Layout) -> Terms {
    let stride = (HEAD_WORDS * 8 + layout.size).next_multiple_of(LINE);
    Terms { pattern: Pattern::Latest, layout, stride }
}

/// The side that writes. Dropped, it leaves its last value.
#[derive(Debug)]
pub struct Writer<T: Message> {
    words: Words,
    audience: Audience,
    written: u64,
    /// Where readers of other processes come, if the value has a name.
    host: Option<Host>,
    _type: PhantomData<T>,
}

impl<T: Message> Writer<T> {
    /// The value at `ipc://name`, for processes of this user, or at `memory://name`, within this
    /// process: for at most `config.receivers_max` readers, which come by [`Reader::open`].
    ///
    /// # Errors
    /// `Crowded` if there is a writer; `Address`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms(T::LAYOUT), config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let signal = Signal::new(config.wait);
        let size = (SLOTS as usize, config.receivers_max);
        let (host, ring) = Host::open(address, terms, size, &signal)?;
        let (words, audience) = (Words::over(ring), Audience::new());
        Ok(Self { words, audience, written: 0, host: Some(host), _type: PhantomData })
    }

    /// Replaces the value. Never waits, whatever readers do.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.replace(&value);
    }

    /// The same for a value that is too large to be handed around.
    #[inline]
    pub fn replace(&mut self, value: &T) {
        self.replace_by(|words| store(words, value));
    }

    #[inline]
    fn replace_by(&mut self, write: impl FnOnce(&[AtomicU64])) {
        let slot = self.words.slot((self.written % SLOTS) as usize);
        self.written += 1;
        slot[0].store(2 * self.written - 1, Ordering::Relaxed);
        fence(Ordering::Release);
        write(&slot[HEAD_WORDS..]);
        slot[0].store(2 * self.written, Ordering::Release);
        self.words.side().position().store(self.written, Ordering::Release);
        // After the value was written: who came before finds it, who comes later is woken for it.
        while let Some(reader) = self.host.as_ref().and_then(Host::next) {
            let words = Words::over(reader.theirs.region().clone());
            self.audience.mail().post(words, Link::far(reader.wire));
        }
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

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        if arrival.slots != SLOTS {
            return Err(Error::LayoutMismatch);
        }
        self.words = Words::over(arrival.theirs.region().clone());
        self.own = arrival.ours.map(Words::over);
        self.seen = 0;
        Ok(())
    }
}

impl<T: Message> View<T> {
    #[inline]
    fn get(&mut self) -> Option<T> {
        self.get_by(load)
    }

    fn newer(&mut self) -> Result<T, Error> {
        self.get().ok_or(NONE)
    }
}

impl<T> View<T> {
    /// What `copy` makes of the newest value's words, once they stay as they are meanwhile.
    #[inline]
    fn get_by<V>(&mut self, mut copy: impl FnMut(&[AtomicU64]) -> V) -> Option<V> {
        for _ in 0..TRIES_MAX {
            let newest = self.words.side().position().load(Ordering::Acquire);
            // No writer ever writes so many: numbers of slots are twice as great.
            if newest == 0 || newest > u64::MAX / 2 {
                return None;
            }
            let slot = self.words.slot(((newest - 1) % SLOTS) as usize);
            let before = slot[0].load(Ordering::Acquire);
            let value = copy(&slot[HEAD_WORDS..]);
            fence(Ordering::Acquire);
            if before == 2 * newest && slot[0].load(Ordering::Relaxed) == before {
                self.seen = newest;
                return Some(value);
            }
            pause();
        }
        None
    }

    #[inline]
    fn is_changed(&self) -> bool {
        self.words.side().position().load(Ordering::Acquire) != self.seen
    }

    fn look(&mut self) -> Result<Option<()>, Error> {
        Ok(self.is_changed().then_some(()))
    }
}

/// Where the writer is.
#[derive(Debug)]
enum From {
    /// In this process: readers introduce themselves by mail.
    Here(Arc<Mail>),
    /// At an address, which keeps us.
    There { address: String, terms: Terms, _member: Member },
}

impl From {
    fn again(&self) -> Self {
        match self {
            Self::Here(mail) => Self::Here(mail.clone()),
            Self::There { address, terms, .. } => {
                Self::There { address: address.clone(), terms: *terms, _member: Member::default() }
            }
        }
    }
}

/// A side that reads. Clones read on their own.
#[derive(Debug)]
pub struct Reader<T: Message> {
    view: View<T>,
    from: From,
    wait: Wait,
    signal: Signal,
}

impl<T: Message> Clone for Reader<T> {
    fn clone(&self) -> Self {
        let View { words, seen, .. } = &self.view;
        let view = View { words: words.clone(), own: None, seen: *seen, _type: PhantomData };
        let signal = Signal::new(self.wait);
        Self { view, from: self.from.again(), wait: self.wait, signal }
    }
}

impl<T: Message> Reader<T> {
    /// A reader of the value at an address, as [`Writer::open`]; it may come before the writer.
    /// After `PeerDied` it goes on with another writer that takes the place.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; if a writer is there: `Crowded`, `LayoutMismatch`,
    /// `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        Self::open_on(address, terms(T::LAYOUT), config)
    }

    fn open_on(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let guest = ipc::guest(address, config, terms, (SLOTS as usize, 0))?;
        let own = Some(Words::private(0, LINE)?);
        let view = View { words: Words::over(guest.nobody), own, seen: 0, _type: PhantomData };
        let from = From::There { address: address.into(), terms, _member: guest.member };
        let mut signal = guest.signal;
        signal.open(&view);
        Ok(Self { view, from, wait: config.wait, signal })
    }

    /// The newest value; nothing before the first, of each writer.
    #[inline]
    pub fn get(&mut self) -> Option<T> {
        self.follow();
        self.view.get()
    }

    #[inline]
    fn follow(&mut self) {
        if is_gone(self.view.words.side()) && self.view.own.is_some() {
            // Nobody took the place yet: what is there is the newest.
            let _ = self.signal.hand_over(&mut self.view);
        }
    }

    /// The newest value if it is newer than the last that this reader got.
    ///
    /// # Errors
    /// `Closed` if the writer is gone and there will be none.
    pub fn try_changed(&mut self) -> Result<Option<T>, Error> {
        Ok(if self.look()? { self.view.get() } else { None })
    }

    fn look(&mut self) -> Result<bool, Error> {
        let gone = is_gone(self.view.words.side());
        if self.view.is_changed() {
            return Ok(true);
        }
        if gone {
            self.introduce()?;
            self.signal.succeed(&mut self.view)?;
        }
        Ok(false)
    }

    /// Waits for a value that is newer than the last that this reader got.
    ///
    /// # Errors
    /// `Closed` if the writer is gone and there will be none; `Memory` for the first wait.
    pub fn changed(&mut self) -> Result<T, Error> {
        self.wait(None)?;
        self.view.newer()
    }

    /// The same for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub fn changed_timeout(&mut self, time: Duration) -> Result<T, Error> {
        self.wait(Some(Instant::now() + time))?;
        self.view.newer()
    }

    fn wait(&mut self, limit: Option<Instant>) -> Result<(), Error> {
        self.introduce()?;
        self.signal.block(&mut self.view, limit, View::look)
    }

    /// The same as a task.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub async fn changed_async(&mut self) -> Result<T, Error> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// A newer value, or the task is woken when there is one.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<Result<T, Error>> {
        self.poll_ready(context).map(|ready| ready.and_then(|()| self.view.newer()))
    }

    /// Ready when [`try_changed`](Self::try_changed) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`, `Memory`, `Corrupt`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.introduce()?;
        self.signal.poll(&mut self.view, context, View::look)
    }

    /// Before the first wait: the writer has to know whom it wakes.
    fn introduce(&mut self) -> Result<(), Error> {
        if self.view.own.is_none() {
            match &self.from {
                From::Here(mail) => {
                    let own = Words::private(0, LINE)?;
                    self.view.own = Some(own.clone());
                    self.signal.open(&self.view);
                    mail.post(own, Link::to(&self.signal));
                }
                From::There { address, terms, .. } => {
                    let config = Config { wait: self.wait, ..Config::default() };
                    *self = Self::open_on(&address.clone(), *terms, &config)?;
                }
            }
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
