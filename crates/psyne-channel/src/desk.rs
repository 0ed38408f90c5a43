//! Where an end of a named channel finds out who its other side is now.
//!
//! The thread that keeps the rendezvous (`ipc.rs`) puts arrivals here; the end takes the next one
//! when the other side that it has is gone. An end in memory has no desk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

#[cfg(not(any(loom, miri)))]
use crate::raw::{CAST_WORDS, Rights};
use crate::raw::{Other, Region};
use crate::sync::{AtomicU32, Ordering};
use crate::wait::leave;
use crate::{Error, Layout};

/// Other sides that came, and may be dead again, before the end had time to look: a process that
/// restarts ten times a second is waited for a second and a half.
const ARRIVALS_MAX: usize = 16;

/// The task that sleeps on one side, if it is a task.
pub(crate) type Task = Arc<Mutex<Option<Waker>>>;

/// Kinds of channels: a name has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Queue = 1,
    Bytes = 2,
    Broadcast = 3,
    Latest = 4,
    Lanes = 5,
    Request = 6,
    Cast = 7,
    Events = 8,
    Crowd = 9,
}

impl Pattern {
    /// Whether one that finished leaves nothing to wait for.
    pub(crate) fn is_pair(self) -> bool {
        matches!(self, Self::Queue | Self::Bytes)
    }

    /// Whether who has the ring has words for each other side, too.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn has_pairs(self) -> bool {
        self == Self::Crowd
    }

    /// Whether one end may look for several that own the name.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn has_places(self) -> bool {
        self == Self::Crowd
    }

    /// Who writes the ring.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn rights(self) -> Rights {
        if self == Self::Request { Rights::All } else { Rights::Maker }
    }

    /// With what the next other side begins, if this one began with `start` and died at `count`.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn resume(self, start: u64, count: u64) -> u64 {
        // Requests are taken by one server after the other: each has a number.
        if self == Self::Request { start + 1 } else { count }
    }

    /// Slots of a ring before those that its owner speaks of.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn head_slots(self) -> usize {
        if self == Self::Cast { CAST_WORDS } else { 0 }
    }

    /// What words say first of who begins with message `start`.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn position(self, start: u64) -> u64 {
        match self {
            // That it holds nothing, before it knows what it may.
            Self::Cast => u64::MAX,
            _ => self.count(start),
        }
    }

    /// How many messages that is.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn count(self, start: u64) -> u64 {
        // Where others take, too, each counts what it took itself.
        if self == Self::Crowd { 0 } else { start }
    }

    /// For observers, in at most 16 letters.
    #[cfg(not(any(loom, miri)))]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Bytes => "bytes",
            Self::Broadcast => "broadcast",
            Self::Latest => "latest",
            Self::Lanes => "mpsc",
            Self::Request => "request",
            Self::Cast => "broadcast bytes",
            Self::Events => "events",
            Self::Crowd => "mpmc",
        }
    }
}

/// What both sides of a name must mean the same by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) pattern: Pattern,
    pub(crate) layout: Layout,
    /// Bytes of a slot.
    pub(crate) stride: usize,
}

/// A door bell of a task in another process: the connection to it.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) std::os::fd::OwnedFd);

impl Wire {
    /// Wakes the task, or has done so already if the connection is full.
    pub(crate) fn ring(&self) {
        use rustix::net::SendFlags;
        let _ = rustix::net::send(&self.0, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// A ring from which many take: to read, and the claim, which they write.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) ring: Region,
    pub(crate) claim: Region,
}

/// Another side that came.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Its words and slots.
    pub(crate) theirs: Arc<Other>,
    /// Our words that it reads, if this end has some for each other side.
    pub(crate) ours: Option<Region>,
    /// Slots of the ring, whoever owns it.
    pub(crate) slots: u64,
    /// The message that it begins with.
    pub(crate) start: u64,
    /// What else it said, by pattern.
    pub(crate) note: u64,
    /// Its ring, if its words are not the ring's.
    pub(crate) stock: Option<Stock>,
    /// To ring for its tasks.
    pub(crate) wire: Arc<Wire>,
}

#[derive(Debug)]
struct Inner {
    /// What the end looks at, and so sleeps on.
    current: Arc<Other>,
    arrivals: VecDeque<Arrival>,
    /// Why nobody will come any more.
    refused: Option<Error>,
    /// Whether the first attempt to find the other side is over.
    tried: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    tried: Condvar,
    /// Not 0 if taking is worth it.
    news: AtomicU32,
    task: Task,
}

impl Desk {
    /// For an end whose other side is `vacant`; `task` is the one that waits at this end.
    pub(crate) fn new(vacant: Arc<Other>, task: Task) -> Self {
        let inner =
            Inner { current: vacant, arrivals: VecDeque::new(), refused: None, tried: false };
        let (inner, tried) = (Mutex::new(inner), Condvar::new());
        Self { inner, tried, news: AtomicU32::new(0), task }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next other side. The last one is dead, or never came.
    ///
    /// # Errors
    /// Why nobody will come.
    pub(crate) fn take(&self) -> Result<Option<Arrival>, Error> {
        if !self.has_news() {
            return Ok(None);
        }
        if let Some(arrival) = self.next() {
            self.lock().current = arrival.theirs.clone();
            return Ok(Some(arrival));
        }
        self.lock().refused.clone().map_or(Ok(None), Err)
    }

    /// The next of many.
    pub(crate) fn next(&self) -> Option<Arrival> {
        let mut inner = self.lock();
        let arrival = inner.arrivals.pop_front();
        self.news.store(inner.worth(), Ordering::Release);
        arrival
    }

    /// Why somebody will not come, said once: others may.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let mut inner = self.lock();
        let refusal = inner.refused.take();
        self.news.store(inner.worth(), Ordering::Release);
        refusal
    }

    /// Whether so many wait that nobody else should be let in.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().arrivals.len() >= ARRIVALS_MAX
    }

    /// Somebody came.
    pub(crate) fn put(&self, arrival: Arrival) {
        self.change(|inner| inner.arrivals.push_back(arrival));
    }

    /// Nobody will come, for this reason.
    pub(crate) fn refuse(&self, error: Error) {
        self.change(|inner| inner.refused = Some(error));
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        inner.tried = true;
        self.news.store(1, Ordering::SeqCst);
        inner.current.ring_if_ours();
        drop(inner);
        self.tried.notify_all();
    }

    /// Whether taking is worth it.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire) != 0
    }

    /// One of several is gone: an end that sleeps looks again.
    pub(crate) fn ring(&self) {
        self.lock().current.ring_if_ours();
    }

    /// Nobody is there yet: who opens need not wait for it.
    pub(crate) fn tried(&self) {
        self.lock().tried = true;
        self.tried.notify_all();
    }

    /// Waits until the first attempt is over, and says whether it was refused.
    pub(crate) fn wait_for_first(&self, limit: Duration) -> Result<(), Error> {
        let inner = self.lock();
        let waited = self.tried.wait_timeout_while(inner, limit, |inner| !inner.tried);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.refused.clone().map_or(Ok(()), Err)
    }

    /// Wakes the task that waits at this end.
    pub(crate) fn wake(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.into_iter().for_each(Waker::wake);
    }

    /// The end is dropped: says so to those that it never looked at.
    pub(crate) fn close(&self) {
        for arrival in self.lock().arrivals.drain(..) {
            if let Some(ours) = arrival.ours {
                leave(ours.side());
            }
        }
    }
}

impl Inner {
    fn worth(&self) -> u32 {
        u32::from(!self.arrivals.is_empty() || self.refused.is_some())
    }
}
