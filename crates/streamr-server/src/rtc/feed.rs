//! What all WebRTC viewers of a stream are sent: its frames, cut into RTP payloads once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use psyne::channel::broadcast::values::{self, Follower, Sender};
use psyne::media::PAYLOAD_BYTES_MAX;
use streamr_core::id::BroadcastId;
use streamr_media::fanout::{Framing, Reader, Window};
use streamr_media::flv;
use streamr_media::media::{Demux, Kind};
use streamr_media::rtp::{Cut, Cutter};
use tokio::sync::watch;

use crate::egress;
use crate::live::Broadcast;

/// Bytes of payloads that are kept for those who join or fell behind: 20 Mbit/s for 6 s.
const HISTORY_BYTES_MAX: usize = 16 << 20;

/// A stream's payloads, from the last keyframe on. Lives as long as somebody watches.
pub(super) struct Feed {
    broadcast: BroadcastId,
    writer: Mutex<Writer>,
    news: watch::Sender<u64>,
    failed: OnceLock<String>,
    bits_per_second: AtomicU64,
}

/// From the fan-out, as a player of HTTP-FLV would read it, to payloads.
struct Writer {
    window: Window,
    reader: Reader,
    demuxer: flv::Demuxer,
    cutter: Cutter,
    history: Sender<Arc<Cut>>,
    bytes: usize,
    /// Of the group before the newest: whoever is a little behind is in it.
    previous_mark: u64,
    rate: Rate,
}

/// Bits a second, over seconds of the stream's own time.
#[derive(Default)]
struct Rate {
    since_ticks: Option<u32>,
    bytes: usize,
}

impl Feed {
    /// Begins with what the fan-out has: the newest group of pictures.
    ///
    /// # Errors
    /// The stream cannot be played by WebRTC, in words.
    pub(super) fn open(broadcast: &Broadcast) -> Result<Arc<Self>, String> {
        let stream = broadcast.players();
        let feed = Arc::new(Self {
            broadcast: broadcast.id(),
            writer: Mutex::new(Writer::new(stream.window())),
            news: watch::Sender::new(0),
            failed: OnceLock::new(),
            bits_per_second: AtomicU64::new(0),
        });
        feed.catch_up(stream);
        feed.check()?;
        tokio::spawn(follow(Arc::downgrade(&feed), Arc::clone(stream)));
        Ok(feed)
    }

    /// Whether it can be played.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(failed) = self.failed.get() {
            return Err(failed.clone());
        }
        let cutter = &self.lock().cutter;
        match (cutter.has_pictures(), cutter.has_sound()) {
            (false, false) => Err("nothing has come of it yet that WebRTC can carry".to_owned()),
            (true, false) if cutter.has_other_sound() => {
                Err("its sound is not Opus, and WebRTC carries no other".to_owned())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_of(&self, broadcast: &Broadcast) -> bool {
        self.broadcast == broadcast.id() && self.failed.get().is_none()
    }

    /// Why it cannot be played any more.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(super) fn profile(&self) -> Option<u8> {
        self.lock().cutter.profile()
    }

    /// What it takes to send it, in bits a second; 0 until that is known.
    pub(super) fn bits_per_second(&self) -> u64 {
        self.bits_per_second.load(Ordering::Relaxed)
    }

    /// The payloads, and what tells of new ones.
    pub(super) fn follow(&self) -> (Follower<Arc<Cut>>, watch::Receiver<u64>) {
        (self.lock().history.follow(), self.news.subscribe())
    }

    /// Takes what is new in the fan-out.
    fn catch_up(&self, stream: &egress::Stream) {
        let mut writer = self.lock();
        stream.follow(&mut writer.window);
        let rate = match writer.catch_up() {
            Ok(rate) => rate,
            Err(error) => {
                let _ = self.failed.set(error.to_string());
                None
            }
        };
        let next = writer.history.peek(values::Window::next);
        drop(writer);
        if let Some(rate) = rate {
            self.bits_per_second.store(rate, Ordering::Relaxed);
        }
        let failed = self.failed.get().is_some();
        self.news.send_if_modified(|known| core::mem::replace(known, next) != next || failed);
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a feed up to date until nobody watches, or the stream ends.
async fn follow(feed: Weak<Feed>, stream: Arc<egress::Stream>) {
    loop {
        let mut news = std::pin::pin!(stream.news());
        // From here on nothing is missed.
        news.as_mut().enable();
        {
            let Some(feed) = feed.upgrade() else { return };
            feed.catch_up(&stream);
            if stream.ended() {
                let _ = feed.failed.set("the broadcast is over".to_owned());
            }
            if feed.failed.get().is_some() {
                feed.news.send_modify(|_| {});
                return;
            }
        }
        news.await;
    }
}

impl Writer {
    fn new(window: Window) -> Self {
        Self {
            window,
            reader: Reader::new(Framing::Flv, Bytes::from_static(&flv::file::HEADER)),
            demuxer: flv::Demuxer::new(flv::Config::default()),
            cutter: Cutter::new(PAYLOAD_BYTES_MAX),
            history: values::channel(),
            bytes: 0,
            previous_mark: 0,
            rate: Rate::default(),
        }
    }

    /// The rate, if a second is over.
    fn catch_up(&mut self) -> Result<Option<u64>, streamr_media::Error> {
        let mut rate = None;
        while let Some(bytes) = self.reader.peek(&self.window) {
            let length = bytes.len();
            self.demuxer.push(bytes)?;
            self.reader.advance(length);
            while let Some(event) = self.demuxer.poll_event() {
                if let Some(cut) = self.cutter.push(&event)? {
                    rate = self.rate.add(&cut).or(rate);
                    self.add(cut);
                }
            }
        }
        Ok(rate)
    }

    fn add(&mut self, cut: Cut) {
        // Without pictures, every packet of sound is a beginning.
        let begins = cut.keyframe && (cut.kind == Kind::Video || !self.cutter.has_pictures());
        self.bytes += cut.bytes;
        let mark = self.history.peek(values::Window::mark);
        self.history.send(Arc::new(cut), begins);
        if begins {
            self.forget_before(self.previous_mark);
            self.previous_mark = mark.unwrap_or(0);
        }
        while self.bytes > HISTORY_BYTES_MAX {
            self.forget_before(self.history.peek(values::Window::first) + 1);
        }
    }

    fn forget_before(&mut self, number: u64) {
        let kept = self.history.peek(|kept| {
            let gone = kept.first()..number.min(kept.next());
            gone.filter_map(|number| kept.get(number)).map(|cut| cut.bytes).sum::<usize>()
        });
        self.bytes -= kept;
        self.history.forget_before(number);
    }
}

impl Rate {
    fn add(&mut self, cut: &Cut) -> Option<u64> {
        self.bytes += cut.bytes;
        // One clock is enough; sound is sent when there are no pictures.
        let since = *self.since_ticks.get_or_insert(cut.ticks);
        if cut.kind != Kind::Video {
            return None;
        }
        let passed = u64::from(cut.ticks.wrapping_sub(since));
        if passed < u64::from(streamr_media::rtp::VIDEO_CLOCK) {
            return None;
        }
        let bits = self.bytes as u64 * 8 * u64::from(streamr_media::rtp::VIDEO_CLOCK) / passed;
        *self = Self { since_ticks: Some(cut.ticks), bytes: 0 };
        Some(bits)
    }
}
