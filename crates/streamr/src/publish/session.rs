//! The connection that publishes, and its pace.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use psyne::Time;
use streamr_media::codec::stamp;
use streamr_media::flv::Muxer;
use streamr_media::media::{Codec, Event, Frame, Kind};
use streamr_media::rtmp::{Client, ClientEvent, Config, Intent, Output, Target, Url};
use streamr_server::live::{Clock, unix_us};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Sent;
use super::reel::Reel;
use crate::net::Socket;

/// What to publish, where and how.
pub(super) struct Job {
    pub(super) url: Url,
    pub(super) reel: Reel,
    pub(super) stamp: bool,
    pub(super) until: Option<Duration>,
}

/// How often `tell` is called.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Publishes until the reel or the time ends, or somebody presses Ctrl-C. Calls `tell` with what
/// was sent so far, twice a second.
pub(super) async fn publish(
    job: Job,
    socket: Box<dyn Socket>,
    mut tell: impl FnMut(&Sent),
) -> Result<Sent> {
    let mut session = Session::new(job, socket);
    session.until_ready().await?;
    session.send_tracks().await?;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let started = session.clock.now();
    let mut told = started;
    while let Some(due_us) = session.reel.due_us() {
        let due = started + Duration::from_micros(due_us.unsigned_abs());
        if session.until.is_some_and(|until| due.since(started) >= until) {
            break;
        }
        tokio::select! {
            biased;
            _ = &mut interrupted => break,
            over = session.listen_until(due) => over?,
        }
        session.send_next(due).await?;
        let now = session.clock.now();
        session.sent.seconds = now.since(started).as_secs_f64();
        if now.since(told) >= TELL_EVERY {
            told = now;
            tell(&session.sent);
        }
    }
    session.close().await
}

struct Session {
    clock: Clock,
    machine: Client,
    socket: Box<dyn Socket>,
    muxer: Muxer,
    reel: Reel,
    stamp: bool,
    until: Option<Duration>,
    sent: Sent,
    heard: Vec<u8>,
}

impl Session {
    fn new(job: Job, socket: Box<dyn Socket>) -> Self {
        let clock = Clock::start();
        let target = Target::new(&job.url, Intent::Publish);
        let sent = Sent { url: job.url.tc_url(), ..Sent::default() };
        Self {
            clock,
            machine: Client::new(Config::default(), target, clock.now(), rand::random()),
            socket,
            muxer: Muxer::new(),
            reel: job.reel,
            stamp: job.stamp,
            until: job.until,
            sent,
            heard: vec![0; 4_096],
        }
    }

    async fn until_ready(&mut self) -> Result<()> {
        loop {
            let (ready, wait) = self.drain().await?;
            if ready {
                return Ok(());
            }
            self.listen(wait).await?;
        }
    }

    /// Hears what the server has to say until `due`.
    async fn listen_until(&mut self, due: Time) -> Result<()> {
        while self.clock.now() < due {
            self.listen(Some(due)).await?;
            self.drain().await?;
        }
        Ok(())
    }

    async fn listen(&mut self, until: Option<Time>) -> Result<()> {
        let deadline = self.clock.instant(until.unwrap_or(Time::MAX)).into();
        match tokio::time::timeout_at(deadline, self.socket.read(&mut self.heard)).await {
            Ok(Ok(0)) => bail!("the server closed the connection"),
            Ok(Ok(count)) => {
                let input = self.heard.get(..count).unwrap_or_default();
                self.machine.handle_input(self.clock.now(), input)?;
            }
            Ok(Err(error)) => bail!("the connection broke: {error}"),
            Err(_) => self.machine.handle_timeout(self.clock.now()),
        }
        Ok(())
    }

    /// Sends what the machine has, and hears what it says: whether the server has accepted, and
    /// until when it waits.
    async fn drain(&mut self) -> Result<(bool, Option<Time>)> {
        let mut ready = false;
        loop {
            match self.machine.poll_output() {
                Output::Transmit(bytes) => self.socket.write_all(&bytes).await?,
                Output::Event(ClientEvent::Ready) => ready = true,
                Output::Event(event) => return Err(explain(event)),
                Output::Wait(wait) => return Ok((ready, wait)),
            }
        }
    }

    async fn send_tracks(&mut self) -> Result<()> {
        for track in self.reel.tracks().to_vec() {
            self.send_event(&Event::Track(track)).await?;
        }
        Ok(())
    }

    async fn send_next(&mut self, due: Time) -> Result<()> {
        let Some(mut frame) = self.reel.advance() else { return Ok(()) };
        if self.stamp {
            self.stamp(&mut frame);
        }
        self.sent.frames += 1;
        self.sent.bytes += frame.data.len() as u64;
        self.send_event(&Event::Frame(frame)).await?;
        let late_ms = self.clock.now().since(due).as_secs_f64() * 1_000.0;
        self.sent.late_ms_max = self.sent.late_ms_max.max(late_ms);
        self.sent.turns = self.reel.turns();
        Ok(())
    }

    fn stamp(&self, frame: &mut Frame) {
        let codec = self.reel.tracks().iter().find(|track| track.id == frame.track);
        let codec = codec.map_or(Codec::Aac, |track| track.codec);
        if codec.kind() == Kind::Video {
            frame.data = stamp::insert(codec, &frame.data, unix_us());
        }
    }

    async fn send_event(&mut self, event: &Event) -> Result<()> {
        let mut tags = Vec::new();
        self.muxer.push(event, &mut tags);
        for tag in &tags {
            self.machine.send(tag);
        }
        self.drain().await?;
        Ok(())
    }

    async fn close(mut self) -> Result<Sent> {
        self.machine.close();
        while let Output::Transmit(bytes) = self.machine.poll_output() {
            self.socket.write_all(&bytes).await?;
        }
        self.socket.shutdown().await?;
        Ok(self.sent)
    }
}

fn explain(event: ClientEvent) -> anyhow::Error {
    match event {
        ClientEvent::Refused { code, description } => {
            anyhow!("the server refused: {description} ({code}). Is the key right and not in use?")
        }
        ClientEvent::Closed(closed) => anyhow!("the server does not answer ({closed:?})"),
        ClientEvent::Ended => anyhow!("the server ended the stream"),
        ClientEvent::Ready | ClientEvent::Media(_) => anyhow!("the server said something odd"),
    }
}
