//! Waiting for the other side, and waking it: spin, park and async on one word a side.
//!
//! Each side has an `attention` word that it alone writes and the other reads after each message:
//!
//! ```text
//! AWAKE   looks for itself: nothing to do. The other side pays one load of an unchanged line.
//! DROWSY  may fall asleep: the other side passes a full fence and looks again.
//! ASLEEP  (with a count) ring the bell, once for each count: the only system call.
//! GONE    was dropped, or (with a number) its process died, or it has not come yet.
//! ```
//!
//! Publishing then looking at the word, against writing the word then looking for messages, is
//! Dekker's problem: both need a fence. The hot side has none while the other is AWAKE, because
//! the step from AWAKE to DROWSY pays for both (`sync::heavy_fence`); a side that keeps up for a
//! while goes back to AWAKE. Bells lie in the memory of the side that rings: nobody writes into
//! the other's. A task in another process is woken by the thread that keeps its rendezvous, to
//! which a byte is sent.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::desk::{Arrival, Desk, Task, Wire};
use crate::raw::{self, Book, Side};
use crate::sync::{
    AtomicU32, Ordering, fence, give_way, heavy_fence, light_fence, pause, register_fences,
};
use crate::{Error, Reason, Wait};

const AWAKE: u32 = 0;
const DROWSY: u32 = 1;
const ASLEEP: u32 = 2;
const GONE: u32 = 3;
const STATE: u32 = 3;
/// Who sleeps is a task.
const TASK: u32 = 4;
/// Below the count in the word of a sleeper, or the number of the process in that of a dead side.
const STATE_BITS: u32 = 3;
/// Never the number of a process: Linux has at most 2^22.
const VACANT: u32 = (1 << (32 - STATE_BITS)) - 1;

/// Looks between two looks at the clock: about a microsecond with PAUSE.
const LOOKS: u32 = 32;
/// How long `Wait::Adaptive` spins: about what a wake costs (12 to 18 µs measured), so that it
/// never loses more than twice the best choice.
const SPIN: Duration = Duration::from_micros(15);
/// Longest sleep on a side in another process. One that finishes wakes whom it knows, and the
/// thread that keeps the rendezvous wakes the others; who falls asleep in that very moment hears
/// neither.
const NAP: Duration = Duration::from_secs(1);
/// Waits without sleeping after which a side says that it is awake again. Many enough that a pair
/// that sleeps each time never pays for [`heavy_fence`] each time.
pub(crate) const CALM: u32 = 256;

/// An end of a ring: our words, then the other side's.
pub(crate) trait End {
    /// Ours, then theirs.
    fn sides(&self) -> (&Side, &Side);

    /// Goes on with another other side. Only ends with a desk are asked.
    ///
    /// # Errors
    /// `Corrupt` if the one before had claimed what can't be.
    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        let _ = arrival;
        Err(Error::Corrupt("this end has one other side for good"))
    }
}

impl End for raw::Producer {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        self.sides()
    }

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        self.adopt(arrival.theirs.region().clone(), arrival.start)
    }
}

impl End for raw::Consumer {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        self.sides()
    }

    fn adopt(&mut self, arrival: Arrival) -> Result<(), Error> {
        let ours = arrival.ours.expect("who reads has words for each other side");
        self.adopt(arrival.theirs.region().clone(), ours, (arrival.slots, arrival.start));
        Ok(())
    }
}

/// What it takes to sleep on behalf of an end: telling the other side, or all of them, and hearing
/// them.
pub(crate) trait Sleeper {
    /// The bells as they were.
    type Heard;
    /// Tells whom it waits for how attentive it is.
    fn say(&self, word: u32);
    /// Where observers read how often it waited, if it has one place for that.
    fn book(&self) -> Option<&Book> {
        None
    }
    /// The bells as they are.
    fn hear(&self) -> Self::Heard;
    /// Sleeps until one is rung, or has been since.
    fn sleep(&self, heard: &Self::Heard, limit: Option<Duration>);
    /// Whether nobody is left to wait for, except for what they left.
    fn is_alone(&mut self) -> bool;
    /// How it came to be alone.
    fn fate(&self) -> Fate {
        Fate::Finished
    }
    /// Whom it waits for, as a number that changes when those do: looking is worth it then.
    fn changes(&self) -> u32 {
        0
    }
    /// As [`End::adopt`].
    ///
    /// # Errors
    /// `Corrupt`.
    fn go_on_with(&mut self, arrival: Arrival) -> Result<(), Error> {
        let _ = arrival;
        Err(Error::Corrupt("this end takes others by mail"))
    }
}

impl<E: End> Sleeper for E {
    /// Whose bell it was, too: looking may have shown that another is to be waited for, whose
    /// bell nobody heard before.
    type Heard = (*const AtomicU32, u32);

    #[inline]
    fn say(&self, word: u32) {
        self.sides().0.attention().store(word, Ordering::Relaxed);
    }

    fn book(&self) -> Option<&Book> {
        Some(self.sides().0.book())
    }

    fn hear(&self) -> Self::Heard {
        let bell = self.sides().1.bell();
        (bell, bell.load(Ordering::Acquire))
    }

    fn sleep(&self, &(whose, rings): &Self::Heard, limit: Option<Duration>) {
        let bell = self.sides().1.bell();
        if core::ptr::eq(bell, whose) {
            raw::wait(bell, rings, limit);
        }
    }

    #[inline]
    fn is_alone(&mut self) -> bool {
        is_gone(self.sides().1)
    }

    fn fate(&self) -> Fate {
        fate(self.sides().1)
    }

    fn go_on_with(&mut self, arrival: Arrival) -> Result<(), Error> {
        self.adopt(arrival)
    }
}

/// What it takes to wake one other side.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The other side's word when we last rang.
    rang: u32,
    /// Its task, if it is in this process.
    task: Task,
    /// The way to it, if not.
    wire: Option<Arc<Wire>>,
}

impl Link {
    /// To the side whose task is this.
    pub(crate) fn to(other: &Signal) -> Self {
        Self::to_task(other.ours.clone())
    }

    /// To the side whose task this is.
    pub(crate) fn to_task(task: Task) -> Self {
        Self { rang: AWAKE, task, wire: None }
    }

    /// To a side in another process.
    pub(crate) fn far(wire: Arc<Wire>) -> Self {
        Self { rang: AWAKE, task: Task::default(), wire: Some(wire) }
    }

    /// After something was published: wakes the other side if it sleeps.
    ///
    /// # Errors
    /// `Closed` if it is gone.
    #[inline(always)]
    pub(crate) fn notify(&mut self, ours: &Side, theirs: &Side) -> Result<(), Error> {
        light_fence();
        if theirs.attention().load(Ordering::Relaxed) == AWAKE {
            return Ok(());
        }
        self.notify_slowly(ours, theirs)
    }

    #[cold]
    fn notify_slowly(&mut self, ours: &Side, theirs: &Side) -> Result<(), Error> {
        fence(Ordering::SeqCst);
        self.wake(ours, theirs).map(drop)
    }

    /// Wakes the other side if it sleeps and was not rung for yet: whether it was so.
    ///
    /// # Errors
    /// `Closed` if it is gone.
    pub(crate) fn wake(&mut self, ours: &Side, theirs: &Side) -> Result<bool, Error> {
        let word = theirs.attention().load(Ordering::Relaxed);
        match word & STATE {
            GONE => return Err(Error::Closed(Reason::Finished)),
            ASLEEP if word != self.rang => self.ring(ours, word),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn ring(&mut self, ours: &Side, word: u32) {
        self.rang = word;
        ours.bell().fetch_add(1, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (task, &self.wire) {
            (Some(task), _) => task.wake(),
            (None, Some(wire)) if word & TASK != 0 => wire.ring(),
            (None, _) => raw::wake(ours.bell()),
        }
    }

    /// Something changed that is no message: the other is woken, whatever it waits for.
    pub(crate) fn rouse(&mut self, ours: &Side, theirs: &Side) {
        fence(Ordering::SeqCst);
        let word = theirs.attention().load(Ordering::Relaxed);
        if word & STATE == ASLEEP {
            self.ring(ours, word);
        }
    }
}

/// One side's waiting and waking.
#[derive(Debug)]
pub(crate) struct Signal {
    wait: Wait,
    /// Whether our word says DROWSY or more.
    drowsy: bool,
    /// Whether the step from AWAKE to DROWSY can pay for the fence of the other side.
    asymmetric: bool,
    /// How often we went to sleep; part of the word.
    sleeps: u32,
    /// Waits since we were last drowsy for a reason.
    calm: u32,
    waits: u64,
    ours: Task,
    /// To the other side, if there is only one.
    link: Link,
    /// Where other sides arrive, if the channel has a name.
    desk: Option<Arc<Desk>>,
    /// How often another side took the place of one before.
    replaced: u32,
    /// Whether the death of the other side that we have was said.
    mourned: bool,
    /// Who died and was replaced, if that was not said yet.
    died: Option<u32>,
}

/// The signals of both ends of a ring.
pub(crate) fn pair(wait: Wait) -> (Signal, Signal) {
    let (mut one, mut two) = (Signal::new(wait), Signal::new(wait));
    (one.link, two.link) = (Link::to(&two), Link::to(&one));
    (one, two)
}

/// Looks until it is time to sleep, now and then with `true`: then it is worth a dearer look.
pub(crate) fn spin<T>(
    wait: Wait,
    limit: Option<Instant>,
    mut look: impl FnMut(bool) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    if wait == Wait::Park {
        return look(false);
    }
    let mut sleepy = None;
    loop {
        for _ in 1..LOOKS {
            if let Some(found) = look(false)? {
                return Ok(Some(found));
            }
            pause();
        }
        if let Some(found) = look(true)? {
            return Ok(Some(found));
        }
        let now = Instant::now();
        if limit.is_some_and(|limit| now >= limit) {
            return Err(Error::TimedOut);
        }
        if wait == Wait::Adaptive {
            if now >= *sleepy.get_or_insert(now + SPIN) {
                return Ok(None);
            }
            // Whoever we wait for may be waiting for this core.
            give_way();
        }
    }
}

impl Signal {
    /// A side without another yet.
    pub(crate) fn new(wait: Wait) -> Self {
        Self {
            wait,
            drowsy: false,
            asymmetric: false,
            sleeps: 0,
            calm: 0,
            waits: 0,
            ours: Task::default(),
            link: Link::default(),
            desk: None,
            replaced: 0,
            mourned: false,
            died: None,
        }
    }

    /// A side of a named channel whose other side is `vacant` so far.
    pub(crate) fn named(wait: Wait, vacant: Arc<raw::Other>) -> (Self, Arc<Desk>) {
        let mut signal = Self::new(wait);
        let desk = Arc::new(Desk::new(vacant, signal.ours.clone()));
        signal.desk = Some(desk.clone());
        (signal, desk)
    }

    /// Who rings for this side wakes this task, if there is one.
    pub(crate) fn task(&self) -> Task {
        self.ours.clone()
    }

    /// After something that is no message: wakes the other side, whatever it waits for.
    pub(crate) fn rouse(&mut self, end: &impl End) {
        let (ours, theirs) = end.sides();
        self.link.rouse(ours, theirs);
    }

    /// The same with the other side.
    pub(crate) fn linked(wait: Wait, link: Link) -> Self {
        Self { link, ..Self::new(wait) }
    }

    /// How often this side waited at all, and how often it slept.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.waits, u64::from(self.sleeps))
    }

    /// After something was published: wakes the other side if it sleeps.
    ///
    /// # Errors
    /// `Closed` if it is gone.
    #[inline(always)]
    pub(crate) fn notify(&mut self, end: &impl End) -> Result<(), Error> {
        let (ours, theirs) = end.sides();
        self.link.notify(ours, theirs)
    }

    /// Waits until `look` finds something, the other side is gone, or `limit`.
    ///
    /// # Errors
    /// Those of `look`, `Closed`, `TimedOut`.
    pub(crate) fn block<E: Sleeper, T>(
        &mut self,
        end: &mut E,
        limit: Option<Instant>,
        mut look: impl FnMut(&mut E) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        self.waits += 1;
        self.keep_book(end);
        self.mourn()?;
        let spun = spin(self.wait, limit, |now_and_then| match look(end)? {
            None if now_and_then => self.look_if_gone(end, &mut look),
            found => Ok(found),
        });
        if let Some(found) = spun? {
            self.kept_up(end);
            return Ok(found);
        }
        // Of a task that waited here and gave up: who rings would wake that one.
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = None;
        loop {
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                return Err(Error::TimedOut);
            }
            if let Some(found) = self.sleep(end, limit, &mut look)? {
                return Ok(found);
            }
        }
    }

    /// Looks for so long as costs nobody anything, before [`block`](Self::block): what comes soon
    /// is found by the caller's own eyes, and not handed through results. False if it did not, or
    /// there is something else to be said first.
    #[inline(always)]
    pub(crate) fn glance<E: Sleeper>(
        &mut self,
        end: &mut E,
        mut is_there: impl FnMut(&mut E) -> bool,
    ) -> bool {
        if self.wait == Wait::Park || self.died.is_some() {
            return false;
        }
        for _ in 0..LOOKS {
            if is_there(end) {
                self.waits += 1;
                self.kept_up(end);
                return true;
            }
            pause();
        }
        false
    }

    /// For observers.
    #[inline]
    fn keep_book(&self, end: &impl Sleeper) {
        if let Some(book) = end.book() {
            book.waited(self.waits, self.sleeps.into());
        }
    }

    /// If the other side is gone, what it left is all there will be, until another takes its place.
    fn look_if_gone<E: Sleeper, T>(
        &mut self,
        end: &mut E,
        look: &mut impl FnMut(&mut E) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        if !end.is_alone() {
            return Ok(None);
        }
        match look(end)? {
            // Looking may have shown an end with many others that another is to be waited for.
            None if end.is_alone() && self.succeed(end)? => look(end),
            found => Ok(found),
        }
    }

    /// The other side is gone and nothing that it left is of use: true if another took its place.
    ///
    /// # Errors
    /// `Closed` if it finished; `PeerDied`, once; why nobody else will come.
    pub(crate) fn succeed(&mut self, end: &mut impl Sleeper) -> Result<bool, Error> {
        match end.fate() {
            Fate::Finished => Err(Error::Closed(Reason::Finished)),
            Fate::Died(pid) if !self.mourned => {
                self.mourned = true;
                Err(Error::PeerDied { pid })
            }
            Fate::Unsaid => Ok(true),
            _ => self.replace(end),
        }
    }

    /// That the other side died was said in another way.
    pub(crate) fn mourned(&mut self) {
        self.mourned = true;
    }

    /// Goes on with who came, if there is nothing to be said of the one before.
    pub(crate) fn take_in(&mut self, end: &mut impl Sleeper) -> bool {
        let said = match end.fate() {
            Fate::Finished => false,
            Fate::Died(_) => self.mourned,
            Fate::Vacant => true,
            Fate::Unsaid => false,
        };
        end.is_alone() && said && self.replace(end).unwrap_or(false)
    }

    /// Goes on with the next other side, if one came.
    fn replace(&mut self, end: &mut impl Sleeper) -> Result<bool, Error> {
        let desk = self.desk.as_ref().ok_or(Error::Closed(Reason::Finished))?;
        let Some(arrival) = desk.take()? else { return Ok(false) };
        self.link = Link::far(arrival.wire.clone());
        self.replaced += 1;
        self.mourned = false;
        end.go_on_with(arrival)?;
        self.keep_book(end);
        self.drowsy = false;
        end.say(AWAKE);
        self.open(end);
        Ok(true)
    }

    /// As [`notify`](Self::notify) for who sends: what is published stays for a successor of a
    /// receiver that died, whose death is said at the next wait.
    ///
    /// # Errors
    /// `Closed`; why nobody else will come.
    #[inline(always)]
    pub(crate) fn hand_over(&mut self, end: &mut impl End) -> Result<(), Error> {
        light_fence();
        if end.sides().1.attention().load(Ordering::Relaxed) == AWAKE {
            return Ok(());
        }
        self.hand_on(end)
    }

    #[cold]
    fn hand_on(&mut self, end: &mut impl End) -> Result<(), Error> {
        if self.notify(end).is_ok() {
            return Ok(());
        }
        loop {
            let unsaid = match fate(end.sides().1) {
                Fate::Finished => return Err(Error::Closed(Reason::Finished)),
                Fate::Died(pid) if !self.mourned => Some(pid),
                _ => None,
            };
            if !self.replace(end)? {
                return Ok(());
            }
            self.died = unsaid.or(self.died);
            if self.notify(end).is_ok() {
                return Ok(());
            }
        }
    }

    /// Says what was not said yet.
    fn mourn(&mut self) -> Result<(), Error> {
        self.died.take().map_or(Ok(()), |pid| Err(Error::PeerDied { pid }))
    }

    fn sleep<E: Sleeper, T>(
        &mut self,
        end: &mut E,
        limit: Option<Instant>,
        look: &mut impl FnMut(&mut E) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let heard = self.lie_down(end, 0);
        let found = match look(end)? {
            Some(found) => Some(found),
            None => self.look_if_gone(end, look)?,
        };
        if found.is_none() {
            let limit = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            let nap = self.desk.as_ref().map(|_| limit.map_or(NAP, |limit| limit.min(NAP)));
            end.sleep(&heard, nap.or(limit));
        }
        end.say(DROWSY);
        Ok(found)
    }

    /// Says ASLEEP, so that who publishes from now on rings; answers the bells as they were before:
    /// each sleep is rung for once, and that may be for less than is waited for.
    fn lie_down<E: Sleeper>(&mut self, end: &E, task: u32) -> E::Heard {
        if !self.drowsy {
            self.drowsy = true;
            end.say(DROWSY);
            heavy_fence();
        }
        self.calm = 0;
        self.sleeps = self.sleeps.wrapping_add(1);
        self.keep_book(end);
        let heard = end.hear();
        end.say(ASLEEP | task | self.sleeps << STATE_BITS);
        fence(Ordering::SeqCst);
        heard
    }

    /// Before the first message. Without the cheap fence a side is drowsy for ever, as even one
    /// that spins may be polled by a task that sleeps.
    pub(crate) fn open(&mut self, end: &impl Sleeper) {
        self.asymmetric = register_fences();
        if !self.asymmetric {
            self.drowsy = true;
            end.say(DROWSY);
        }
    }

    /// This side had no reason to sleep; after some of that it is awake.
    #[inline]
    pub(crate) fn kept_up(&mut self, end: &impl Sleeper) {
        if self.drowsy && self.asymmetric {
            self.calm = self.calm.saturating_add(1);
            if self.calm == CALM {
                self.drowsy = false;
                end.say(AWAKE);
            }
        }
    }

    /// As [`block`](Self::block) for a task: it is woken when looking again is worth it.
    pub(crate) fn poll<E: Sleeper, T>(
        &mut self,
        end: &mut E,
        context: &Context<'_>,
        mut look: impl FnMut(&mut E) -> Result<Option<T>, Error>,
    ) -> Poll<Result<T, Error>> {
        if let Err(death) = self.mourn() {
            return Poll::Ready(Err(death));
        }
        let first = look(end).transpose();
        if let Some(found) = first.or_else(|| self.look_if_gone(end, &mut look).transpose()) {
            self.rise(end);
            return Poll::Ready(found);
        }
        let task = context.waker().clone();
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        loop {
            let before = (self.replaced, end.changes());
            self.lie_down(end, TASK);
            let again = look(end).transpose();
            if let Some(found) = again.or_else(|| self.look_if_gone(end, &mut look).transpose()) {
                self.rise(end);
                return Poll::Ready(found);
            }
            // Another side has not heard that we sleep, or sent before it did.
            if before == (self.replaced, end.changes()) {
                return Poll::Pending;
            }
        }
    }

    /// Ends the sleep of a task.
    pub(crate) fn rise(&mut self, end: &impl Sleeper) {
        if self.drowsy {
            *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = None;
            end.say(DROWSY);
            self.kept_up(end);
        }
    }

    /// This side ends: says so, and wakes the other whatever it waits for.
    pub(crate) fn close(&mut self, end: &impl End) {
        let (ours, theirs) = end.sides();
        leave(ours);
        self.link.rouse(ours, theirs);
    }
}

/// Says that this side may sleep, so that the other passes a full fence after each message.
pub(crate) fn doze(ours: &Side) {
    ours.attention().store(DROWSY, Ordering::Relaxed);
}

/// Says that this side is gone. Who links to it has to be told by [`Link::rouse`].
pub(crate) fn leave(ours: &Side) {
    ours.attention().store(GONE, Ordering::SeqCst);
}

/// How a side that is gone came to its end.
pub(crate) enum Fate {
    Finished,
    Died(u32),
    /// It has not come yet.
    Vacant,
    /// Of several, some ended: looking says which.
    Unsaid,
}

pub(crate) fn fate(side: &Side) -> Fate {
    match side.attention().load(Ordering::Acquire) >> STATE_BITS {
        0 => Fate::Finished,
        VACANT => Fate::Vacant,
        pid => Fate::Died(pid),
    }
}

/// What a side's word says to an observer.
#[cfg(not(any(loom, miri)))]
pub(crate) fn state(word: u32) -> crate::observe::State {
    use crate::observe::State;
    [State::Awake, State::Drowsy, State::Asleep, State::Gone][(word & STATE) as usize]
}

/// Whether a side said that it is done.
pub(crate) fn has_finished(side: &Side) -> bool {
    is_gone(side) && matches!(fate(side), Fate::Finished)
}

/// The word of a side whose process died.
pub(crate) fn dead(pid: u32) -> u32 {
    GONE | pid.clamp(1, VACANT - 1) << STATE_BITS
}

/// The word in the place of a side that has not come yet.
pub(crate) fn vacant() -> u32 {
    GONE | VACANT << STATE_BITS
}

/// Whether a side looks for itself.
#[inline]
pub(crate) fn is_awake(side: &Side) -> bool {
    side.attention().load(Ordering::Relaxed) == AWAKE
}

/// Whether a side is gone.
#[inline]
pub(crate) fn is_gone(side: &Side) -> bool {
    side.attention().load(Ordering::Acquire) & STATE == GONE
}
