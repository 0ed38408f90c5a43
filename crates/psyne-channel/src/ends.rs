//! The untyped ends of a queue: a lane, its waiting, and what a full channel means.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::desk::Arrival;
use crate::ipc::Member;
use crate::lanes::{Lane, leave, notify};
use crate::policy::{Door, Policy};
use crate::raw::{Consumer, Format, Producer, Side, lane};
use crate::sync::Ordering;
use crate::wait::{End, Link, Signal, is_gone, pair};
use crate::{Config, Error, Full};

/// What an end has done so far. Kept privately by the end that counts: asking costs the other
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Slots sent or received: messages, or lines of a channel of bytes.
    pub slots: u64,
    /// Messages that a full channel refused.
    pub refused: u64,
    /// How often this end had to wait.
    pub waits: u64,
    /// How often it slept while it waited: each is a system call or a task put aside.
    pub sleeps: u64,
}

/// Lines looked at together by who takes all that is there: as many as a core waits for at a time,
/// and few enough that a sender that waits for room is not kept waiting.
const AHEAD: u64 = 64;

/// Makes both ends.
pub(crate) fn open(config: &Config, stride: usize, format: Format) -> Result<(Tx, Rx), Error> {
    let (producer, consumer) = lane((config.ring_slots()?, stride, format))?;
    let (sending, receiving) = pair(config.wait);
    let tx = Tx::new(producer, sending, config, Member::default());
    Ok((tx, Rx::new(consumer, receiving, Member::default())))
}

/// Makes an end that sends on a lane of its own to a receiver that has others, and its near end.
pub(crate) fn join(
    config: &Config,
    (format, stride): (Format, usize),
    receiver: Link,
) -> Result<(Tx, Inlet), Error> {
    let (producer, consumer) = lane((config.ring_slots()?, stride, format))?;
    let signal = Signal::linked(config.wait, receiver);
    let inlet = Inlet { lane: consumer, link: Link::to(&signal) };
    Ok((Tx::new(producer, signal, config, Member::default()), inlet))
}

/// A ring as its sender sees it.
pub(crate) trait Room: End {
    /// Slots that are free by the last news.
    fn free(&self) -> u64;
    /// Whether `count` slots are free now.
    fn has_room(&mut self, count: u64) -> Result<bool, Error>;
}

impl Room for Producer {
    #[inline]
    fn free(&self) -> u64 {
        self.free()
    }

    fn has_room(&mut self, count: u64) -> Result<bool, Error> {
        self.has_free(count)
    }
}

/// What a sender does about a full ring.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Its waiting and waking.
    pub(crate) signal: Signal,
    policy: Policy,
}

/// A sender that wants so many slots.
struct Wanted<'a, R> {
    signal: &'a mut Signal,
    ring: &'a mut R,
    count: u64,
}

impl<R: Room> Door for Wanted<'_, R> {
    fn look(&mut self) -> Result<bool, Error> {
        if self.ring.has_room(self.count)? {
            return Ok(true);
        }
        // A channel without receiver is closed, not full.
        if is_gone(self.ring.sides().1) {
            self.signal.succeed(self.ring)?;
        }
        self.ring.has_room(self.count)
    }

    fn block(&mut self, time: Option<Duration>) -> Result<(), Error> {
        let (limit, count) = (time.map(|time| Instant::now() + time), self.count);
        self.signal.block(self.ring, limit, |ring| Ok(ring.has_room(count)?.then_some(())))
    }
}

impl Pressure {
    pub(crate) fn new(signal: Signal, full: &Full) -> Self {
        Self { signal, policy: Policy::new(full) }
    }

    /// Makes sure that `count` slots are free, by whatever the policy allows.
    #[inline(always)]
    pub(crate) fn room(&mut self, ring: &mut impl Room, count: u64) -> Result<(), Error> {
        if count <= ring.free() { Ok(()) } else { self.make_room(ring, count) }
    }

    #[cold]
    fn make_room(&mut self, ring: &mut impl Room, count: u64) -> Result<(), Error> {
        if ring.has_room(count)? {
            return Ok(());
        }
        let made = self.policy.make_room(&mut Wanted {
            signal: &mut self.signal,
            ring: &mut *ring,
            count,
        });
        if made == Err(Error::Full) {
            ring.sides().0.book().lost(self.policy.refused());
        }
        made
    }

    /// The same if there is room now.
    #[inline(always)]
    pub(crate) fn room_now(&mut self, ring: &mut impl Room, count: u64) -> Result<(), Error> {
        if count <= ring.free() { Ok(()) } else { self.look_again(ring, count) }
    }

    #[cold]
    fn look_again(&mut self, ring: &mut impl Room, count: u64) -> Result<(), Error> {
        let mut wanted = Wanted { signal: &mut self.signal, ring, count };
        if wanted.ring.has_room(count)? || wanted.look()? { Ok(()) } else { Err(Error::Full) }
    }

    /// As [`room`](Self::room) for a task, which always waits.
    pub(crate) fn poll(
        &mut self,
        ring: &mut impl Room,
        context: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.signal.poll(ring, context, |ring| Ok(ring.has_room(1)?.then_some(())))
    }

    /// What was done so far; `slots` were sent.
    pub(crate) fn stats(&self, slots: u64) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots, refused: self.policy.refused(), waits, sleeps }
    }
}

/// The end of a queue that sends.
#[derive(Debug)]
pub(crate) struct Tx {
    /// Its slots.
    pub(crate) lane: Producer,
    pressure: Pressure,
    _member: Member,
}

impl Tx {
    /// The end of a lane, whose name, if it has one, `member` keeps.
    pub(crate) fn new(lane: Producer, mut signal: Signal, config: &Config, member: Member) -> Self {
        signal.open(&lane);
        Self { lane, pressure: Pressure::new(signal, &config.full), _member: member }
    }

    /// Makes sure that `count` slots are free now.
    #[inline(always)]
    pub(crate) fn room_now(&mut self, count: u64) -> Result<(), Error> {
        self.pressure.room_now(&mut self.lane, count)
    }

    /// Makes sure that `count` slots are free, by whatever the policy allows.
    #[inline(always)]
    pub(crate) fn room(&mut self, count: u64) -> Result<(), Error> {
        self.pressure.room(&mut self.lane, count)
    }

    /// As [`room`](Self::room) for a task, which always waits.
    pub(crate) fn poll_room(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.pressure.poll(&mut self.lane, context)
    }

    /// Hands `count` slots over and wakes the receiver. `format` is that of the lane.
    #[inline(always)]
    pub(crate) fn commit(&mut self, format: Format, count: u64) -> Result<(), Error> {
        self.lane.publish(format, count);
        self.pressure.signal.hand_over(&mut self.lane)
    }

    /// The same of what was pushed.
    #[inline(always)]
    pub(crate) fn commit_all(&mut self, count: u64) -> Result<(), Error> {
        self.lane.publish_all(count);
        self.pressure.signal.hand_over(&mut self.lane)
    }

    /// The same of one that was written where [`Producer::slot`] lends it.
    #[inline]
    pub(crate) fn commit_slot(&mut self) -> Result<(), Error> {
        self.lane.settle();
        self.commit(self.lane.format(), 1)
    }

    /// Slots that were sent and not released by a receiver yet.
    pub(crate) fn unread(&mut self) -> Result<u64, Error> {
        if is_gone(self.lane.sides().1) {
            self.pressure.signal.hand_over(&mut self.lane)?;
        }
        let released = self.lane.sides().1.count().load(Ordering::Acquire);
        Ok(self.lane.published().saturating_sub(released))
    }

    /// Wakes the receiver for something that is no message.
    pub(crate) fn rouse(&mut self) {
        self.pressure.signal.rouse(&self.lane);
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> Stats {
        self.pressure.stats(self.lane.published())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        self.pressure.signal.close(&self.lane);
    }
}

/// The end of a queue that receives.
#[derive(Debug)]
pub(crate) struct Rx {
    /// Its slots.
    pub(crate) lane: Consumer,
    signal: Signal,
    _member: Member,
}

impl Rx {
    /// The end of a lane, whose name, if it has one, `member` keeps.
    pub(crate) fn new(lane: Consumer, mut signal: Signal, member: Member) -> Self {
        signal.open(&lane);
        Self { lane, signal, _member: member }
    }

    /// Looks for a message: whether [`Consumer::ready`]. `format` is that of the lane.
    #[inline(always)]
    pub(crate) fn look(&mut self, format: Format) -> Result<(), Error> {
        match self.lane.glance(format) {
            Some(true) => Ok(()),
            Some(false) if self.lane.is_told() && !is_gone(self.lane.sides().1) => Ok(()),
            _ => self.look_slowly(),
        }
    }

    /// Looks for many messages, where nothing else can be said: whether one is there.
    #[inline]
    pub(crate) fn has_more(&mut self) -> bool {
        let _ = self.lane.has(AHEAD);
        if self.lane.ready() == 0 && self.signal.take_in(&mut self.lane) {
            let _ = self.lane.has(AHEAD);
        }
        self.lane.ready() > 0
    }

    /// Nothing there: a good moment to say what is free, and to see whether anybody is left.
    #[cold]
    fn look_slowly(&mut self) -> Result<(), Error> {
        self.tell();
        if self.lane.has(1)? || !is_gone(self.lane.sides().1) || self.lane.has(1)? {
            return Ok(());
        }
        self.signal.succeed(&mut self.lane)?;
        self.lane.has(1)?;
        Ok(())
    }

    /// Waits for a message. `format` is that of the lane.
    #[inline(always)]
    pub(crate) fn wait(&mut self, format: Format, time: Option<Duration>) -> Result<(), Error> {
        if self.lane.glance(format) == Some(true) { Ok(()) } else { self.wait_slowly(time) }
    }

    #[cold]
    fn wait_slowly(&mut self, time: Option<Duration>) -> Result<(), Error> {
        if self.lane.has(1)? {
            return Ok(());
        }
        self.tell();
        let limit = time.map(|time| Instant::now() + time);
        self.signal.block(&mut self.lane, limit, Self::is_there)
    }

    /// As [`wait`](Self::wait) for a task.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        if let Err(error) = self.lane.has(1) {
            return Poll::Ready(Err(error));
        }
        if self.lane.ready() == 0 {
            self.tell();
        }
        self.signal.poll(&mut self.lane, context, Self::is_there)
    }

    fn is_there(lane: &mut Consumer) -> Result<Option<()>, Error> {
        Ok(lane.has(1)?.then_some(()))
    }

    /// Gives slots back, and wakes a sender that waits for them.
    #[inline(always)]
    pub(crate) fn release(&mut self, count: u64) {
        if self.lane.release(count) {
            self.told();
        }
    }

    #[cold]
    fn told(&mut self) {
        self.signal.kept_up(&self.lane);
        // A sender that is gone has left messages to be read: not this call's business.
        let _ = self.signal.notify(&self.lane);
    }

    /// Says at once what is free.
    #[inline]
    pub(crate) fn tell(&mut self) {
        if self.lane.tell() {
            let _ = self.signal.notify(&self.lane);
        }
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> Stats {
        let (waits, sleeps) = self.signal.counts();
        Stats { slots: self.lane.received(), refused: 0, waits, sleeps }
    }
}

impl Drop for Rx {
    fn drop(&mut self) {
        self.lane.tell();
        self.signal.close(&self.lane);
    }
}

/// One lane of a receiver that has several. Dropped, it closes that lane.
#[derive(Debug)]
pub(crate) struct Inlet {
    /// Its slots.
    pub(crate) lane: Consumer,
    link: Link,
}

impl Inlet {
    /// The lane of another process.
    pub(crate) fn of(arrival: Arrival, (format, stride): (Format, usize)) -> Option<Self> {
        let slots = usize::try_from(arrival.slots).ok()?;
        let (theirs, ours) = (arrival.theirs.region().clone(), arrival.ours?);
        let mut lane = Consumer::over(theirs.clone(), ours.clone(), (slots, stride, format));
        lane.adopt(theirs, ours, (arrival.slots, arrival.start));
        Some(Self { lane, link: Link::far(arrival.wire) })
    }

    /// Gives slots back; now and then that is news, true then, and wakes a sender that waits for
    /// them.
    #[inline(always)]
    pub(crate) fn release(&mut self, count: u64) -> bool {
        let news = self.lane.release(count);
        if news {
            notify(self);
        }
        news
    }
}

impl End for Inlet {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        self.lane.sides()
    }
}

impl Lane for Inlet {
    #[inline]
    fn has(&mut self) -> Result<bool, Error> {
        self.lane.has(1)
    }

    #[inline]
    fn parts(&mut self) -> (&mut Link, &Side, &Side) {
        let (ours, theirs) = self.lane.sides();
        (&mut self.link, ours, theirs)
    }

    fn tell(&mut self) -> bool {
        self.lane.tell()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.lane.tell();
        leave(self);
    }
}
