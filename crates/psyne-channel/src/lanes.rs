//! An end that waits for many others, each of which has a lane of its own to it.
//!
//! Nobody writes what another writes, so one that is killed or lies harms its own lane. A new lane
//! comes by mail: whoever makes it posts it, and rouses the end by a lane that is known already.
//! One of another process comes through a door (`ipc.rs`), which has a bell of its own.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU32 as Plain, Ordering as Order};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::desk::{Arrival, Task};
use crate::ipc::Host;
use crate::raw::{self, Format, Side};
use crate::sync::{AtomicU32, Mutex, Ordering, fence, light_fence};
use crate::wait::{self, End, Fate, Link, Signal, Sleeper, fate, is_awake, is_gone};
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
    /// Messages that a far end that died may have had in hand.
    fn lost(&self) -> u64 {
        0
    }
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

/// Where lanes of other processes come in.
#[derive(Debug)]
pub(crate) struct Door<L> {
    /// What keeps the name.
    pub(crate) host: Host,
    /// How messages are announced, and the bytes of a slot.
    pub(crate) shape: (Format, usize),
    /// Makes a lane of who came; nothing if it brought what can't be one.
    pub(crate) enter: fn(Arrival, (Format, usize)) -> Option<L>,
}

/// Where new lanes come from.
#[derive(Debug)]
enum Source<L> {
    Mail { mail: Arc<Mail<L>>, seen: u32 },
    Door(Door<L>),
}

/// The lanes of an end, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Lanes<L> {
    all: Vec<L>,
    lanes_max: usize,
    /// The lane that was looked at last, and what is left of its turn.
    at: usize,
    turn: u32,
    source: Source<L>,
    /// What has to be said of lanes of other processes that ended.
    unsaid: VecDeque<Error>,
    /// How often `all` became another list.
    changes: u32,
    /// What the lanes were told last: a new one has to hear it.
    said: Plain,
    /// Messages that far ends that died may have had in hand.
    lost: u64,
}

impl<L: Lane> Lanes<L> {
    /// No lanes yet, for the end that waits by `signal`, and where new ones are left.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn open(
        config: &Config,
        signal: &mut Signal,
    ) -> Result<(Self, Arc<Mail<L>>), Error> {
        let lanes_max = lanes_max(config)?;
        let post = Post { new: Vec::with_capacity(1), lanes: 0, lanes_max, closed: false };
        let posted = AtomicU32::new(0);
        let mail = Arc::new(Mail { posted, task: signal.task(), post: Mutex::new(post) });
        let lanes = Self::of(Source::Mail { mail: mail.clone(), seen: 0 }, lanes_max);
        signal.open(&lanes);
        Ok((lanes, mail))
    }

    /// The same for at most so many lanes of other processes.
    pub(crate) fn behind(door: Door<L>, lanes_max: usize, signal: &mut Signal) -> Self {
        let lanes = Self::of(Source::Door(door), lanes_max);
        signal.open(&lanes);
        lanes
    }

    fn of(source: Source<L>, lanes_max: usize) -> Self {
        let all = Vec::with_capacity(lanes_max);
        let (unsaid, said) = (VecDeque::new(), Plain::new(0));
        Self { all, lanes_max, at: 0, turn: 0, source, unsaid, changes: 0, said, lost: 0 }
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

    /// Whether something is in the lane that was looked at last, where nothing was found in any.
    #[inline(always)]
    pub(crate) fn is_here(&mut self) -> bool {
        self.all.get_mut(self.at).is_some_and(|lane| matches!(lane.has(), Ok(true)))
    }

    fn search(&mut self) -> Result<bool, Error> {
        self.adopt();
        if let Some(end) = self.unsaid.pop_front() {
            return Err(end);
        }
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

    /// The lane that was looked at last, if there is any.
    #[inline]
    pub(crate) fn last(&self) -> Option<&L> {
        self.all.get(self.at)
    }

    /// All lanes that are known.
    pub(crate) fn all(&self) -> &[L] {
        &self.all
    }

    /// The same to change.
    pub(crate) fn all_mut(&mut self) -> &mut [L] {
        &mut self.all
    }

    /// Whether the current lane's turn goes on.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.turn > 0
    }

    /// The next look begins with the next lane.
    pub(crate) fn end_turn(&mut self) {
        self.turn = 0;
    }

    /// Messages that far ends that died may have had in hand.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// What is to be said of a far end that is gone.
    #[inline]
    pub(crate) fn unsaid(&mut self) -> Option<Error> {
        if self.unsaid.is_empty() { None } else { self.unsaid.pop_front() }
    }

    /// After `count` things were published that any far end may take: wakes as many of those that
    /// sleep.
    #[inline]
    pub(crate) fn wake(&mut self, count: u64) {
        light_fence();
        if self.has_news() || !self.all.iter().all(|lane| is_awake(lane.sides().1)) {
            self.wake_slowly(count);
        }
    }

    #[cold]
    fn wake_slowly(&mut self, mut count: u64) {
        fence(Ordering::SeqCst);
        self.adopt();
        let mut gone = false;
        for lane in &mut self.all {
            let (link, ours, theirs) = lane.parts();
            match is_gone(theirs) {
                true => gone = true,
                false if count > 0 => {
                    count -= u64::from(link.wake(ours, theirs).unwrap_or_default());
                }
                false => {}
            }
        }
        if gone {
            self.forget_ended();
        }
    }

    #[inline]
    fn has_news(&self) -> bool {
        match &self.source {
            Source::Mail { mail, seen } => mail.posted.load(Ordering::Acquire) != *seen,
            Source::Door(door) => door.host.has_news(),
        }
    }

    /// Takes in what came.
    #[inline]
    fn adopt(&mut self) {
        if self.has_news() {
            self.adopt_new();
        }
    }

    #[cold]
    fn adopt_new(&mut self) {
        if self.all.len() == self.lanes_max {
            self.forget_ended();
        }
        let room = self.lanes_max - self.all.len().min(self.lanes_max);
        let mut new = match &mut self.source {
            Source::Mail { mail, seen } => {
                *seen = mail.posted.load(Ordering::Acquire);
                std::mem::take(&mut mail.lock().new)
            }
            Source::Door(Door { host, shape, enter }) => {
                let came = std::iter::from_fn(|| host.next()).take(room);
                let came = came.filter_map(|arrival| enter(arrival, *shape)).collect();
                self.unsaid.extend(host.refusal());
                came
            }
        };
        for lane in &new {
            lane.sides().0.attention().store(self.said.load(Order::Relaxed), Ordering::Relaxed);
        }
        // Whoever sent before it heard that is found by the look that follows.
        fence(Ordering::SeqCst);
        self.changes += u32::from(!new.is_empty());
        self.all.append(&mut new);
    }

    /// Forgets lanes that ended and are empty.
    fn forget_ended(&mut self) {
        for index in (0..self.all.len()).rev() {
            let lane = &mut self.all[index];
            if is_gone(lane.sides().1) && matches!(lane.has(), Ok(false)) {
                let fate = fate(lane.sides().1);
                if matches!(fate, Fate::Died(_)) {
                    self.lost += lane.lost();
                }
                self.remove(index);
                self.note(&fate);
            }
        }
    }

    /// Other processes may come at any time: that one died is said, and that the last one finished.
    fn note(&mut self, fate: &Fate) {
        // Who never asks loses the oldest news of this kind, not memory.
        if self.unsaid.len() == ENDS_MAX {
            self.unsaid.pop_front();
        }
        match (&self.source, fate) {
            (Source::Door(_), Fate::Died(pid)) => {
                self.unsaid.push_back(Error::PeerDied { pid: *pid });
            }
            (Source::Door(_), Fate::Finished) if self.all.is_empty() => {
                self.unsaid.push_back(Error::Closed(Reason::Finished));
            }
            _ => {}
        }
    }

    fn remove(&mut self, index: usize) {
        drop(self.all.swap_remove(index));
        self.changes += 1;
        if let Source::Mail { mail, .. } = &self.source {
            mail.lock().lanes -= 1;
        }
    }

    fn bells(&self) -> impl Iterator<Item = &AtomicU32> + Clone {
        let door = match &self.source {
            Source::Mail { .. } => None,
            Source::Door(door) => Some(door.host.bell()),
        };
        door.into_iter().chain(self.all.iter().map(|lane| lane.sides().1.bell()))
    }

    /// Nothing was found: why nothing will be, if so.
    ///
    /// # Errors
    /// `Closed`, `PeerDied`.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        if !self.is_alone() {
            return Ok(());
        }
        Err(self.unsaid.pop_front().unwrap_or(Error::Closed(Reason::Finished)))
    }
}

/// Most senders of one receiver, or clients of a server.
///
/// # Errors
/// `Config`.
pub(crate) fn lanes_max(config: &Config) -> Result<usize, Error> {
    if config.senders_max == 0 || config.senders_max > ENDS_MAX {
        return Err(Error::Config("senders_max is not between 1 and 64"));
    }
    Ok(config.senders_max)
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

/// The bells of all lanes, and of the door, as they were, and which lanes those were.
pub(crate) struct Heard {
    bells: [u32; ENDS_MAX + 1],
    changes: u32,
}

impl<L: Lane> Sleeper for Lanes<L> {
    type Heard = Heard;

    fn say(&self, word: u32) {
        self.said.store(word, Order::Relaxed);
        for lane in &self.all {
            lane.sides().0.attention().store(word, Ordering::Relaxed);
        }
    }

    fn hear(&self) -> Heard {
        let mut bells = [0; ENDS_MAX + 1];
        for (heard, bell) in bells.iter_mut().zip(self.bells()) {
            *heard = bell.load(Ordering::Acquire);
        }
        Heard { bells, changes: self.changes }
    }

    fn sleep(&self, heard: &Heard, limit: Option<Duration>) {
        if heard.changes == self.changes {
            raw::wait_any(self.bells().zip(heard.bells), limit);
        }
    }

    /// Forgets lanes that ended. Where others may come, an end is never alone for good.
    fn is_alone(&mut self) -> bool {
        self.adopt();
        self.forget_ended();
        let nobody = self.all.is_empty() && matches!(self.source, Source::Mail { .. });
        nobody || !self.unsaid.is_empty()
    }

    fn fate(&self) -> Fate {
        if self.unsaid.is_empty() { Fate::Finished } else { Fate::Unsaid }
    }

    fn changes(&self) -> u32 {
        self.changes
    }
}

impl<L> Drop for Lanes<L> {
    fn drop(&mut self) {
        // The lanes say that this end is gone, as each is dropped.
        if let Source::Mail { mail, .. } = &self.source {
            let unseen = {
                let mut post = mail.lock();
                post.closed = true;
                std::mem::take(&mut post.new)
            };
            drop(unseen);
        }
    }
}
