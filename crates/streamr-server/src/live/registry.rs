//! Who publishes what: the streams that have a life just now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use psyne::Time;
use streamr_core::id::{BroadcastId, StreamName};
use streamr_core::key::StreamKey;
use streamr_core::lifecycle::{Event, Leave, Lifecycle, Output, State};
use tokio::sync::mpsc;

use super::broadcast::{Broadcast, SOURCE};
use super::publication::{Badge, Publication};
use super::{Clock, Config, keeper, ladder, sampler, thumbnail};
use crate::essential::Essential;
use crate::http::Command;
use crate::{App, Error, Metrics, egress, store};

/// Why nobody may publish with this key now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No stream has this key.
    #[error("no stream has this key")]
    Key,
    /// The stream was archived.
    #[error("the stream is archived")]
    Archived,
    /// Somebody publishes with this key, and is not silent.
    #[error("somebody is publishing with this key")]
    InUse,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store does not answer.
    #[error("{0}")]
    Store(#[from] Error),
}

/// The handle to everything that is live. Clones share it.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    config: Arc<Config>,
    clock: Clock,
    app: App,
    streams: Mutex<BTreeMap<String, Arc<Stream>>>,
    keeper: keeper::Handle,
    engine: OnceLock<egress::Handle>,
    badges: AtomicU64,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// One stream's life, as long as the process has seen it.
#[derive(Debug)]
pub(super) struct Stream {
    name: StreamName,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    lifecycle: Lifecycle,
    publisher: Option<Badge>,
    broadcast: Option<Arc<Broadcast>>,
    ended: Option<Time>,
}

/// Lets time pass for everything that is live. Run it beside the rest of the server.
pub struct Driver {
    live: Live,
    keeper: keeper::Keeper,
    shards: egress::Driver,
}

/// How often deadlines are looked at: finer than any of them, and 10 times a second costs nothing.
const TICK: Duration = Duration::from_millis(100);

/// At shutdown, players get this long to take what they were sent last, and so many times more
/// while there are some.
const FAREWELL: Duration = Duration::from_millis(250);
const FAREWELLS: u32 = 12;

impl Live {
    /// Nothing is live yet; [`Live::restore`] takes up what the store remembers. The engine serves
    /// media on `listeners`; other requests that come there come out of the receiver.
    ///
    /// # Errors
    /// The system refuses what the engine needs.
    pub fn new(
        app: &App,
        listeners: Vec<egress::Listener>,
    ) -> std::io::Result<(Self, Driver, mpsc::Receiver<egress::Handover>)> {
        let config = Config::of(&app.config);
        let (keeper, handle) = keeper::new(app.store.clone());
        let engine_config = config.egress.clone();
        let live = Self(Arc::new(Shared {
            config: Arc::new(config),
            clock: Clock::start(),
            app: app.clone(),
            streams: Mutex::default(),
            keeper: handle,
            engine: OnceLock::new(),
            badges: AtomicU64::new(0),
        }));
        let media = Arc::new(live.clone());
        let (engine, shards, handovers) = egress::new(engine_config, media, listeners)?;
        let _ = live.0.engine.set(engine);
        Ok((live.clone(), Driver { live, keeper, shards }, handovers))
    }

    /// The engine that feeds players.
    ///
    /// # Panics
    /// Never: it is there as soon as `new` has returned.
    #[must_use]
    pub fn engine(&self) -> &egress::Handle {
        self.0.engine.get().expect("Live::new sets it before anybody has the handle")
    }

    /// Takes up what the store remembers: broadcasts that had not ended wait for their publishers
    /// as after a broken connection.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn restore(&self) -> Result<(), Error> {
        for row in self.0.app.store.streams().await? {
            if !matches!(row.state, State::Ready | State::Archived) {
                self.stream_of(&row);
            }
        }
        Ok(())
    }

    /// The server's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The broadcast of a stream, on or just over.
    #[must_use]
    pub fn broadcast(&self, name: &str) -> Option<Arc<Broadcast>> {
        let stream = self.streams().get(name).cloned()?;
        stream.lock().broadcast.clone()
    }

    /// Broadcasts that are on or just over, by name.
    #[must_use]
    pub fn broadcasts(&self) -> Vec<Arc<Broadcast>> {
        let streams: Vec<_> = self.streams().values().cloned().collect();
        streams.iter().filter_map(|stream| stream.lock().broadcast.clone()).collect()
    }

    /// What a stream is now, if it had a life since the server started.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<State> {
        let stream = self.streams().get(name).cloned()?;
        Some(stream.lock().lifecycle.state())
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.app.metrics
    }

    /// A publisher shows its key.
    ///
    /// # Errors
    /// Why it may not publish; nothing has changed then.
    pub async fn attach(&self, key: &str) -> Result<Publication, Refused> {
        let attached = self.admit(key).await;
        if attached.is_err() {
            self.metrics().publishes_refused_total.inc();
        }
        attached
    }

    async fn admit(&self, key: &str) -> Result<Publication, Refused> {
        if self.is_shutting_down() {
            return Err(Refused::ShuttingDown);
        }
        let key: StreamKey = key.parse().map_err(|_| Refused::Key)?;
        let row = self.0.app.store.stream_by_key(&key.hash()).await?.ok_or(Refused::Key)?;
        if row.state == State::Archived {
            return Err(Refused::Archived);
        }
        self.publish(self.stream_of(&row))
    }

    /// Does what a creator asks of a stream.
    ///
    /// # Errors
    /// There is no such stream, or its state does not allow it, or the store does not answer.
    pub(super) async fn obey(&self, name: &StreamName, command: Command) -> Result<(), Error> {
        let row = self.0.app.store.stream(name).await?;
        let stream = self.stream_of(&row.ok_or_else(|| Error::NoStream(name.to_string()))?);
        let now = self.now();
        let mut inner = stream.lock();
        match command {
            Command::GoLive => inner.lifecycle.go_live(now)?,
            Command::End => inner.lifecycle.end(now)?,
            Command::Archive => inner.lifecycle.archive(now),
            Command::KeyRotated => inner.dismiss(),
        }
        self.settle(&stream, &mut inner, now);
        Ok(())
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.0.app.shutdown.is_begun()
    }

    /// Ends what can be ended before the process goes: publishers are dismissed, segments are
    /// finished, players are told goodbye, and the engine ends. The store keeps the broadcasts
    /// open, so that they are continued when the server is back in time.
    pub async fn leave_air(&self) {
        let now = self.now();
        let streams: Vec<_> = self.streams().values().cloned().collect();
        for stream in streams {
            let inner = stream.lock();
            inner.dismiss();
            if let Some(broadcast) = inner.broadcast.as_ref().filter(|one| !one.is_over()) {
                broadcast.leave_air(now);
            }
        }
        let attending = || self.engine().metrics().iter().any(|m| m.attended() > 0);
        for _ in 0..FAREWELLS {
            tokio::time::sleep(FAREWELL).await;
            if !attending() {
                break;
            }
        }
        self.engine().shutdown();
    }

    fn publish(&self, stream: Arc<Stream>) -> Result<Publication, Refused> {
        let now = self.now();
        let mut inner = stream.lock();
        if let Some(old) = &inner.publisher
            && now.since(old.last_input()) >= self.0.config.patience.silent_after
        {
            tracing::info!(stream = %stream.name, "silent publisher is taken over");
            inner.dismiss();
            inner.publisher = None;
            inner.lifecycle.unpublish(now, Leave::Lost);
            self.settle(&stream, &mut inner, now);
        }
        inner.lifecycle.publish(now).map_err(|error| match error {
            streamr_core::Error::Busy => Refused::InUse,
            _ => Refused::Archived,
        })?;
        self.settle(&stream, &mut inner, now);
        let badge = Badge::new(self.0.badges.fetch_add(1, Ordering::Relaxed), now);
        inner.publisher = Some(badge.clone());
        let broadcast = inner.broadcast.clone().expect("lifecycle::publish starts or resumes one");
        let source = broadcast.rendition(SOURCE).expect("a broadcast has its source");
        drop(inner);
        Ok(Publication::new(self.clone(), stream, broadcast, source, badge))
    }

    /// A publisher's connection is gone.
    pub(super) fn detach(&self, stream: &Arc<Stream>, badge: &Badge, leave: Leave) {
        let now = self.now();
        let mut inner = stream.lock();
        if inner.publisher.as_ref().is_none_or(|current| current.number != badge.number) {
            return;
        }
        inner.publisher = None;
        if self.is_shutting_down() {
            return;
        }
        let grace = self.0.config.lifecycle.grace_after(leave).as_secs();
        tracing::info!(stream = %stream.name, "the publisher is gone: waiting {grace} s for it");
        inner.lifecycle.unpublish(now, leave);
        self.settle(stream, &mut inner, now);
    }

    async fn let_time_pass(&self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sampler = sampler::Sampler::default();
        loop {
            interval.tick().await;
            if !self.is_shutting_down() {
                self.handle_timeout(self.now());
            }
            sampler.sample(self);
        }
    }

    fn handle_timeout(&self, now: Time) {
        let streams: Vec<_> = self.streams().values().cloned().collect();
        for stream in streams {
            let mut inner = stream.lock();
            inner.lifecycle.handle_timeout(now);
            self.settle(&stream, &mut inner, now);
            let linger = self.0.config.patience.linger;
            if inner.ended.is_some_and(|ended| now.since(ended) >= linger) {
                inner.broadcast = None;
                inner.ended = None;
            }
        }
    }

    /// Carries out what the lifecycle decided.
    fn settle(&self, stream: &Stream, inner: &mut Inner, now: Time) {
        while let Output::Event(event) = inner.lifecycle.poll_output() {
            Self::tell(&stream.name, event);
            match event {
                Event::Moved { to, .. } => self.0.keeper.state(&stream.name, to),
                Event::Started(id) => {
                    self.0.keeper.started(&stream.name, id);
                    inner.start(self.fresh_broadcast(stream, id));
                }
                Event::Resumed(id) => match &inner.broadcast {
                    Some(broadcast) if inner.ended.is_none() => broadcast.resume(now),
                    _ => inner.start(self.fresh_broadcast(stream, id)),
                },
                Event::Interrupted(_) => {
                    if let Some(broadcast) = &inner.broadcast {
                        broadcast.flush(now);
                    }
                }
                Event::Ended(id) => self.ended(inner, id, now),
            }
        }
    }

    /// What happened to a stream, in words.
    fn tell(stream: &StreamName, event: Event) {
        match event {
            Event::Started(id) => tracing::info!(%stream, %id, "a broadcast begins"),
            Event::Resumed(id) => tracing::info!(%stream, %id, "the publisher is back"),
            // Who detached the publisher has said so.
            Event::Interrupted(_) => {}
            Event::Ended(id) => tracing::info!(%stream, %id, "the broadcast is over"),
            Event::Moved { from, to, .. } => tracing::info!(%stream, "{to}, was {from}"),
        }
    }

    fn ended(&self, inner: &mut Inner, id: BroadcastId, now: Time) {
        inner.dismiss();
        let peak = inner.broadcast.as_ref().map_or(0, |broadcast| broadcast.viewers().peak());
        if let Some(broadcast) = &inner.broadcast {
            broadcast.end(now);
        }
        self.0.keeper.ended(id, peak);
        inner.ended = Some(now);
    }

    fn fresh_broadcast(&self, stream: &Stream, id: BroadcastId) -> Arc<Broadcast> {
        let (name, config) = (stream.name.clone(), self.0.config.clone());
        let with = (self.0.clock, self.engine().clone(), self.metrics().clone());
        let broadcast = Arc::new(Broadcast::new(name, id, with, config));
        if let Some(config) = &self.0.config.thumbnail {
            tokio::spawn(thumbnail::keep_fresh(config.clone(), Arc::downgrade(&broadcast)));
        }
        if let Some(config) = &self.0.config.ladder {
            tokio::spawn(ladder::keep(config.clone(), Arc::downgrade(&broadcast)));
        }
        broadcast
    }

    fn stream_of(&self, row: &store::Stream) -> Arc<Stream> {
        let now = self.now();
        let fresh = || {
            let config = self.0.config.lifecycle;
            let lifecycle = Lifecycle::new(config, now, rand::random(), row.saved());
            let inner = Inner { lifecycle, publisher: None, broadcast: None, ended: None };
            Arc::new(Stream { name: row.name.clone(), inner: Mutex::new(inner) })
        };
        let stream = self.streams().entry(row.name.to_string()).or_insert_with(fresh).clone();
        let mut inner = stream.lock();
        self.settle(&stream, &mut inner, now);
        drop(inner);
        stream
    }

    fn now(&self) -> Time {
        self.0.clock.now()
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn dismiss(&self) {
        if let Some(badge) = &self.publisher {
            badge.dismissed.notify_one();
        }
    }

    fn start(&mut self, broadcast: Arc<Broadcast>) {
        self.broadcast = Some(broadcast);
        self.ended = None;
    }
}

impl Driver {
    /// Lets time pass until [`Live::leave_air`] is done and everything is in the store. The server
    /// is shut down if the engine ends before.
    pub async fn run(self) {
        let _essential = Essential("the clock of broadcasts");
        let Self { live, keeper, shards } = self;
        let (running, ended) = tokio::sync::oneshot::channel::<()>();
        let engine = std::thread::Builder::new().name("egress".to_owned());
        let started = engine.spawn(move || {
            let _running = running;
            if let Err(error) = shards.run() {
                tracing::error!(%error, "the engine that feeds players has failed");
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "the engine that feeds players cannot start");
        }
        let time = async {
            tokio::select! {
                _ = ended => {}
                () = live.let_time_pass() => {}
            }
            live.0.app.shutdown.begin();
            live.0.keeper.close();
        };
        tokio::join!(time, keeper.run());
    }
}
