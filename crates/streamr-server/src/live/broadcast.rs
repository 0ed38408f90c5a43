//! What is on the air: renditions for HLS, one buffer for RTMP and HTTP-FLV, and the audience.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use std::time::Duration;

use bytes::Bytes;
use psyne::Time;
use streamr_core::id::{BroadcastId, StreamName};
use streamr_media::flv::Tag;
use streamr_media::hls::{self, Packager, RenditionInfo};
use streamr_media::media::{Format, Track};
use tokio::sync::Notify;

use super::rendition::{Answer, Rendition};
use super::viewers::Viewers;
use super::{Clock, Config, unix_us};
use crate::{Metrics, egress};

/// The rendition that the publisher itself sends.
pub const SOURCE: &str = "source";
const INDEX: &str = "index.m3u8";

/// A stream's broadcast, from its first frame until it is let go after its end.
#[derive(Debug)]
pub struct Broadcast {
    name: StreamName,
    id: BroadcastId,
    clock: Clock,
    config: Arc<Config>,
    started: Time,
    started_unix_us: u64,
    renditions: RwLock<BTreeMap<String, Arc<Rendition>>>,
    engine: egress::Handle,
    metrics: Arc<Metrics>,
    players: Arc<egress::Stream>,
    over: AtomicBool,
    newest_ms: AtomicU32,
    returns: AtomicU32,
    tracks: Mutex<Vec<Track>>,
    thumbnail: Mutex<Option<Bytes>>,
    viewers: Viewers,
    keyframes: Keyframes,
}

/// Whether the publisher makes keyframes when asked, and who asks.
#[derive(Debug, Default)]
pub struct Keyframes {
    can: AtomicBool,
    wanted: Notify,
}

impl Keyframes {
    /// Asks for one; whether anybody is there who can.
    pub fn ask(&self) -> bool {
        let can = self.can.load(Ordering::Relaxed);
        if can {
            self.wanted.notify_one();
        }
        can
    }

    /// Says whether the publisher can.
    pub fn set_possible(&self, can: bool) {
        self.can.store(can, Ordering::Relaxed);
    }

    /// Completes when somebody has asked.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Broadcast {
    pub(super) fn new(
        name: StreamName,
        id: BroadcastId,
        (clock, engine, metrics): (Clock, egress::Handle, Arc<Metrics>),
        config: Arc<Config>,
    ) -> Self {
        let this = Self {
            name,
            id,
            clock,
            started_unix_us: unix_us(),
            renditions: RwLock::default(),
            players: engine.stream(config.fanout.clone()),
            engine,
            metrics,
            over: AtomicBool::new(false),
            newest_ms: 0.into(),
            returns: 0.into(),
            started: clock.now(),
            tracks: Mutex::default(),
            thumbnail: Mutex::default(),
            viewers: Viewers::new(config.viewers),
            keyframes: Keyframes::default(),
            config,
        };
        this.add_rendition(SOURCE, this.started);
        this
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Which broadcast of the stream it is.
    #[must_use]
    pub fn id(&self) -> BroadcastId {
        self.id
    }

    /// When it began, in microseconds since the Unix epoch.
    #[must_use]
    pub fn started_unix_us(&self) -> u64 {
        self.started_unix_us
    }

    /// Who watches.
    #[must_use]
    pub fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    /// Keyframes on demand.
    #[must_use]
    pub fn keyframes(&self) -> &Keyframes {
        &self.keyframes
    }

    /// What the publisher sends, as of now.
    #[must_use]
    pub fn tracks(&self) -> Vec<Track> {
        lock(&self.tracks).clone()
    }

    /// Pixels of the first picture track: width, height.
    #[must_use]
    pub fn picture_size(&self) -> Option<(u16, u16)> {
        lock(&self.tracks).iter().find_map(|track| match track.format {
            Format::Video { width, height, .. } => Some((width, height)),
            Format::Audio { .. } => None,
        })
    }

    /// Names of the renditions that can be watched: "source" and those of the ladder.
    #[must_use]
    pub fn rendition_names(&self) -> Vec<String> {
        self.read_renditions().keys().cloned().collect()
    }

    /// A rendition by name.
    #[must_use]
    pub fn rendition(&self, name: &str) -> Option<Arc<Rendition>> {
        self.read_renditions().get(name).cloned()
    }

    /// Answers a request for HLS at once: the bytes, or what has to be waited for.
    #[must_use]
    pub fn answer(&self, request: &hls::Request) -> Answer {
        match &request.rendition {
            None => self.multivariant(request),
            Some(name) => match self.rendition(name) {
                Some(rendition) => rendition.respond(request),
                None => Answer::Ready(hls::Reply::not_found()),
            },
        }
    }

    /// The source's own, with the renditions that have media by now beside it.
    fn multivariant(&self, request: &hls::Request) -> Answer {
        let all = self.read_renditions();
        let Some(source) = all.get(SOURCE) else {
            return Answer::Ready(hls::Reply::not_found());
        };
        let mut answer = source.respond(request);
        if let Answer::Ready(reply) = &mut answer
            && reply.status == 200
            && all.len() > 1
        {
            let info = |(name, one): (&String, &Arc<Rendition>)| {
                one.with(|packager| packager.rendition_info(name))
            };
            let mut infos: Vec<_> = all.iter().filter_map(info).collect();
            // Players start with the first: the source, then from large to small.
            let height = |info: &RenditionInfo| info.video.first().map_or(0, |video| video.height);
            infos.sort_by_key(|info| (info.name != SOURCE, Reverse(height(info))));
            reply.body = hls::multivariant(&infos);
        }
        answer
    }

    /// What a player that opens the stream now will need, by paths below its folder. Of a ladder
    /// only the multivariant playlist, since the player chooses.
    pub(super) fn opening(&self) -> Option<hls::Opening> {
        let index = hls::Request::parse(INDEX, None).ok()?;
        let Answer::Ready(reply) = self.multivariant(&index) else { return None };
        if reply.status != 200 {
            return None;
        }
        let mut opening = hls::Opening::default();
        if let [source] = &self.rendition_names()[..] {
            opening = self.rendition(source)?.with(Packager::opening)?;
            let below = |path: &mut String| path.insert_str(0, &format!("{source}/"));
            opening.playlists.iter_mut().for_each(|(name, _)| below(name));
            opening.media.iter_mut().for_each(below);
        }
        opening.playlists.insert(0, (INDEX.to_owned(), reply.body));
        Some(opening)
    }

    /// The initialization section of the first picture track, and its newest segment.
    pub(super) fn newest_key_frame(&self) -> Option<[Bytes; 2]> {
        let source = self.rendition(SOURCE)?;
        let playlist = fetch(&source, "source/video0.m3u8")?;
        let text = std::str::from_utf8(&playlist).ok()?;
        let last = |line: fn(&str) -> Option<&str>| text.lines().filter_map(line).next_back();
        let map = last(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.split('"').next())?;
        let segment = last(|line| (!line.starts_with('#') && !line.is_empty()).then_some(line))?;
        let media = |uri: &str| fetch(&source, &format!("source/{uri}"));
        Some([media(map)?, media(segment)?])
    }

    /// The newest picture as JPEG, if thumbnails are made.
    #[must_use]
    pub fn thumbnail(&self) -> Option<Bytes> {
        lock(&self.thumbnail).clone()
    }

    pub(super) fn set_thumbnail(&self, jpeg: Bytes) {
        *lock(&self.thumbnail) = Some(jpeg);
    }

    /// What players of RTMP and HTTP-FLV are sent.
    #[must_use]
    pub fn players(&self) -> &Arc<egress::Stream> {
        &self.players
    }

    /// It has ended, and lingers for those who are a little behind.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Milliseconds since it began, modulo 2^32: the clock of RTMP and HTTP-FLV players.
    pub(super) fn age_ms(&self, now: Time) -> u32 {
        now.since(self.started).as_millis() as u32
    }

    /// When it began, on the server's clock.
    pub(super) fn started(&self) -> Time {
        self.started
    }

    /// The time of the newest media, from its beginning.
    pub(super) fn newest(&self) -> Duration {
        Duration::from_millis(self.newest_ms.load(Ordering::Relaxed).into())
    }

    /// How often its publisher came back.
    pub(super) fn returns(&self) -> u32 {
        self.returns.load(Ordering::Relaxed)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Nobody can watch the rendition any more; whoever waits for it is let go.
    pub(super) fn remove_rendition(&self, name: &str) {
        let removed = self.write_renditions().remove(name);
        if let Some(rendition) = removed {
            rendition.release();
        }
    }

    /// Adds a rendition whose first picture is from `at`, or replaces the one of that name.
    pub(super) fn add_rendition(&self, name: &str, at: Time) -> Arc<Rendition> {
        let epoch = rand::random::<u32>();
        let age_us = u64::try_from(at.since(self.started).as_micros()).unwrap_or(u64::MAX);
        let unix_us = self.started_unix_us.saturating_add(age_us).cast_signed();
        let packager = Packager::new(self.config.hls, at, epoch.into(), unix_us);
        let with = (self.engine.clone(), self.metrics.clone());
        let rendition = Arc::new(Rendition::new(self.clock, with, packager));
        self.write_renditions().insert(name.to_owned(), rendition.clone());
        rendition
    }

    /// Appends to the players' buffer. What a player cannot take is left out and said.
    pub(super) fn push_tags(&self, tags: &[Tag]) {
        for tag in tags {
            self.newest_ms.store(tag.timestamp_ms, Ordering::Relaxed);
            if let Err(error) = self.players.publish(tag) {
                tracing::warn!(stream = %self.name, %error, "left out for RTMP players");
            }
        }
    }

    pub(super) fn set_track(&self, track: &Track) {
        let mut tracks = lock(&self.tracks);
        tracks.retain(|old| old.id != track.id);
        tracks.push(track.clone());
        tracks.sort_by_key(|track| track.id);
    }

    /// The publisher is gone and may return: what it sent can be played to its end.
    pub(super) fn flush(&self, now: Time) {
        for rendition in self.read_renditions().values() {
            rendition.update(|packager| packager.handle_pause(now));
        }
    }

    /// The server ends, the broadcast does not: what was sent can be played to its end, nobody
    /// waits for more, and players are told goodbye.
    pub(super) fn leave_air(&self, now: Time) {
        self.over.store(true, Ordering::Release);
        self.flush(now);
        for rendition in self.read_renditions().values() {
            rendition.release();
        }
        self.players.end();
    }

    /// How many watch now, by all ways.
    #[must_use]
    pub fn viewers_now(&self) -> usize {
        self.viewers.count(self.clock.now(), self.players.players())
    }

    /// The publisher is back, with a clock of its own.
    pub(super) fn resume(&self, now: Time) {
        self.returns.fetch_add(1, Ordering::Relaxed);
        if let Some(source) = self.rendition(SOURCE) {
            source.update(|packager| packager.handle_reconnect(now));
        }
    }

    /// The broadcast is over: segments are finished, playlists say so.
    pub(super) fn end(&self, now: Time) {
        self.over.store(true, Ordering::Release);
        for rendition in self.read_renditions().values() {
            rendition.update(|packager| packager.handle_end(now));
            rendition.release();
        }
        self.players.end();
    }

    fn read_renditions(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Rendition>>> {
        self.renditions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_renditions(
        &self,
    ) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Rendition>>> {
        self.renditions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a player would get, if it gets it at once.
fn fetch(rendition: &Rendition, path: &str) -> Option<Bytes> {
    match rendition.respond(&hls::Request::parse(path, None).ok()?) {
        Answer::Ready(reply) if reply.status == 200 => Some(reply.body),
        Answer::Ready(_) | Answer::Block(..) => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
