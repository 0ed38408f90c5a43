//! A broadcast of values of any kind within a process, by reference: for what is no plain data.
//!
//! ```text
//! Sender ─send─► History ─one lock for all that is new─► Follower (one a thread) ─get─► any number
//! ```
//!
//! Values are numbered from 0 without holes, and kept until the sender forgets them. A [`Follower`]
//! is a copy of that history: bringing it up to date takes a lock once, for everything new, and
//! clones the values, which should be reference counts. After that, thousands of readers look into
//! it without a lock, each of them no more than the number of its next value. No reader is known to
//! the sender, and none holds it up; who finds its value forgotten goes on at [`Window::mark`], the
//! newest value to begin with.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opens a broadcast whose followers begin with what comes next and what is kept.
#[must_use]
pub fn channel<T: Clone>() -> Sender<T> {
    let shared = Shared {
        window: Mutex::new(Window::default()),
        changes: AtomicU64::new(0),
        followers: AtomicUsize::new(0),
    };
    Sender { shared: Arc::new(shared) }
}

#[derive(Debug)]
struct Shared<T> {
    window: Mutex<Window<T>>,
    /// Values sent and times that some were forgotten: nothing is new to who knows this number.
    changes: AtomicU64,
    followers: AtomicUsize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Window<T>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values with their numbers, oldest first, without holes.
#[derive(Clone, Debug)]
pub struct Window<T> {
    values: VecDeque<T>,
    next: u64,
    mark: Option<u64>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { values: VecDeque::new(), next: 0, mark: None }
    }
}

impl<T> Window<T> {
    /// The value with this number, if it is kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&T> {
        let index = number.checked_sub(self.first())?;
        self.values.get(usize::try_from(index).ok()?)
    }

    /// The number of the oldest value that is kept, or of the next one if none is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next - self.values.len() as u64
    }

    /// The number that the next value will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the newest value that somebody can begin with, if it is kept.
    #[must_use]
    pub fn mark(&self) -> Option<u64> {
        self.mark.filter(|mark| *mark >= self.first())
    }

    /// The oldest value that is kept.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.values.front()
    }

    /// The newest value, if it is kept.
    #[must_use]
    pub fn newest(&self) -> Option<&T> {
        self.values.back()
    }

    /// Drops values with lower numbers.
    fn forget_before(&mut self, number: u64) {
        let old = number.min(self.next).saturating_sub(self.first());
        self.values.drain(..old as usize);
    }
}

impl<T: Clone> Window<T> {
    /// Takes what `other` has and this one lacks, and drops what that one dropped.
    fn follow(&mut self, other: &Self) {
        if other.first() > self.next {
            self.values.clear();
            self.next = other.first();
        }
        let known = (self.next - other.first()) as usize;
        self.values.extend(other.values.range(known..).cloned());
        (self.next, self.mark) = (other.next, other.mark);
        self.forget_before(other.first());
    }
}

/// The end that sends.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Clone> Sender<T> {
    /// Appends a value and says its number. `marked`: somebody can begin with it.
    pub fn send(&mut self, value: T, marked: bool) -> u64 {
        self.edit(|window| {
            let number = window.next;
            window.values.push_back(value);
            window.next += 1;
            if marked {
                window.mark = Some(number);
            }
            number
        })
    }

    /// Keeps values with lower numbers no longer.
    pub fn forget_before(&mut self, number: u64) {
        if self.peek(|window| number > window.first()) {
            self.edit(|window| window.forget_before(number));
        }
    }

    fn edit<R>(&mut self, change: impl FnOnce(&mut Window<T>) -> R) -> R {
        let mut window = self.shared.lock();
        let result = change(&mut window);
        // Under the lock, so that who sees the number finds at least what it counts.
        self.shared.changes.fetch_add(1, Ordering::Release);
        result
    }

    /// Looks at what is kept; followers wait meanwhile.
    pub fn peek<R>(&self, look: impl FnOnce(&Window<T>) -> R) -> R {
        look(&self.shared.lock())
    }

    /// How many follow.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.shared.followers.load(Ordering::Relaxed)
    }

    /// A follower with everything that is kept.
    #[must_use]
    pub fn follow(&self) -> Follower<T> {
        Follower::new(self.shared.clone())
    }
}

/// A thread's copy of what is kept.
#[derive(Debug)]
pub struct Follower<T> {
    shared: Arc<Shared<T>>,
    window: Window<T>,
    changes: u64,
}

impl<T: Clone> Follower<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        shared.followers.fetch_add(1, Ordering::Relaxed);
        let mut follower = Self { shared, window: Window::default(), changes: u64::MAX };
        follower.refresh();
        follower
    }

    /// Brings it up to date; false, and without a lock, if it was.
    pub fn refresh(&mut self) -> bool {
        if self.shared.changes.load(Ordering::Acquire) == self.changes {
            return false;
        }
        let kept = self.shared.lock();
        self.changes = self.shared.changes.load(Ordering::Relaxed);
        self.window.follow(&kept);
        true
    }
}

impl<T> Deref for Follower<T> {
    type Target = Window<T>;

    fn deref(&self) -> &Window<T> {
        &self.window
    }
}

impl<T: Clone> Clone for Follower<T> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        self.shared.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_follower_has_what_is_kept_when_it_looked_last() {
        let mut sender = channel();
        let mut early = sender.follow();
        for value in ['a', 'b', 'c'] {
            sender.send(value, value == 'b');
        }
        assert_eq!((early.next(), early.mark()), (0, None));
        assert!(early.refresh() && !early.refresh());
        assert_eq!((early.get(0), early.get(2), early.get(3)), (Some(&'a'), Some(&'c'), None));
        assert_eq!((early.mark(), early.newest()), (Some(1), Some(&'c')));
        sender.forget_before(2);
        let late = sender.follow();
        assert_eq!((late.first(), late.mark(), late.oldest()), (2, None, Some(&'c')));
        assert_eq!(early.get(0), Some(&'a'), "until it looks again");
        assert!(early.refresh() && early.get(0).is_none());
        sender.forget_before(9);
        assert_eq!((sender.send('d', true), sender.followers()), (3, 2));
        drop(late);
        assert_eq!((sender.followers(), early.refresh()), (1, true));
        assert_eq!((early.first(), early.mark(), early.next()), (3, Some(3), 4));
        sender.forget_before(4);
        let slow = early.clone();
        assert_eq!((slow.first(), slow.mark(), slow.newest()), (4, None, None));
    }

    /// A follower that slept through everything has the same as one that never did.
    #[test]
    fn followers_that_race_agree_with_the_sender() {
        const VALUES: u64 = if cfg!(miri) { 200 } else { 20_000 };
        let mut sender = channel::<Arc<u64>>();
        let threads = [1, 7, 900].map(|often| {
            let mut follower = sender.follow();
            std::thread::spawn(move || {
                let (mut seen, mut turn) = (0, 0_u64);
                while seen < VALUES {
                    turn += 1;
                    if turn % often == 0 {
                        follower.refresh();
                    }
                    for number in follower.first().max(seen)..follower.next() {
                        assert_eq!(**follower.get(number).expect("without holes"), number);
                    }
                    assert!(follower.next() >= seen);
                    assert!(follower.mark().is_none_or(|mark| mark % 10 == 0));
                    seen = follower.next();
                }
            })
        });
        for number in 0..VALUES {
            assert_eq!(sender.send(Arc::new(number), number % 10 == 0), number);
            sender.forget_before(number.saturating_sub(20));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((sender.followers(), sender.peek(Window::first)), (0, VALUES - 21));
    }
}
