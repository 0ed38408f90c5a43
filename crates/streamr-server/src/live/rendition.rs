//! One quality of a broadcast: its packager, and who waits for what comes next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psyne::Time;
use streamr_media::hls::{self, Packager, Until};
use streamr_media::media::{Event, TrackId};

use super::clock::Clock;
use crate::Metrics;
use crate::egress::{self, Topic};

/// One quality of a broadcast, and the packager that makes it into HLS.
///
/// The packager is behind a lock that is held for one batch of the publisher's events, or one
/// answer whose text is already rendered: microseconds. Who waits for media waits outside it, on
/// a topic of the track.
pub struct Rendition {
    clock: Clock,
    engine: egress::Handle,
    metrics: Arc<Metrics>,
    packager: Mutex<Packager>,
    topics: Mutex<BTreeMap<Option<TrackId>, Arc<Topic>>>,
}

/// What to send, or until when to wait.
#[derive(Debug)]
pub enum Answer {
    /// Send this.
    Ready(hls::Reply),
    /// Ask again when the topic has reached the version.
    Block(Arc<Topic>, u64),
}

impl std::fmt::Debug for Rendition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendition").finish_non_exhaustive()
    }
}

impl Rendition {
    pub(super) fn new(
        clock: Clock,
        (engine, metrics): (egress::Handle, Arc<Metrics>),
        packager: Packager,
    ) -> Self {
        let (packager, topics) = (Mutex::new(packager), Mutex::default());
        Self { clock, engine, metrics, packager, topics }
    }

    /// Answers at once: the bytes, or what has to be waited for.
    pub fn respond(&self, request: &hls::Request) -> Answer {
        match self.lock().respond(request) {
            hls::Response::Ready(reply) => Answer::Ready(reply),
            hls::Response::Block(until) => Answer::Block(self.topic(until.track), version(&until)),
        }
    }

    /// Answers when the bytes are there; after `patience` with an error.
    pub async fn serve(&self, request: &hls::Request, patience: Duration) -> hls::Reply {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match self.respond(request) {
                Answer::Ready(reply) => return reply,
                Answer::Block(topic, version) => {
                    if tokio::time::timeout_at(deadline, topic.reached(version)).await.is_err() {
                        return hls::Reply::timed_out();
                    }
                }
            }
        }
    }

    /// Reads something of the packager.
    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Packager) -> T) -> T {
        read(&mut self.lock())
    }

    /// Feeds a batch of the publisher's events.
    pub(super) fn handle_events(&self, events: Vec<Event>) -> Result<(), streamr_media::Error> {
        self.handle_events_at(self.clock.now(), events)
    }

    /// The same on the clock of whoever feeds it.
    pub(super) fn handle_events_at(
        &self,
        now: Time,
        events: Vec<Event>,
    ) -> Result<(), streamr_media::Error> {
        self.update(|packager| {
            events.into_iter().try_for_each(|event| packager.handle_event(now, event))
        })
    }

    /// Does something to the packager, and wakes those who waited for what came of it.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Packager) -> T) -> T {
        let (result, reached) = {
            let mut packager = self.lock();
            let result = change(&mut packager);
            (result, drain(&mut packager, &self.metrics))
        };
        for (track, version) in reached {
            self.topic(Some(track)).advance(version);
            self.topic(None).advance(version);
        }
        result
    }

    /// Nothing more will come: lets go whoever waits.
    pub(super) fn release(&self) {
        for topic in self.topics().values() {
            topic.advance(u64::MAX);
        }
    }

    fn topic(&self, track: Option<TrackId>) -> Arc<Topic> {
        self.topics().entry(track).or_insert_with(|| self.engine.topic()).clone()
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<Option<TrackId>, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Packager> {
        self.packager.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parts that a segment can have in the numbering of versions: more than a frame each for 10 s.
const PARTS: u64 = 1 << 16;

/// The version of its topic at which a wait is over.
fn version(until: &Until) -> u64 {
    match until.part {
        Some(part) => until.msn.saturating_mul(PARTS) + u64::from(part) + 1,
        None => (until.msn.saturating_add(1)).saturating_mul(PARTS),
    }
}

/// Takes what the packager has to say: the versions that were reached.
fn drain(packager: &mut Packager, metrics: &Metrics) -> BTreeMap<TrackId, u64> {
    let mut reached = BTreeMap::new();
    loop {
        let (track, version) = match packager.poll_output() {
            hls::Output::Event(hls::Event::PartReady { track, msn, part }) => {
                metrics.parts_total.inc();
                (track, msn * PARTS + u64::from(part) + 1)
            }
            hls::Output::Event(hls::Event::SegmentReady { track, msn }) => {
                metrics.segments_total.inc();
                (track, (msn + 1) * PARTS)
            }
            hls::Output::Event(_) => continue,
            hls::Output::Wait(_) => return reached,
        };
        let newest: &mut u64 = reached.entry(track).or_default();
        *newest = version.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_media() {
        let wait = |msn, part| version(&Until { track: None, msn, part });
        let order = [wait(1, Some(0)), wait(1, Some(7)), wait(1, None), wait(2, Some(0))];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }
}
