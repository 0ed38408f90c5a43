//! Events: something happened, and how often; there is nothing to carry.
//!
//! A notifier has 64 counters that it alone writes. A listener remembers how far it saw each of
//! them count: the difference is what happened since. So a notification costs two stores, whoever
//! listens; any number of them between two looks are one waking, and none is lost. A listener may
//! listen to several notifiers and waits for any of them.

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as Plain, Ordering as Order};
use std::time::{Duration, Instant};

use crate::audience::{Audience, Mail};
use crate::desk::{Arrival, Pattern, Task, Terms};
use crate::ipc::{Host, Visitor};
use crate::raw::{self, LINE, Words};
use crate::sync::{Ordering, fence};
use crate::wait::{Fate, Link, Signal, Sleeper, fate, is_gone, leave};
use crate::{Config, Error, Layout, Reason, Wait};

/// Different events of a notifier: one line of counters for each eight of them.
pub const IDS: u8 = 64;
/// Most notifiers that one listener listens to: what it sleeps on is looked at one by one.
pub const NOTIFIERS_MAX: usize = 16;

pub(crate) const LINES: usize = IDS as usize / PER_LINE;
const PER_LINE: usize = LINE / 8;

/// What a name must mean the same by at both ends.
pub(crate) const TERMS: Terms =
    Terms { pattern: Pattern::Events, layout: Layout { hash: 0, size: 8, align: 8 }, stride: LINE };

/// Opens events between threads of this process. Of `config`, only how listeners wait matters.
///
/// # Errors
/// `Memory`.
pub fn channel(config: &Config) -> Result<(Notifier, Listener), Error> {
    let words = Words::private(LINES, LINE)?;
    let audience = Audience::new();
    let source = Source::new(words.clone(), From::Here(audience.mail()));
    let listener = Listener::over(vec![source], config.wait);
    Ok((Notifier { words, audience, total: 0, host: None }, listener))
}

/// The side to which things happen.
#[derive(Debug)]
pub struct Notifier {
    words: Words,
    audience: Audience,
    total: u64,
    /// Where listeners of other processes come, if the events have a name.
    host: Option<Host>,
}

impl Notifier {
    /// The events at `ipc://name`, for processes of this user, or at `memory://name`, within this
    /// process: for at most `config.receivers_max` listeners, which come by [`Listener::open`].
    ///
    /// # Errors
    /// `Crowded` if there is a notifier; `Address`, `Memory`, `System`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let size = (LINES, config.receivers_max);
        let (host, ring) = Host::open(address, TERMS, size, &Signal::new(config.wait))?;
        let (words, audience) = (Words::over(ring), Audience::new());
        Ok(Self { words, audience, total: 0, host: Some(host) })
    }

    /// Says that `id` happened once more. Never waits.
    ///
    /// Panics if `id` is not less than [`IDS`].
    #[inline]
    pub fn notify(&mut self, id: u8) {
        assert!(id < IDS, "an event is one of {IDS}");
        let counter = &self.words.slot(usize::from(id) / PER_LINE)[usize::from(id) % PER_LINE];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.total += 1;
        self.words.side().position().store(self.total, Ordering::Release);
        // After it was counted: who came before finds it, who comes later is woken for it.
        while let Some(listener) = self.host.as_ref().and_then(Host::next) {
            let words = Words::over(listener.theirs.region().clone());
            self.audience.mail().post(words, Link::far(listener.wire));
        }
        self.audience.notify(self.words.side());
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        leave(self.words.side());
        self.audience.dismiss(self.words.side());
    }
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    ids: u64,
    counts: [u32; IDS as usize],
}

impl Events {
    const NONE: Self = Self { ids: 0, counts: [0; IDS as usize] };

    /// A bit for each event that happened at all.
    #[must_use]
    pub fn ids(&self) -> u64 {
        self.ids
    }

    /// How often this one happened; 0 for what is no event.
    #[must_use]
    pub fn count(&self, id: u8) -> u32 {
        self.counts.get(usize::from(id)).copied().unwrap_or(0)
    }

    /// Each event that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        (0..IDS).map(|id| (id, self.count(id))).filter(|(_, count)| *count > 0)
    }

    fn add(&mut self, id: usize, count: u64) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.ids |= u64::from(count > 0) << id;
        self.counts[id] = self.counts[id].saturating_add(count);
    }
}

/// Where a notifier is.
#[derive(Debug)]
enum From {
    /// In this process: listeners introduce themselves by mail.
    Here(Arc<Mail>),
    /// At an address.
    There(There),
}

#[derive(Debug)]
struct There {
    address: String,
    /// Our place there, unless we are a clone that has not waited.
    visitor: Option<Visitor>,
    /// What we tell it.
    own: Option<Words>,
    /// Whether the death of the last one was said, or why nobody will come.
    said: bool,
}

/// A notifier as a listener knows it.
#[derive(Debug)]
struct Source {
    words: Words,
    from: From,
    total: u64,
    seen: [u64; IDS as usize],
}

impl Source {
    /// Everything that happens from now on.
    fn new(words: Words, from: From) -> Self {
        let mut source = Self { words, from, total: 0, seen: [0; IDS as usize] };
        source.take(&mut Events::NONE.clone());
        source
    }

    /// At an address, for the end whose task this is.
    fn open(address: &str, task: Task) -> Result<Self, Error> {
        let (visitor, nobody) = Visitor::open(address, TERMS, LINES, task)?;
        let (visitor, address) = (Some(visitor), address.into());
        let there = There { address, visitor, own: None, said: false };
        let mut source = Self::new(Words::over(nobody), From::There(there));
        if source.follow(None)? {
            source.take(&mut Events::NONE.clone());
        }
        Ok(source)
    }

    fn again(&self) -> Self {
        let from = match &self.from {
            From::Here(mail) => From::Here(mail.clone()),
            From::There(There { address, .. }) => {
                let address = address.clone();
                From::There(There { address, visitor: None, own: None, said: false })
            }
        };
        Self::new(self.words.clone(), from)
    }

    /// Goes on with another notifier at the address, if one came; it is told how attentive we
    /// are, or that we may sleep.
    ///
    /// # Errors
    /// `PeerDied` for the one before, once; why nobody will come, once.
    fn follow(&mut self, said: Option<u32>) -> Result<bool, Error> {
        let From::There(there) = &mut self.from else { return Ok(false) };
        let Some(visitor) = &there.visitor else { return Ok(false) };
        if let Fate::Died(pid) = fate(self.words.side())
            && !std::mem::replace(&mut there.said, true)
        {
            return Err(Error::PeerDied { pid });
        }
        let Arrival { theirs, ours, .. } = match visitor.next() {
            Ok(Some(arrival)) => arrival,
            Err(error) if !std::mem::replace(&mut there.said, true) => return Err(error),
            _ => return Ok(false),
        };
        (self.words, there.own) = (Words::over(theirs.region().clone()), ours.map(Words::over));
        (self.total, self.seen, there.said) = (0, [0; IDS as usize], false);
        if let (Some(own), Some(said)) = (&there.own, said) {
            own.side().attention().store(said, Ordering::Relaxed);
        }
        // What it counted before it heard that is found by the look that follows.
        fence(Ordering::SeqCst);
        Ok(true)
    }

    /// Whether nothing will come from there any more.
    fn is_over(&self) -> bool {
        let side = self.words.side();
        let can_follow = matches!(&self.from, From::There(there) if there.visitor.is_some());
        is_gone(side) && (!can_follow || matches!(fate(side), Fate::Finished))
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.words.side().position().load(Ordering::Acquire) != self.total
    }

    fn take(&mut self, events: &mut Events) {
        self.total = self.words.side().position().load(Ordering::Acquire);
        for (id, seen) in self.seen.iter_mut().enumerate() {
            let counted = self.words.slot(id / PER_LINE)[id % PER_LINE].load(Ordering::Relaxed);
            events.add(id, counted.wrapping_sub(*seen));
            *seen = counted;
        }
    }
}

#[derive(Debug)]
struct Ears {
    /// The words of a listener that has waited, for notifiers of this process.
    own: Option<Words>,
    sources: Vec<Source>,
    /// What has to be said of notifiers of other processes.
    unsaid: VecDeque<Error>,
    /// How often another took the place of one.
    changes: u32,
    said: Plain,
}

impl Ears {
    fn take(&mut self) -> Result<Option<Events>, Error> {
        if let Some(end) = self.unsaid.pop_front() {
            return Err(end);
        }
        let mut events = Events::NONE;
        for source in self.sources.iter_mut().filter(|source| source.has_news()) {
            source.take(&mut events);
        }
        // A counter may have been seen before the total that counts it, and then is no news.
        Ok((events.ids != 0).then_some(events))
    }

    /// Looks after those that are gone and left nothing.
    fn follow(&mut self) {
        for source in &mut self.sources {
            if is_gone(source.words.side()) && !source.has_news() {
                match source.follow(Some(self.said.load(Order::Relaxed))) {
                    Ok(followed) => self.changes += u32::from(followed),
                    Err(error) => self.unsaid.push_back(error),
                }
            }
        }
    }
}

/// The bells as they were, and how often notifiers had changed.
struct Heard([u32; NOTIFIERS_MAX], u32);

impl Sleeper for Ears {
    type Heard = Heard;

    fn say(&self, word: u32) {
        self.said.store(word, Order::Relaxed);
        let there = self.sources.iter().filter_map(|source| match &source.from {
            From::Here(_) => None,
            From::There(there) => there.own.as_ref(),
        });
        for own in there.chain(&self.own) {
            own.side().attention().store(word, Ordering::Relaxed);
        }
    }

    fn hear(&self) -> Heard {
        let mut heard = [0; NOTIFIERS_MAX];
        for (heard, source) in heard.iter_mut().zip(&self.sources) {
            *heard = source.words.side().bell().load(Ordering::Acquire);
        }
        Heard(heard, self.changes)
    }

    fn sleep(&self, Heard(heard, changes): &Heard, limit: Option<Duration>) {
        if *changes != self.changes {
            return;
        }
        match &self.sources[..] {
            [source] => raw::wait(source.words.side().bell(), heard[0], limit),
            sources => {
                let bells = sources.iter().map(|source| source.words.side().bell());
                raw::wait_any(bells.zip(*heard), limit);
            }
        }
    }

    fn is_alone(&mut self) -> bool {
        self.follow();
        !self.unsaid.is_empty() || self.sources.iter().all(Source::is_over)
    }

    fn fate(&self) -> Fate {
        if self.unsaid.is_empty() { Fate::Finished } else { Fate::Unsaid }
    }

    fn changes(&self) -> u32 {
        self.changes
    }
}

/// A side that waits for things to happen. Clones listen on their own, from then on.
#[derive(Debug)]
pub struct Listener {
    ears: Ears,
    wait: Wait,
    signal: Signal,
    introduced: bool,
}

impl Clone for Listener {
    fn clone(&self) -> Self {
        Self::over(self.ears.sources.iter().map(Source::again).collect(), self.wait)
    }
}

impl Listener {
    fn over(sources: Vec<Source>, wait: Wait) -> Self {
        let (unsaid, said) = (VecDeque::new(), Plain::new(0));
        let ears = Ears { own: None, sources, unsaid, changes: 0, said };
        Self { ears, wait, signal: Signal::new(wait), introduced: false }
    }

    /// A listener to the notifier at an address, as [`Notifier::open`], from then on; it may come
    /// before its notifier. After `PeerDied` it goes on with another that takes the place.
    ///
    /// # Errors
    /// `Address`, `Memory`, `System`; if a notifier is there: `Crowded`, `PatternMismatch`.
    pub fn open(address: &str, config: &Config) -> Result<Self, Error> {
        let mut listener = Self::over(Vec::new(), config.wait);
        let source = Source::open(address, listener.signal.task())?;
        listener.ears.sources.push(source);
        Ok(listener)
    }

    /// Listens to the notifiers of another listener, too: events of the same number are one.
    ///
    /// # Errors
    /// `Crowded` if that makes more than [`NOTIFIERS_MAX`]; those of [`open`](Self::open) for
    /// notifiers at an address, where it takes a place of its own.
    pub fn join(&mut self, other: Self) -> Result<(), Error> {
        if self.ears.sources.len() + other.ears.sources.len() > NOTIFIERS_MAX {
            return Err(Error::Crowded(NOTIFIERS_MAX));
        }
        let mut other = other;
        for source in other.ears.sources.drain(..) {
            let source = match &source.from {
                From::Here(_) => source,
                From::There(there) => Source::open(&there.address, self.signal.task())?,
            };
            self.ears.sources.push(source);
        }
        // The new ones have to hear of us; those from before know us, and forget us once.
        self.dismiss();
        Ok(())
    }

    /// What happened since the last look, if anything did.
    ///
    /// # Errors
    /// `Closed` if all notifiers are gone and nothing did; `PeerDied`, once.
    pub fn try_wait(&mut self) -> Result<Option<Events>, Error> {
        if let Some(events) = self.ears.take()? {
            return Ok(Some(events));
        }
        let alone = self.ears.is_alone();
        match self.ears.take()? {
            None if alone => Err(Error::Closed(Reason::Finished)),
            events => Ok(events),
        }
    }

    /// Waits until something happened since the last look.
    ///
    /// # Errors
    /// `Closed`; `Memory` for the first wait.
    pub fn wait(&mut self) -> Result<Events, Error> {
        self.introduce()?;
        self.signal.block(&mut self.ears, None, Ears::take)
    }

    /// The same for so long.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Memory`.
    pub fn wait_timeout(&mut self, time: Duration) -> Result<Events, Error> {
        self.introduce()?;
        self.signal.block(&mut self.ears, Some(Instant::now() + time), Ears::take)
    }

    /// The same as a task.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub async fn wait_async(&mut self) -> Result<Events, Error> {
        poll_fn(|context| self.poll_wait(context)).await
    }

    /// What happened, or the task is woken when something does.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub fn poll_wait(&mut self, context: &Context<'_>) -> Poll<Result<Events, Error>> {
        self.introduce()?;
        self.signal.poll(&mut self.ears, context, Ears::take)
    }

    /// Ready when [`try_wait`](Self::try_wait) is worth it; else the task is woken then.
    ///
    /// # Errors
    /// `Closed`, `Memory`.
    pub fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        self.introduce()?;
        let news = |ears: &mut Ears| {
            let any = ears.sources.iter().any(Source::has_news);
            Ok(any.then_some(()))
        };
        self.signal.poll(&mut self.ears, context, news)
    }

    /// Before the first wait: notifiers have to know whom they wake.
    fn introduce(&mut self) -> Result<(), Error> {
        if self.introduced {
            return Ok(());
        }
        let own = Words::private(0, LINE)?;
        own.side().attention().store(self.ears.said.load(Order::Relaxed), Ordering::Relaxed);
        self.ears.own = Some(own.clone());
        self.signal.open(&self.ears);
        for source in &mut self.ears.sources {
            match &source.from {
                From::Here(mail) => mail.post(own.clone(), Link::to(&self.signal)),
                From::There(There { address, visitor: None, .. }) => {
                    let mut opened = Source::open(address, self.signal.task())?;
                    // The same notifier has gone on counting.
                    if !is_gone(source.words.side()) && !is_gone(opened.words.side()) {
                        (opened.total, opened.seen) = (source.total, source.seen);
                    }
                    *source = opened;
                }
                From::There(_) => {}
            }
        }
        self.introduced = true;
        Ok(())
    }

    /// Who knows us need not wake us any more.
    fn dismiss(&mut self) {
        self.introduced = false;
        if let Some(own) = self.ears.own.take() {
            leave(own.side());
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.dismiss();
    }
}
