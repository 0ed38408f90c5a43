//! The ends of a queue with many receivers, between processes.
//!
//! Each sender owns its ring, which all receivers read, and a claim, which all write
//! (`claim.rs`). To wait for and wake each other, each pair has words as two ends of a queue have:
//! a sender rings for one receiver that sleeps, not for all.
//!
//! Who was rung for and leaves something all the same says so to the sender's thread, which wakes
//! the others that sleep; so does the end of a receiver. Nobody's wake is lost: a receiver that
//! takes something after it slept looks once more, after it said that it is awake. Either it sees
//! what a sender published, or that sender sees that it is awake and wakes another.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::claim::{Claim, Out, Ring, Take};
use crate::desk::{Arrival, Stock, Terms, Wire};
use crate::ipc::Host;
use crate::lanes::{Door, ENDS_MAX, Lane, Lanes, lanes_max, leave, notify};
use crate::raw::{Format, Region, Side, Words};
use crate::sync::{Ordering, fence};
use crate::wait::{End, Link, Signal};
use crate::{Config, Error};

impl Stock {
    fn ring(self, slots: u64) -> Ring {
        let claim = Claim::over(Words::over(self.claim), 0);
        Ring::over(Words::over(self.ring), claim, slots)
    }
}

/// A receiver as a sender knows it.
#[derive(Debug)]
struct Outlet {
    ours: Region,
    theirs: Region,
    link: Link,
}

impl Outlet {
    fn of(arrival: Arrival) -> Option<Self> {
        let (ours, theirs) = (arrival.ours?, arrival.theirs.region().clone());
        Some(Self { ours, theirs, link: Link::far(arrival.wire) })
    }
}

impl End for Outlet {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        (self.ours.side(), self.theirs.side())
    }
}

impl Lane for Outlet {
    fn has(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    #[inline]
    fn parts(&mut self) -> (&mut Link, &Side, &Side) {
        (&mut self.link, self.ours.side(), self.theirs.side())
    }

    fn tell(&mut self) -> bool {
        false
    }

    fn lost(&self) -> u64 {
        let side = self.theirs.side();
        let let_go = side.count().load(Ordering::Acquire);
        side.position().load(Ordering::Acquire).saturating_sub(let_go)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        leave(self);
    }
}

/// All receivers as a sender knows them.
#[derive(Debug)]
pub(crate) struct Receivers {
    lanes: Lanes<Outlet>,
    signal: Signal,
}

impl Receivers {
    /// At the first free of so many places at an address, and the ring that they take from.
    ///
    /// # Errors
    /// `Crowded`; `Address`, `Config`, `Memory`, `System`.
    pub(crate) fn open(
        at: (&str, usize),
        terms: Terms,
        config: &Config,
    ) -> Result<(Self, Out), Error> {
        let receivers_max = config.receivers_max;
        if receivers_max == 0 || receivers_max > ENDS_MAX {
            return Err(Error::Config("a queue has between 1 and 64 ends of a kind"));
        }
        let (mut signal, slots) = (Signal::new(config.wait), config.exact_slots()?);
        let (host, stock) = Host::open_among(at, terms, (slots, receivers_max), &signal)?;
        let shape = (Format::Wide, terms.stride);
        let door = Door { host, shape, enter: |arrival, _| Outlet::of(arrival) };
        let lanes = Lanes::behind(door, receivers_max, &mut signal);
        Ok((Self { lanes, signal }, Out::over(stock.ring(slots as u64), 0)))
    }

    /// Whether there is room for so many.
    ///
    /// # Errors
    /// `PeerDied`, `Closed`, once each time that there is a reason to say so; `Corrupt`.
    #[inline]
    pub(crate) fn look(&mut self, out: &mut Out, count: u64) -> Result<bool, Error> {
        look(&mut self.lanes, out, count)
    }

    /// Waits until there is.
    ///
    /// # Errors
    /// The same, `TimedOut`.
    pub(crate) fn block(
        &mut self,
        out: &mut Out,
        count: u64,
        limit: Option<Instant>,
    ) -> Result<(), Error> {
        let room = |lanes: &mut _| Ok(look(lanes, out, count)?.then_some(()));
        let made = self.signal.block(&mut self.lanes, limit, room);
        let (waits, sleeps) = self.signal.counts();
        out.side().book().waited(waits, sleeps);
        made
    }

    /// The same for a task.
    pub(crate) fn poll(&mut self, out: &mut Out, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.signal.poll(&mut self.lanes, context, |lanes| Ok(look(lanes, out, 1)?.then_some(())))
    }

    /// After so many were published: wakes as many who sleep.
    #[inline]
    pub(crate) fn notify(&mut self, count: u64) {
        self.lanes.wake(count);
    }

    /// A task waits no more.
    pub(crate) fn forget(&mut self) {
        self.signal.rise(&self.lanes);
    }

    /// Receivers that are there.
    pub(crate) fn count(&mut self) -> usize {
        self.lanes.count()
    }

    /// Messages that receivers which died may have had in hand.
    pub(crate) fn lost(&self) -> u64 {
        self.lanes.lost()
    }

    /// Waits and sleeps.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.signal.counts()
    }
}

#[inline]
fn look(lanes: &mut Lanes<Outlet>, out: &mut Out, count: u64) -> Result<bool, Error> {
    match lanes.unsaid() {
        Some(end) => Err(end),
        None => out.has_room(count),
    }
}

/// A sender as a receiver knows it.
#[derive(Debug)]
struct Intake {
    take: Take,
    ours: Region,
    theirs: Region,
    link: Link,
    wire: Arc<Wire>,
    /// Of what was taken, how much the sender knows of.
    told: u64,
    /// What is wrong with it.
    broken: Option<Error>,
}

impl Intake {
    fn of(arrival: Arrival) -> Option<Self> {
        let (ours, theirs) = (arrival.ours?, arrival.theirs.region().clone());
        let ring = arrival.stock?.ring(arrival.slots);
        let (take, wire) = (Take::over(ring, Some(Words::over(ours.clone()))), arrival.wire);
        let link = Link::far(wire.clone());
        Some(Self { take, ours, theirs, link, wire, told: 0, broken: None })
    }
}

impl End for Intake {
    #[inline]
    fn sides(&self) -> (&Side, &Side) {
        (self.ours.side(), self.theirs.side())
    }
}

impl Lane for Intake {
    #[inline]
    fn has(&mut self) -> Result<bool, Error> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None => self.take.may_have(),
        }
    }

    #[inline]
    fn parts(&mut self) -> (&mut Link, &Side, &Side) {
        (&mut self.link, self.ours.side(), self.theirs.side())
    }

    fn tell(&mut self) -> bool {
        self.take.let_go();
        std::mem::replace(&mut self.told, self.take.taken()) != self.take.taken()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.take.let_go();
        leave(self);
    }
}

/// All senders as a receiver knows them.
#[derive(Debug)]
pub(crate) struct Senders {
    lanes: Lanes<Intake>,
    signal: Signal,
    /// Whether we said that we sleep since we last looked whether that was for others.
    slept: bool,
    /// Whether a task may be asleep in our name.
    lying: bool,
}

impl Senders {
    /// At an address, at most `config.senders_max`.
    ///
    /// # Errors
    /// `Address`, `Config`, `Memory`, `System`; if a sender is there: `Crowded`,
    /// `LayoutMismatch`, `PatternMismatch`.
    pub(crate) fn open(address: &str, terms: Terms, config: &Config) -> Result<Self, Error> {
        let (mut signal, places) = (Signal::new(config.wait), lanes_max(config)?);
        let host = Host::seek((address, places), terms, &signal)?;
        let shape = (Format::Wide, terms.stride);
        let door = Door { host, shape, enter: |arrival, _| Intake::of(arrival) };
        let lanes = Lanes::behind(door, places, &mut signal);
        Ok(Self { lanes, signal, slept: false, lying: false })
    }

    /// Looks for something to take, and takes it. What was taken before is dealt with.
    ///
    /// # Errors
    /// `PeerDied`, `Closed`, `Corrupt`, once each time that there is a reason to say so.
    #[inline]
    pub(crate) fn find<R>(
        &mut self,
        take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<Option<R>, Error> {
        let found = find(&mut self.lanes, take);
        if !matches!(found, Ok(None)) {
            self.settle();
            self.signal.kept_up(&self.lanes);
        }
        found
    }

    /// Something was taken, or will not be: if we were woken for more, others are.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.slept {
            self.pass_on();
        }
    }

    /// The next look begins with the next sender.
    pub(crate) fn end_turn(&mut self) {
        self.lanes.end_turn();
    }

    /// Nothing was found: a good moment to say what is free, and to see whether anybody is left.
    ///
    /// # Errors
    /// `PeerDied`, `Closed`.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.lanes.tell();
        self.lanes.check()
    }

    /// As [`find`](Self::find), and waits for it.
    ///
    /// # Errors
    /// The same, `TimedOut`.
    pub(crate) fn block<R>(
        &mut self,
        limit: Option<Instant>,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Result<R, Error> {
        self.forget();
        self.lanes.tell();
        let (_, before) = self.signal.counts();
        let found = self.signal.block(&mut self.lanes, limit, |lanes| find(lanes, &mut take));
        let (waits, sleeps) = self.signal.counts();
        for lane in self.lanes.all() {
            lane.ours.side().book().waited(waits, sleeps);
        }
        if sleeps == before {
            return found;
        }
        // Who was woken and leaves nothing behind took what it was woken for.
        let found = match found {
            Err(Error::TimedOut) => find(&mut self.lanes, take)?.ok_or(Error::TimedOut),
            found => found,
        };
        self.pass_on();
        found
    }

    /// The same for a task. Who does not only look has to [`settle`](Self::settle) then.
    pub(crate) fn poll<R>(
        &mut self,
        context: &Context<'_>,
        mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
    ) -> Poll<Result<R, Error>> {
        self.lanes.tell();
        let (_, before) = self.signal.counts();
        let found = self.signal.poll(&mut self.lanes, context, |lanes| find(lanes, &mut take));
        self.slept |= self.signal.counts().1 != before;
        self.lying = found.is_pending();
        found
    }

    /// A task waits no more: if it was woken, that was for a message that may still be there.
    pub(crate) fn forget(&mut self) {
        if std::mem::take(&mut self.lying) {
            self.signal.rise(&self.lanes);
        }
        self.settle();
    }

    /// After we slept: has the others woken if something is there.
    #[cold]
    fn pass_on(&mut self) {
        self.slept = false;
        fence(Ordering::SeqCst);
        for lane in self.lanes.all_mut() {
            if matches!(lane.take.has(), Ok(true)) {
                lane.wire.ring();
            }
        }
    }

    /// Messages that are there at most.
    pub(crate) fn slots(&mut self) -> u64 {
        self.lanes.count();
        self.lanes.all().iter().map(|lane| lane.take.slots()).sum()
    }

    /// Waits and sleeps.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.signal.counts()
    }
}

#[inline]
fn find<R>(
    lanes: &mut Lanes<Intake>,
    mut take: impl FnMut(&mut Take, bool) -> Result<Option<R>, Error>,
) -> Result<Option<R>, Error> {
    if let Some(lane) = lanes.last() {
        lane.take.let_go();
    }
    while lanes.find()? {
        let busy = lanes.is_busy();
        let lane = lanes.current_mut();
        match take(&mut lane.take, busy) {
            Ok(None) => {}
            Err(error) => lane.broken = Some(error),
            found => {
                if lane.take.news() {
                    notify(lane);
                }
                return found;
            }
        }
    }
    Ok(None)
}
