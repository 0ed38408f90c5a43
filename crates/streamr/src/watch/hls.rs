//! Follows low-latency HLS at its edge, as a player does: blocking reloads, parts, delta updates.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hyper::Uri;
use streamr_media::codec::stamp;
use streamr_media::media::Kind;
use streamr_media::mp4::fragment::Init;
use streamr_server::live::Clock;

use super::http::{Client, resolve};
use super::playlist::{self, Media, Piece};
use super::report::Meter;
use crate::net::Dialer;

/// What the followers of picture and sound share.
pub(super) struct Shared {
    clock: Clock,
    meter: Mutex<Meter>,
    ends: Mutex<Ends>,
    /// The last failure that was not the end yet.
    trouble: Mutex<Option<String>>,
}

/// Ends of the last segments of both tracks, to be compared: `ends[msn][track]`.
#[derive(Default)]
struct Ends(BTreeMap<u64, [Option<i64>; 2]>);

/// Segments whose other track may still come.
const ENDS_MAX: usize = 16;

/// Failures in a row after which a viewer gives up, at growing distances: 12 s in all.
const FAILURES_MAX: u32 = 8;

impl Shared {
    pub(super) fn new(clock: Clock, meter: Meter) -> Self {
        Self { clock, meter: Mutex::new(meter), ends: Mutex::default(), trouble: Mutex::default() }
    }

    /// Why nothing was played, if nothing was.
    pub(super) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The meter, for the end.
    pub(super) fn into_meter(self) -> Meter {
        self.meter.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time passes.
    pub(super) fn tick(&self) {
        self.meter().handle_time(self.now_us());
    }

    /// The viewer's clock.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The time now, in microseconds.
    pub(super) fn now_us(&self) -> i64 {
        i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX)
    }

    /// What is gathered so far.
    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment_ends(&self, msn: u64, track: usize, end_us: i64) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = ends.0.entry(msn).or_default().get_mut(track) {
            *end = Some(end_us);
        }
        if let Some([Some(video), Some(audio)]) = ends.0.get(&msn).copied() {
            ends.0.remove(&msn);
            self.meter().handle_segment_ends(video, audio);
        }
        while ends.0.len() > ENDS_MAX {
            ends.0.pop_first();
        }
    }
}

/// Follows a broadcast until it ends.
///
/// # Errors
/// It cannot be found or followed.
pub(super) async fn follow(shared: &Shared, dialer: &Dialer, url: &Uri) -> Result<()> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut client = Client::new(dialer.clone(), url);
    let text = first_playlist(shared, &mut client, path).await?;
    let Some(found) = playlist::parse_multivariant(&text) else {
        // The address of a media playlist itself.
        return Follower::new(shared, client, path.to_owned(), 0, 1).run().await;
    };
    let main = resolve(path, &found.main.context("the playlist names no variant")?);
    let Some(audio) = found.audio.map(|audio| resolve(path, &audio)) else {
        return Follower::new(shared, client, main, 0, 1).run().await;
    };
    let second = Client::new(dialer.clone(), url);
    let video = Follower::new(shared, client, main, 0, 2).run();
    let audio = Follower::new(shared, second, audio, 1, 2).run();
    tokio::try_join!(video, audio).map(|_| ())
}

/// The first playlist, which may be asked for a little before the broadcast begins.
async fn first_playlist(shared: &Shared, client: &mut Client, path: &str) -> Result<String> {
    let mut failures = 0;
    loop {
        let error = match client.get(path).await {
            Ok(reply) if reply.status == 200 => {
                return String::from_utf8(reply.body.into()).context("the playlist is no text");
            }
            Ok(reply) => anyhow::anyhow!("{path}: status {}", reply.status),
            Err(error) => error,
        };
        retry(shared, &mut failures, error).await?;
    }
}

/// Waits a little after a failure, or gives up.
async fn retry(shared: &Shared, failures: &mut u32, error: anyhow::Error) -> Result<()> {
    *failures += 1;
    shared.meter().report.retries += 1;
    let trouble = Some(format!("{error:#}"));
    *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    if *failures > FAILURES_MAX {
        return Err(error);
    }
    let pause = Duration::from_millis(100 << (*failures).min(5));
    tokio::time::sleep(pause).await;
    Ok(())
}

/// Follows one media playlist.
struct Follower<'a> {
    shared: &'a Shared,
    client: Client,
    path: String,
    track: usize,
    tracks: usize,
    /// The next segment and part to fetch; `None` before the first.
    cursor: Option<(u64, u64)>,
    map: Option<String>,
    init: Option<Init>,
    end_us: i64,
}

impl<'a> Follower<'a> {
    fn new(shared: &'a Shared, client: Client, path: String, track: usize, tracks: usize) -> Self {
        let (cursor, map, init) = (None, None, None);
        Self { shared, client, path, track, tracks, cursor, map, init, end_us: 0 }
    }

    async fn run(mut self) -> Result<()> {
        let mut failures = 0;
        let mut query = String::new();
        loop {
            match self.round(&query).await {
                Ok(Next::Ask(next)) => {
                    failures = 0;
                    query = next;
                }
                Ok(Next::Ended) => {
                    self.shared.meter().report.ended = true;
                    return Ok(());
                }
                Err(error) => {
                    retry(self.shared, &mut failures, error).await?;
                    query.clear();
                }
            }
        }
    }

    /// One playlist and the media that it adds.
    async fn round(&mut self, query: &str) -> Result<Next> {
        let path = format!("{}{query}", self.path);
        let reply = self.client.get(&path).await?;
        if reply.status != 200 {
            bail!("{path}: status {}", reply.status);
        }
        let text = std::str::from_utf8(&reply.body).context("the playlist is no text")?;
        let media =
            playlist::parse_media(text).with_context(|| format!("{path} is no media playlist"))?;
        self.begin(&media);
        for piece in &media.pieces {
            self.piece(piece).await?;
        }
        if media.ended {
            return Ok(Next::Ended);
        }
        if !media.can_block {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Ok(Next::Ask(String::new()));
        }
        let skip = if media.skip_until_s > 0.0 { "&_HLS_skip=YES" } else { "" };
        let (msn, part) = (media.next_msn, media.next_part);
        Ok(Next::Ask(format!("?_HLS_msn={msn}&_HLS_part={part}{skip}")))
    }

    /// Where to start: at the last place that is independent and far enough from the edge. A
    /// playlist that went back is another broadcast's: start anew.
    fn begin(&mut self, media: &Media) {
        if let Some((msn, _)) = self.cursor {
            if msn <= media.next_msn + 1 {
                return;
            }
            let mut meter = self.shared.meter();
            meter.report.discontinuities += 1;
            meter.playout.handle_discontinuity();
        }
        let (mut behind_s, mut start) = (0.0, None);
        for piece in media.pieces.iter().rev() {
            // Parts are repeated by the segment that they make up.
            let counted = piece.part.is_some() || !self.has_parts(media, piece.msn);
            behind_s += if counted { piece.duration_s } else { 0.0 };
            if piece.independent && counted {
                start = Some((piece.msn, piece.part.unwrap_or(0)));
                if behind_s >= media.hold_back_s {
                    break;
                }
            }
        }
        self.cursor = Some(start.unwrap_or((media.next_msn, 0)));
    }

    fn has_parts(&self, media: &Media, msn: u64) -> bool {
        media.pieces.iter().any(|piece| piece.msn == msn && piece.part.is_some())
    }

    async fn piece(&mut self, piece: &Piece) -> Result<()> {
        let Some((msn, part)) = self.cursor else { return Ok(()) };
        match piece.part {
            Some(number) if (piece.msn, number) >= (msn, part) => {
                self.fetch(piece).await?;
                self.cursor = Some((piece.msn, number + 1));
                self.shared.meter().report.parts += 1;
            }
            None if piece.msn == msn && part > 0 => self.segment_done(msn),
            None if piece.msn >= msn => {
                self.fetch(piece).await?;
                self.segment_done(piece.msn);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn segment_done(&mut self, msn: u64) {
        self.cursor = Some((msn + 1, 0));
        if self.track == 0 {
            self.shared.meter().report.segments += 1;
        }
        if self.tracks == 2 {
            self.shared.segment_ends(msn, self.track, self.end_us);
        }
    }

    async fn fetch(&mut self, piece: &Piece) -> Result<()> {
        if piece.map.is_some() && piece.map != self.map {
            let map = piece.map.clone().unwrap_or_default();
            self.init = Some(Init::parse(&self.body(&map).await?)?);
            self.map = Some(map);
        }
        let body = self.body(&piece.uri).await?;
        if piece.discontinuity && self.track == 0 {
            self.shared.meter().report.discontinuities += 1;
        }
        self.media(&body)
    }

    async fn body(&mut self, uri: &str) -> Result<Bytes> {
        let path = resolve(&self.path, uri);
        let reply = self.client.get(&path).await?;
        if reply.status != 200 {
            bail!("{path}: status {}", reply.status);
        }
        self.shared.meter().report.bytes += reply.body.len() as u64;
        Ok(reply.body)
    }

    fn media(&mut self, body: &Bytes) -> Result<()> {
        let init = self.init.as_ref().context("media without an initialization section")?;
        let described = init.tracks().first().context("an initialization section without track")?;
        let (codec, timescale) = (described.track.codec, i128::from(described.timescale.max(1)));
        let us = |ticks: i64| (i128::from(ticks) * 1_000_000 / timescale) as i64;
        let video = codec.kind() == Kind::Video;
        let now_us = self.shared.now_us();
        let mut meter = self.shared.meter();
        for sample in init.samples(body)? {
            let sent = video.then(|| stamp::read(codec, &sample.data)).flatten();
            meter.handle_frame(now_us, us(sample.dts + sample.composition_offset), sent);
            self.end_us = self.end_us.max(us(sample.dts + i64::from(sample.duration)));
        }
        meter.playout.handle_media(now_us, self.track, self.end_us, self.tracks);
        meter.handle_time(now_us);
        Ok(())
    }
}

enum Next {
    /// Ask for the playlist again, with this query.
    Ask(String),
    Ended,
}
