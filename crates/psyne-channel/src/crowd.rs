//! Many ends of one kind that wait on one board: who sleeps has a bit, and who clears it wakes it.
//!
//! A message wakes one sleeper. Nobody's wake is lost: an end that was woken looks before it does
//! anything else, and one that found something without having been woken for it passes the wake on.
//! An end that was killed leaves a bit at worst, which costs one futile wake.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::claim::Claim;
use crate::lanes::ENDS_MAX;
use crate::raw::{self, LINE, Words};
use crate::sync::{
    AtomicU32, AtomicU64, Ordering, fence, heavy_fence, light_fence, register_fences,
};
use crate::wait::{CALM, spin};
use crate::{Error, Reason, Wait};

/// Words of a crowd's first slot: a bit for each end that is there, that may sleep, that sleeps.
const HERE: usize = 0;
const DROWSY: usize = 1;
const ASLEEP: usize = 2;
/// A word for whatever the ends of this kind count together.
const COUNT: usize = 3;

/// Slots of one crowd: its own and one for each end.
const SLOTS: usize = 1 + ENDS_MAX;

/// The tasks that sleep, by end.
type Tasks = Arc<[Mutex<Option<Waker>>; ENDS_MAX]>;

/// All ends of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    board: Words,
    base: usize,
    ends_max: usize,
    tasks: Tasks,
}

impl Crowd {
    /// Those who send and those who receive, on one board.
    ///
    /// # Errors
    /// `Config`, `Memory`.
    pub(crate) fn pair(ends_max: (usize, usize)) -> Result<(Self, Self), Error> {
        for ends_max in [ends_max.0, ends_max.1] {
            if ends_max == 0 || ends_max > ENDS_MAX {
                return Err(Error::Config("a queue has between 1 and 64 ends of a kind"));
            }
        }
        // Two lines a slot: processors fetch lines in pairs.
        let board = Words::private(2 * SLOTS, 2 * LINE)?;
        let crowd = |base, ends_max| Self {
            board: board.clone(),
            base,
            ends_max,
            tasks: Arc::new([const { Mutex::new(None) }; ENDS_MAX]),
        };
        Ok((crowd(0, ends_max.0), crowd(SLOTS, ends_max.1)))
    }

    #[inline]
    fn word(&self, word: usize) -> &AtomicU64 {
        &self.board.slot(self.base)[word]
    }

    /// The word that belongs to an end.
    pub(crate) fn claim(&self, index: usize) -> Claim {
        Claim::over(self.board.clone(), self.base + 1 + index)
    }

    /// What all count together.
    #[inline]
    pub(crate) fn count(&self) -> &AtomicU64 {
        self.word(COUNT)
    }

    fn bell(&self, index: usize) -> &AtomicU32 {
        self.board.bell(self.base + 1 + index)
    }

    /// Whether nobody is there.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.word(HERE).load(Ordering::Acquire) == 0
    }

    /// How many are there.
    pub(crate) fn len(&self) -> usize {
        self.word(HERE).load(Ordering::Acquire).count_ones() as usize
    }

    /// A place for one more.
    ///
    /// # Errors
    /// `Crowded`.
    pub(crate) fn join(&self, wait: Wait) -> Result<Waiter, Error> {
        let mut here = self.word(HERE).load(Ordering::Acquire);
        loop {
            let index = here.trailing_ones() as usize;
            if index >= self.ends_max {
                return Err(Error::Crowded(self.ends_max));
            }
            let with = here | 1 << index;
            match self.word(HERE).compare_exchange(here, with, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(Waiter::new(self.clone(), index, wait)),
                Err(now) => here = now,
            }
        }
    }

    /// After `count` things were published: wakes as many of those who sleep.
    ///
    /// # Errors
    /// `Closed` if nobody is there.
    #[inline]
    pub(crate) fn notify(&self, count: u64) -> Result<(), Error> {
        light_fence();
        if self.word(DROWSY).load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.notify_slowly(count)
    }

    #[cold]
    fn notify_slowly(&self, count: u64) -> Result<(), Error> {
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return Err(Error::Closed(Reason::Finished));
        }
        for _ in 0..count {
            if !self.wake_one() {
                break;
            }
        }
        Ok(())
    }

    /// After something changed for the end `index`, or for all of them: wakes it if it sleeps.
    #[inline]
    pub(crate) fn notify_these(&self, these: u64) {
        light_fence();
        if self.word(DROWSY).load(Ordering::Relaxed) & these != 0 {
            self.notify_these_slowly(these);
        }
    }

    #[cold]
    fn notify_these_slowly(&self, these: u64) {
        fence(Ordering::SeqCst);
        let mut asleep = self.word(ASLEEP).load(Ordering::Acquire) & these;
        while asleep != 0 {
            self.wake(asleep.trailing_zeros() as usize);
            asleep &= asleep - 1;
        }
    }

    /// Wakes one; false if nobody sleeps.
    fn wake_one(&self) -> bool {
        loop {
            let asleep = self.word(ASLEEP).load(Ordering::Acquire);
            if asleep == 0 {
                return false;
            }
            if self.wake(asleep.trailing_zeros() as usize) {
                return true;
            }
        }
    }

    /// Wakes the end `index`; false if it does not sleep or somebody else wakes it.
    fn wake(&self, index: usize) -> bool {
        let bit = 1 << index;
        if self.word(ASLEEP).fetch_and(!bit, Ordering::AcqRel) & bit == 0 {
            return false;
        }
        let bell = self.bell(index);
        bell.fetch_add(1, Ordering::Release);
        let task = self.tasks[index].lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            Some(task) => task.wake(),
            None => raw::wake(bell),
        }
        true
    }
}

/// One end of a crowd, as it waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    crowd: Crowd,
    index: usize,
    wait: Wait,
    drowsy: bool,
    /// Whether the step to being drowsy can pay for the fence of others.
    asymmetric: bool,
    /// Whether a task may be asleep in our name.
    lying: bool,
    /// Whether it gave its place up.
    gone: bool,
    /// Waits since we last slept.
    calm: u32,
    waits: u64,
    sleeps: u64,
}

impl Waiter {
    fn new(crowd: Crowd, index: usize, wait: Wait) -> Self {
        let asymmetric = register_fences();
        let drowsy = !asymmetric;
        if drowsy {
            crowd.word(DROWSY).fetch_or(1 << index, Ordering::SeqCst);
        }
        Self {
            crowd,
            index,
            wait,
            drowsy,
            asymmetric,
            lying: false,
            gone: false,
            calm: 0,
            waits: 0,
            sleeps: 0,
        }
    }

    /// Its number among its kind.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// How often it waited at all, and how often it slept.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.waits, self.sleeps)
    }

    fn bit(&self) -> u64 {
        1 << self.index
    }

    /// Waits until `look` finds something or fails, or `limit`.
    ///
    /// # Errors
    /// Those of `look`, `TimedOut`.
    pub(crate) fn block<T>(
        &mut self,
        limit: Option<Instant>,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        self.waits += 1;
        self.forget();
        if let Some(found) = spin(self.wait, limit, |_| look())? {
            self.kept_up();
            return Ok(found);
        }
        loop {
            if let Some(found) = self.sleep(limit, &mut look)? {
                return Ok(found);
            }
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                // Had it been woken, nobody else would take what it was woken for.
                return look()?.ok_or(Error::TimedOut);
            }
        }
    }

    fn sleep<T>(
        &mut self,
        limit: Option<Instant>,
        look: &mut impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let bell = self.lie_down();
        let found = look();
        if let Ok(None) = found {
            let limit = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            raw::wait(self.crowd.bell(self.index), bell, limit);
        }
        let woken = self.rise();
        if woken && !matches!(found, Ok(None)) {
            self.crowd.wake_one();
        }
        found
    }

    /// As [`block`](Self::block) for a task.
    pub(crate) fn poll<T>(
        &mut self,
        context: &Context<'_>,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Poll<Result<T, Error>> {
        if std::mem::take(&mut self.lying) {
            // If it was woken, what it was woken for is what it looks for now.
            self.rise();
            self.kept_up();
        }
        if let Some(found) = look().transpose() {
            return Poll::Ready(found);
        }
        let task = context.waker().clone();
        *self.task() = Some(task);
        self.lie_down();
        self.lying = true;
        match look().transpose() {
            Some(found) => {
                self.forget();
                Poll::Ready(found)
            }
            None => Poll::Pending,
        }
    }

    /// A task that slept waits no more. If it was woken, that was for a message that may still be
    /// there.
    pub(crate) fn forget(&mut self) {
        if self.lying {
            self.lying = false;
            *self.task() = None;
            if self.rise() {
                self.crowd.wake_one();
            }
        }
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.crowd.tasks[self.index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets our bit, so that who publishes from now on wakes us; answers the bell as it is now.
    fn lie_down(&mut self) -> u32 {
        if !self.drowsy {
            self.drowsy = true;
            self.crowd.word(DROWSY).fetch_or(self.bit(), Ordering::Relaxed);
            heavy_fence();
        }
        self.calm = 0;
        self.sleeps += 1;
        let bell = self.crowd.bell(self.index).load(Ordering::Acquire);
        self.crowd.word(ASLEEP).fetch_or(self.bit(), Ordering::AcqRel);
        fence(Ordering::SeqCst);
        bell
    }

    /// Clears our bit; true if somebody did before us, and so woke us.
    fn rise(&mut self) -> bool {
        let bit = self.bit();
        self.crowd.word(ASLEEP).fetch_and(!bit, Ordering::AcqRel) & bit == 0
    }

    /// It had no reason to sleep; after some of that it is awake.
    #[inline]
    pub(crate) fn kept_up(&mut self) {
        if self.drowsy {
            self.calm = self.calm.saturating_add(1);
            if self.calm == CALM {
                self.wake_up();
            }
        }
    }

    #[cold]
    fn wake_up(&mut self) {
        if self.asymmetric {
            self.drowsy = false;
            self.crowd.word(DROWSY).fetch_and(!self.bit(), Ordering::Relaxed);
        }
    }

    /// Gives its place up. The others of the channel are to be told.
    pub(crate) fn leave(&mut self) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        self.forget();
        let others = !self.bit();
        self.crowd.word(ASLEEP).fetch_and(others, Ordering::AcqRel);
        let last = self.crowd.word(HERE).fetch_and(others, Ordering::SeqCst) & others == 0;
        // The last stays drowsy, so that whoever publishes looks closer and finds nobody.
        let drowsy = self.crowd.word(DROWSY);
        if last {
            drowsy.store(u64::MAX, Ordering::SeqCst);
        } else {
            drowsy.fetch_and(others, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}
