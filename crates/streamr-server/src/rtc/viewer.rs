//! A viewer's task: what the stream's feed has, as fast as the path to the viewer carries it.

use std::sync::Arc;
use std::time::Duration;

use psyne::Time;
use psyne::channel::broadcast::values::Follower;
use psyne::media::{Closed, Event, Kind, Outgoing};
use streamr_media::media;
use streamr_media::rtp::{Cut, VIDEO_CLOCK};
use tokio::sync::watch;

use super::feed::Feed;
use super::peer::Peer;
use crate::live::Broadcast;

/// Pictures that wait for longer to be sent are given up: the path carries less than the stream.
const DELAY_MAX: Duration = Duration::from_millis(400);
/// Pictures go on at a keyframe when no more than this waits.
const DELAY_LOW: Duration = Duration::from_millis(50);
/// A viewer that has to be moved ahead more often than [`SKIPS_MAX`] times in this time is better
/// off with HLS, which chooses what the path carries.
const SKIPS_WITHIN: Duration = Duration::from_secs(30);
const SKIPS_MAX: u32 = 4;
/// Who asks for a keyframe and gets none for so long is sent the last one again, and what follows.
const REWIND_AFTER: Duration = Duration::from_millis(700);
/// Bytes since the last keyframe that are sent to who joins. What is longer would take longer than
/// the next keyframe.
const BACKLOG_BYTES_MAX: usize = 2 << 20;
/// Between pictures that are only sent to be decoded: a millisecond.
const BACKLOG_STEP: u32 = VIDEO_CLOCK / 1_000;
/// How often a session is told what there is to send.
const DESIRE_EVERY: Duration = Duration::from_secs(1);

/// Sends until either side ends it.
pub(super) async fn run(peer: Peer, broadcast: Arc<Broadcast>, feed: Arc<Feed>) {
    let (follower, news) = feed.follow();
    let mut viewer = Viewer {
        peer,
        broadcast,
        feed,
        follower,
        next: 0,
        waits_from: Some(0),
        connected: false,
        sent_ticks: None,
        wanted: None,
        skips: Skips::default(),
        desired: None,
    };
    let reason = viewer.watch(news).await;
    let stream = viewer.broadcast.name().clone();
    viewer.peer.close().await;
    tracing::debug!(%stream, reason, "WHEP session ended");
}

struct Viewer {
    peer: Peer,
    broadcast: Arc<Broadcast>,
    feed: Arc<Feed>,
    follower: Follower<Arc<Cut>>,
    /// The next cut.
    next: u64,
    /// No pictures are sent until there is a keyframe with this number or a later one.
    waits_from: Option<u64>,
    connected: bool,
    /// Of the last picture that was sent.
    sent_ticks: Option<u32>,
    /// Since when the viewer has asked for a keyframe in vain.
    wanted: Option<Time>,
    skips: Skips,
    desired: Option<Time>,
}

/// How often a viewer was moved ahead.
#[derive(Default)]
struct Skips {
    since: Option<Time>,
    count: u32,
}

impl Skips {
    /// One more; whether it is one too many.
    fn add(&mut self, now: Time) -> bool {
        if self.since.is_none_or(|since| now.since(since) > SKIPS_WITHIN) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        self.count > SKIPS_MAX
    }
}

impl Viewer {
    /// Why it ended.
    async fn watch(&mut self, mut news: watch::Receiver<u64>) -> String {
        let mut counted = None;
        loop {
            while let Some(event) = self.peer.poll_event() {
                match event {
                    Event::Connected => {
                        self.connected = true;
                        let gauge = self.peer.metrics().players_webrtc.hold();
                        counted = Some((self.broadcast.viewers().connect(), gauge));
                        news.mark_changed();
                    }
                    Event::KeyframeWanted => {
                        let now = self.peer.now();
                        self.broadcast.keyframes().ask();
                        self.wanted = self.wanted.or(Some(now));
                    }
                    Event::Closed(Closed::Remote) => return "the viewer left".to_owned(),
                    Event::Closed(why) => return format!("{why:?}"),
                    _ => {}
                }
            }
            tokio::select! {
                alive = self.peer.input() => {
                    if !alive {
                        return "asked to end".to_owned();
                    }
                }
                changed = news.changed() => {
                    if let Some(reason) = self.feed.failure() {
                        return reason.to_owned();
                    }
                    if changed.is_err() {
                        return "the broadcast is over".to_owned();
                    }
                    if let Some(reason) = self.send_news() {
                        return reason.to_owned();
                    }
                }
            }
            let _ = &counted;
        }
    }

    /// Sends what is new; why the viewer has to go, if it has.
    fn send_news(&mut self) -> Option<&'static str> {
        self.follower.refresh();
        if !self.connected {
            return None;
        }
        let now = self.peer.now();
        self.say_desire(now);
        if self.next < self.follower.first() {
            // On joining, or after the task was not run for seconds.
            self.next = self.follower.first();
            self.waits_from = self.waits_from.or(Some(self.next));
        }
        let delay = self.peer.session.delay();
        if delay > DELAY_MAX && self.waits_from.is_none() {
            self.waits_from = Some(self.follower.next());
            self.peer.metrics().egress_skips_total.inc();
            if self.skips.add(now) {
                return Some("the path carries too little: play it by HLS");
            }
        }
        if delay <= DELAY_LOW
            && let Some(from) = self.waits_from
        {
            self.join(from);
        }
        let impatient = self.wanted.is_some_and(|since| now.since(since) > REWIND_AFTER);
        if impatient && delay <= DELAY_LOW {
            self.wanted = Some(now);
            self.join(0);
        }
        while let Some(cut) = self.follower.get(self.next).cloned() {
            self.next += 1;
            self.send(&cut, cut.ticks);
        }
        None
    }

    /// Goes on at the newest keyframe, if it is one from `from` on, or else asks for one. What came
    /// since then is sent at once and to be shown within some milliseconds: the viewer ends up
    /// where the stream is.
    fn join(&mut self, from: u64) {
        let mark = self.follower.mark().filter(|mark| *mark >= from);
        let backlog: Vec<Arc<Cut>> = mark.map_or_else(Vec::new, |mark| {
            let cuts = (mark..self.follower.next()).filter_map(|n| self.follower.get(n));
            cuts.filter(|cut| cut.kind == media::Kind::Video).cloned().collect()
        });
        let bytes: usize = backlog.iter().map(|cut| cut.bytes).sum();
        let (Some(mark), true) = (mark, bytes <= BACKLOG_BYTES_MAX) else {
            self.broadcast.keyframes().ask();
            return;
        };
        let newest = backlog.last().map_or(0, |cut| cut.ticks);
        let room = self.sent_ticks.map_or(u32::MAX, |sent| newest.wrapping_sub(sent));
        let count = backlog.len() as u32;
        let step = BACKLOG_STEP.min(room / count.max(1));
        if count > 1 && step == 0 {
            return;
        }
        self.waits_from = None;
        for (cut, behind) in backlog.iter().zip((0..count).rev()) {
            self.send(cut, newest.wrapping_sub(behind * step));
        }
        self.next = if backlog.is_empty() { mark } else { self.follower.next() };
    }

    fn send(&mut self, cut: &Cut, ticks: u32) {
        let kind = match cut.kind {
            media::Kind::Video if self.waits_from.is_some() => return,
            media::Kind::Video => {
                self.sent_ticks = Some(ticks);
                if cut.keyframe {
                    self.wanted = None;
                }
                Kind::Video
            }
            media::Kind::Audio => Kind::Audio,
        };
        let now = self.peer.now();
        self.peer.session.send(now, Outgoing { kind, ticks, payloads: &cut.payloads });
    }

    /// The estimate of what the path carries is sought up to a little more than there is to send.
    fn say_desire(&mut self, now: Time) {
        let due = self.desired.is_none_or(|said| now.since(said) > DESIRE_EVERY);
        let rate = self.feed.bits_per_second();
        if due && rate > 0 {
            self.desired = Some(now);
            self.peer.session.set_desired(now, rate + rate / 2);
        }
    }
}
