//! Events: something happened, and how often; there is nothing to carry.
//!
//! A notifier has 64 counters that it alone writes. A listener remembers how far it saw each of
//! them count: the difference is what happened since. So a notification costs two stores, whoever
//! listens; any number of them between two looks are one waking, and none is lost. A listener may
//! listen to several notifiers and waits for any of them.

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audience::{Audience, Mail};
use crate::raw::{self, LINE, Words};
use crate::sync::Ordering;
use crate::wait::{Link, Signal, Sleeper, is_gone, leave};
use crate::{Config, Error, Reason, Wait};

/// Different events of a notifier: one line of counters for each eight of them.
pub const IDS: u8 = 64;
/// Most notifiers that one listener listens to: what it sleeps on is looked at one by one.
pub const NOTIFIERS_MAX: usize = 16;

const LINES: usize = IDS as usize / PER_LINE;
const PER_LINE: usize = LINE / 8;

/// Opens events between threads of this process. Of `config`, only how listeners wait matters.
///
/// # Errors
/// `Memory`.
pub fn channel(config: &Config) -> Result<(Notifier, Listener), Error> {
    let words = Words::private(LINES, LINE)?;
    let audience = Audience::new();
    let source = Source::new(words.clone(), audience.mail());
    let ears = Ears { own: None, sources: vec![source] };
    let listener = Listener { ears, wait: config.wait, signal: Signal::new(config.wait) };
    Ok((Notifier { words, audience, total: 0 }, listener))
}

/// The side to which things happen.
#[derive(Debug)]
pub struct Notifier {
    words: Words,
    audience: Audience,
    total: u64,
}

impl Notifier {
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

/// A notifier as a listener knows it.
#[derive(Debug)]
struct Source {
    words: Words,
    mail: Arc<Mail>,
    total: u64,
    seen: [u64; IDS as usize],
}

impl Source {
    /// Everything that happens from now on.
    fn new(words: Words, mail: Arc<Mail>) -> Self {
        let mut source = Self { words, mail, total: 0, seen: [0; IDS as usize] };
        source.take(&mut Events::NONE.clone());
        source
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
    /// The words of a listener that has waited.
    own: Option<Words>,
    sources: Vec<Source>,
}

impl Ears {
    fn take(&mut self) -> Result<Option<Events>, Error> {
        let mut events = Events::NONE;
        for source in self.sources.iter_mut().filter(|source| source.has_news()) {
            source.take(&mut events);
        }
        // A counter may have been seen before the total that counts it, and then is no news.
        Ok((events.ids != 0).then_some(events))
    }

    fn is_over(&self) -> bool {
        self.sources.iter().all(|source| is_gone(source.words.side()))
    }
}

impl Sleeper for Ears {
    type Heard = [u32; NOTIFIERS_MAX];

    fn say(&self, word: u32) {
        let own = self.own.as_ref().expect("who waits has introduced itself");
        own.side().attention().store(word, Ordering::Relaxed);
    }

    fn hear(&self) -> Self::Heard {
        let mut heard = [0; NOTIFIERS_MAX];
        for (heard, source) in heard.iter_mut().zip(&self.sources) {
            *heard = source.words.side().bell().load(Ordering::Acquire);
        }
        heard
    }

    fn sleep(&self, heard: &Self::Heard, limit: Option<Duration>) {
        match &self.sources[..] {
            [source] => raw::wait(source.words.side().bell(), heard[0], limit),
            sources => {
                let bells = sources.iter().map(|source| source.words.side().bell());
                raw::wait_any(bells.zip(*heard), limit);
            }
        }
    }

    fn is_alone(&mut self) -> bool {
        self.is_over()
    }
}

/// A side that waits for things to happen. Clones listen on their own, from then on.
#[derive(Debug)]
pub struct Listener {
    ears: Ears,
    wait: Wait,
    signal: Signal,
}

impl Clone for Listener {
    fn clone(&self) -> Self {
        let each = self.ears.sources.iter();
        let sources = each.map(|source| Source::new(source.words.clone(), source.mail.clone()));
        let ears = Ears { own: None, sources: sources.collect() };
        Self { ears, wait: self.wait, signal: Signal::new(self.wait) }
    }
}

impl Listener {
    /// Listens to the notifiers of another listener, too: events of the same number are one.
    ///
    /// # Errors
    /// `Crowded` if that makes more than [`NOTIFIERS_MAX`].
    pub fn join(&mut self, other: Self) -> Result<(), Error> {
        if self.ears.sources.len() + other.ears.sources.len() > NOTIFIERS_MAX {
            return Err(Error::Crowded(NOTIFIERS_MAX));
        }
        let mut other = other;
        for source in other.ears.sources.drain(..) {
            if let Some(own) = &self.ears.own {
                source.mail.post(own.clone(), Link::to(&self.signal));
            }
            self.ears.sources.push(source);
        }
        Ok(())
    }

    /// What happened since the last look, if anything did.
    ///
    /// # Errors
    /// `Closed` if all notifiers are gone and nothing did.
    pub fn try_wait(&mut self) -> Result<Option<Events>, Error> {
        let over = self.ears.is_over();
        match self.ears.take()? {
            None if over => Err(Error::Closed(Reason::Finished)),
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
        if self.ears.own.is_none() {
            let own = Words::private(0, LINE)?;
            self.ears.own = Some(own.clone());
            self.signal.open(&self.ears);
            for source in &self.ears.sources {
                source.mail.post(own.clone(), Link::to(&self.signal));
            }
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(own) = &self.ears.own {
            leave(own.side());
        }
    }
}
