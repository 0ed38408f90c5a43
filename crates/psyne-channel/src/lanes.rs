//! An end that waits for many others, each of which has a lane of its own to it.
//!
//! Nobody writes what another writes, so one that is killed or lies harms its own lane. A new lane
//! comes by mail: whoever makes it posts it, and rouses the end by a lane that is known already.

use std::cell::Cell;
use std::ops::DerefMut;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::desk::Task;
use crate::raw::{self, Side};
use crate::sync::{AtomicU32, Mutex, Ordering, fence};
use crate::wait::{self, End, Link, Signal, Sleeper, is_gone};
use crate::{Config, Error, Reason};

/// Most others of one end. Sleeping passes a bell of each to the system, which takes 128
/// (`FUTEX_WAITV_MAX`); looking touches a line of each.
pub const ENDS_MAX: usize = 64;

/// Messages taken from a lane before the next has its turn: moving on costs a line that is seldom
/// in this core's cache, staying lets the others wait.
pub(crate) const TURN: u32 = 32;

/// The near end of one lane.
pub(crate) trait Lane: End {
    /// Whether something is there.
    fn has(&mut self) -> Result<bool, Error>;
    /// What wakes the far end, our words and its.
    fn parts(&mut self) -> (&mut Link, &Side, &Side);
    /// Says what was taken, if that is news to the far end.
    fn tell(&mut self) -> bool;
}

/// Where new lanes are left for the end that will look at them.
#[derive(Debug)]
pub(crate) struct Mail<L> {
    /// Lanes posted so far.
    posted: AtomicU32,
    /// Of the end that reads the mail.
    task: Task,
    post: Mutex<Post<L>>,
}

#[derive(Debug)]
struct Post<L> {
    new: Vec<L>,
    /// Lanes that somebody may still send on or that are not yet empty.
    lanes: usize,
    lanes_max: usize,
    closed: bool,
}

impl<L> Mail<L> {
    /// What wakes the end that reads this.
    pub(crate) fn link(&self) -> Link {
        Link::to_task(self.task.clone())
    }

    /// Makes room for a lane that is then posted.
    ///
    /// # Errors
    /// `Crowded`, `Closed`.
    pub(crate) fn reserve(&self) -> Result<(), Error> {
        let mut post = self.lock();
        if post.closed {
            return Err(Error::Closed(Reason::Finished));
        }
        if post.lanes == post.lanes_max {
            return Err(Error::Crowded(post.lanes_max));
        }
        post.lanes += 1;
        Ok(())
    }

    /// A lane that was reserved was not to be had.
    pub(crate) fn forgo(&self) {
        self.lock().lanes -= 1;
    }

    /// Leaves a lane. If nobody will look at it, it is dropped, and so its far end closed.
    pub(crate) fn post(&self, lane: L)
    where
        L: Lane,
    {
        // Not awake: until the end has seen it, whoever sends passes a full fence.
        wait::doze(lane.sides().0);
        let mut lane = Some(lane);
        {
            let mut post = self.lock();
            if !post.closed {
                post.new.extend(lane.take());
            }
        }
        self.posted.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> impl DerefMut<Target = Post<L>> + '_ {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of an end, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Lanes<L> {
    all: Vec<L>,
    /// The lane that was looked at last, and what is left of its turn.
    at: usize,
    turn: u32,
    mail: Arc<Mail<L>>,
    /// Posts that were seen.
    seen: u32,
    /// How often `all` became another list.
    changes: u32,
    /// What the lanes were told last: a new one has to hear it.
    said: Cell<u32>,
}

impl<L: Lane> Lanes<L> {
    /// No lanes yet, for the end that waits by `signal`.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn open(config: &Config, signal: &mut Signal) -> Result<Self, Error> {
        let lanes_max = config.senders_max;
        if lanes_max == 0 || lanes_max > ENDS_MAX {
            return Err(Error::Config("senders_max is not between 1 and 64"));
        }
        let post = Post { new: Vec::with_capacity(1), lanes: 0, lanes_max, closed: false };
        let posted = AtomicU32::new(0);
        let mail = Arc::new(Mail { posted, task: signal.task(), post: Mutex::new(post) });
        let all = Vec::with_capacity(lanes_max);
        let said = Cell::new(0);
        let lanes = Self { all, at: 0, turn: 0, mail, seen: 0, changes: 0, said };
        signal.open(&lanes);
        Ok(lanes)
    }

    /// Where new lanes are left.
    pub(crate) fn mail(&self) -> &Arc<Mail<L>> {
        &self.mail
    }

    /// Whether a lane has something; then that is the [`current`](Self::current) one.
    ///
    /// # Errors
    /// That of a lane, which is then no longer looked at.
    #[inline]
    pub(crate) fn find(&mut self) -> Result<bool, Error> {
        if self.turn > 0
            && let Some(lane) = self.all.get_mut(self.at)
            && let Ok(true) = lane.has()
        {
            self.turn -= 1;
            return Ok(true);
        }
        self.search()
    }

    fn search(&mut self) -> Result<bool, Error> {
        self.adopt();
        for _ in 0..self.all.len() {
            self.at = (self.at + 1) % self.all.len();
            match self.all[self.at].has() {
                Ok(false) => {}
                Ok(true) => {
                    self.turn = TURN - 1;
                    return Ok(true);
                }
                Err(error) => {
                    self.remove(self.at);
                    return Err(error);
                }
            }
        }
        self.turn = 0;
        Ok(false)
    }

    /// The lane in which something was found.
    #[inline]
    pub(crate) fn current(&self) -> &L {
        &self.all[self.at]
    }

    /// The same to change.
    #[inline]
    pub(crate) fn current_mut(&mut self) -> &mut L {
        &mut self.all[self.at]
    }

    /// How many lanes there are.
    pub(crate) fn count(&mut self) -> usize {
        self.adopt();
        self.all.len()
    }

    /// Makes the next lane the current one, whatever it has. There must be one.
    pub(crate) fn next(&mut self) -> &mut L {
        self.at = (self.at + 1) % self.all.len();
        self.turn = 0;
        &mut self.all[self.at]
    }

    /// Tells all far ends what was taken: some may wait for it.
    pub(crate) fn tell(&mut self) {
        for lane in &mut self.all {
            if lane.tell() {
                notify(lane);
            }
        }
    }

    /// Takes in what came by mail.
    #[inline]
    fn adopt(&mut self) {
        let posted = self.mail.posted.load(Ordering::Acquire);
        if posted != self.seen {
            self.seen = posted;
            self.adopt_new();
        }
    }

    #[cold]
    fn adopt_new(&mut self) {
        let mut new = std::mem::take(&mut self.mail.lock().new);
        for lane in &new {
            lane.sides().0.attention().store(self.said.get(), Ordering::Relaxed);
        }
        // Whoever sent before it heard that is found by the look that follows.
        fence(Ordering::SeqCst);
        self.all.append(&mut new);
        self.changes += 1;
    }

    fn remove(&mut self, index: usize) {
        drop(self.all.swap_remove(index));
        self.changes += 1;
        self.mail.lock().lanes -= 1;
    }
}

/// Wakes the far end. That it is gone is no news: its lane is removed once it is empty.
#[inline]
pub(crate) fn notify<L: Lane>(lane: &mut L) {
    let (link, ours, theirs) = lane.parts();
    let _ = link.notify(ours, theirs);
}

/// Says that the near end is gone. Each lane does so when it is dropped.
pub(crate) fn leave<L: Lane>(lane: &mut L) {
    wait::leave(lane.sides().0);
    let (link, ours, theirs) = lane.parts();
    link.rouse(ours, theirs);
}

/// The bells of all lanes as they were, and which lanes those were.
pub(crate) struct Heard {
    bells: [u32; ENDS_MAX],
    changes: u32,
}

impl<L: Lane> Sleeper for Lanes<L> {
    type Heard = Heard;

    fn say(&self, word: u32) {
        self.said.set(word);
        for lane in &self.all {
            lane.sides().0.attention().store(word, Ordering::Relaxed);
        }
    }

    fn hear(&self) -> Heard {
        let mut bells = [0; ENDS_MAX];
        for (bell, lane) in bells.iter_mut().zip(&self.all) {
            *bell = lane.sides().1.bell().load(Ordering::Acquire);
        }
        Heard { bells, changes: self.changes }
    }

    fn sleep(&self, heard: &Heard, limit: Option<Duration>) {
        if heard.changes == self.changes {
            let bells = self.all.iter().map(|lane| lane.sides().1.bell());
            raw::wait_any(bells.zip(heard.bells), limit);
        }
    }

    /// Forgets lanes that ended.
    fn is_alone(&mut self) -> bool {
        self.adopt();
        for index in (0..self.all.len()).rev() {
            let lane = &mut self.all[index];
            if is_gone(lane.sides().1) && matches!(lane.has(), Ok(false)) {
                self.remove(index);
            }
        }
        self.all.is_empty()
    }
}

impl<L> Drop for Lanes<L> {
    fn drop(&mut self) {
        // The lanes say that this end is gone, as each is dropped.
        let unseen = {
            let mut post = self.mail.lock();
            post.closed = true;
            std::mem::take(&mut post.new)
        };
        drop(unseen);
    }
}
