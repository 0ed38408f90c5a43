//! One publisher's connection, as the broadcast sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use psyne::Time;
use streamr_core::lifecycle::Leave;
use streamr_media::flv::{self, Tag};
use streamr_media::media::{Demux, Event};
use tokio::sync::Notify;

use super::broadcast::Broadcast;
use super::rendition::Rendition;
use super::{Live, Stream};
use crate::metrics::Held;

/// A publisher's place on the air. Dropping it means that the connection broke: the broadcast
/// waits for the publisher's return. [`Publication::goodbye`] means that it is done.
#[derive(Debug)]
pub struct Publication {
    live: Live,
    stream: Arc<Stream>,
    broadcast: Arc<Broadcast>,
    source: Arc<Rendition>,
    badge: Badge,
    tags: Option<flv::Demuxer>,
    muxer: flv::Muxer,
    clock_shift: Option<u32>,
    leave: Leave,
    _counted: Held,
}

/// Tells publishers of one stream apart, and lets one be dismissed.
#[derive(Clone, Debug)]
pub(super) struct Badge {
    pub(super) number: u64,
    pub(super) dismissed: Arc<Notify>,
    last_input_us: Arc<AtomicU64>,
}

impl Badge {
    pub(super) fn new(number: u64, now: Time) -> Self {
        let last_input_us = Arc::new(AtomicU64::new(now.as_micros()));
        Self { number, dismissed: Arc::default(), last_input_us }
    }

    /// When it last sent media.
    pub(super) fn last_input(&self) -> Time {
        Time::from_micros(self.last_input_us.load(Ordering::Relaxed))
    }

    fn touch(&self, now: Time) {
        self.last_input_us.store(now.as_micros(), Ordering::Relaxed);
    }
}

impl Publication {
    pub(super) fn new(
        live: Live,
        stream: Arc<Stream>,
        broadcast: Arc<Broadcast>,
        source: Arc<Rendition>,
        badge: Badge,
    ) -> Self {
        let metrics = live.metrics();
        metrics.publishes_total.inc();
        Self {
            _counted: metrics.publishers.hold(),
            live,
            stream,
            broadcast,
            source,
            badge,
            tags: None,
            muxer: flv::Muxer::new(),
            clock_shift: None,
            leave: Leave::Lost,
        }
    }

    /// What it publishes to.
    #[must_use]
    pub fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }

    /// Completes when the publisher has to go: taken over, ended or archived.
    pub async fn dismissed(&self) {
        self.badge.dismissed.notified().await;
    }

    /// Takes what one read of an RTMP connection brought: tags go to RTMP players as they are,
    /// and through the demuxer to HLS.
    ///
    /// # Errors
    /// The media is malformed or over a limit; the connection has to end.
    pub fn handle_tags(&mut self, tags: Vec<Tag>) -> Result<(), streamr_media::Error> {
        let now = self.begin();
        let fresh = || flv::Demuxer::new(flv::Config::default());
        let demuxer = self.tags.get_or_insert_with(fresh);
        let mut events = Vec::with_capacity(tags.len());
        for tag in &tags {
            if let Err(error) = demuxer.push_tag(tag) {
                return self.fail(error);
            }
            events.extend(std::iter::from_fn(|| demuxer.poll_event()));
        }
        self.note(&events);
        self.push_shifted(now, tags);
        // A source that ends is a publisher that leaves: the lifecycle says what that ends.
        events.retain(|event| *event != Event::End);
        self.source.handle_events(events).or_else(|error| self.fail(error))
    }

    /// Takes what one read of a source that is not RTMP brought.
    ///
    /// # Errors
    /// As [`Publication::handle_tags`].
    pub fn handle_events(&mut self, mut events: Vec<Event>) -> Result<(), streamr_media::Error> {
        let now = self.begin();
        self.note(&events);
        let mut tags = Vec::with_capacity(events.len());
        for event in &events {
            self.muxer.push(event, &mut tags);
        }
        self.push_shifted(now, tags);
        // A source that ends is a publisher that leaves: the lifecycle says what that ends.
        events.retain(|event| *event != Event::End);
        self.source.handle_events(events).or_else(|error| self.fail(error))
    }

    /// Counts a publisher that is cut off for what it sent, and gives the reason back.
    ///
    /// # Errors
    /// Always: the reason.
    pub fn fail<T>(&self, error: streamr_media::Error) -> Result<T, streamr_media::Error> {
        self.live.metrics().publishes_failed_total.inc();
        Err(error)
    }

    /// The publisher says that it is done.
    pub fn goodbye(mut self) {
        self.leave = Leave::Goodbye;
    }

    fn begin(&self) -> Time {
        let now = self.live.clock().now();
        self.badge.touch(now);
        now
    }

    fn note(&mut self, events: &[Event]) {
        let (mut frames, mut bytes) = (0, 0);
        for event in events {
            match event {
                Event::Frame(frame) => {
                    frames += 1;
                    bytes += frame.data.len() as u64;
                }
                Event::Track(track) => self.broadcast.set_track(track),
                Event::End => self.leave = Leave::Goodbye,
                Event::Metadata(_) => {}
            }
        }
        self.live.metrics().ingest_frames_total.add(frames);
        self.live.metrics().ingest_bytes_total.add(bytes);
    }

    /// Players of RTMP and HTTP-FLV see one clock, whatever clock a returning publisher has.
    fn push_shifted(&mut self, now: Time, mut tags: Vec<Tag>) {
        let Some(first) = tags.iter().find(|tag| tag.kind != flv::Kind::Script) else {
            return self.broadcast.push_tags(&tags);
        };
        let shift = match self.clock_shift {
            Some(shift) => shift,
            None => *self
                .clock_shift
                .insert(self.broadcast.age_ms(now).wrapping_sub(first.timestamp_ms)),
        };
        for tag in &mut tags {
            tag.timestamp_ms = tag.timestamp_ms.wrapping_add(shift);
        }
        self.broadcast.push_tags(&tags);
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.live.detach(&self.stream, &self.badge, self.leave);
    }
}
