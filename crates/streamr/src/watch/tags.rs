//! Watches RTMP and HTTP-FLV: the same tags by two roads.

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::BodyExt;
use hyper::Uri;
use streamr_media::codec::stamp;
use streamr_media::flv::{self, Demuxer};
use streamr_media::media::{Codec, Demux, Event, Frame, Kind, TrackId};
use streamr_media::rtmp::{Client, ClientEvent, Config, Intent, Output, Target, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hls::Shared;
use super::http;
use crate::net::{Dialer, Socket};

/// Plays over RTMP until the stream ends.
///
/// # Errors
/// The server refuses, or breaks off.
pub(super) async fn follow_rtmp(shared: &Shared, dialer: &Dialer, url: &Url) -> Result<()> {
    let socket = dialer.dial(&url.host, url.port, url.tls).await?;
    let target = Target::new(url, Intent::Play);
    let machine = Client::new(Config::default(), target, shared.clock().now(), rand::random());
    let sink = Sink::new(shared);
    Player { shared, machine, socket, demuxer: Demuxer::new(flv::Config::default()), sink }
        .run()
        .await
}

struct Player<'a> {
    shared: &'a Shared,
    machine: Client,
    socket: Box<dyn Socket>,
    demuxer: Demuxer,
    sink: Sink<'a>,
}

impl Player<'_> {
    async fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let clock = self.shared.clock();
        loop {
            let deadline = loop {
                match self.machine.poll_output() {
                    Output::Transmit(bytes) => self.socket.write_all(&bytes).await?,
                    Output::Wait(wait) => break wait,
                    Output::Event(ClientEvent::Ready) => {}
                    Output::Event(ClientEvent::Media(tag)) => self.tag(&tag)?,
                    Output::Event(ClientEvent::Ended) => return self.sink.ended(),
                    Output::Event(ClientEvent::Refused { code, description }) => {
                        bail!("the server refused: {description} ({code})")
                    }
                    Output::Event(ClientEvent::Closed(closed)) => {
                        bail!("the server sends nothing ({closed:?})")
                    }
                }
            };
            let deadline = clock.instant(deadline.unwrap_or(psyne::Time::MAX)).into();
            match tokio::time::timeout_at(deadline, self.socket.read(&mut buffer)).await {
                Ok(read) => {
                    let count = read?;
                    if count == 0 {
                        bail!("the server closed the connection");
                    }
                    self.sink.received(count);
                    let input = buffer.get(..count).unwrap_or_default();
                    self.machine.handle_input(clock.now(), input)?;
                }
                Err(_) => self.machine.handle_timeout(clock.now()),
            }
        }
    }

    fn tag(&mut self, tag: &flv::Tag) -> Result<()> {
        self.demuxer.push_tag(tag)?;
        while let Some(event) = self.demuxer.poll_event() {
            self.sink.event(event);
        }
        Ok(())
    }
}

/// Plays HTTP-FLV until the body ends.
///
/// # Errors
/// The stream is not there, or breaks off.
pub(super) async fn follow_flv(shared: &Shared, dialer: &Dialer, url: &Uri) -> Result<()> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut client = http::Client::new(dialer.clone(), url);
    let response = client.open(path).await?;
    if response.status() != 200 {
        bail!("{path}: status {}", response.status().as_u16());
    }
    let mut body = response.into_body();
    let mut demuxer = Demuxer::new(flv::Config::default());
    let mut sink = Sink::new(shared);
    while let Some(piece) = body.frame().await {
        let piece = piece.context("the stream broke off")?;
        let Ok(bytes) = piece.into_data() else { continue };
        sink.received(bytes.len());
        demuxer.push(&bytes)?;
        while let Some(event) = demuxer.poll_event() {
            sink.event(event);
        }
    }
    sink.ended()
}

/// Where the frames of both go.
struct Sink<'a> {
    shared: &'a Shared,
    codecs: Vec<(TrackId, Codec)>,
    last: [Option<i64>; 2],
}

impl<'a> Sink<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, codecs: Vec::new(), last: [None; 2] }
    }

    fn received(&self, count: usize) {
        self.shared.meter().report.bytes += count as u64;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Track(track) => {
                self.codecs.retain(|(id, _)| *id != track.id);
                self.codecs.push((track.id, track.codec));
            }
            Event::Frame(frame) => self.frame(&frame),
            Event::Metadata(_) | Event::End => {}
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let codec = self.codecs.iter().find(|(id, _)| *id == frame.track).map(|(_, codec)| *codec);
        let Some(codec) = codec.filter(|_| frame.track.index == 0) else { return };
        let video = codec.kind() == Kind::Video;
        let now_us = self.shared.now_us();
        let mut meter = self.shared.meter();
        if video && frame.keyframe {
            meter.report.segments += 1;
            if let [Some(video), Some(audio)] = self.last {
                meter.handle_segment_ends(video, audio);
            }
        }
        let sent = video.then(|| stamp::read(codec, &frame.data)).flatten();
        meter.handle_frame(now_us, frame.pts_us, sent);
        let track = usize::from(!video);
        self.last[track] = Some(frame.dts_us);
        meter.playout.handle_media(now_us, track, frame.dts_us, self.codecs.len().min(2));
        meter.handle_time(now_us);
    }

    fn ended(&self) -> Result<()> {
        let mut meter = self.shared.meter();
        meter.report.ended = true;
        if meter.report.frames == 0 {
            Err(anyhow!("the stream ended before its first frame"))
        } else {
            Ok(())
        }
    }
}
