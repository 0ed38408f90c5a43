//! A live stream as the engine sees it: one writer, and shards that follow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use psyne::Time;
use streamr_media::Error;
use streamr_media::fanout::{Config, Window, Writer};
use streamr_media::flv::Tag;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::mailbox::{Command, Mailbox};

/// A live stream. Whoever ingests it calls [`Stream::publish`]; players follow until
/// [`Stream::end`]. Made by `Handle::stream`.
pub struct Stream {
    id: u64,
    chunk_bytes: u32,
    origin: Instant,
    writer: Mutex<Writer>,
    shards: Arc<[Mailbox]>,
    flags: Box<[Flags]>,
    ended: AtomicBool,
    players: AtomicUsize,
    news: Notify,
}

/// What the writer knows of one shard.
#[derive(Default)]
struct Flags {
    /// The shard has players of this stream.
    follows: AtomicBool,
    /// The shard knows that there is something new.
    told: AtomicBool,
}

impl Stream {
    pub(super) fn new(id: u64, config: Config, shards: Arc<[Mailbox]>) -> Self {
        let flags = shards.iter().map(|_| Flags::default()).collect();
        let (origin, ended, players) = (Instant::now(), AtomicBool::new(false), 0.into());
        let chunk_bytes = config.chunk_bytes;
        let (writer, news) = (Mutex::new(Writer::new(config)), Notify::new());
        Self { id, chunk_bytes, origin, writer, shards, flags, ended, players, news }
    }

    /// Sends a tag to all players, within the write batching time. Never blocks on a player.
    ///
    /// # Errors
    /// [`Error::Limit`] if the tag is over a limit of `fanout::Config`. It is then left out.
    pub fn publish(&self, tag: &Tag) -> Result<(), Error> {
        let micros = self.origin.elapsed().as_micros();
        let now = Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.lock().push(now, tag)?;
        self.tell();
        Ok(())
    }

    /// Ends the stream: players are sent what there is, then their connections are closed.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.tell();
    }

    /// How many of the engine's players follow it.
    #[must_use]
    pub fn players(&self) -> usize {
        self.players.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self) {
        self.players.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.players.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes of media held for players that join or lag.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.lock().bytes()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }

    /// Says whether `shard` has players and so wants to be told of news.
    pub(super) fn set_follows(&self, shard: usize, follows: bool) {
        self.flags[shard].follows.store(follows, Ordering::Release);
    }

    /// Brings a shard's copy of the window up to date.
    pub(super) fn catch_up(&self, shard: usize, window: &mut Window) {
        self.flags[shard].told.store(false, Ordering::Release);
        self.follow(window);
    }

    /// The shard's first copy of the window.
    #[must_use]
    pub fn window(&self) -> Window {
        let mut writer = self.lock();
        writer.seal();
        writer.window()
    }

    /// Brings such a copy up to date, for whoever is fed outside the engine: a player by HTTP/2, a
    /// transcoder.
    pub fn follow(&self, window: &mut Window) {
        self.lock().seal();
        window.refresh();
    }

    /// Completes when there is something new, or the end, after it was first polled: for whoever is
    /// fed outside the engine and cannot wait.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    fn tell(&self) {
        self.news.notify_waiters();
        for (flags, mailbox) in self.flags.iter().zip(self.shards.iter()) {
            let follows = flags.follows.load(Ordering::Acquire);
            if follows && !flags.told.swap(true, Ordering::AcqRel) {
                mailbox.send(Command::Dirty(self.id));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}
